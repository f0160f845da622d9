/* decoder.h - what generation records of a model (private to the library): all of it that depends
 * on what kind of model that is. There are two:
 *
 *     decoder.c         MEGABYTE with a cache on each level, cross_patch and rope too: what is
 *                       described here
 *     decoder_window.c  the other variations and the baselines, without caches: for each byte the
 *                       whole model runs over the window of each sequence, so that what is
 *                       generated is by construction what is scored. Its cost a byte grows with T.
 *                       What it keeps of what was read is the window's bytes
 *
 * Letters: N sequences that advance together, P bytes of a patch, K patches of the window.
 *
 *     prefill   whole patches of a prompt, C at a time of one sequence, into the global cache
 *     advance   one patch of every sequence: the global model's step for it, then P times the local
 *               model's step and the choice of a byte, without the host in between
 *
 * Both are recorded once. What changes from run to run lies in memory that host and device share,
 * which the caller fills in before a run (generator.c); so a run depends on that and on the caches,
 * and on nothing else. Patch k of a window sees the global cache's rows 0 … k - 1; advancing adds
 * row k. A patch may be advanced through again, with other bytes, before the next one is.
 */
#ifndef MEGABYTE_DECODER_H
#define MEGABYTE_DECODER_H

#include "megabyte/generator.h"

struct megabyte_decoder {
    const struct megabyte_model *model;
    uint32_t sequences, patch_size, patches, chunk; /* N, P, K, C */
    uint32_t replay; /* how many patches before the one at hand must have been advanced through,
                        with given bytes, where the window goes that far back: each local layer
                        sees into the patch before. 0 without cross_patch */

    /* Read by prefill. */
    uint32_t *prefill_place;   /* (2): the sequence, the first of C patches */
    uint32_t *prefill_symbols; /* (C, P): of each the patch before; not read for patch 0 */

    /* Read by advance. */
    uint32_t *place;    /* (N, 2): n, and the number of its patch */
    uint32_t *previous; /* (N, P): the patch before it; not read for patch 0 */
    uint32_t *settings; /* (N, TENSOR_SAMPLE_SETTINGS): how many bytes of the patch are given … */
    uint32_t *given;    /* (N, P): … and these */
    /* Written by it. */
    uint32_t *symbols;      /* (N, P): the patch; TENSOR_SAMPLE_NONE where logits are not finite */
    struct tensor **logits; /* (P) of (N, 256), by which byte p was chosen */

    struct tensor_graph *prefill, *advance; /* prefill is NULL for K = 1, where there is nothing to
                                               read, and in decoder_window.c, which runs `advance`
                                               once for each byte */
    struct megabyte_window *window; /* of decoder_window.c; else NULL */

    struct tensor_arena *shared, *caches;
    struct nn_cache global_cache, local_cache;
    uint32_t *local_place;                               /* (P, N, 2): as the local cache has it */
    struct tensor *local_places;                         /* … on the device */
    struct tensor *place_here, *settings_here, *patch;   /* on the device: what of the above is read
                                                            often; the patch at hand (N, P) */
};

/* Takes memory and records. The model's parameters are committed and outlive it. `timing`: measure
 * every pass. Errors: -ENOMEM, -EIO. */
int megabyte_decoder_create(const struct megabyte_model *model, uint32_t sequences, bool timing,
                            struct megabyte_decoder **decoder);
void megabyte_decoder_destroy(struct megabyte_decoder **decoder);
/* What that takes, beside what the generator itself does. Errors: -ENOMEM. */
int megabyte_decoder_plan(const struct megabyte_model *model, uint32_t sequences,
                          struct megabyte_generator_plan *plan);

/* Does what is said above, and waits. Errors: those of tensor_graph_run. */
int megabyte_decoder_prefill(struct megabyte_decoder *decoder);
int megabyte_decoder_advance(struct megabyte_decoder *decoder);

/* ---- decoder_window.c ---- */

/* Whether this kind of model has no cached recording. Its patches, for generation, are then those
 * of the model, or single bytes where a patch is the whole window or there are none. */
bool megabyte_window_wanted(const struct megabyte_config *config);
/* Fills in and records a decoder of which model, sequences, patch_size, patches and chunk are set;
 * memory of the device is for the caller to take. Errors: -ENOMEM. */
int megabyte_window_create(struct megabyte_decoder *decoder, bool timing);
void megabyte_window_destroy(struct megabyte_window **window);
void megabyte_window_prefill(struct megabyte_decoder *decoder);
int megabyte_window_advance(struct megabyte_decoder *decoder);

#endif
