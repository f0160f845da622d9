/* groups.c - blocks of the local model in groups of patches (setting local_group): the logits, the
 * loss and the gradients of a model that takes all patches at once, in less memory. */
#include "megabyte/trainer.h"
#include "tests/megabyte/check.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 3

static const struct grouped {
    uint32_t model, seq_len, patch_size, cross_patch;
    struct megabyte_stage global, local;
    uint32_t group; /* patches; groups are as equal as that allows */
} cases[] = {
    {MEGABYTE_WHOLE, 24, 4, 4, {24, 1, 3}, {20, 2, 2}, 1},
    {MEGABYTE_WHOLE, 24, 4, 3, {24, 1, 3}, {20, 2, 2}, 4},  /* 3 of 6 patches, twice */
    {MEGABYTE_WHOLE, 20, 4, 1, {24, 1, 3}, {18, 1, 3}, 3},  /* 3 of 5 and 2 */
    {MEGABYTE_WHOLE, 24, 4, 4, {24, 1, 3}, {20, 1, 2}, 13}, /* two sequences and one */
    {MEGABYTE_WHOLE, 100, 20, 20, {40, 1, 2}, {32, 2, 2}, 2}, /* patches of other kernels */
    {MEGABYTE_WHOLE, 24, 4, 0, {24, 1, 3}, {20, 2, 2}, 7},  /* across sequences, 6 of 18 */
    {MEGABYTE_WHOLE, 24, 8, 0, {24, 1, 3}, {32, 1, 2}, 1},
    {MEGABYTE_LOCAL, 24, 4, 2, {8, 1, 1}, {20, 2, 2}, 2},
    {MEGABYTE_LOCAL, 17, 17, 0, {8, 1, 1}, {20, 2, 2}, 2},  /* a Transformer: of 3 sequences */
    {MEGABYTE_WHOLE, 90, 1, 1, {10, 1, 1}, {12, 1, 3}, 1},  /* more than NN_GROUPS_MAX */
};
#define CASES (sizeof cases / sizeof *cases)

static struct megabyte_config config_of(const struct grouped *from, bool grouped)
{
    struct megabyte_config c;
    check_must(megabyte_config_preset("tiny", &c), "preset");
    c.model = from->model;
    c.seq_len = from->seq_len;
    c.patch_size = from->patch_size;
    c.cross_patch = from->cross_patch;
    c.global = from->global;
    c.local = from->local;
    c.local_group = grouped ? from->group : 0;
    c.init = 0.3; /* so that nothing gets lost in rounding */
    c.init_embedding = 0.5;
    c.batch = BATCH;
    return c;
}

/* What a model makes of a batch. */
struct outcome {
    float *logits, *gradients;
    uint64_t logit_count, gradient_count;
    double nats;
    struct megabyte_trainer_plan plan;
};

static float *read_gradients(const struct megabyte_model *model, uint64_t *count)
{
    *count = nn_parameters_size(model->parameters);
    float *gradients = check_allocate(*count * sizeof *gradients);
    uint64_t at = 0;
    for (uint32_t i = 0; i < nn_parameters_count(model->parameters); i++) {
        const struct tensor *t = nn_parameters_at(model->parameters, i)->gradient;
        check_must(tensor_read(t, 0, gradients + at, tensor_size(t)), "read");
        at += t->count;
    }
    return gradients;
}

static struct outcome run(struct tensor_device *device, const struct megabyte_config *c)
{
    const uint32_t lengths[BATCH] = {c->seq_len, c->seq_len - 1, c->seq_len};
    const size_t bytes_count = (size_t)BATCH * c->seq_len;
    struct outcome o = {.logit_count = bytes_count * SYMBOLS};
    struct megabyte_model *model = check_model(device, c, true, 3);
    struct megabyte_evaluator *evaluator = check_evaluator(model, BATCH);
    struct megabyte_trainer *trainer;
    struct megabyte_trainer_result result;
    const struct megabyte_trainer_params params = {.seed = 5};
    uint8_t *bytes = check_allocate(bytes_count);
    float *nats = check_allocate(bytes_count * sizeof *nats);
    o.logits = check_allocate(o.logit_count * sizeof *o.logits);
    check_random_bytes(1, bytes, bytes_count);
    check_must(megabyte_evaluator_score(evaluator, BATCH, bytes, lengths, 0, nats, o.logits),
               "score");
    megabyte_evaluator_destroy(&evaluator);
    check_must(megabyte_trainer_plan(model, &o.plan), "plan");
    check_must(megabyte_trainer_create(model, &params, &trainer), "trainer");
    check_must(megabyte_trainer_step(trainer, 1, 0, bytes, lengths, &result), "step");
    o.nats = result.nats;
    o.gradients = read_gradients(model, &o.gradient_count);
    megabyte_trainer_destroy(&trainer);
    megabyte_model_destroy(&model);
    free(bytes);
    free(nats);
    return o;
}

