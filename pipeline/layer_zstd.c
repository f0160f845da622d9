/*
 * Decompression of zstd, by libzstd itself: libarchive's filter does not say where frames begin,
 * and a frame's beginning is where decoding can start without what lies before it.
 */
#include "pipeline/layer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "pipeline/internal.h"
#include "pipeline/zstd_frames.h"

enum {
    POINTS = 64,     /* beginnings of frames that are remembered, the newest */
    WINDOW_LOG = 30, /* the largest window that a frame may ask for: 1 GiB */
};

struct zstd_layer {
    struct layer layer;
    struct layer *below;
    ZSTD_DCtx *context;
    const uint8_t *in; /* what below gave last and was not used yet */
    size_t in_size;
    uint64_t in_at; /* byte of below that comes next */
    uint8_t *out;
    size_t out_room;
    uint64_t made;                     /* bytes that came out */
    bool inside;                       /* a frame has begun and not ended */
    uint8_t header[ZSTD_FRAME_HEADER]; /* its first bytes ... */
    size_t header_size;                /* ... so many of them */
    bool more;                         /* the decoder may have more without new bytes */
    bool ended;
    struct layer_point points[POINTS]; /* a ring, in order */
    size_t n_points, next_point;
};

static int zstd_failed(struct zstd_layer *z, const char *what)
{
    if (z->inside &&
        !pipeline_zstd_frame_fits(z->header, z->header_size, 1ull << WINDOW_LOG, z->layer.why))
        return -ENOTSUP;
    snprintf(z->layer.why, sizeof(z->layer.why),
             "the zstd data is damaged or cut short near byte %llu of the file (%s)",
             (unsigned long long)z->in_at, what);
    return -EBADMSG;
}

static void collect_header(struct zstd_layer *z)
{
    size_t n = sizeof(z->header) - z->header_size;

    n = n < z->in_size ? n : z->in_size;
    if (n)
        memcpy(z->header + z->header_size, z->in, n);
    z->header_size += n;
}

static int more_input(struct zstd_layer *z)
{
    const void *data;
    int result = pipeline_layer_read(z->below, &data, &z->in_size);

    if (result < 0)
        memcpy(z->layer.why, z->below->why, sizeof(z->layer.why));
    z->in = data;
    if (result == 0 && z->inside)
        collect_header(z);
    return result;
}

static void add_point(struct zstd_layer *z, struct layer_point p)
{
    const struct layer_point *last = &z->points[(z->next_point + POINTS - 1) % POINTS];

    if (z->n_points && last->out >= p.out)
        return;
    z->points[z->next_point] = p;
    z->next_point = (z->next_point + 1) % POINTS;
    z->n_points += z->n_points < POINTS;
}

/* Zeros behind the last frame are padding. 1: another frame begins here. 0: the end. */
static int begin_frame(struct zstd_layer *z)
{
    if (*z->in == 0) {
        while (z->in_size) {
            for (size_t i = 0; i < z->in_size; i++) {
                if (z->in[i])
                    return zstd_failed(z, "what follows is no more of it");
            }
            z->in_at += z->in_size;
            if (more_input(z) < 0)
                return z->below->error;
        }
        return 0;
    }
    if (z->made)
        add_point(z, (struct layer_point){z->in_at, z->made});
    ZSTD_DCtx_reset(z->context, ZSTD_reset_session_only);
    z->header_size = 0;
    collect_header(z);
    return 1;
}

static int zstd_read(struct layer *layer, const void **data, size_t *size)
{
    struct zstd_layer *z = (struct zstd_layer *)layer;

    *size = 0;
    while (!z->ended && *size == 0) {
        ZSTD_outBuffer out = {z->out, z->out_room, 0};
        ZSTD_inBuffer in;
        size_t left;
        int result = z->in_size || z->more ? 0 : more_input(z);

        if (result < 0)
            return result;
        if (!z->in_size && !z->more && z->inside)
            return zstd_failed(z, "the compressed data ends early");
        if (!z->inside) {
            result = z->in_size ? begin_frame(z) : 0;
            z->ended = result == 0;
            z->inside = result > 0;
            if (result <= 0)
                return result;
        }
        in = (ZSTD_inBuffer){z->in, z->in_size, 0};
        left = ZSTD_decompressStream(z->context, &out, &in);
        if (ZSTD_isError(left) && ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
            return pipeline_fail(ENOMEM, "out of memory");
        if (ZSTD_isError(left))
            return zstd_failed(z, ZSTD_getErrorName(left));
        z->in += in.pos;
        z->in_size -= in.pos;
        z->in_at += in.pos;
        z->inside = left != 0;
        z->more = z->inside && out.pos == out.size;
        z->made += out.pos;
        *data = z->out;
        *size = out.pos;
    }
    return 0;
}

static struct layer_point zstd_point(const struct layer *layer, uint64_t offset)
{
    const struct zstd_layer *z = (const struct zstd_layer *)layer;
    struct layer_point best = {0, 0};

    for (size_t i = 0; i < z->n_points; i++) {
        if (z->points[i].out <= offset && z->points[i].out > best.out)
            best = z->points[i];
    }
    return best;
}

static void zstd_learn(struct layer *layer, struct layer_point point)
{
    struct zstd_layer *z = (struct zstd_layer *)layer;

    /* One outside is of other data: without it decoding comes to an end, which says so. */
    if (point.out && (!z->below->seek || point.in < z->below->size))
        add_point(z, point);
}

static int zstd_restart(struct layer *layer, uint64_t offset)
{
    struct zstd_layer *z = (struct zstd_layer *)layer;
    struct layer_point point = zstd_point(layer, offset);
    int result;

    if (offset >= layer->position && point.out <= z->made)
        return 0;
    result = z->below->seek ? pipeline_layer_seek(z->below, point.in) : -ESPIPE;
    if (result < 0)
        return result;
    ZSTD_DCtx_reset(z->context, ZSTD_reset_session_only);
    z->in_size = 0;
    z->in_at = point.in;
    z->made = point.out;
    z->inside = z->more = z->ended = false;
    return 1;
}

static uint64_t zstd_made(const struct layer *layer)
{
    return ((const struct zstd_layer *)layer)->made;
}

static void zstd_close(struct layer *layer)
{
    struct zstd_layer *z = (struct zstd_layer *)layer;

    ZSTD_freeDCtx(z->context);
    free(z->out);
}

int pipeline_layer_zstd_create(struct layer *below, struct layer **out)
{
    struct zstd_layer *z = calloc(1, sizeof(*z));
    size_t room = ZSTD_DStreamOutSize();

    if (z) {
        z->context = ZSTD_createDCtx();
        z->out = malloc(room);
    }
    if (!z || !z->context || !z->out) {
        if (z)
            zstd_close(&z->layer);
        free(z);
        return pipeline_fail(ENOMEM, "out of memory");
    }
    ZSTD_DCtx_setParameter(z->context, ZSTD_d_windowLogMax, WINDOW_LOG);
    z->out_room = room;
    z->below = below;
    z->layer.read = zstd_read;
    z->layer.close = zstd_close;
    z->layer.restart = zstd_restart;
    z->layer.made = zstd_made;
    z->layer.point = zstd_point;
    z->layer.learn = zstd_learn;
    *out = &z->layer;
    return 0;
}
