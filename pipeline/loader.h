/*
 * The lanes of a mix, cut into windows, shuffled, and handed out in batches.
 *
 * Windows are T consecutive bytes of a lane's stream and run across members. Each epoch of a lane
 * passes over its whole stream once, and every byte is in exactly one window of it. The last window
 * of it may be shorter than T; it is given as it is, with its length, in training too.
 *
 * Shuffling: windows are gathered in blocks, and the windows of one block are given in a random
 * order that is a pure function of (seed, lane, epoch, number of the block). All lanes' blocks
 * together are shuffle_bytes; the first blocks of epoch 0 are smaller (64 windows and 4 MiB,
 * doubling), so that training starts soon.
 *
 * Whose turn it is: the lane with the smallest (windows given + 1) / weight, the lowest of equals.
 * Without weights the windows of this epoch count, a lane that has come to its end waits for the
 * others, and then the next epoch begins for all; since a lane's weight is its bytes on disk they
 * come to their ends at about the same time. In a mixture all windows count, and lanes know no
 * common end.
 *
 * Nothing about the order is stored but counts, and it does not depend on threads, on timing, or on
 * the size of the batches: B may change from call to call.
 *
 * Each lane has a worker thread, which decodes the next two blocks while the present one is handed
 * out, and then waits: at most three blocks of each lane are held, whatever the data.
 */
#ifndef PIPELINE_LOADER_H
#define PIPELINE_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "pipeline/mix.h"

/* Without a wish. So little stays in a processor's cache on its way, which decides how fast several
 * archives are read at once; training wants far more (docs/performance.md). */
enum { PIPELINE_SHUFFLE_BYTES = 2 << 20 };

/* Where a lane stands. */
struct pipeline_lane_cursor {
    uint64_t epoch;              /* passes over the lane that are finished */
    uint64_t block;              /* blocks of this pass that are finished */
    uint64_t window;             /* windows of the present block that were handed out */
    uint64_t given;              /* windows that count when it comes to whose turn it is */
    struct pipeline_position at; /* where the present block begins */
};

/*
 * Where a run stands: everything that is needed to go on at the exact next byte. All zero is the
 * beginning. Save its numbers (each fits JSON's integers of 64 bits); they are meaningful together
 * with the same data (pipeline_sources_check), choice, at_once, T, shuffle_bytes and seed. They do
 * not depend on B, on threads or on how often the run was stopped before.
 */
struct pipeline_cursor {
    uint64_t epoch; /* passes over everything that are finished; of a mixture, over each lane */
    uint32_t n;     /* lanes; 0 at the beginning */
    struct pipeline_lane_cursor lanes[PIPELINE_MAX_LANES]; /* (n) */
};

struct pipeline_loader_params {
    struct pipeline_mix *mix; /* borrowed: the loader's alone until it is destroyed */
    uint32_t window_bytes;    /* T, at least 1 */
    uint64_t shuffle_bytes;   /* shuffled together: the blocks of all lanes in bytes, one window a
                                 lane at least; 0: PIPELINE_SHUFFLE_BYTES */
    uint64_t seed;            /* of the order */
    bool in_order;            /* do not shuffle: each lane's windows as they lie in its stream */
    bool once;                /* end after one epoch; otherwise epochs follow for ever. In a
                                 mixture: after one pass over each lane */
    const struct pipeline_cursor *start; /* what a checkpoint holds; NULL: the beginning. Copied */
};

struct pipeline_loader;

/*
 * Starts the workers. On success *out is the caller's; on failure nothing is kept.
 * Errors: -EINVAL, -ENOMEM, -ESTALE (the cursor has another number of lanes). What is wrong with
 * the data comes from pipeline_loader_next.
 * Thread-safety: a loader belongs to one thread at a time.
 */
int pipeline_loader_create(const struct pipeline_loader_params *params,
                           struct pipeline_loader **out);

/*
 * Stops the workers, frees the loader and sets *loader to NULL; NULL is left alone. A worker that
 * waits for a pipe is freed from that by pipeline_io_cancel only.
 */
void pipeline_loader_destroy(struct pipeline_loader **loader);

/*
 * The next batch.
 *     rows     B, at least 1
 *     to       (B, K, P) = (B, T) uint8, the caller's memory; every byte is written
 *     lengths  (B) real bytes of each row: T, or fewer in the last window of an epoch, or 0 in rows
 *              for which no window is left (only if `once`); to[b][lengths[b] .. T) is zeros, which
 *              are padding and not data
 *     after    the cursor behind exactly this batch; may be NULL
 * Returns the rows with a window, 1 to B; 0 if none is left (`once`); or a negative errno, again
 * and again from then on: -ENODATA if an epoch has no bytes, -ESTALE if the start cursor does not
 * fit the data, and those of archive.h. Batches before the failure were given whole; the one that
 * it interrupts is not given.
 */
int pipeline_loader_next(struct pipeline_loader *loader, uint32_t rows, uint8_t *to,
                         uint32_t *lengths, struct pipeline_cursor *after);

/*
 * Bytes that the blocks of a loader with these parameters take at most while it hands out the first
 * `bytes` of the data, UINT64_MAX for all, of `lanes` lanes; params->mix and params->start are not
 * looked at. Data that ends sooner takes less.
 */
uint64_t pipeline_loader_memory(const struct pipeline_loader_params *params, uint32_t lanes,
                                uint64_t bytes);

/* What the loader has done so far. */
struct pipeline_loader_stats {
    uint64_t windows;    /* handed out */
    uint64_t bytes;      /* real bytes in them */
    double waited;       /* seconds that pipeline_loader_next waited for a worker; the wait for
                            a lane's very first block is kept apart, in ... */
    double waited_first; /* ... seconds */
    uint64_t damaged;    /* pipeline_mix_damaged, as far as handed out */
};

struct pipeline_loader_stats pipeline_loader_stats(const struct pipeline_loader *loader);

/*
 * The order of windows: place i (0 <= i < n) of a block is taken by the window of this index, for
 * a block of n windows. A permutation of 0 .. n-1, computed without a table. Thread-safe.
 */
uint32_t pipeline_shuffle(uint64_t seed, uint64_t epoch, uint64_t block, uint32_t n, uint32_t i);

#endif
