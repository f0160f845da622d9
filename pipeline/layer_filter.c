/*
 * Decompression: gzip by zlib (layer_gzip.c), which checks what it gives; zstd and xz by their own
 * libraries where those are at hand (layer_zstd.c, layer_xz.c), which can begin in the middle, and
 * so lzma and lzip; compress here (layer_compress.c); the rest by libarchive's filters with its
 * `raw` format on top.
 */
#include "pipeline/layer.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"
#include "pipeline/lz4_frames.h"
#include "pipeline/zstd_frames.h"

/* libarchive's own limit, up to 3.8. */
static const uint64_t ZSTD_WINDOW = 128 << 20;

struct filter_layer {
    struct layer layer;
    struct layer *below;
    struct archive *archive;
    enum detect_filter filter;
    const void *block; /* the last bytes given to libarchive */
    size_t block_size;
    uint64_t given; /* all bytes given to libarchive */
    struct lz4_frames lz4;
    struct zstd_frames zstd;
    bool refused; /* layer.why says what cannot be had */
    bool at_end;  /* below has no more */
    bool ended;
};

/* Looks at the next bytes: false, with why, if they ask for what cannot be had. */
static bool follow_frames(struct filter_layer *f, const uint8_t *data, size_t n)
{
    if (f->filter == FILTER_ZSTD)
        return pipeline_zstd_frames_feed(&f->zstd, data, n, ZSTD_WINDOW, f->layer.why);
    if (f->filter != FILTER_LZ4)
        return true;
    pipeline_lz4_frames_feed(&f->lz4, data, n);
    if (f->lz4.with_dictionary)
        snprintf(f->layer.why, sizeof(f->layer.why),
                 "it is packed with the lz4 dictionary %u, which cannot be given: unpack it first "
                 "(lz4 -d -D DICTIONARY)",
                 f->lz4.dictionary);
    return !f->lz4.with_dictionary;
}

static la_ssize_t give_compressed(struct archive *archive, void *user, const void **data)
{
    struct filter_layer *f = user;
    size_t n;
    int result = pipeline_layer_read(f->below, data, &n);

    f->at_end = result < 0 || n == 0;
    if (result < 0) {
        archive_set_error(archive, -result, "%s", f->below->why);
        return -1;
    }
    if (n) {
        f->block = *data;
        f->block_size = n;
    }
    f->given += n;
    f->refused = !follow_frames(f, *data, n);
    if (f->refused) {
        archive_set_error(archive, EIO, "%s", f->layer.why);
        return -1;
    }
    return (la_ssize_t)n;
}

static int filter_failed(struct filter_layer *f, const char *what)
{
    const char *said = archive_error_string(f->archive);

    if (f->below->error) {
        memcpy(f->layer.why, f->below->why, sizeof(f->layer.why));
        return f->below->error;
    }
    if (f->refused)
        return -ENOTSUP;
    if (archive_errno(f->archive) == ENOMEM)
        return pipeline_fail(ENOMEM, "out of memory");
    /* Some of libarchive's failures carry no words; all those are early ends. */
    if (!what)
        what = said ? said : "the compressed data ends early";
    snprintf(f->layer.why, sizeof(f->layer.why),
             "the %s data is damaged or cut short near byte %llu "
             "of the file (%s)",
             pipeline_filter_name(f->filter),
             (unsigned long long)archive_filter_bytes(f->archive, -1), what);
    return -EBADMSG;
}

static size_t count_nonzero(const uint8_t *p, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += p[i] != 0;
    return count;
}

/*
 * libarchive takes what follows the last whole frame for padding, also when it is the beginning of
 * one more frame. Zeros are padding; anything else means that bytes are missing.
 */
