/* training.c - the training step as a whole: the same bits twice, micro-batches, padding, and that
 * it learns, byte 0 like any other. Checks (h) and (i). */
#include "megabyte/trainer.h"
#include "tests/megabyte/check.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 5

static struct megabyte_config small_config(uint32_t batch, uint32_t micro_batch, double dropout)
{
    struct megabyte_config c;
    check_must(megabyte_config_preset("tiny", &c), "preset");
    c.seq_len = 24;
    c.patch_size = 3;
    c.global = (struct megabyte_stage){30, 2, 3};
    c.local = (struct megabyte_stage){18, 1, 2};
    c.batch = batch;
    c.micro_batch = micro_batch;
    c.dropout = dropout;
    return c;
}

static struct megabyte_trainer *make_trainer(const struct megabyte_model *model, uint64_t seed)
{
    struct megabyte_trainer *trainer;
    const struct megabyte_trainer_params params = {.seed = seed};
    check_must(megabyte_trainer_create(model, &params, &trainer), "trainer");
    return trainer;
}

/* All weights, one behind the other; the caller frees them. */
static float *read_weights(const struct megabyte_model *model)
{
    float *weights = check_allocate(nn_parameters_size(model->parameters) * sizeof *weights);
    uint64_t at = 0;
    for (uint32_t i = 0; i < nn_parameters_count(model->parameters); i++) {
        const struct tensor *w = nn_parameters_at(model->parameters, i)->weight;
        check_must(tensor_read(w, 0, weights + at, tensor_size(w)), "read");
        at += w->count;
    }
    return weights;
}

/* STEPS steps on bytes (STEPS, B, T), the same lengths each time → losses, and the weights if
 * wanted. */
static float *train(struct tensor_device *device, const struct megabyte_config *c, uint64_t seed,
                    const uint8_t *bytes, const uint32_t *lengths, double *losses)
{
    struct megabyte_model *model = check_model(device, c, true, 3);
    struct megabyte_trainer *trainer = make_trainer(model, seed);
    for (uint32_t step = 1; step <= STEPS; step++) {
        struct megabyte_trainer_result r;
        check_must(megabyte_trainer_step(trainer, step, 0.01,
                                         bytes + (size_t)(step - 1) * c->batch * c->seq_len,
                                         lengths, &r),
                   "step");
        CHECK(isfinite(r.nats) && isfinite(r.grad_norm), "step %u: loss %g, norm %g", step, r.nats,
              r.grad_norm);
        uint64_t real = 0;
        for (uint32_t b = 0; b < c->batch; b++)
            real += lengths[b];
        CHECK(r.bytes == real, "%u real bytes, not %u", (unsigned)r.bytes, (unsigned)real);
        losses[step - 1] = r.nats;
    }
    float *weights = read_weights(model);
    megabyte_trainer_destroy(&trainer);
    megabyte_model_destroy(&model);
    return weights;
}

static void check_deterministic(struct tensor_device *device)
{
    const struct megabyte_config c = small_config(4, 2, 0.1);
    const uint32_t lengths[4] = {24, 24, 17, 24};
    uint8_t bytes[STEPS * 4 * 24];
    check_random_bytes(1, bytes, sizeof bytes);
    double losses[3][STEPS];
    float *weights[3];
    uint64_t size = 0;
    for (int i = 0; i < 3; i++)
        weights[i] = train(device, &c, i == 2 ? 6 : 5, bytes, lengths, losses[i]);
    struct megabyte_model *model;
    check_must(megabyte_model_create(device, &c, false, &model), "model");
    size = nn_parameters_size(model->parameters) * sizeof(float);
    megabyte_model_destroy(&model);
    CHECK(!memcmp(losses[0], losses[1], sizeof losses[0]), "the same seed gives other losses");
    CHECK(!memcmp(weights[0], weights[1], size), "the same seed gives other weights");
    CHECK(memcmp(weights[0], weights[2], size), "another seed of dropout gives the same weights");
    for (int i = 0; i < 3; i++)
        free(weights[i]);
}

