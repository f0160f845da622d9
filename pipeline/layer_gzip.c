/*
 * Decompression of gzip, by zlib itself: libarchive's filter passes over the checksum and the
 * length behind the data, and so takes what was changed for what was there.
 */
#include "pipeline/layer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "pipeline/internal.h"

enum { OUT_BYTES = 256 * 1024, GZIP_WINDOW = 15 + 16 /* with gzip's header and checksum */ };

struct gzip_layer {
    struct layer layer;
    struct layer *below;
    z_stream stream; /* next_in: what below gave last and was not used yet */
    uint64_t used;   /* bytes of below that were used */
    bool inside;     /* a member of the file has begun and not ended */
    bool below_ended, ended;
    uint8_t out[OUT_BYTES];
};

static int gzip_failed(struct gzip_layer *g, const char *what)
{
    snprintf(g->layer.why, sizeof(g->layer.why),
             "the gzip data is damaged or cut short near byte %llu of the file (%s)",
             (unsigned long long)g->used, what);
    return -EBADMSG;
}

static int more_input(struct gzip_layer *g)
{
    const void *data;
    size_t n;
    int result = pipeline_layer_read(g->below, &data, &n);

    if (result < 0) {
        memcpy(g->layer.why, g->below->why, sizeof(g->layer.why));
        return result;
    }
    g->stream.next_in = (Bytef *)data;
    g->stream.avail_in = (uInt)n; /* a run is at most the block of a file */
    g->below_ended = n == 0;
    return 0;
}

/* Between members: 1 if another begins here, 0 at the end, which zeros may pad. */
static int begin_member(struct gzip_layer *g)
{
    while (!g->below_ended) {
        while (g->stream.avail_in && *g->stream.next_in == 0) {
            g->stream.next_in++;
            g->stream.avail_in--;
            g->used++;
        }
        if (g->stream.avail_in && *g->stream.next_in != 0x1f)
            return gzip_failed(g, "what follows is no more of it");
        if (g->stream.avail_in) {
            inflateReset2(&g->stream, GZIP_WINDOW);
            return 1;
        }
        if (more_input(g) < 0)
            return g->below->error;
    }
    return 0;
}

static int gzip_read(struct layer *layer, const void **data, size_t *size)
{
    struct gzip_layer *g = (struct gzip_layer *)layer;

    *size = 0;
    g->stream.next_out = g->out;
    g->stream.avail_out = OUT_BYTES;
    while (!g->ended && g->stream.avail_out == OUT_BYTES) {
        uInt before;
        int result = 0;

        if (!g->stream.avail_in && !g->below_ended)
            result = more_input(g);
        if (result == 0 && !g->inside) {
            result = begin_member(g);
            g->inside = result > 0;
            g->ended = result == 0;
            if (g->ended)
                break;
        }
        if (result < 0)
            return result;
        before = g->stream.avail_in;
        result = inflate(&g->stream, Z_NO_FLUSH);
        g->used += before - g->stream.avail_in;
        if (result == Z_MEM_ERROR)
            return pipeline_fail(ENOMEM, "out of memory");
        if (result == Z_STREAM_END)
            g->inside = false;
        else if (result == Z_BUF_ERROR && g->below_ended)
            return gzip_failed(g, "the compressed data ends early");
        else if (result != Z_OK && result != Z_BUF_ERROR)
            return gzip_failed(g, g->stream.msg ? g->stream.msg : "it is damaged");
    }
    *data = g->out;
    *size = OUT_BYTES - g->stream.avail_out;
    return 0;
}

static void gzip_close(struct layer *layer)
{
    inflateEnd(&((struct gzip_layer *)layer)->stream);
}

int pipeline_layer_gzip_create(struct layer *below, struct layer **out)
{
    struct gzip_layer *g = calloc(1, sizeof(*g));

    if (!g || inflateInit2(&g->stream, GZIP_WINDOW) != Z_OK) {
        free(g);
        return pipeline_fail(ENOMEM, "out of memory");
    }
    g->below = below;
    g->layer.read = gzip_read;
    g->layer.close = gzip_close;
    *out = &g->layer;
    return 0;
}
