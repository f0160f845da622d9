/* precision.c - training in 16 bits: near fp32, the same bits twice, and the 16-bit copies of the
 * weights, which no graph casts again, always those of the weights. */
#include "megabyte/trainer.h"
#include "tests/megabyte/check.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 6
#define BATCH 4
#define BYTES 24

static const char *const names[] = {[TENSOR_PRECISION_FP32] = "fp32",
                                    [TENSOR_PRECISION_BF16] = "bf16",
                                    [TENSOR_PRECISION_FP16] = "fp16"};

/* x in 16 bits, to the nearest, ties to even; written apart from the library's. */
static uint16_t rounded(float x, enum tensor_precision precision)
{
    int exponent;
    if (x == 0)
        return signbit(x) ? 0x8000 : 0;
    frexp((double)x, &exponent);
    const int half = precision == TENSOR_PRECISION_FP16;
    int last = exponent - (half ? 11 : 8);
    if (half && last < -24)
        last = -24;
    const float nearest = (float)ldexp(nearbyint(ldexp((double)x, -last)), last);
    uint32_t bits;
    memcpy(&bits, &nearest, sizeof bits);
    if (!half)
        return (uint16_t)(bits >> 16);
    const float size = fabsf(nearest);
    const uint32_t sign = bits >> 16 & 0x8000;
    if (size < 0x1p-14f)
        return (uint16_t)(sign | (uint32_t)(size * 0x1p24f));
    return (uint16_t)(sign | (((bits & 0x7fffffff) - 0x38000000) >> 13));
}

static void check_copies(const struct megabyte_model *model, enum tensor_precision precision)
{
    for (uint32_t i = 0; i < nn_parameters_count(model->parameters); i++) {
        const struct nn_parameter *p = nn_parameters_at(model->parameters, i);
        const struct tensor *w = p->weight;
        if (precision == TENSOR_PRECISION_FP32) {
            CHECK(!w->copy16, "%s has a 16-bit copy in fp32", p->name);
            continue;
        }
        float *wide = check_allocate(tensor_size(w));
        uint16_t *copy16 = check_allocate(tensor_size(w->copy16));
        check_must(tensor_read(w, 0, wide, tensor_size(w)), "read");
        check_must(tensor_read(w->copy16, 0, copy16, tensor_size(w->copy16)), "read");
        uint64_t j = 0;
        while (j < w->count && copy16[j] == rounded(wide[j], precision))
            j++;
        CHECK(j == w->count, "%s: element %u of %s is %g, and %#x in 16 bits", names[precision],
              (unsigned)j, p->name, (double)wide[j], copy16[j]);
        free(wide);
        free(copy16);
    }
}

struct outcome {
    double losses[STEPS];
    float *weights; /* the first tensor of the model */
    uint64_t size;
};

static void train(struct tensor_device *device, bool recompute, struct outcome *o)
{
    struct megabyte_config c = check_training_config(BYTES, BATCH);
    const uint32_t lengths[BATCH] = {BYTES, BYTES, 17, BYTES};
    const enum tensor_precision precision = tensor_device_info(device)->precision;
    uint8_t bytes[BATCH * BYTES];
    check_text(2, bytes, sizeof bytes);
    c.recompute = recompute;
    struct megabyte_model *model = check_model(device, &c, true, 3);
    struct megabyte_trainer *trainer;
    const struct megabyte_trainer_params params = {.seed = 5};
    check_copies(model, precision);
    check_must(megabyte_trainer_create(model, &params, &trainer), "trainer");
    for (uint32_t step = 1; step <= STEPS; step++) {
        struct megabyte_trainer_result r;
        check_must(megabyte_trainer_step(trainer, step, 0.01, bytes, lengths, &r), "step");
        CHECK(isfinite(r.nats) && isfinite(r.grad_norm), "%s: step %u: loss %g, norm %g",
              names[precision], step, r.nats, r.grad_norm);
        o->losses[step - 1] = r.nats;
    }
    check_copies(model, precision);
    const struct tensor *w = nn_parameters_at(model->parameters, 0)->weight;
    o->size = tensor_size(w);
    o->weights = check_allocate(o->size);
    check_must(tensor_read(w, 0, o->weights, o->size), "read");
    megabyte_trainer_destroy(&trainer);
    megabyte_model_destroy(&model);
}