/* What is computed again has the bits of what was kept, and the plan is smaller. */
static void check_recompute(struct tensor_device *device)
{
    const uint32_t lengths[4] = {24, 24, 17, 24};
    uint8_t bytes[STEPS * 4 * 24];
    check_random_bytes(1, bytes, sizeof bytes);
    double losses[2][STEPS];
    float *weights[2];
    struct megabyte_trainer_plan plan[2];
    uint64_t size = 0;
    for (uint32_t i = 0; i < 2; i++) {
        struct megabyte_config c = small_config(4, 2, 0.1);
        c.global.layers = 3;
        c.recompute = i;
        weights[i] = train(device, &c, 5, bytes, lengths, losses[i]);
        struct megabyte_model *model;
        check_must(megabyte_model_create(device, &c, true, &model), "model");
        check_must(megabyte_trainer_plan(model, &plan[i]), "plan");
        size = nn_parameters_size(model->parameters) * sizeof(float);
        megabyte_model_destroy(&model);
    }
    CHECK(!memcmp(losses[0], losses[1], sizeof losses[0]), "recompute gives other losses");
    CHECK(!memcmp(weights[0], weights[1], size), "recompute gives other weights");
    CHECK(plan[1].activations < plan[0].activations && plan[1].flops > plan[0].flops,
          "recompute takes %llu bytes instead of %llu, and %g operations instead of %g",
          (unsigned long long)plan[1].activations, (unsigned long long)plan[0].activations,
          plan[1].flops, plan[0].flops);
    free(weights[0]);
    free(weights[1]);
}

static void compare_losses(const char *what, const double *got, const double *want)
{
    for (int i = 0; i < STEPS; i++)
        CHECK(fabs(got[i] - want[i]) <= 1e-5 * want[i], "%s: loss %d is %.9g, not %.9g", what,
              i + 1, got[i], want[i]);
}

static void check_accumulation(struct tensor_device *device)
{
    const uint32_t lengths[6] = {24, 5, 24, 0, 24, 23};
    uint8_t bytes[STEPS * 6 * 24];
    check_text(2, bytes, sizeof bytes);
    double want[STEPS];
    const uint32_t micro[] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++) {
        const struct megabyte_config c = small_config(6, micro[i], 0);
        double losses[STEPS];
        free(train(device, &c, 1, bytes, lengths, i ? losses : want));
        char what[64];
        snprintf(what, sizeof what, "micro-batches of %u", micro[i]);
        if (i)
            compare_losses(what, losses, want);
    }
}

/* What lies behind the real bytes has no effect, and a row of padding alone is as no row. */
static void check_padding(struct tensor_device *device)
{
    const uint32_t T = 24, lengths[3] = {24, 10, 0};
    const struct megabyte_config c = small_config(3, 0, 0), two = small_config(2, 0, 0);
    uint8_t bytes[STEPS * 3 * 24], other[STEPS * 3 * 24], fewer[STEPS * 2 * 24];
    check_random_bytes(3, bytes, sizeof bytes);
    check_random_bytes(4, other, sizeof other);
    for (uint32_t step = 0; step < STEPS; step++)
        for (uint32_t b = 0; b < 3; b++) {
            memcpy(other + (step * 3 + b) * T, bytes + (step * 3 + b) * T, lengths[b]);
            if (b < 2)
                memcpy(fewer + (step * 2 + b) * T, bytes + (step * 3 + b) * T, T);
        }
    double want[STEPS], losses[STEPS];
    free(train(device, &c, 1, bytes, lengths, want));
    free(train(device, &c, 1, other, lengths, losses));
    compare_losses("other padding", losses, want);
    CHECK(losses[0] == want[0], "other padding: loss 1 is %.9g, not %.9g", losses[0], want[0]);
    free(train(device, &two, 1, fewer, lengths, losses));
    compare_losses("no empty row", losses, want);
    const uint32_t nothing[3] = {0};
    free(train(device, &c, 1, bytes, nothing, losses)); /* finite */
    CHECK(losses[0] == 0, "no bytes cost %g", losses[0]);
}

/* The loss of one step that changes no weight. */
static double still(struct megabyte_trainer *trainer, uint64_t step, const uint8_t *bytes,
                    const uint32_t *lengths)
{
    struct megabyte_trainer_result r;
    check_must(megabyte_trainer_step(trainer, step, 0, bytes, lengths, &r), "step");
    return r.nats;
}

