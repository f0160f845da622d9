/* trainer.c - the training step. */
#include "megabyte/trainer.h"
#include "megabyte/error.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct megabyte_trainer {
    const struct megabyte_model *model;
    struct megabyte_trainer_params params;
    uint32_t micro_batch;
    struct tensor_arena *arena; /* of what follows, seen by host and device */
    struct tensor *bytes;       /* (micro_batch · T) U8 */
    struct tensor *lengths;     /* (micro_batch) U32 */
    struct tensor *random;      /* (3) U32: seed low, seed high, draw */
    struct tensor *factor;      /* (1): 1 / real bytes of the step */
    struct tensor *loss;        /* (1): sum of the micro-batch's nats, times factor */
    struct tensor_graph *graph;
    struct nn_optimizer *optimizer;
};

static int take_inputs(struct megabyte_trainer *t)
{
    const struct megabyte_config *c = &t->model->config;
    const int status = tensor_arena_create(t->model->device, TENSOR_HOST, "staging", &t->arena);
    if (status < 0)
        return status;
    t->bytes = tensor_arena_take(t->arena, "bytes", TENSOR_U8, 1,
                                 (uint32_t[]){t->micro_batch * c->seq_len});
    t->lengths = tensor_arena_take(t->arena, "lengths", TENSOR_U32, 1, &t->micro_batch);
    t->random = tensor_arena_take(t->arena, "random", TENSOR_U32, 1, (uint32_t[]){3});
    t->factor = tensor_arena_take(t->arena, "factor", TENSOR_F32, 1, (uint32_t[]){1});
    t->loss = tensor_arena_take(t->arena, "loss", TENSOR_F32, 1, (uint32_t[]){1});
    return 0;
}

static int record(struct megabyte_trainer *t)
{
    const struct tensor_graph_params params = {
        .name = "step", .training = true, .random = t->random, .timing = t->params.timing};
    const int status = tensor_graph_create(t->model->device, &params, &t->graph);
    if (status < 0)
        return status;
    struct tensor *logits = megabyte_model_forward(t->graph, t->model, t->bytes);
    tensor_graph_push(t->graph, "loss");
    struct tensor *losses = tensor_cross_entropy(t->graph, logits, t->bytes, t->lengths);
    struct tensor *loss = tensor_sum(t->graph, losses, t->factor);
    tensor_copy(t->graph, t->loss, loss);
    tensor_graph_pop(t->graph);
    tensor_graph_backward(t->graph, loss);
    return 0;
}

static int prepare(const struct megabyte_model *model, const struct megabyte_trainer_params *params,
                   struct megabyte_trainer **trainer)
{
    struct megabyte_trainer *t = calloc(1, sizeof *t);
    if (!t)
        return megabyte_fail(ENOMEM, "no host memory for the trainer");
    const struct megabyte_config *c = &model->config;
    t->model = model;
    t->params = *params;
    t->micro_batch = c->micro_batch ? c->micro_batch : c->batch;
    if ((uint64_t)t->micro_batch * c->seq_len * MEGABYTE_SYMBOLS > INT32_MAX) {
        const uint32_t rows = t->micro_batch;
        free(t);
        return megabyte_fail(EINVAL, "a micro-batch of %u sequences of %u bytes is too large; set "
                             "micro_batch to %u or fewer", rows, c->seq_len,
                             INT32_MAX / MEGABYTE_SYMBOLS / c->seq_len);
    }
    int status = take_inputs(t);
    if (status == 0)
        status = record(t);
    if (status < 0) {
        megabyte_trainer_destroy(&t);
        return megabyte_fail(-status, "%s", tensor_error());
    }
    *trainer = t;
    return 0;
}

