/*
 * Which way up an image is: the one thing in Exif data that its pixels need (Exif 2.32, 4.6: a TIFF
 * file whose first directory holds the tag).
 */
#include <string.h>

#include "pipeline/content.h"

enum { ENTRY_BYTES = 12, ORIENTATION = 0x112, SHORT = 3 };

struct tiff {
    const uint8_t *bytes;
    size_t size;
    bool big; /* most significant byte first */
};

/* n bytes, at most 4, as a number; `at` + n is in the data. */
static uint32_t number(const struct tiff *t, size_t at, size_t n)
{
    uint32_t value = 0;

    for (size_t i = 0; i < n; i++)
        value = value << 8 | t->bytes[t->big ? at + i : at + n - 1 - i];
    return value;
}

unsigned pipeline_image_orientation(const uint8_t *exif, size_t size)
{
    struct tiff t = {exif, size, size >= 2 && !memcmp(exif, "MM", 2)};
    size_t at, n;

    if (size < 8 || (!t.big && memcmp(exif, "II", 2)) || number(&t, 2, 2) != 42)
        return 1;
    at = number(&t, 4, 4);
    if (at > size - 2)
        return 1;
    n = number(&t, at, 2);
    for (at += 2; n && size - at >= ENTRY_BYTES; n--, at += ENTRY_BYTES) {
        uint32_t value;

        if (number(&t, at, 2) != ORIENTATION)
            continue;
        value = number(&t, at + 8, 2);
        return number(&t, at + 2, 2) == SHORT && number(&t, at + 4, 4) == 1 && value >= 1 &&
                       value <= 8
                   ? value
                   : 1;
    }
    return 1;
}