/* Dropout is drawn anew for every step and every micro-batch, and again alike for the same ones. */
static void check_dropout(struct tensor_device *device)
{
    const struct megabyte_config c = small_config(2, 1, 0.1);
    const uint32_t first[2] = {24, 0}, second[2] = {0, 24};
    uint8_t bytes[2 * 24];
    check_random_bytes(5, bytes, 24);
    memcpy(bytes + 24, bytes, 24);
    struct megabyte_model *model = check_model(device, &c, true, 3);
    struct megabyte_trainer *trainer = make_trainer(model, 5);
    const double losses[4] = {still(trainer, 1, bytes, first), still(trainer, 1, bytes, second),
                              still(trainer, 2, bytes, first), still(trainer, 2, bytes, second)};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++)
            CHECK(losses[i] != losses[j], "steps or micro-batches %d and %d drop alike", j, i);
    CHECK(still(trainer, 1, bytes, first) == losses[0], "a step done again drops otherwise");
    megabyte_trainer_destroy(&trainer);
    megabyte_model_destroy(&model);
}

/* The loss of a step is what the evaluator finds, as a mean over the real bytes. */
static void check_loss(struct tensor_device *device)
{
    const struct megabyte_config c = small_config(3, 1, 0);
    const uint32_t lengths[3] = {24, 7, 1};
    uint8_t bytes[3 * 24];
    float nats[3 * 24];
    check_random_bytes(6, bytes, sizeof bytes);
    struct megabyte_model *model = check_model(device, &c, true, 3);
    struct megabyte_trainer *trainer = make_trainer(model, 5);
    struct megabyte_evaluator *e = check_evaluator(model, 3);
    check_must(megabyte_evaluator_score(e, 3, bytes, lengths, 0, nats, NULL), "score");
    double want = 0;
    for (int i = 0; i < 3 * 24; i++)
        want += nats[i] / 32;
    const double got = still(trainer, 1, bytes, lengths);
    CHECK(fabs(got - want) <= 1e-5 * want, "a step costs %.9g nats a byte, evaluated %.9g", got,
          want);
    megabyte_evaluator_destroy(&e);
    megabyte_trainer_destroy(&trainer);
    megabyte_model_destroy(&model);
}

void check_training(struct tensor_device *device)
{
    check_dropout(device);
    check_loss(device);
    check_deterministic(device);
    check_recompute(device);
    check_accumulation(device);
    check_padding(device);
}

/* ---- learning ---- */

/* Bits a byte after `steps` steps on the same batch. */
static double overfit(struct tensor_device *device, const struct megabyte_config *c,
                      const uint8_t *bytes, uint32_t steps)
{
    struct megabyte_model *model = check_model(device, c, true, 5);
    struct megabyte_trainer *trainer = make_trainer(model, 1);
    uint32_t *lengths = check_allocate(c->batch * sizeof *lengths);
    for (uint32_t b = 0; b < c->batch; b++)
        lengths[b] = c->seq_len;
    struct megabyte_trainer_result r = {0};
    for (uint32_t step = 1; step <= steps; step++)
        check_must(megabyte_trainer_step(trainer, step, 0.01, bytes, lengths, &r), "step");
    free(lengths);
    megabyte_trainer_destroy(&trainer);
    megabyte_model_destroy(&model);
    return r.nats / M_LN2;
}

void check_learning(struct tensor_device *device)
{
    struct megabyte_config c = small_config(2, 0, 0);
    c.seq_len = 32;
    c.patch_size = 4;
    c.global = (struct megabyte_stage){32, 1, 4};
    c.local = (struct megabyte_stage){32, 1, 4};
    uint8_t bytes[64];
    const uint8_t constant[] = {0x00, 0xff};
    for (int i = 0; i < 2; i++) {
        memset(bytes, constant[i], sizeof bytes);
        const double bits = overfit(device, &c, bytes, 30);
        CHECK(bits < 0.1, "bytes of 0x%02x cost %g bits after training", constant[i], bits);
    }
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)('a' + i % 26);
    const double bits = overfit(device, &c, bytes, 80);
    CHECK(bits < 0.2, "the alphabet costs %g bits a byte after training", bits);
}
