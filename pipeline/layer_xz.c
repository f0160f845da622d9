/*
 * Decompression of xz, by liblzma itself: the index at the end of an xz file says where its blocks
 * are, and each block can be decoded without those before it. So of lzma and lzip, which have no
 * index: libarchive does not limit the memory of the one, and misses the end of some of the other.
 */
#include "pipeline/layer.h"

#include <errno.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"

enum { OUT_BYTES = 65536 };
static const uint64_t MEMORY_LIMIT = 1ull << 30; /* of the decoder, and of the index */

struct xz_layer {
    struct layer layer;
    struct layer *below;
    enum detect_filter filter;
    lzma_stream stream;
    uint64_t in_at; /* byte of below that comes next */
    uint64_t made;  /* bytes that came out */
    bool finished;  /* the decoder has come to its end; what is next was not looked at */
    bool ended;
    lzma_index *index; /* once it was needed ... */
    bool no_index;     /* ... and it cannot be read */
    bool by_blocks;    /* iter.block is being decoded; else whole streams in order */
    lzma_index_iter iter;
    lzma_block block;
    lzma_filter filters[LZMA_FILTERS_MAX + 1];
    uint8_t out[OUT_BYTES];
};

static int xz_failed(struct xz_layer *x, lzma_ret code)
{
    const char *kind = pipeline_filter_name(x->filter), *what = "it is damaged";

    if (code == LZMA_MEM_ERROR)
        return pipeline_fail(ENOMEM, "out of memory");
    if (code == LZMA_MEMLIMIT_ERROR) {
        snprintf(x->layer.why, sizeof(x->layer.why),
                 "unpacking the %s data takes more than the %llu MiB of memory allowed: pack it "
                 "again with a smaller dictionary (xz -9 or less)",
                 kind, (unsigned long long)(MEMORY_LIMIT >> 20));
        return -ENOTSUP;
    }
    if (code == LZMA_OPTIONS_ERROR) {
        snprintf(x->layer.why, sizeof(x->layer.why),
                 "the %s data is packed with a filter or in a version that is not supported (near "
                 "byte %llu of the file)",
                 kind, (unsigned long long)x->in_at);
        return -EPROTONOSUPPORT;
    }
    if (code == LZMA_BUF_ERROR)
        what = "the compressed data ends early";
    else if (code == LZMA_FORMAT_ERROR)
        what = "what follows is no more of it";
    snprintf(x->layer.why, sizeof(x->layer.why),
             "the %s data is damaged or cut short near byte %llu of the file (%s)", kind,
             (unsigned long long)x->in_at, what);
    return -EBADMSG;
}

/* Begins to decode everything. */
static lzma_ret begin_decoder(struct xz_layer *x)
{
    if (x->filter == FILTER_LZMA)
        return lzma_alone_decoder(&x->stream, MEMORY_LIMIT);
    if (x->filter == FILTER_LZIP)
        return lzma_lzip_decoder(&x->stream, MEMORY_LIMIT, LZMA_CONCATENATED);
    return lzma_stream_decoder(&x->stream, MEMORY_LIMIT, LZMA_CONCATENATED);
}

static int more_input(struct xz_layer *x)
{
    const void *data;
    size_t n;
    int result = pipeline_layer_read(x->below, &data, &n);

    if (result < 0)
        memcpy(x->layer.why, x->below->why, sizeof(x->layer.why));
    x->stream.next_in = data;
    x->stream.avail_in = n;
    return result;
}

static int seek_below(struct xz_layer *x, uint64_t offset)
{
    int result = pipeline_layer_seek(x->below, offset);

    if (result < 0)
        memcpy(x->layer.why, x->below->why, sizeof(x->layer.why));
    x->stream.avail_in = 0;
    x->in_at = offset;
    return result;
}

/* The next `size` bytes. */
static int take(struct xz_layer *x, uint8_t *to, size_t size)
{
    while (size) {
        size_t n = x->stream.avail_in < size ? x->stream.avail_in : size;
        int result;

        memcpy(to, x->stream.next_in, n);
        x->stream.next_in += n;
        x->stream.avail_in -= n;
        x->in_at += n;
        to += n;
        size -= n;
        if (size == 0)
            break;
        result = more_input(x);
        if (result < 0)
            return result;
        if (x->stream.avail_in == 0)
            return xz_failed(x, LZMA_BUF_ERROR);
    }
    return 0;
}

/* Stands at the beginning of iter.block and makes ready to decode it. */
static int begin_block(struct xz_layer *x)
{
    uint8_t header[LZMA_BLOCK_HEADER_SIZE_MAX];
    lzma_ret code;
    int result = seek_below(x, x->iter.block.compressed_file_offset);

    if (result == 0)
        result = take(x, header, 1);
    if (result < 0)
        return result;
    if (header[0] == 0)
        return xz_failed(x, LZMA_DATA_ERROR);
    x->block = (lzma_block){.version = 1,
                            .check = x->iter.stream.flags->check,
                            .header_size = lzma_block_header_size_decode(header[0]),
                            .filters = x->filters};
    result = take(x, header + 1, x->block.header_size - 1);
    if (result < 0)
        return result;
    code = lzma_block_header_decode(&x->block, NULL, header);
    if (code == LZMA_OK)
        code = lzma_block_compressed_size(&x->block, x->iter.block.unpadded_size);
    if (code == LZMA_OK && lzma_raw_decoder_memusage(x->filters) > MEMORY_LIMIT)
        code = LZMA_MEMLIMIT_ERROR;
    if (code == LZMA_OK)
        code = lzma_block_decoder(&x->stream, &x->block);
    lzma_filters_free(x->filters, NULL);
    return code == LZMA_OK ? 0 : xz_failed(x, code);
}