/* ---- the scale of the loss ---- */

struct run {
    struct megabyte_model *model;
    struct megabyte_trainer *trainer;
    uint8_t bytes[BATCH * BYTES];
};

static void begin(struct tensor_device *device, uint32_t growth, struct run *r)
{
    struct megabyte_config c = check_training_config(BYTES, BATCH);
    c.scale_growth = growth;
    check_text(7, r->bytes, sizeof r->bytes);
    r->model = check_model(device, &c, true, 3);
    check_must(megabyte_trainer_create(r->model, &(struct megabyte_trainer_params){.seed = 5},
                                       &r->trainer),
               "trainer");
}

static void end(struct run *r)
{
    megabyte_trainer_destroy(&r->trainer);
    megabyte_model_destroy(&r->model);
}

static struct megabyte_trainer_result step(struct run *r, uint64_t number)
{
    static const uint32_t lengths[BATCH] = {BYTES, BYTES, 17, BYTES};
    struct megabyte_trainer_result result;
    check_must(megabyte_trainer_step(r->trainer, number, 0.01, r->bytes, lengths, &result), "step");
    return result;
}

/* Copies of weights, their 16-bit copies and moments from or to the host: all that a step changes
 * beside the scale. Returns the bytes; `state` may be NULL. */
static size_t copy_state(const struct megabyte_model *model, char *state, bool back)
{
    size_t at = 0;
    for (uint32_t i = 0; i < nn_parameters_count(model->parameters); i++) {
        const struct nn_parameter *p = nn_parameters_at(model->parameters, i);
        struct tensor *const list[4] = {p->weight, p->moment1, p->moment2, p->weight->copy16};
        for (int j = 0; j < 4 && list[j]; j++) {
            const size_t size = tensor_size(list[j]);
            if (state && back && j < 3)
                check_must(tensor_write(list[j], 0, state + at, size), "write");
            else if (state && !back)
                check_must(tensor_read(list[j], 0, state + at, size), "read");
            at += size;
        }
    }
    if (back)
        check_must(nn_parameters_refresh(model->parameters), "refresh");
    return at;
}

/* The gradients of a loss that is scaled too much overflow: nothing is applied and the scale is
 * halved, until they do not. */
static void check_overflow(struct tensor_device *device)
{
    struct run r;
    begin(device, 0, &r);
    const struct megabyte_loss_scale most = {16777216, 3};
    check_must(megabyte_trainer_rescale(r.trainer, &most), "rescale");
    const size_t size = copy_state(r.model, NULL, false);
    char *before = check_allocate(size), *after = check_allocate(size);
    copy_state(r.model, before, false);
    double scale = most.scale;
    uint32_t halved = 0;
    struct megabyte_trainer_result result = step(&r, 1);
    CHECK(result.overflowed && !result.applied, "a scale of 2^24 does not overflow");
    for (; result.overflowed && halved < 30; result = step(&r, 1), halved++) {
        CHECK(!result.applied && isfinite(result.nats) && !isfinite(result.grad_norm) &&
                  result.loss_scale == scale,
              "overflow at %g: loss %g, norm %g, said to be at %g", scale, result.nats,
              result.grad_norm, result.loss_scale);
        scale /= 2;
        const struct megabyte_loss_scale now = megabyte_trainer_scale(r.trainer);
        CHECK(now.scale == scale && now.steps == 0, "the scale is %g after %u steps, not %g",
              now.scale, now.steps, scale);
        copy_state(r.model, after, false);
        CHECK(!memcmp(before, after, size), "an overflow changes weights or moments");
    }
    copy_state(r.model, after, false);
    CHECK(halved > 0 && result.applied && memcmp(before, after, size) &&
              isfinite(result.grad_norm) && result.loss_scale == scale,
          "no step is applied after %u halvings", halved);
    free(before);
    free(after);
    end(&r);
}

