/*
 * The text of one member of a JSON object; not installed.
 *
 * All of the object is read (RFC 8259), so that damage is found wherever in it, but nothing is kept
 * of it except the text, and no memory is taken.
 */
#ifndef PIPELINE_JSON_LINE_H
#define PIPELINE_JSON_LINE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PIPELINE_JSON_DEPTH = 2048 }; /* of arrays and objects in one another */

/* Bytes of the mark that some programs put before the first line of a text, 3 or 0. */
static inline size_t pipeline_json_mark(const uint8_t *text, size_t n)
{
    return n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
}

/*
 * The text under `field` in the object that is line[0 .. size), as UTF-8 with the escapes resolved;
 * an escape that is half a surrogate pair becomes U+FFFD. Where the field is there more than once,
 * it is the last one's. `text` has room for `size` bytes, as no
 * text is longer than its JSON; NULL: only *length is wanted.
 * Errors: -EBADMSG, and why[] says in words that follow "line 1" that it is no JSON, no object, or
 * has no such text. What `text` holds is then undefined.
 */
int pipeline_json_text(const char *field, const uint8_t *line, size_t size, uint8_t *text,
                       size_t *length, char why[128]);

enum line_kind {
    LINE_BROKEN,   /* none */
    LINE_BEGUN,    /* none by itself, but what follows in the next line may make it one */
    LINE_VALUE,    /* one that is no object */
    LINE_NO_FIELD, /* an object without the field; from here on, an object */
    LINE_NO_TEXT,  /* one in which that is no text */
    LINE_TEXT,     /* one with a text there */
};

/*
 * What a line is; `why` says why it is no LINE_TEXT, as above. names, which has `room` bytes, at
 * least 8, gets the names of the outermost object's members as they are written, as far as it could
 * be read: "a, b, c"; "..." stands for those that do not fit.
 */
enum line_kind pipeline_json_kind(const char *field, const uint8_t *line, size_t size, char *names,
                                  size_t room, char why[128]);

#endif
