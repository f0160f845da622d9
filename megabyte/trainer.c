/* trainer.c - the training step. */
#include "megabyte/trainer.h"
#include "megabyte/error.h"
#include "tensor/autotune.h"
#include "tensor/op.h"
#include "tensor/random.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GROWTH      2000 /* steps until the scale of the loss doubles, where no setting says it */
#define SLOTS       2 /* batches: one is computed while the other is filled in */
#define SPAN_STREAM 0xffffffffu /* of the random numbers; dropout's streams count from 0 */

struct megabyte_trainer {
    const struct megabyte_model *model;
    struct megabyte_trainer_params params;
    uint32_t micro_batch, micros; /* micros: of a step */
    uint32_t slot;                /* of the batch that is filled in next */
    uint32_t span;                /* bytes of a window that are predicted: T or P */
    uint64_t bytes_under_way;     /* real bytes of the submitted step */
    bool busy;                    /* submitted and not collected */

    struct tensor_arena *host; /* of what follows, seen by host and device */
    struct tensor *batches;    /* (SLOTS · micros, micro_batch · T) U8 */
    struct tensor *lengths;    /* (SLOTS · micros, micro_batch) U32 */
    /* Which bytes are predicted, where it is not all of them (megabyte_trainer_begin): */
    struct tensor *begins;     /* (micros, 1) U32: the first */
    struct tensor *spans;      /* (micros, micro_batch · P) U8: them */
    struct tensor *reals;      /* (micros, micro_batch) U32: how many of them are real */
    struct tensor *randoms;    /* (micros, 3) U32: seed low, seed high, draw */
    struct tensor *losses;     /* (micros): sum of a micro-batch's nats, times factor */
    struct tensor *factor;     /* (1): 1 / real bytes of the step */
    struct nn_loss_scale scale; /* fp16; else its tensors are NULL */
    struct tensor *row;        /* (1) U32: the micro-batch at hand, slot · micros + its number */

    struct tensor_arena *device; /* of the micro-batch at hand: */
    struct tensor *bytes;        /* (micro_batch · T) U8 */
    struct tensor *length;       /* (micro_batch) U32: how many predicted bytes are real */
    struct tensor *begin;        /* (1) U32; NULL where all bytes are predicted */
    struct tensor *target;       /* (micro_batch · P) U8: the predicted ones; else `bytes` */
    struct tensor *random;       /* (3) U32 */
    struct tensor_graph *graph;
    struct nn_optimizer *optimizer;
};

static int take_inputs(struct megabyte_trainer *t)
{
    const uint32_t rows = t->micro_batch, bytes = rows * t->model->config.seq_len, one = 1;
    const uint32_t all = SLOTS * t->micros, three = 3;
    int status = tensor_arena_create(t->model->device, TENSOR_HOST, "staging", &t->host);
    if (status == 0)
        status = tensor_arena_create(t->model->device, TENSOR_DEVICE, "inputs", &t->device);
    if (status < 0)
        return status;
    t->batches = tensor_arena_take(t->host, "batches", TENSOR_U8, 2, (uint32_t[]){all, bytes});
    t->lengths = tensor_arena_take(t->host, "lengths", TENSOR_U32, 2, (uint32_t[]){all, rows});
    t->randoms = tensor_arena_take(t->host, "randoms", TENSOR_U32, 2, (uint32_t[]){t->micros, 3});
    t->losses = tensor_arena_take(t->host, "losses", TENSOR_F32, 1, &t->micros);
    t->factor = tensor_arena_take(t->host, "factor", TENSOR_F32, 1, &one);
    if (tensor_device_info(t->model->device)->precision == TENSOR_PRECISION_FP16) {
        const uint32_t growth = t->model->config.scale_growth;
        t->scale.scale = tensor_arena_take(t->host, "loss scale", TENSOR_F32, 1, &one);
        t->scale.state = tensor_arena_take(t->host, "loss scale's state", TENSOR_F32, 1,
                                           (uint32_t[]){TENSOR_LOSS_SCALE_STATES});
        t->scale.growth = growth ? growth : GROWTH;
    }
    t->row = tensor_arena_take(t->host, "row", TENSOR_U32, 1, &one);
    t->bytes = tensor_arena_take(t->device, "bytes", TENSOR_U8, 1, &bytes);
    t->length = tensor_arena_take(t->device, "length", TENSOR_U32, 1, &rows);
    t->random = tensor_arena_take(t->device, "random", TENSOR_U32, 1, &three);
    t->target = t->bytes;
    if (t->span == t->model->config.seq_len)
        return 0;
    const uint32_t span = rows * t->span;
    t->begins = tensor_arena_take(t->host, "begins", TENSOR_U32, 2, (uint32_t[]){t->micros, 1});
    t->spans = tensor_arena_take(t->host, "spans", TENSOR_U8, 2, (uint32_t[]){t->micros, span});
    t->reals = tensor_arena_take(t->host, "reals", TENSOR_U32, 2, (uint32_t[]){t->micros, rows});
    t->begin = tensor_arena_take(t->device, "begin", TENSOR_U32, 1, &one);
    t->target = tensor_arena_take(t->device, "target", TENSOR_U8, 1, &span);
    return 0;
}

