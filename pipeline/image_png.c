#include <errno.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/content.h"
#include "pipeline/internal.h"

/* Whether all chunks are there up to the one that ends the image. libpng is content once it has the
 * last row, with its checksum or without. */
static bool is_whole(const uint8_t *file, size_t size)
{
    for (size_t at = 8; size - at >= 12;) {
        size_t length = (size_t)file[at] << 24 | (size_t)file[at + 1] << 16 |
                        (size_t)file[at + 2] << 8 | file[at + 3];

        if (length > size - at - 12)
            return false;
        if (!memcmp(file + at + 4, "IEND", 4))
            return true;
        at += length + 12;
    }
    return false;
}

int pipeline_image_png(const uint8_t *file, size_t size, struct image *out, char why[256])
{
    static const png_color white = {255, 255, 255};
    png_image png = {.version = PNG_IMAGE_VERSION};
    uint8_t *rgb = NULL;

    if (!is_whole(file, size)) {
        snprintf(why, 256, "ends early");
        return -EBADMSG;
    }
    if (!png_image_begin_read_from_memory(&png, file, size)) {
        snprintf(why, 256, "cannot be decoded: %.64s", png.message);
        return -EBADMSG;
    }
    if (!pipeline_image_fits(png.width, png.height, why)) {
        png_image_free(&png);
        return -EBADMSG;
    }
    png.format = PNG_FORMAT_RGB;
    png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB; /* 16 bits a channel alone do not make light linear */
    rgb = malloc(PNG_IMAGE_SIZE(png));
    if (!rgb) {
        png_image_free(&png);
        return pipeline_fail(ENOMEM, "out of memory");
    }
    if (!png_image_finish_read(&png, &white, rgb, 0, NULL)) {
        snprintf(why, 256, "cannot be decoded: %.64s", png.message);
        free(rgb);
        return -EBADMSG;
    }
    *out = (struct image){rgb, png.width, png.height};
    return 0;
}
