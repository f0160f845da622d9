#include "apps/utf8.h"

#include <stdbool.h>
#include <string.h>

/* How many bytes a character has that begins with this one; 0: none does. */
static uint32_t length_of(uint8_t first)
{
    return first < 0x80                      ? 1
           : first >= 0xc2 && first <= 0xdf ? 2
           : first >= 0xe0 && first <= 0xef ? 3
           : first >= 0xf0 && first <= 0xf4 ? 4
                                            : 0;
}

/* Whether `byte` can be number `place` of a character, counted from 0: no longer forms than needed,
 * no surrogates, nothing beyond U+10FFFF. */
static bool follows(uint8_t first, uint32_t place, uint8_t byte)
{
    uint8_t low = 0x80, high = 0xbf;

    if (place == 1 && first == 0xe0)
        low = 0xa0;
    else if (place == 1 && first == 0xed)
        high = 0x9f;
    else if (place == 1 && first == 0xf0)
        low = 0x90;
    else if (place == 1 && first == 0xf4)
        high = 0x8f;
    return byte >= low && byte <= high;
}

size_t app_utf8_character(const char *text)
{
    const uint8_t *c = (const uint8_t *)text;
    const uint32_t n = length_of(*c);

    for (uint32_t i = 1; i < n; i++)
        if (!follows(*c, i, c[i]))
            return 0;
    return n;
}

static size_t replace(uint8_t *out)
{
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

size_t app_utf8_end(struct app_utf8 *t, uint8_t *out)
{
    const bool broken = t->count;

    t->count = 0;
    return broken ? replace(out) : 0;
}

size_t app_utf8(struct app_utf8 *t, const uint8_t *bytes, size_t n, uint8_t *out)
{
    size_t written = 0;

    for (size_t i = 0; i < n; i++) {
        if (t->count && !follows(t->held[0], t->count, bytes[i]))
            written += app_utf8_end(t, out + written);
        if (!t->count && !length_of(bytes[i])) {
            written += replace(out + written);
            continue;
        }
        t->held[t->count++] = bytes[i];
        if (t->count == length_of(t->held[0])) {
            memcpy(out + written, t->held, t->count);
            written += t->count;
            t->count = 0;
        }
    }
    return written;
}
