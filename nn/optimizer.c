/* optimizer.c - AdamW over the flat arrays of all parameters. */
#include "nn/optimizer.h"
#include "tensor/op.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>

const struct nn_optimizer_config nn_optimizer_paper = {
    .beta1 = 0.9f, .beta2 = 0.98f, .epsilon = 1e-8f, .decay = 0.1f, .clip = 1.0f};

struct nn_optimizer {
    struct tensor_device *device;
    struct nn_optimizer_config config;
    struct tensor_arena *arena;     /* of the two below, seen by host and device */
    struct tensor *settings;        /* (TENSOR_ADAMW_SETTINGS) */
    struct tensor *norm_squared;    /* (1) */
    struct tensor *losses, *limit;  /* (n) the caller's, or NULL; (1): what they may amount to */
    struct nn_loss_scale loss_scale; /* its tensors: NULL without one */
    struct tensor *gate;            /* (1): norm_squared, or -1: nothing was changed */
    struct tensor_graph *clear, *update;
};

static int record_clear(struct nn_optimizer *o, const struct nn_parameters *parameters, bool timing)
{
    const struct tensor_graph_params params = {.name = "clear", .timing = timing};
    const int status = tensor_graph_create(o->device, &params, &o->clear);
    if (status < 0)
        return status;
    struct nn_flat flat;
    for (uint32_t i = 0; nn_parameters_flat(parameters, i, &flat); i++)
        tensor_fill(o->clear, flat.gradient, 0);
    return 0;
}

static int record_update(struct nn_optimizer *o, const struct nn_parameters *parameters,
                         bool timing)
{
    const struct tensor_graph_params params = {.name = "update", .timing = timing};
    int status = tensor_graph_create(o->device, &params, &o->update);
    if (status < 0)
        return status;
    uint32_t parts = 0;
    struct nn_flat flat;
    while (nn_parameters_flat(parameters, parts, &flat))
        parts++;
    struct tensor **gradients = calloc(parts + 1u, sizeof *gradients);
    if (!gradients)
        return -ENOMEM;
    for (uint32_t i = 0; nn_parameters_flat(parameters, i, &flat); i++)
        gradients[i] = flat.gradient;
    tensor_graph_push(o->update, "norm");
    struct tensor *norm = tensor_sum_squares(o->update, gradients, parts);
    tensor_copy(o->update, o->norm_squared, norm);
    if (o->losses)
        norm = tensor_gate(o->update, norm, o->losses, o->limit);
    tensor_copy(o->update, o->gate, norm);
    tensor_graph_pop(o->update);
    tensor_graph_push(o->update, "adamw");
    for (uint32_t i = 0; nn_parameters_flat(parameters, i, &flat); i++)
        tensor_adamw(o->update, flat.weight, flat.gradient, flat.moment1, flat.moment2, o->settings,
                     norm, o->loss_scale.scale, flat.copy16, flat.decayed);
    if (o->loss_scale.scale)
        tensor_loss_scale(o->update, o->loss_scale.scale, o->loss_scale.state, norm,
                          o->loss_scale.growth);
    tensor_graph_pop(o->update);
    free(gradients);
    return 0;
}

/* Everything but memory. */
static int prepare(struct tensor_device *device, const struct nn_parameters *parameters,
                   const struct nn_optimizer_config *config, struct tensor *losses,
                   const struct nn_loss_scale *scale, bool timing, struct nn_optimizer **optimizer)
{
    struct nn_optimizer *o = calloc(1, sizeof *o);
    if (!o)
        return -ENOMEM;
    o->device = device;
    o->config = *config;
    o->losses = losses;
    if (scale)
        o->loss_scale = *scale;
    int status = tensor_arena_create(device, TENSOR_HOST, "optimizer settings", &o->arena);
    if (status == 0) {
        o->settings = tensor_arena_take(o->arena, "settings", TENSOR_F32, 1,
                                        (uint32_t[]){TENSOR_ADAMW_SETTINGS});
        o->norm_squared = tensor_arena_take(o->arena, "norm", TENSOR_F32, 1, (uint32_t[]){1});
        o->limit = tensor_arena_take(o->arena, "limit", TENSOR_F32, 1, (uint32_t[]){1});
        o->gate = tensor_arena_take(o->arena, "gate", TENSOR_F32, 1, (uint32_t[]){1});
        status = record_clear(o, parameters, timing);
    }
    if (status == 0)
        status = record_update(o, parameters, timing);
    if (status < 0)
        nn_optimizer_destroy(&o);
    else
        *optimizer = o;
    return status;
}

