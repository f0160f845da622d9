/*
 * Decompression of compress (.Z), by our own hands: it is short, and libarchive's decoder keeps its
 * place in a variable of the process, which archives that are read at once would share.
 *
 * The codes of one width come in groups of eight, which are `width` bytes long; where the width
 * changes, the rest of the group is left out. There is no checksum and no end mark: what is cut
 * shows only where it is cut inside a code.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"
#include "pipeline/layer.h"

enum {
    CODES = 65536,
    LEAST_WIDTH = 9,
    CLEAR = 256, /* forgets all strings, in the files that have it */
    OUT_BYTES = 65536,
};

struct compress_layer {
    struct layer layer;
    struct layer *below;
    const uint8_t *in; /* what below gave last and was not used yet */
    size_t in_size;
    uint64_t in_at; /* byte of below that comes next */
    uint64_t bits;  /* bits that were taken out of `in`, the lowest first, ... */
    unsigned n_bits;
    unsigned width, most_width;
    unsigned in_group; /* codes of the present group that were read */
    bool clears, ended;
    int failed;           /* what went wrong behind bytes that were given */
    uint32_t next, first; /* the next code that gets a string; the first that ever does */
    int last;             /* the code before, -1: none */
    uint16_t prefix[CODES];
    uint8_t suffix[CODES];
    size_t length;         /* bytes of `string` that were not given yet, ... */
    uint8_t string[CODES]; /* ... backwards */
    uint8_t out[OUT_BYTES];
};

static int compress_failed(struct compress_layer *z, const char *what)
{
    snprintf(z->layer.why, sizeof(z->layer.why),
             "the compress data is damaged or cut short near byte %llu of the file (%s)",
             (unsigned long long)z->in_at, what);
    return -EBADMSG;
}

/* Makes sure of n bits, at most 32. 1; 0 if there are not so many; or what reading says. */
static int need_bits(struct compress_layer *z, unsigned n)
{
    while (z->n_bits < n) {
        if (z->in_size == 0) {
            const void *data;
            int result = pipeline_layer_read(z->below, &data, &z->in_size);

            if (result < 0) {
                memcpy(z->layer.why, z->below->why, sizeof(z->layer.why));
                return result;
            }
            if (z->in_size == 0)
                return 0;
            z->in = data;
        }
        z->bits |= (uint64_t)*z->in++ << z->n_bits;
        z->n_bits += 8;
        z->in_size--;
        z->in_at++;
    }
    return 1;
}

static uint32_t take_bits(struct compress_layer *z, unsigned n)
{
    uint32_t value = (uint32_t)(z->bits & ((1ull << n) - 1));

    z->bits >>= n;
    z->n_bits -= n;
    return value;
}

/* Leaves out the rest of a group. Its bytes may be missing at the end. */
static int end_group(struct compress_layer *z)
{
    int result = 1;

    while (result > 0 && z->in_group % 8) {
        result = need_bits(z, z->width);
        if (result > 0)
            take_bits(z, z->width);
        z->in_group++;
    }
    z->in_group = 0;
    return result;
}

static void forget(struct compress_layer *z)
{
    z->width = LEAST_WIDTH;
    z->next = z->first;
    z->last = -1;
}

/* The next code. 1: it is in *code. 0: the end. */
static int read_code(struct compress_layer *z, uint32_t *code)
{
    int result;

    for (;;) {
        if (z->next >= 1u << z->width && z->width < z->most_width) {
            result = end_group(z);
            if (result < 0)
                return result;
            z->width++;
        }
        result = need_bits(z, z->width);
        if (result < 0)
            return result;
        if (result == 0 && (z->n_bits >= 8 || z->bits))
            return compress_failed(z, "it ends inside a code");
        if (result == 0)
            return 0;
        *code = take_bits(z, z->width);
        z->in_group++;
        if (*code != CLEAR || !z->clears)
            return 1;
        result = end_group(z);
        if (result < 0)
            return result;
        forget(z);
    }
}

/* Reads one code and puts its bytes into `string`. 1, or 0 at the end. */
static int read_string(struct compress_layer *z)
{
    uint32_t code, at;
    int result = read_code(z, &code);

    if (result <= 0)
        return result;
    if (code > z->next || (code == z->next && z->next == CODES) || (z->last < 0 && code > 255))
        return compress_failed(z, "there is no such code");
    at = code;
    z->length = 0;
    if (code == z->next) { /* the string before and its own first byte, which comes last here */
        at = (uint32_t)z->last;
        z->length = 1;
    }
    for (; at > 255; at = z->prefix[at])
        z->string[z->length++] = z->suffix[at];
    z->string[z->length++] = (uint8_t)at;
    if (code == z->next)
        z->string[0] = (uint8_t)at;
    if (z->last >= 0 && z->next < 1u << z->most_width) {
        z->prefix[z->next] = (uint16_t)z->last;
        z->suffix[z->next] = (uint8_t)at;
        z->next++;
    }
    z->last = (int)code;
    return 1;
}

static int compress_read(struct layer *layer, const void **data, size_t *size)
{
    struct compress_layer *z = (struct compress_layer *)layer;
    size_t n = 0;

    *size = 0;
    while (n < OUT_BYTES && !z->ended) {
        int result = z->failed;

        if (result == 0)
            result = z->length ? 1 : read_string(z);
        if (result < 0) {
            z->failed = result;
            if (n)
                break;
            return result;
        }
        z->ended = result == 0;
        while (z->length && n < OUT_BYTES)
            z->out[n++] = z->string[--z->length];
    }
    *data = z->out;
    *size = n;
    return 0;
}

static void compress_close(struct layer *layer)
{
    (void)layer;
}

int pipeline_layer_compress_create(struct layer *below, struct layer **out)
{
    struct compress_layer *z = calloc(1, sizeof(*z));
    uint32_t flags;
    int result;

    if (!z)
        return pipeline_fail(ENOMEM, "out of memory");
    z->below = below;
    result = need_bits(z, 24);
    if (result <= 0) {
        result = result < 0 ? result : compress_failed(z, "it ends early");
        pipeline_fail(-result, "%s", z->layer.why);
        free(z);
        return result;
    }
    take_bits(z, 16);
    flags = take_bits(z, 8);
    z->most_width = flags & 31;
    z->clears = flags & 128;
    z->first = z->clears ? CLEAR + 1 : CLEAR;
    forget(z);
    z->layer.read = compress_read;
    z->layer.close = compress_close;
    *out = &z->layer;
    return 0;
}