static void forget(struct outcome *o)
{
    free(o->logits);
    free(o->gradients);
}

/* The largest difference, as a part of the largest value. */
static double difference(const float *a, const float *b, uint64_t count)
{
    double largest = 1e-30, most = 0;
    for (uint64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)b[i]));
        most = fmax(most, isfinite(a[i]) ? fabs((double)a[i] - b[i]) : INFINITY);
    }
    return most / largest;
}

/* Whole and in groups a row is rounded at the same places; but where sums differ in their last
 * bits, 16 bits may fall to either side. */
static double tolerance_of(const struct tensor_device *device, double fp32)
{
    const enum tensor_precision precision = tensor_device_info(device)->precision;
    static const double low_precision[] = {
        [TENSOR_PRECISION_BF16] = 2e-2, [TENSOR_PRECISION_FP16] = 2e-3};
    return precision == TENSOR_PRECISION_FP32 ? fp32 : low_precision[precision];
}

static void check_case(struct tensor_device *device, const struct grouped *from)
{
    struct megabyte_config c = config_of(from, false);
    const char *name = check_shape_name(&c);
    struct outcome want = run(device, &c), got[2];
    c = config_of(from, true);
    for (uint32_t i = 0; i < 2; i++) {
        c.recompute = i;
        got[i] = run(device, &c);
    }
    const double logits = difference(got[0].logits, want.logits, want.logit_count);
    const double nats = fabs(got[0].nats / want.nats - 1);
    const double gradients = difference(got[0].gradients, want.gradients, want.gradient_count);
    CHECK(logits <= tolerance_of(device, 2e-6), "%s, groups of %u: logits differ by %g", name,
          from->group, logits);
    CHECK(nats <= tolerance_of(device, 1e-6), "%s, groups of %u: the loss differs by %g", name,
          from->group, nats);
    CHECK(gradients <= tolerance_of(device, 1e-5), "%s, groups of %u: gradients differ by %g", name,
          from->group, gradients);
    CHECK(!memcmp(got[0].gradients, got[1].gradients, want.gradient_count * sizeof(float)) &&
              got[0].nats == got[1].nats,
          "%s, groups of %u: recompute gives other bits", name, from->group);
    /* The patch context of a group within a sequence is computed a second time. */
    const bool context = from->cross_patch && from->group < c.seq_len / c.patch_size;
    CHECK(context ? got[0].plan.flops > want.plan.flops : got[0].plan.flops == want.plan.flops,
          "%s, groups of %u: %.17g operations, not %.17g", name, from->group, got[0].plan.flops,
          want.plan.flops);
    forget(&want);
    forget(&got[0]);
    forget(&got[1]);
}

/* Of a local model that is wider than the logits are: the smaller the groups, the less memory. */
static void check_less(struct tensor_device *device)
{
    static const struct grouped wide = {MEGABYTE_WHOLE, 96, 4, 4, {24, 1, 3}, {512, 2, 2}};
    struct megabyte_config c = config_of(&wide, false);
    static const uint32_t groups[] = {0, 24, 6};
    uint64_t before = UINT64_MAX;
    c.recompute = 1;
    for (int i = 0; i < 3; i++) {
        c.local_group = groups[i];
        struct megabyte_model *model;
        struct megabyte_trainer_plan plan;
        check_must(megabyte_model_create(device, &c, true, &model), "model");
        check_must(megabyte_trainer_plan(model, &plan), "plan");
        megabyte_model_destroy(&model);
        CHECK(plan.activations < before,
              "groups of %u: %llu bytes of activations are no less than %llu", c.local_group,
              (unsigned long long)plan.activations, (unsigned long long)before);
        before = plan.activations;
    }
}

void check_groups(struct tensor_device *device)
{
    for (size_t i = 0; i < CASES; i++)
        check_case(device, &cases[i]);
    check_less(device);
    if (strcmp(tensor_device_info(device)->kind, "cpu"))
        return; /* compiles for long */
    for (int precision = TENSOR_PRECISION_BF16; precision <= TENSOR_PRECISION_FP16; precision++) {
        struct tensor_device *low = check_open("cpu", (enum tensor_precision)precision, NULL);
        for (size_t i = 0; i < CASES; i += 2)
            check_case(low, &cases[i]);
        check_close(&low);
    }
}
