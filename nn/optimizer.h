/* optimizer.h - AdamW with a global-norm clip, and the learning rate's schedule (A.1).
 *
 * One training step is: nn_optimizer_clear, one or more runs of a graph that adds to the gradients,
 * nn_optimizer_step. Nothing goes back and forth between host and device in between; a step whose
 * gradient or loss is not finite changes neither weights nor moments (tensor_gate, tensor_adamw).
 */
#ifndef NN_OPTIMIZER_H
#define NN_OPTIMIZER_H

#include "nn/parameters.h"

struct nn_optimizer_config {
    float beta1, beta2; /* 0.9, 0.98 */
    float epsilon;      /* 1e-8 */
    float decay;        /* 0.1: of tensors with two or more dimensions */
    float clip;         /* 1.0: largest global norm; 0: no clip */
};

extern const struct nn_optimizer_config nn_optimizer_paper; /* the values above */

/* fp16: gradients too small for half precision are those of the loss times a scale, which finds its
 * size by itself (tensor_loss_scale). The caller's tensors, seen by host and device, which are the
 * state to save. */
struct nn_loss_scale {
    struct tensor *scale; /* (1): of the graph that makes the gradients (tensor_graph_params) */
    struct tensor *state; /* (TENSOR_LOSS_SCALE_STATES) */
    uint32_t growth;      /* steps that are applied until it doubles */
};

struct nn_optimizer;

/* Records its graphs; the parameters are committed and outlive it, and so is `losses` (n): a step
 * is applied only if their sum is finite and within nn_optimizer_limit(). NULL: any losses do.
 * `scale` is NULL where gradients are those of the loss itself. */
int nn_optimizer_create(struct tensor_device *device, const struct nn_parameters *parameters,
                        const struct nn_optimizer_config *config, struct tensor *losses,
                        const struct nn_loss_scale *scale, bool timing,
                        struct nn_optimizer **optimizer);
void nn_optimizer_destroy(struct nn_optimizer **optimizer);

/* What it takes of the device beside the parameters, their gradients and moments; the tensors
 * need no memory for that. */
int nn_optimizer_memory(struct tensor_device *device, const struct nn_parameters *parameters,
                        struct tensor *losses, const struct nn_loss_scale *scale, uint64_t *bytes);

/* Starts setting all gradients to zero. */
int nn_optimizer_clear(struct nn_optimizer *optimizer);

/* Starts update number `step`, counted from 1, with learning rate `rate`. The device reads both
 * while it runs: the update before must be over (tensor_device_wait). */
int nn_optimizer_step(struct nn_optimizer *optimizer, uint64_t step, double rate);

/* The same by tensor_graph_trace(). */
int nn_optimizer_trace(struct nn_optimizer *optimizer, uint64_t step, double rate,
                       struct tensor_trace *trace);

/* The gradient's global norm of the last step, of the loss itself, before the clip. After
 * tensor_device_wait(). */
float nn_optimizer_norm(const struct nn_optimizer *optimizer);

/* The most that the losses may amount to in the steps from the next one on; infinity at first. Call
 * it while no step is under way. */
void nn_optimizer_limit(struct nn_optimizer *optimizer, double losses);

/* Whether the last step was applied. After tensor_device_wait(). */
bool nn_optimizer_applied(const struct nn_optimizer *optimizer);

/* The graphs of the step, for timings: clear, update. */
struct tensor_graph *nn_optimizer_graph(struct nn_optimizer *optimizer, bool update);

/* Linear warm-up, then a straight line to 0 (metaseq's polynomial decay with power 1): the rate of
 * step s (from 1) of `steps`:
 *     peak · s / warmup                                        s <= warmup
 *     peak · (1 - (s - 1 - warmup) / (steps - warmup))         after
 * so that step warmup + 1 has the full rate and the last step still has some. */
double nn_schedule_polynomial(double peak, uint64_t step, uint64_t warmup, uint64_t steps);

#endif