int nn_optimizer_memory(struct tensor_device *device, const struct nn_parameters *parameters,
                        struct tensor *losses, const struct nn_loss_scale *scale, uint64_t *bytes)
{
    struct nn_optimizer *o;
    const int status = prepare(device, parameters, &nn_optimizer_paper, losses, scale, false, &o);
    if (status < 0)
        return status;
    /* Clearing works in place. */
    *bytes = tensor_arena_size(o->arena) + tensor_graph_memory(o->update);
    nn_optimizer_destroy(&o);
    return 0;
}

int nn_optimizer_create(struct tensor_device *device, const struct nn_parameters *parameters,
                        const struct nn_optimizer_config *config, struct tensor *losses,
                        const struct nn_loss_scale *scale, bool timing,
                        struct nn_optimizer **optimizer)
{
    struct nn_optimizer *o;
    int status = prepare(device, parameters, config, losses, scale, timing, &o);
    if (status < 0)
        return status;
    status = tensor_arena_commit(o->arena);
    if (status == 0)
        nn_optimizer_limit(o, (double)INFINITY);
    if (status == 0)
        status = tensor_graph_finish(o->clear);
    if (status == 0)
        status = tensor_graph_finish(o->update);
    if (status < 0)
        nn_optimizer_destroy(&o);
    else
        *optimizer = o;
    return status;
}

void nn_optimizer_destroy(struct nn_optimizer **optimizer)
{
    struct nn_optimizer *o = *optimizer;
    if (!o)
        return;
    tensor_graph_destroy(&o->update);
    tensor_graph_destroy(&o->clear);
    tensor_arena_destroy(&o->arena);
    free(o);
    *optimizer = NULL;
}

int nn_optimizer_clear(struct nn_optimizer *o)
{
    return tensor_graph_run(o->clear);
}

static void write_settings(struct nn_optimizer *o, uint64_t step, double rate)
{
    const struct nn_optimizer_config *c = &o->config;
    float *s = tensor_host(o->settings);
    s[TENSOR_ADAMW_RATE] = (float)rate;
    s[TENSOR_ADAMW_BETA1] = c->beta1;
    s[TENSOR_ADAMW_BETA2] = c->beta2;
    s[TENSOR_ADAMW_EPSILON] = c->epsilon;
    s[TENSOR_ADAMW_DECAY] = c->decay;
    s[TENSOR_ADAMW_CORRECT1] = (float)(1 / (1 - pow(c->beta1, (double)step)));
    s[TENSOR_ADAMW_CORRECT2] = (float)(1 / (1 - pow(c->beta2, (double)step)));
    s[TENSOR_ADAMW_CLIP] = c->clip;
}

int nn_optimizer_step(struct nn_optimizer *o, uint64_t step, double rate)
{
    write_settings(o, step, rate);
    return tensor_graph_run(o->update);
}

int nn_optimizer_trace(struct nn_optimizer *o, uint64_t step, double rate,
                       struct tensor_trace *trace)
{
    write_settings(o, step, rate);
    return tensor_graph_trace(o->update, trace);
}

float nn_optimizer_norm(const struct nn_optimizer *o)
{
    const float norm = sqrtf(*(const float *)tensor_host(o->norm_squared));
    const float *state = o->loss_scale.state ? tensor_host(o->loss_scale.state) : NULL;
    return state ? norm / state[TENSOR_LOSS_SCALE_USED] : norm;
}

void nn_optimizer_limit(struct nn_optimizer *o, double losses)
{
    *(float *)tensor_host(o->limit) = (float)losses;
}

bool nn_optimizer_applied(const struct nn_optimizer *o)
{
    const float gate = *(const float *)tensor_host(o->gate);
    return gate >= 0 && isfinite(gate);
}

struct tensor_graph *nn_optimizer_graph(struct nn_optimizer *o, bool update)
{
    return update ? o->update : o->clear;
}

double nn_schedule_polynomial(double peak, uint64_t step, uint64_t warmup, uint64_t steps)
{
    if (step <= warmup)
        return peak * (double)step / (double)warmup;
    if (steps <= warmup || step > steps)
        return 0;
    return peak * (1 - (double)(step - 1 - warmup) / (double)(steps - warmup));
}
