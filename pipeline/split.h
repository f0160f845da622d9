/*
 * The held-out split of a file that is its own only member, by blocks of its bytes; what stream.h
 * says about sides, computed.
 */
#ifndef PIPELINE_SPLIT_H
#define PIPELINE_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "pipeline/stream.h"

/*
 * The size of the blocks of a file of so many bytes on disk: the largest power of two of which it
 * has 256, but 1 KiB at least, of a file of less than 16 KiB the largest down to 64 bytes of which
 * it has 16; or 0 where that would be PIPELINE_SPLIT_BYTES and more.
 */
uint32_t pipeline_split_bytes(uint64_t size);

/*
 * Whether a block is held out. split_bytes is the source's. Thread-safe.
 *     0  its hash (see enum pipeline_side) is held out by itself
 *     n  of the first 8, 16, 24 ... blocks the share nearest to the fraction is held out, and of
 *        each 8 those with the lowest hashes
 */
bool pipeline_split_holds(uint32_t split_bytes, double val_fraction, uint64_t name_hash,
                          uint64_t block);

/* The name_hash of a file that is its own only member, and called `name`. */
uint64_t pipeline_split_hash(const struct pipeline_source *source, const char *name);

/* Bytes of a choice's data. */
struct pipeline_split_sizes {
    bool known; /* else the bytes are not known before all are read */
    uint64_t held_out, all;
};

/*
 * How much a choice holds out of the sources, of what is known without decoding it: plain files and
 * folders as they are; side plays no part. A source that is `unsplit` counts as held out.
 * Errors: those of pipeline_archive_open.
 */
int pipeline_split_measure(struct pipeline_io *io, const struct pipeline_sources *sources,
                           const struct pipeline_choice *choice,
                           struct pipeline_split_sizes *sizes);

#endif
