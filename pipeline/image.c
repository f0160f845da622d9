/*
 * Images as bytes. Not the resizing of any one library: the mean over areas, in whole numbers, so
 * that every machine makes the same bytes of the same pixels.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/content.h"
#include "pipeline/internal.h"
#include "pipeline/scan.h"

struct image_layer {
    struct layer layer;
    struct layer *below;
    uint32_t size, patch; /* S, p */
    struct content_damage damage;
    uint8_t *bytes; /* (S, S, 3) */
    bool done;
};

static bool is_png(const uint8_t *head, size_t n)
{
    return n >= 8 && !memcmp(head, "\x89PNG\r\n\x1a\n", 8);
}

bool pipeline_content_is_image(const uint8_t *head, size_t n)
{
    return is_png(head, n) || (n >= 3 && !memcmp(head, "\xff\xd8\xff", 3));
}

bool pipeline_image_fits(uint64_t width, uint64_t height, char why[256])
{
    if (width && height && width <= CONTENT_IMAGE_PIXELS / height)
        return true;
    snprintf(why, 256, "has %llu by %llu pixels: no more than %d million are decoded",
             (unsigned long long)width, (unsigned long long)height, CONTENT_IMAGE_PIXELS >> 20);
    return false;
}

/*
 * Of a row of m pixels the sums over S equal stretches. In units of 1 / S of a pixel a pixel is S
 * wide and a stretch m wide: each sum is of m units.
 */
static void sum_row(const uint8_t *row, uint32_t m, uint32_t S, uint64_t *sums)
{
    uint64_t left = m; /* units that the present stretch still takes */

    memset(sums, 0, 3 * S * sizeof(*sums));
    for (uint32_t x = 0; x < m; x++, row += 3) {
        for (uint64_t units = S; units;) {
            uint64_t take = units < left ? units : left;

            for (int c = 0; c < 3; c++)
                sums[c] += take * row[c];
            units -= take;
            left -= take;
            if (left == 0) {
                sums += 3;
                left = m;
            }
        }
    }
}

/* How an orientation shows an image: stored x and y are mirrored, then exchanged. */
struct turn {
    bool mirror_x, mirror_y, swap;
};

static struct turn turn_of(unsigned orientation)
{
    const unsigned bit = 1u << orientation;

    return (struct turn){
        .mirror_x = bit & (1 << 2 | 1 << 3 | 1 << 7 | 1 << 8),
        .mirror_y = bit & (1 << 3 | 1 << 4 | 1 << 6 | 1 << 7),
        .swap = orientation >= 5,
    };
}

/* Where the m pixels in the middle of n begin; of a row that is mirrored, counted from its end. */
static uint32_t middle(uint32_t n, uint32_t m, bool mirrored)
{
    const uint32_t before = (n - m) / 2;

    return mirrored ? n - m - before : before;
}

/*
 * Stretches are as long from one end as from the other, and the sums are exact: so the square can
 * be made as it is stored, and its pixels put where they are shown. That gives the same bytes as
 * turning the whole image first.
 */
int pipeline_image_square(const struct image *from, uint32_t S, uint32_t patch, uint8_t *to)
{
    const struct turn turn = turn_of(from->orientation);
    uint32_t m = from->width < from->height ? from->width : from->height;
    uint32_t left = middle(from->width, m, turn.mirror_x);
    uint32_t top = middle(from->height, m, turn.mirror_y);
    uint64_t *row = calloc(6 * (size_t)S, sizeof(*row)), *area = row + 3 * (size_t)S;
    uint64_t units = m, all = (uint64_t)m * m; /* as in sum_row, of rows */
    uint32_t y = 0;

    if (!row)
        return pipeline_fail(ENOMEM, "out of memory");
    for (uint32_t i = 0; i < m; i++) {
        sum_row(from->rgb + 3 * ((size_t)(top + i) * from->width + left), m, S, row);
        for (uint64_t height = S; height;) {
            uint64_t take = height < units ? height : units;

            for (uint32_t k = 0; k < 3 * S; k++)
                area[k] += take * row[k];
            height -= take;
            units -= take;
            if (units)
                continue;
            for (uint32_t k = 0; k < 3 * S; k++) {
                uint32_t a = turn.mirror_x ? S - 1 - k / 3 : k / 3;
                uint32_t b = turn.mirror_y ? S - 1 - y : y;
                size_t place = turn.swap ? pipeline_scan_place(b, a, S, patch)
                                         : pipeline_scan_place(a, b, S, patch);

                to[place + k % 3] = (uint8_t)((area[k] + all / 2) / all);
            }
            memset(area, 0, 3 * S * sizeof(*area));
            units = m;
            y++;
        }
    }
    free(row);
    return 0;
}

