/*
 * Bytes that come piece by piece as text: what is valid UTF-8 passes, what is not becomes U+FFFD,
 * and what may still become a character waits for the bytes that decide.
 */
#ifndef APPS_UTF8_H
#define APPS_UTF8_H

#include <stddef.h>
#include <stdint.h>

struct app_utf8 {
    uint8_t held[4]; /* the beginning of a character */
    uint32_t count;  /* bytes of it */
};

/* Room for what n bytes become at most. */
#define APP_UTF8_ROOM(n) (3 * (size_t)(n) + 9)

/* Takes n bytes and writes to `out` the text that is certain now: whole characters. As Unicode
 * recommends, each longest beginning of a character that is broken off becomes one U+FFFD. Returns
 * how many bytes were written, at most APP_UTF8_ROOM(n). */
size_t app_utf8(struct app_utf8 *text, const uint8_t *bytes, size_t n, uint8_t *out);

/* Nothing more comes: a character that is not whole becomes U+FFFD. */
size_t app_utf8_end(struct app_utf8 *text, uint8_t *out);

/* Bytes of the character that a text with a zero at its end begins with; 0: none begins there. */
size_t app_utf8_character(const char *text);

#endif