static int check_rest(struct filter_layer *f)
{
    uint64_t used = (uint64_t)archive_filter_bytes(f->archive, -1);
    uint64_t left = f->given - used;
    size_t nonzero = 0;

    if (left > f->block_size)
        left = f->block_size;
    if (left)
        nonzero = count_nonzero((const uint8_t *)f->block + f->block_size - left, left);
    while (!nonzero && !f->at_end) {
        const void *data;
        la_ssize_t n = give_compressed(f->archive, f, &data);

        if (n < 0)
            return filter_failed(f, NULL);
        nonzero = count_nonzero(data, (size_t)n);
    }
    if (nonzero)
        return filter_failed(f, "what follows is no more of it");
    if (f->filter == FILTER_LZ4 && !pipeline_lz4_frames_whole(&f->lz4))
        return filter_failed(f, "the last frame has no end");
    return 0;
}

static int filter_read(struct layer *layer, const void **data, size_t *size)
{
    struct filter_layer *f = (struct filter_layer *)layer;
    la_int64_t offset;
    int result;

    *size = 0;
    if (f->ended)
        return 0;
    do
        result = archive_read_data_block(f->archive, data, size, &offset);
    while (result == ARCHIVE_OK && *size == 0);
    if (result == ARCHIVE_OK)
        return 0;
    *size = 0;
    if (result != ARCHIVE_EOF)
        return filter_failed(f, NULL);
    f->ended = true;
    return check_rest(f);
}

static void filter_close(struct layer *layer)
{
    archive_read_free(((struct filter_layer *)layer)->archive);
}

static int create_by_libarchive(struct layer *below, enum detect_filter filter, struct layer **out)
{
    static const int codes[] = {
        [FILTER_BZIP2] = ARCHIVE_FILTER_BZIP2, [FILTER_XZ] = ARCHIVE_FILTER_XZ,
        [FILTER_LZMA] = ARCHIVE_FILTER_LZMA,   [FILTER_ZSTD] = ARCHIVE_FILTER_ZSTD,
        [FILTER_LZ4] = ARCHIVE_FILTER_LZ4,
    };
    struct filter_layer *f = calloc(1, sizeof(*f));
    struct archive *archive = archive_read_new();
    struct archive_entry *entry;
    int result = f && archive ? ARCHIVE_OK : ARCHIVE_FATAL;

    if (f) {
        f->layer.read = filter_read;
        f->layer.close = filter_close;
        f->below = below;
        f->archive = archive;
        f->filter = filter;
    }
    /* Set, not guessed: one layer of compression is one layer, also around compressed data. */
    if (result == ARCHIVE_OK)
        result = archive_read_set_format(archive, ARCHIVE_FORMAT_RAW);
    if (result == ARCHIVE_OK)
        result = archive_read_append_filter(archive, codes[filter]);
    if (result == ARCHIVE_OK)
        result = archive_read_open2(archive, f, NULL, give_compressed, NULL, NULL);
    if (result == ARCHIVE_OK)
        result = archive_read_next_header(archive, &entry);
    if (result != ARCHIVE_OK) {
        int error = -ENOMEM;

        if (f && archive)
            error = filter_failed(f, NULL);
        if (error == -EBADMSG || error == -ENOTSUP)
            pipeline_fail(-error, "%s", f->layer.why);
        archive_read_free(archive);
        free(f);
        return error;
    }
    *out = &f->layer;
    return 0;
}

int pipeline_layer_filter_create(struct layer *below, enum detect_filter filter, struct layer **out)
{
    if (filter == FILTER_GZIP)
        return pipeline_layer_gzip_create(below, out);
#ifdef PIPELINE_HAVE_ZSTD
    if (filter == FILTER_ZSTD)
        return pipeline_layer_zstd_create(below, out);
#endif
    if (filter == FILTER_COMPRESS)
        return pipeline_layer_compress_create(below, out);
#ifdef PIPELINE_HAVE_LZMA
    if (filter == FILTER_XZ || filter == FILTER_LZMA || filter == FILTER_LZIP)
        return pipeline_layer_xz_create(below, filter, out);
#else
    /* libarchive does not check the end of every member. */
    if (filter == FILTER_LZIP)
        return pipeline_fail(ENOTSUP, "it is lzip data, which this build cannot read: build with "
                                      "liblzma, or unpack it first");
#endif
    return create_by_libarchive(below, filter, out);
}