/* Weights and norms do not depend on the scale, a power of two, where nothing is too small or too
 * large for half precision; it grows by the setting, and stops at its end. */
static void check_growth(struct tensor_device *device)
{
    struct run r;
    begin(device, 2, &r);
    for (uint32_t i = 1; i <= 6; i++) {
        const struct megabyte_trainer_result result = step(&r, i);
        const double want = 65536.0 * (1u << (i - 1) / 2);
        CHECK(result.overflowed || result.loss_scale == want, "step %u: scale %g, not %g", i,
              result.loss_scale, want);
        if (result.overflowed)
            break;
    }
    struct megabyte_loss_scale s = {.scale = 3};
    CHECK(megabyte_trainer_rescale(r.trainer, &s) < 0, "a scale of 3 is taken");
    s.scale = 33554432;
    CHECK(megabyte_trainer_rescale(r.trainer, &s) < 0, "a scale of 2^25 is taken");
    s.scale = 0.5;
    CHECK(megabyte_trainer_rescale(r.trainer, &s) < 0, "a scale of 1/2 is taken");
    end(&r);
}

/* What is saved, weights, moments and the scale, is enough to go on with the same bits. */
static void check_resumed(struct tensor_device *device)
{
    struct run r, again;
    begin(device, 2, &r);
    for (uint32_t i = 1; i <= 3; i++)
        step(&r, i);
    const size_t size = copy_state(r.model, NULL, false);
    char *state = check_allocate(size), *other = check_allocate(size);
    const struct megabyte_loss_scale scale = megabyte_trainer_scale(r.trainer);
    copy_state(r.model, state, false);
    begin(device, 2, &again);
    copy_state(again.model, state, true);
    check_must(megabyte_trainer_rescale(again.trainer, &scale), "rescale");
    for (uint32_t i = 4; i <= 7; i++) {
        const struct megabyte_trainer_result a = step(&r, i), b = step(&again, i);
        CHECK(a.nats == b.nats && a.loss_scale == b.loss_scale,
              "step %u resumed: loss %.9g at %g, not %.9g at %g", i, b.nats, b.loss_scale, a.nats,
              a.loss_scale);
    }
    copy_state(r.model, state, false);
    copy_state(again.model, other, false);
    CHECK(!memcmp(state, other, size), "resumed training gives other weights or moments");
    free(state);
    free(other);
    end(&again);
    end(&r);
}

void check_precision(struct tensor_device *device)
{
    static double single[STEPS]; /* the losses of this device in fp32, which comes first */
    const enum tensor_precision precision = tensor_device_info(device)->precision;
    struct outcome first, again;
    double worst = 0;
    train(device, false, &first);
    train(device, true, &again); /* what is computed again is the same */
    CHECK(!memcmp(first.losses, again.losses, sizeof again.losses) &&
              !memcmp(first.weights, again.weights, again.size),
          "%s trains to other bits the second time", names[precision]);
    if (precision == TENSOR_PRECISION_FP32)
        memcpy(single, first.losses, sizeof single);
    for (int i = 0; i < STEPS; i++)
        worst = fmax(worst, fabs(first.losses[i] / single[i] - 1));
    CHECK(worst < 0.01, "losses in %s are %g from those in fp32", names[precision], worst);
    CHECK(precision == TENSOR_PRECISION_FP32 || worst > 0, "losses in %s are those in fp32",
          names[precision]);
    free(first.weights);
    free(again.weights);
    if (precision == TENSOR_PRECISION_FP16) {
        check_overflow(device);
        check_growth(device);
    }
    check_resumed(device);
}