static int record(struct megabyte_trainer *t)
{
    const struct tensor_graph_params params = {.name = "step",
                                               .training = true,
                                               .random = t->random,
                                               .timing = t->params.timing,
                                               .loss_scale = t->scale.scale,
                                               .autotune = tensor_device_autotune(
                                                   t->model->device),
                                               .recompute = t->model->config.recompute};
    const int status = tensor_graph_create(t->model->device, &params, &t->graph);
    if (status < 0)
        return status;
    tensor_graph_push(t->graph, "batch");
    tensor_take_row(t->graph, t->bytes, t->batches, t->row);
    tensor_take_row(t->graph, t->length, t->begin ? t->reals : t->lengths, t->row);
    if (t->begin) {
        tensor_take_row(t->graph, t->begin, t->begins, t->row);
        tensor_take_row(t->graph, t->target, t->spans, t->row);
    }
    tensor_take_row(t->graph, t->random, t->randoms, t->row);
    tensor_graph_pop(t->graph);
    struct tensor *logits = megabyte_model_forward(t->graph, t->model, t->bytes, t->begin);
    tensor_graph_push(t->graph, "loss");
    struct tensor *losses = tensor_cross_entropy(t->graph, logits, t->target, t->length);
    struct tensor *loss = tensor_sum(t->graph, losses, t->factor);
    tensor_append_row(t->graph, t->losses, loss, t->row); /* the last that reads the row */
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
    t->micros = c->batch / t->micro_batch;
    t->span = megabyte_config_predicted(c);
    const uint32_t most = megabyte_config_most(c);
    if (t->micro_batch > most) {
        const uint32_t rows = t->micro_batch;
        free(t);
        if (!most)
            return megabyte_fail(EINVAL, "a sequence of %u bytes is too large for this model: "
                                 "tensors have fewer than 2^31 elements", c->seq_len);
        return megabyte_fail(EINVAL, "a micro-batch of %u sequences of %u bytes is too large: "
                             "micro_batch is at most %u", rows, c->seq_len, most);
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

static const struct nn_loss_scale *scale_of(const struct megabyte_trainer *t)
{
    return t->scale.scale ? &t->scale : NULL;
}

int megabyte_trainer_plan(const struct megabyte_model *model, struct megabyte_trainer_plan *plan)
{
    struct megabyte_trainer *t;
    const struct megabyte_trainer_params params = {0};
    int status = prepare(model, &params, &t);
    if (status < 0)
        return status;
    plan->activations = tensor_graph_memory(t->graph);
    plan->staging = tensor_arena_size(t->host) + tensor_arena_size(t->device);
    plan->flops = tensor_graph_flops(t->graph) * t->micros;
    plan->scratch = tensor_graph_scratch(t->graph);
    status = plan->activations ? 0 : -ENOMEM;
    if (status == 0)
        status = nn_optimizer_memory(model->device, model->parameters, t->losses, scale_of(t),
                                     &plan->optimizer);
    megabyte_trainer_destroy(&t);
    return status < 0 ? megabyte_fail(-status, "%s", tensor_error()) : 0;
}

int megabyte_trainer_recording(const struct megabyte_model *model,
                               int (*use)(void *user, struct tensor_graph *graph), void *user)
{
    struct megabyte_trainer *t;
    const struct megabyte_trainer_params params = {0};
    int status = prepare(model, &params, &t);
    if (status < 0)
        return status;
    status = use(user, t->graph);
    if (status < 0)
        megabyte_fail(-status, "%s", tensor_error());
    megabyte_trainer_destroy(&t);
    return status;
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
    status = tensor_arena_commit(t->host);
    if (status == 0)
        status = tensor_arena_commit(t->device);
    if (status == 0)
        status = tensor_graph_finish(t->graph);
    if (status == 0)
        status = nn_optimizer_create(model->device, model->parameters, &optimizer, t->losses,
                                     scale_of(t), params->timing, &t->optimizer);
    if (status < 0) {
        megabyte_trainer_destroy(&t);
        return megabyte_fail(-status, "%s", tensor_error());
    }
    if (t->scale.scale)
        *(float *)tensor_host(t->scale.scale) = TENSOR_LOSS_SCALE_FIRST;
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
    tensor_arena_destroy(&t->device);
    tensor_arena_destroy(&t->host);
    free(t);
    *trainer = NULL;
}

static struct megabyte_batch batch_in(struct megabyte_trainer *t, uint32_t slot)
{
    const size_t batch = t->model->config.batch;
    uint8_t *bytes = tensor_host(t->batches);
    uint32_t *lengths = tensor_host(t->lengths);
    return (struct megabyte_batch){bytes + slot * batch * t->model->config.seq_len,
                                   lengths + slot * batch};
}

struct megabyte_batch megabyte_trainer_batch(struct megabyte_trainer *t)
{
    return batch_in(t, t->slot);
}

struct megabyte_batch megabyte_trainer_submitted(struct megabyte_trainer *t)
{
    return batch_in(t, (t->slot + SLOTS - 1) % SLOTS);
}

uint32_t megabyte_trainer_begin(const struct megabyte_trainer *t, uint64_t step, uint32_t micro)
{
    const uint64_t places = (uint64_t)t->model->config.seq_len - t->span + 1;
    const uint64_t draw = step * t->micros + micro;
    const struct tensor_random r =
        tensor_random((uint32_t)draw, (uint32_t)(draw >> 32), SPAN_STREAM, 0,
                      (uint32_t)t->params.seed, (uint32_t)(t->params.seed >> 32));
    return (uint32_t)(places * r.word[0] >> 32);
}

/* The bytes that a PerceiverAR predicts, micro-batch by micro-batch; returns how many are real. */
static uint64_t write_spans(struct megabyte_trainer *t, uint64_t step)
{
    const struct megabyte_batch from = megabyte_trainer_batch(t);
    uint8_t *to = tensor_host(t->spans);
    uint32_t *real = tensor_host(t->reals);
    uint64_t sum = 0;
    for (uint32_t b = 0; b < t->model->config.batch; b++, to += t->span) {
        const uint32_t micro = b / t->micro_batch, begin = megabyte_trainer_begin(t, step, micro);
        const uint32_t left = from.lengths[b] > begin ? from.lengths[b] - begin : 0;
        ((uint32_t *)tensor_host(t->begins))[micro] = begin;
        memcpy(to, from.bytes + (size_t)b * t->model->config.seq_len + begin, t->span);
        sum += real[b] = left < t->span ? left : t->span;
    }
    return sum;
}

/* What the step's graphs find beside the batch. */
static void write_inputs(struct megabyte_trainer *t, uint64_t step)
{
    const uint32_t *lengths = megabyte_trainer_batch(t).lengths;
    uint32_t *randoms = tensor_host(t->randoms);
    t->bytes_under_way = 0;
    for (uint32_t b = 0; b < t->model->config.batch; b++)
        t->bytes_under_way += lengths[b];
    const uint64_t predicted = t->begin ? write_spans(t, step) : t->bytes_under_way;
    *(float *)tensor_host(t->factor) = predicted ? (float)(1.0 / (double)predicted) : 0;
    *(uint32_t *)tensor_host(t->row) = t->slot * t->micros;
    for (uint32_t i = 0; i < t->micros; i++) {
        randoms[3 * i] = (uint32_t)t->params.seed;
        randoms[3 * i + 1] = (uint32_t)(t->params.seed >> 32);
        randoms[3 * i + 2] = (uint32_t)(step * t->micros + i);
    }
}

void megabyte_trainer_limit(struct megabyte_trainer *t, double nats)
{
    nn_optimizer_limit(t->optimizer, nats);
}

/* From here on the batch that was filled in is under way. */
static int start(struct megabyte_trainer *t, uint64_t step)
{
    if (t->busy)
        return megabyte_fail(EBUSY, "step %llu is submitted before the one under way is collected",
                             (unsigned long long)step);
    write_inputs(t, step);
    t->busy = true;
    t->slot = (t->slot + 1) % SLOTS;
    return 0;
}

int megabyte_trainer_submit(struct megabyte_trainer *t, uint64_t step, double rate)
{
    int status = start(t, step);
    if (status < 0)
        return status;
    status = nn_optimizer_clear(t->optimizer);
    for (uint32_t i = 0; i < t->micros && status == 0; i++)
        status = tensor_graph_run(t->graph);
    if (status == 0)
        status = nn_optimizer_step(t->optimizer, step, rate);
    return status < 0 ? megabyte_fail(-status, "%s", tensor_error()) : 0;
}

int megabyte_trainer_collect(struct megabyte_trainer *t, struct megabyte_trainer_result *result)
{
    if (!t->busy)
        return megabyte_fail(EINVAL, "no step was submitted");
    const int status = tensor_device_wait(t->model->device);
    if (status < 0)
        return megabyte_fail(-status, "%s", tensor_error());
    t->busy = false;
    struct megabyte_trainer_result r = {.bytes = t->bytes_under_way,
                                        .grad_norm = nn_optimizer_norm(t->optimizer),
                                        .applied = nn_optimizer_applied(t->optimizer),
                                        .loss_scale = 1};
    const float *losses = tensor_host(t->losses);
    for (uint32_t i = 0; i < t->micros; i++)
        r.nats += losses[i];
    if (t->scale.state) {
        r.loss_scale = ((const float *)tensor_host(t->scale.state))[TENSOR_LOSS_SCALE_USED];
        r.overflowed =
            isfinite(r.nats) && !isfinite(r.grad_norm) && r.loss_scale > TENSOR_LOSS_SCALE_LEAST;
    }
    *result = r;
    return 0;
}

struct megabyte_loss_scale megabyte_trainer_scale(const struct megabyte_trainer *t)
{
    if (!t->scale.scale)
        return (struct megabyte_loss_scale){.scale = 1};
    const float *state = tensor_host(t->scale.state);
    return (struct megabyte_loss_scale){*(const float *)tensor_host(t->scale.scale),
                                        (uint32_t)state[TENSOR_LOSS_SCALE_GOOD]};
}

int megabyte_trainer_rescale(struct megabyte_trainer *t, const struct megabyte_loss_scale *scale)
{
    int exponent;
    const double least = t->scale.scale ? TENSOR_LOSS_SCALE_LEAST : 1;
    const double most = t->scale.scale ? TENSOR_LOSS_SCALE_MOST : 1;
    if (!(scale->scale >= least && scale->scale <= most) || frexp(scale->scale, &exponent) != 0.5 ||
        scale->steps > 1u << 24)
        return megabyte_fail(EINVAL,
                             "the loss is to be scaled by %g, and %u steps were so; it must "
                             "be a power of two from %g to %g, and fewer steps than 2^24",
                             scale->scale, scale->steps, least, most);
    if (!t->scale.scale)
        return 0;
    *(float *)tensor_host(t->scale.scale) = (float)scale->scale;
    ((float *)tensor_host(t->scale.state))[TENSOR_LOSS_SCALE_GOOD] = (float)scale->steps;
    return 0;
}

int megabyte_trainer_step(struct megabyte_trainer *t, uint64_t step, double rate,
                          const uint8_t *bytes, const uint32_t *lengths,
                          struct megabyte_trainer_result *result)
{
    const size_t batch = t->model->config.batch;
    const struct megabyte_batch to = megabyte_trainer_batch(t);
    memcpy(to.bytes, bytes, batch * t->model->config.seq_len);
    memcpy(to.lengths, lengths, batch * sizeof *lengths);
    const int status = megabyte_trainer_submit(t, step, rate);
    return status < 0 ? status : megabyte_trainer_collect(t, result);
}

int megabyte_trainer_trace(struct megabyte_trainer *t, uint64_t step, double rate,
                           struct megabyte_trainer_result *result,
                           struct megabyte_trainer_trace *trace)
{
    struct megabyte_trainer_trace found = {.micro_batch = 0};
    struct tensor_trace ahead;
    int status = start(t, step);
    if (status < 0)
        return status;
    status = nn_optimizer_clear(t->optimizer);
    for (uint32_t i = 0; i < t->micros && status == 0; i++) {
        status = tensor_graph_trace(t->graph, &ahead);
        if (status == 0 && ahead.found && !found.first.found)
            found = (struct megabyte_trainer_trace){ahead, "step", i};
    }
    if (status == 0)
        status = nn_optimizer_trace(t->optimizer, step, rate, &ahead);
    if (status < 0)
        return megabyte_fail(-status, "%s", tensor_error());
    if (ahead.found && !found.first.found)
        found = (struct megabyte_trainer_trace){ahead, "update", 0};
    status = megabyte_trainer_collect(t, result);
    if (status == 0)
        *trace = found;
    return status;
}

struct tensor_graph *megabyte_trainer_graph(struct megabyte_trainer *t, unsigned index)
{
    if (index == 1)
        return t->graph;
    return index <= 2 ? nn_optimizer_graph(t->optimizer, index == 2) : NULL;
}
