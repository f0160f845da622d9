/* decoder.h - what generation records of a model (private to the library): all of it that depends
 * on what kind of model that is.
 *
 * Letters: N sequences that advance together, P bytes of a unit, K units of the window. A unit is
 *
 *     a patch           of MEGABYTE, of its global and its local half alone
 *     a single byte     of a byte-level Transformer (a local model whose patch is the window) and
 *                       of a PerceiverAR; P below is then 1
 *
 *     prefill   whole units of a prompt, C at a time of one sequence, into the caches
 *     advance   one unit of every sequence. Of a patch: the global model's step for it, then P
 *               times the local model's step and the choice of a byte, without the host in between
 *
 * Both are recorded once. What changes from run to run lies in memory that host and device share,
 * which the caller fills in before a run (generator.c); so a run depends on that and on the caches,
 * and on nothing else. Unit k of a window sees what the caches have of units 0 … k - 1; advancing
 * adds what is known of unit k. A unit may be advanced through again, with other bytes, before the
 * next one is.
 *
 * The caches: keys and values of each layer (nn_cache), of the global model all of the window, of
 * the local one a patch and what cross_patch reaches of the one before; of the convolutions the
 * rows that the next ones see; of a PerceiverAR's look keys and values of all of the span, of its
 * blocks those of its P latents.
 *
 * A PerceiverAR's latents stand still while P bytes are predicted, and then all are other ones, at
 * places of which nothing was computed before: so its caches are exact. Only where P does not
 * divide T the last P latents of a window, from T - P on, begin among places that were latents
 * before: in front of byte `turn` they are computed again, among themselves (prefill, `turned`).
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
    uint32_t turn;   /* of a PerceiverAR: in front of this unit, those from turned_from on are
                        prefilled `turned`; 0: never */
    uint32_t turned_from;

    /* Read by prefill. */
    uint32_t *prefill_slot;    /* (2): the sequence, the first of C units */
    uint32_t *prefill_symbols; /* (C, P): of each the unit before; not read for unit 0 */

    /* Read by advance. */
    uint32_t *slot;     /* (N, 2): n, and the number of its unit */
    uint32_t *previous; /* (N, P): the unit before it; not read for unit 0 */
    uint32_t *settings; /* (N, TENSOR_SAMPLE_SETTINGS): how many bytes of the unit are given … */
    uint32_t *given;    /* (N, P): … and these */
    /* Written by it. */
    uint32_t *symbols;      /* (N, P): the unit; TENSOR_SAMPLE_NONE where logits are not finite */
    struct tensor **logits; /* (P) of (N, 256), by which byte p was chosen */

    struct tensor_graph *prefill, *advance; /* prefill is NULL where there is nothing to read: for
                                               K = 1, and without a global model */

    struct tensor_arena *shared, *caches;
    struct nn_cache global_cache, local_cache; /* local: also of units that are bytes */
    struct tensor *conv_cache[3], *look_cache; /* or NULL */
    /* Where the steps of each position stand in the local cache: (P, N, 2), and of prefill (2). */
    uint32_t *local_slot, *prefill_local_slot;
    struct tensor *local_slots;                       /* … on the device */
    struct tensor *slot_here, *settings_here, *patch; /* on the device: what of the above is read
                                                            often; the unit at hand (N, P) */
};

/* Takes memory and records. The model's parameters are committed and outlive it. `timing`: measure
 * every pass. Errors: -ENOMEM, -EIO. */
int megabyte_decoder_create(const struct megabyte_model *model, uint32_t sequences, bool timing,
                            struct megabyte_decoder **decoder);
void megabyte_decoder_destroy(struct megabyte_decoder **decoder);
/* What that takes, beside what the generator itself does. Errors: -ENOMEM. */
int megabyte_decoder_plan(const struct megabyte_model *model, uint32_t sequences,
                          struct megabyte_generator_plan *plan);

/* Does what is said above, and waits; prefill does nothing where there is nothing to read.
 * `turned`: the units are of the last latents. Errors: those of tensor_graph_run. */
int megabyte_decoder_prefill(struct megabyte_decoder *decoder, bool turned);
int megabyte_decoder_advance(struct megabyte_decoder *decoder);

#endif
