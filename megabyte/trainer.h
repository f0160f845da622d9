/* trainer.h - one training step: forward and backward by micro-batch, clip, AdamW.
 *
 * A step is started as a whole and runs without the host: the recorded graph takes its micro-batch
 * from memory that host and device share, adds the gradients of the mean loss over all real bytes
 * of the step, and leaves its loss behind; after the last micro-batch the optimizer's graph updates
 * the weights. There is room for two batches, so that the next one is filled in meanwhile:
 *
 *     megabyte_trainer_batch → fill it → megabyte_trainer_submit ─┐   on the device: step s
 *       ┌─────────────────────────────────────────────────────────┘
 *       └→ megabyte_trainer_batch → fill it (for s + 1) → megabyte_trainer_collect → result of s
 *          → megabyte_trainer_submit → …
 *
 * One step is under way at a time, so between collect and submit the weights, moments and gradients
 * are those behind the step that was collected, to be saved, scored or looked at.
 *
 * A step depends on (weights, moments, step number, seed, batch; in fp16 the scale of the loss)
 * alone, so a resumed run goes on with the same bits on the same device.
 */
#ifndef MEGABYTE_TRAINER_H
#define MEGABYTE_TRAINER_H

#include "megabyte/model.h"
#include "nn/optimizer.h"

struct megabyte_trainer;

struct megabyte_trainer_params {
    uint64_t seed;  /* of dropout, and of a PerceiverAR's spans */
    bool timing;    /* measure every pass; megabyte_trainer_graph() gives them */
};

/* fp16: where the scale of the loss stands (tensor_loss_scale). In other precisions it is 1, and
 * stays so. */
struct megabyte_loss_scale {
    double scale;   /* of the next step; a power of two */
    uint32_t steps; /* applied since it changed */
};

/* What a step takes beside the parameters; known without allocating. */
struct megabyte_trainer_plan {
    uint64_t activations; /* bytes of intermediate results */
    uint64_t staging;     /* of batches and results: seen by host and device, and their copies */
    uint64_t optimizer;   /* of the norm and the update, beside the moments */
    uint64_t scratch;     /* tensor_graph_scratch() */
    double flops;         /* of one step, forward and backward, as recorded */
};
int megabyte_trainer_plan(const struct megabyte_model *model, struct megabyte_trainer_plan *plan);

/* Records a step as it would run, without allocating what it takes, and hands the graph to `use`,
 * whose result, 0 or negative with tensor_error(), it returns; then the graph ends. */
int megabyte_trainer_recording(const struct megabyte_model *model,
                               int (*use)(void *user, struct tensor_graph *graph), void *user);

/* For a model made for training with committed parameters, which outlives it. */
int megabyte_trainer_create(const struct megabyte_model *model,
                            const struct megabyte_trainer_params *params,
                            struct megabyte_trainer **trainer);
void megabyte_trainer_destroy(struct megabyte_trainer **trainer);

/* Where the batch of the next step goes. */
struct megabyte_batch {
    uint8_t *bytes;    /* (B, T) */
    uint32_t *lengths; /* (B): how many bytes of each row are real */
};

/* Memory of the trainer for the batch of the next submit, the same until then; the batch under way
 * lies elsewhere, and stays as it is until the submit after the next. */
struct megabyte_batch megabyte_trainer_batch(struct megabyte_trainer *trainer);

/* The batch of the last submit, which stays until the next. */
struct megabyte_batch megabyte_trainer_submitted(struct megabyte_trainer *trainer);

/* The mean loss of a byte, in nats, beyond which the steps from the next one on leave the weights
 * as they are; infinity at first. Call it while no step is under way. */
void megabyte_trainer_limit(struct megabyte_trainer *trainer, double nats);

/* Starts step number `step` (from 1) with learning rate `rate` on the batch that was filled in. On
 * vulkan it returns while the device computes, on the cpu when it has. Errors: -EBUSY the step
 * before was not collected; those of tensor_graph_run(), after which the trainer is of no more
 * use. */
int megabyte_trainer_submit(struct megabyte_trainer *trainer, uint64_t step, double rate);

struct megabyte_trainer_result {
    double nats;      /* mean loss of a byte that is predicted, before the update */
    double grad_norm; /* global, before the clip */
    uint64_t bytes;   /* real bytes in the batch */
    bool applied;     /* the weights and moments were updated; else one of the above is not finite,
                         or nats is beyond megabyte_trainer_limit(), and they are as before */
    double loss_scale; /* that its gradients were computed with */
    bool overflowed; /* fp16: they were too large for that scale, nats is finite, and the next step
                         takes half of it: no error, as long as there is a smaller one */
};

/* Waits until the submitted step is done. Errors: -EINVAL there is none; those of
 * tensor_device_wait(). */
int megabyte_trainer_collect(struct megabyte_trainer *trainer,
                             struct megabyte_trainer_result *result);

/* Where a step first computed a value that is not finite. */
struct megabyte_trainer_trace {
    struct tensor_trace first; /* first.found: whether it did */
    const char *graph;         /* "step" or "update" */
    uint32_t micro_batch;      /* from 0 */
};

/* A step as submit and collect do it, with the same bits, pass by pass, to find that: slow. */
int megabyte_trainer_trace(struct megabyte_trainer *trainer, uint64_t step, double rate,
                           struct megabyte_trainer_result *result,
                           struct megabyte_trainer_trace *trace);

/* The three in one for a batch that lies elsewhere: bytes (B, T), lengths (B). */
int megabyte_trainer_step(struct megabyte_trainer *trainer, uint64_t step, double rate,
                          const uint8_t *bytes, const uint32_t *lengths,
                          struct megabyte_trainer_result *result);

/* Which bytes of each window micro-batch `micro` of step `step` predicts: the P from this one on,
 * of a PerceiverAR drawn from (seed, step, micro); 0 of all other models, which predict all T. */
uint32_t megabyte_trainer_begin(const struct megabyte_trainer *trainer, uint64_t step,
                                uint32_t micro);

/* Where the scale of the loss stands, and setting it to go on from there; while no step is under
 * way. -EINVAL: no power of two, or beyond what tensor_loss_scale() gives. */
struct megabyte_loss_scale megabyte_trainer_scale(const struct megabyte_trainer *trainer);
int megabyte_trainer_rescale(struct megabyte_trainer *trainer,
                             const struct megabyte_loss_scale *scale);

/* The recordings, for timings: 0 clear, 1 forward and backward (run batch / micro_batch times a
 * step), 2 update; NULL behind. */
struct tensor_graph *megabyte_trainer_graph(struct megabyte_trainer *trainer, unsigned index);

#endif