/* The member's bytes, all of them. 1: *file has them. 0: they are too many. */
static int whole_file(struct image_layer *im, const uint8_t **file, size_t *n)
{
    int result = pipeline_layer_peek(im->below, CONTENT_IMAGE_BYTES + 1, file, n);

    if (result == 0 && *n <= CONTENT_IMAGE_BYTES)
        result = im->below->error; /* behind what could be read */
    if (result < 0)
        memcpy(im->layer.why, im->below->why, sizeof(im->layer.why));
    return result < 0 ? result : *n <= CONTENT_IMAGE_BYTES;
}

static int decode(struct image_layer *im, char why[256])
{
    const size_t bytes = 3 * (size_t)im->size * im->size;
    struct image image = {0};
    const uint8_t *file;
    size_t n;
    int result = whole_file(im, &file, &n);

    if (result < 0)
        return result;
    if (result == 0) {
        snprintf(why, 256, "is larger than %d MiB", CONTENT_IMAGE_BYTES >> 20);
        return -EBADMSG;
    }
    result = is_png(file, n) ? pipeline_image_png(file, n, &image, why)
                             : pipeline_image_jpeg(file, n, &image, why);
    if (result < 0)
        return result;
    im->bytes = malloc(bytes);
    if (!im->bytes)
        result = pipeline_fail(ENOMEM, "out of memory");
    else
        result = pipeline_image_square(&image, im->size, im->patch, im->bytes);
    free(image.rgb);
    if (result == 0 && image.stray && im->damage.note)
        im->damage.note(im->damage.user, "has bytes that belong to nothing, between its picture "
                                         "and what is around it: they are passed over");
    return result;
}

static int image_read(struct layer *layer, const void **data, size_t *size)
{
    struct image_layer *im = (struct image_layer *)layer;
    char why[256] = "", told[280];
    int result = 0;

    *size = 0;
    if (im->done)
        return 0;
    im->done = true;
    result = decode(im, why);
    if (result < 0 && why[0]) {
        snprintf(told, sizeof(told), "the image %s", why);
        result = im->damage.tell(im->damage.user, 0, told);
        if (result < 0)
            snprintf(layer->why, sizeof(layer->why), "%.255s", told);
        return result;
    }
    *data = im->bytes;
    *size = result == 0 ? 3 * (size_t)im->size * im->size : 0;
    return result;
}

static void image_close(struct layer *layer)
{
    struct image_layer *im = (struct image_layer *)layer;

    free(im->bytes);
    pipeline_layer_destroy(&im->below);
}

int pipeline_content_image_create(const struct pipeline_content *wanted, struct layer *leaf,
                                  const struct content_damage *damage, struct layer **out)
{
    struct image_layer *im = calloc(1, sizeof(*im));

    if (!im)
        return pipeline_fail(ENOMEM, "out of memory");
    im->layer.read = image_read;
    im->layer.close = image_close;
    im->below = leaf;
    im->size = wanted->image_size;
    im->patch = wanted->image_patch;
    im->damage = *damage;
    *out = &im->layer;
    return 0;
}
