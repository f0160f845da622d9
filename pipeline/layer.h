/*
 * One layer of decoding: bytes in order from below, bytes in order upward; not installed.
 *
 * A file is a layer, a decompressor on a layer is a layer, and a member of an archive is one. An
 * archive format sits on the top-most layer (container.h). Because
 * we hold the decoded bytes between the layers ourselves, we can see what libarchive alone would
 * not tell: whether a tar had its end marker, and whether bytes were left over.
 */
#ifndef PIPELINE_LAYER_H
#define PIPELINE_LAYER_H

#include <stddef.h>
#include <stdint.h>

#include "pipeline/detect.h"
#include "pipeline/io.h"

/* Where decoding can begin: byte `in` of the layer below gives byte `out` of this one. */
struct layer_point {
    uint64_t in, out;
};

struct layer {
    /* The next run of bytes, *size 0 at the end; 0 or -errno with `why` set. */
    int (*read)(struct layer *layer, const void **data, size_t *size);
    /* Go to a byte of this layer; NULL where that is impossible. */
    int (*seek)(struct layer *layer, uint64_t offset);
    void (*close)(struct layer *layer);
    /* Decompressors that can begin in the middle have these, others NULL. restart goes to where
     * decoding on reaches `offset` soonest. 1: it moved there, and made says where that is. 0: it
     * is best to read on. Or -errno, as read. */
    int (*restart)(struct layer *layer, uint64_t offset);
    uint64_t (*made)(const struct layer *layer); /* the byte that the next `read` gives first */
    /* The last beginning at or before `offset` that it came by; 0 and 0 if none. May be NULL. */
    struct layer_point (*point)(const struct layer *layer, uint64_t offset);
    /* Tells it of one, in order. NULL where point is. */
    void (*learn)(struct layer *layer, struct layer_point point);
    uint64_t size;       /* bytes of the layer, if seek is there */
    uint64_t position;   /* bytes from the start to the next byte that pipeline_layer_read gives */
    const uint8_t *head; /* bytes that were looked at ... */
    size_t head_size;
    size_t head_at; /* ... of which so many were given */
    uint8_t *owned; /* where they are if they had to be joined, else they are read's */
    size_t room;    /* bytes of owned */
    int error;      /* what the first failure returned; it is returned again from then on */
    char why[256];  /* in words, without the file's name */
};

/* Layers made of a file; the layer owns neither path nor io but opens and closes the file. */
int pipeline_layer_file_create(struct pipeline_io *io, const char *path, struct layer **out);

/* Decompression of `below`, which stays the caller's and must outlive the layer. */
int pipeline_layer_filter_create(struct layer *below, enum detect_filter filter,
                                 struct layer **out);

int pipeline_layer_gzip_create(struct layer *below, struct layer **out);
#ifdef PIPELINE_HAVE_ZSTD
int pipeline_layer_zstd_create(struct layer *below, struct layer **out);
#endif
int pipeline_layer_compress_create(struct layer *below, struct layer **out);
#ifdef PIPELINE_HAVE_LZMA
/* filter: FILTER_XZ, FILTER_LZMA or FILTER_LZIP */
int pipeline_layer_xz_create(struct layer *below, enum detect_filter filter, struct layer **out);
#endif

/* The first `want` bytes, or fewer if there are no more. Only before the first read, or right after
 * a seek to the beginning. */
int pipeline_layer_peek(struct layer *layer, size_t want, const uint8_t **data, size_t *size);

/* Keeps all bytes in memory if they are no more than `most`, so that the layer can seek; leaves it
 * as it is if there are more. Only before the first read. 0, or what reading says. */
int pipeline_layer_hold(struct layer *layer, size_t most);

/* The next run of bytes; *size is 0 at the end. What was given before holds until more is given, so
 * also when the end is read. */
int pipeline_layer_read(struct layer *layer, const void **data, size_t *size);
int pipeline_layer_seek(struct layer *layer, uint64_t offset);

/* Goes to a byte by seeking, or by decoding from the nearest place on. It stands at the end, before
 * `offset`, if there are not so many bytes. -ESPIPE, without having moved, if it lies behind and
 * the layer cannot go back. */
int pipeline_layer_jump(struct layer *layer, uint64_t offset);

/* Passes over up to n bytes where that is cheaper than reading; returns how many. */
uint64_t pipeline_layer_skip(struct layer *layer, uint64_t n);

void pipeline_layer_destroy(struct layer **layer);

#endif