/* Behind the last byte there are zeros at most; the decoder of xz has seen to that itself. */
static int check_rest(struct xz_layer *x)
{
    int result = 0;

    while (result == 0 && x->filter != FILTER_XZ) {
        for (; x->stream.avail_in; x->stream.avail_in--, x->in_at++) {
            if (*x->stream.next_in++)
                return xz_failed(x, LZMA_FORMAT_ERROR);
        }
        result = more_input(x);
        if (x->stream.avail_in == 0)
            break;
    }
    return result;
}

/* The decoder has come to an end: of a block, or of everything. */
static int next_block(struct xz_layer *x)
{
    if (!x->by_blocks) {
        x->ended = true;
        return check_rest(x);
    }
    x->ended = lzma_index_iter_next(&x->iter, LZMA_INDEX_ITER_NONEMPTY_BLOCK);
    return x->ended ? 0 : begin_block(x);
}

static int xz_read(struct layer *layer, const void **data, size_t *size)
{
    struct xz_layer *x = (struct xz_layer *)layer;

    *size = 0;
    while (!x->ended && *size == 0) {
        lzma_ret code;
        size_t before;
        bool last;
        int result = 0;

        if (x->finished) {
            x->finished = false;
            result = next_block(x);
            if (result < 0 || x->ended)
                return result;
        }
        if (x->stream.avail_in == 0)
            result = more_input(x);
        if (result < 0)
            return result;
        last = x->stream.avail_in == 0;
        before = x->stream.avail_in;
        x->stream.next_out = x->out;
        x->stream.avail_out = OUT_BYTES;
        code = lzma_code(&x->stream, last && !x->by_blocks ? LZMA_FINISH : LZMA_RUN);
        x->in_at += before - x->stream.avail_in;
        *data = x->out;
        *size = OUT_BYTES - x->stream.avail_out;
        x->made += *size;
        if (code == LZMA_STREAM_END)
            x->finished = true;
        else if (code != LZMA_OK)
            result = xz_failed(x, code);
        else if (last && *size == 0)
            result = xz_failed(x, LZMA_BUF_ERROR);
        if (result < 0) {
            x->made -= *size;
            return result;
        }
    }
    return 0;
}

/* Reads the index from the end of the file. Leaves the decoder and the place undefined. */
static int read_index(struct xz_layer *x)
{
    lzma_ret code;
    int result = seek_below(x, 0);

    if (result < 0)
        return result;
    code = lzma_file_info_decoder(&x->stream, &x->index, MEMORY_LIMIT, x->below->size);
    while (code == LZMA_OK || code == LZMA_SEEK_NEEDED) {
        if (code == LZMA_SEEK_NEEDED)
            result = seek_below(x, x->stream.seek_pos);
        if (result == 0 && x->stream.avail_in == 0)
            result = more_input(x);
        if (result < 0)
            return result;
        code = lzma_code(&x->stream, x->stream.avail_in ? LZMA_RUN : LZMA_FINISH);
    }
    return code == LZMA_STREAM_END ? 0 : xz_failed(x, code);
}

/* Back to the beginning, to decode everything. */
static int begin_again(struct xz_layer *x)
{
    int result = seek_below(x, 0);

    x->made = 0;
    x->ended = x->finished = x->by_blocks = false;
    if (result < 0)
        return result;
    return begin_decoder(x) == LZMA_OK ? 1 : pipeline_fail(ENOMEM, "out of memory");
}

static int xz_restart(struct layer *layer, uint64_t offset)
{
    struct xz_layer *x = (struct xz_layer *)layer;
    lzma_index_iter iter;
    bool fresh = !x->index;
    int result = 0;

    if (!x->below->seek)
        return offset >= layer->position ? 0 : -ESPIPE;
    if (x->no_index)
        return offset >= layer->position ? 0 : begin_again(x);
    if (fresh)
        result = read_index(x);
    if (result == -EBADMSG) {
        /* Cut short, perhaps; what comes before that can still be read in order. */
        x->no_index = true;
        return begin_again(x);
    }
    if (result < 0)
        return result;
    lzma_index_iter_init(&iter, x->index);
    if (lzma_index_iter_locate(&iter, offset)) {
        /* It has not so many bytes: the end of it. */
        x->made = lzma_index_uncompressed_size(x->index);
        x->ended = true;
        return 1;
    }
    if (!fresh && offset >= layer->position && iter.block.uncompressed_file_offset <= x->made)
        return 0;
    x->iter = iter;
    x->by_blocks = true;
    x->ended = x->finished = false;
    x->made = iter.block.uncompressed_file_offset;
    result = begin_block(x);
    return result < 0 ? result : 1;
}

static uint64_t xz_made(const struct layer *layer)
{
    return ((const struct xz_layer *)layer)->made;
}

static void xz_close(struct layer *layer)
{
    struct xz_layer *x = (struct xz_layer *)layer;

    lzma_end(&x->stream);
    lzma_index_end(x->index, NULL);
}

int pipeline_layer_xz_create(struct layer *below, enum detect_filter filter, struct layer **out)
{
    struct xz_layer *x = calloc(1, sizeof(*x));

    if (!x)
        return pipeline_fail(ENOMEM, "out of memory");
    x->stream = (lzma_stream)LZMA_STREAM_INIT;
    x->filter = filter;
    if (begin_decoder(x) != LZMA_OK) {
        free(x);
        return pipeline_fail(ENOMEM, "out of memory");
    }
    x->below = below;
    x->layer.read = xz_read;
    x->layer.close = xz_close;
    if (filter == FILTER_XZ) {
        x->layer.restart = xz_restart;
        x->layer.made = xz_made;
    }
    *out = &x->layer;
    return 0;
}