int megabyte_trainer_plan(const struct megabyte_model *model, struct megabyte_trainer_plan *plan)
{
    struct megabyte_trainer *t;
    const struct megabyte_trainer_params params = {0};
    const int status = prepare(model, &params, &t);
    if (status < 0)
        return status;
    plan->activations = tensor_graph_memory(t->graph);
    plan->staging = tensor_arena_size(t->arena);
    plan->flops = tensor_graph_flops(t->graph) * model->config.batch / t->micro_batch;
    megabyte_trainer_destroy(&t);
    return plan->activations ? 0 : megabyte_fail(ENOMEM, "%s", tensor_error());
}

int megabyte_trainer_create(const struct megabyte_model *model,
                            const struct megabyte_trainer_params *params,
                            struct megabyte_trainer **trainer)
{
    struct megabyte_trainer *t;
    int status = prepare(model, params, &t);
    if (status < 0)
        return status;
    const struct megabyte_config *c = &model->config;
    const struct nn_optimizer_config optimizer = {
        .beta1 = (float)c->beta1, .beta2 = (float)c->beta2, .epsilon = (float)c->epsilon,
        .decay = (float)c->decay, .clip = (float)c->clip};
    status = tensor_arena_commit(t->arena);
    if (status == 0)
        status = tensor_graph_finish(t->graph);
    if (status == 0)
        status = nn_optimizer_create(model->device, model->parameters, &optimizer, params->timing,
                                     &t->optimizer);
    if (status < 0) {
        megabyte_trainer_destroy(&t);
        return megabyte_fail(-status, "%s", tensor_error());
    }
    *trainer = t;
    return 0;
}

void megabyte_trainer_destroy(struct megabyte_trainer **trainer)
{
    struct megabyte_trainer *t = *trainer;
    if (!t)
        return;
    nn_optimizer_destroy(&t->optimizer);
    tensor_graph_destroy(&t->graph);
    tensor_arena_destroy(&t->arena);
    free(t);
    *trainer = NULL;
}

/* Runs one micro-batch and adds its loss. */
static int run_micro(struct megabyte_trainer *t, uint32_t index, const uint8_t *bytes,
                     const uint32_t *lengths, double *nats)
{
    const uint64_t rows = t->micro_batch, length = t->model->config.seq_len;
    memcpy(tensor_host(t->bytes), bytes + index * rows * length, rows * length);
    memcpy(tensor_host(t->lengths), lengths + index * rows, rows * sizeof *lengths);
    int status = tensor_graph_run(t->graph);
    if (status == 0)
        status = tensor_device_wait(t->model->device);
    *nats += *(const float *)tensor_host(t->loss);
    return status;
}

int megabyte_trainer_step(struct megabyte_trainer *t, uint64_t step, double rate,
                          const uint8_t *bytes, const uint32_t *lengths,
                          struct megabyte_trainer_result *result)
{
    const uint32_t batch = t->model->config.batch, micros = batch / t->micro_batch;
    struct megabyte_trainer_result r = {0};
    for (uint32_t b = 0; b < batch; b++)
        r.bytes += lengths[b];
    *(float *)tensor_host(t->factor) = r.bytes ? (float)(1.0 / (double)r.bytes) : 0;
    uint32_t *random = tensor_host(t->random);
    random[0] = (uint32_t)t->params.seed;
    random[1] = (uint32_t)(t->params.seed >> 32);
    int status = nn_optimizer_clear(t->optimizer);
    for (uint32_t i = 0; i < micros && status == 0; i++) {
        random[2] = (uint32_t)(step * micros + i);
        status = run_micro(t, i, bytes, lengths, &r.nats);
    }
    if (status == 0)
        status = nn_optimizer_step(t->optimizer, step, rate);
    if (status == 0)
        status = tensor_device_wait(t->model->device);
    if (status < 0)
        return megabyte_fail(-status, "%s", tensor_error());
    r.grad_norm = nn_optimizer_norm(t->optimizer);
    *result = r;
    return 0;
}

struct tensor_graph *megabyte_trainer_graph(struct megabyte_trainer *t, unsigned index)
{
    if (index == 1)
        return t->graph;
    return index <= 2 ? nn_optimizer_graph(t->optimizer, index == 2) : NULL;
}
