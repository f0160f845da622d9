/* trainer.h - one training step: forward and backward by micro-batch, clip, AdamW.
 *
 * The way of a batch: bytes are copied into memory that host and device share; a recorded graph
 * adds the gradients of the mean loss over all real bytes of the step; after the last micro-batch
 * the optimizer's graph updates the weights. A step depends on (weights, moments, step number,
 * seed, batch) alone, so a resumed run goes on with the same bits on the same device.
 */
#ifndef MEGABYTE_TRAINER_H
#define MEGABYTE_TRAINER_H

#include "megabyte/model.h"
#include "nn/optimizer.h"

struct megabyte_trainer;

struct megabyte_trainer_params {
    uint64_t seed;  /* of dropout */
    bool timing;    /* measure every pass; megabyte_trainer_graph() gives them */
};

/* What a step takes beside the parameters; known without allocating. */
struct megabyte_trainer_plan {
    uint64_t activations; /* bytes */
    uint64_t staging;     /* bytes seen by host and device */
    double flops;         /* of one step, forward and backward, as recorded */
};
int megabyte_trainer_plan(const struct megabyte_model *model, struct megabyte_trainer_plan *plan);

/* For a model made for training with committed parameters, which outlives it. */
int megabyte_trainer_create(const struct megabyte_model *model,
                            const struct megabyte_trainer_params *params,
                            struct megabyte_trainer **trainer);
void megabyte_trainer_destroy(struct megabyte_trainer **trainer);

struct megabyte_trainer_result {
    double nats;      /* mean loss of a byte, before the update */
    double grad_norm; /* global, before the clip; not finite: the update was left out */
    uint64_t bytes;   /* real bytes in the batch */
};

/* Step number `step` (from 1) with learning rate `rate` on bytes (B, T), of which row b has
 * lengths[b] real ones. Returns when the device has done it. */
int megabyte_trainer_step(struct megabyte_trainer *trainer, uint64_t step, double rate,
                          const uint8_t *bytes, const uint32_t *lengths,
                          struct megabyte_trainer_result *result);

/* The recordings, for timings: 0 clear, 1 forward and backward (run batch / micro_batch times a
 * step), 2 update; NULL behind. */
struct tensor_graph *megabyte_trainer_graph(struct megabyte_trainer *trainer, unsigned index);

#endif
