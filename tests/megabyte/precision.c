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

static struct megabyte_config small_config(void)
{
    struct megabyte_config c;
    check_must(megabyte_config_preset("tiny", &c), "preset");
    c.seq_len = BYTES;
    c.patch_size = 3;
    c.global = (struct megabyte_stage){30, 2, 3};
    c.local = (struct megabyte_stage){18, 1, 2};
    c.batch = BATCH;
    c.micro_batch = 2;
    c.dropout = 0.1;
    return c;
}

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
            CHECK(!w->narrow, "%s has a 16-bit copy in fp32", p->name);
            continue;
        }
        float *wide = check_allocate(tensor_size(w));
        uint16_t *narrow = check_allocate(tensor_size(w->narrow));
        check_must(tensor_read(w, 0, wide, tensor_size(w)), "read");
        check_must(tensor_read(w->narrow, 0, narrow, tensor_size(w->narrow)), "read");
        uint64_t j = 0;
        while (j < w->count && narrow[j] == rounded(wide[j], precision))
            j++;
        CHECK(j == w->count, "%s: element %u of %s is %g, and %#x in 16 bits", names[precision],
              (unsigned)j, p->name, (double)wide[j], narrow[j]);
        free(wide);
        free(narrow);
    }
}

struct outcome {
    double losses[STEPS];
    float *weights; /* the first tensor of the model */
    uint64_t size;
};

static void train(struct tensor_device *device, bool recompute, struct outcome *o)
{
    struct megabyte_config c = small_config();
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
}
