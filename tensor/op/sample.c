/* sample.c - chooses symbols by their logits: temperature, top-k and top-p, in this order (op.h:
 * tensor_sample). */
#include "tensor/op/sample.h"
#include "tensor/contract.h"
#include "tensor/cpu/exp.h"
#include "tensor/random.h"
#include <string.h>

#define SYMBOLS 256

_Static_assert((int)TENSOR_SAMPLE_SETTINGS == SAMPLE_SETTINGS &&
                   (int)TENSOR_SAMPLE_TOP_P == SAMPLE_TOP_P &&
                   (int)TENSOR_SAMPLE_STREAM == SAMPLE_STREAM && TENSOR_SAMPLE_NONE == SAMPLE_NONE,
               "op.h and sample.h list the same settings");

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Uniform in (0, 1), of this sequence and draw. */
static float uniform_number(const uint32_t *settings, uint32_t column)
{
    const uint32_t low = settings[SAMPLE_DRAW_LOW] + column;
    const uint32_t high = settings[SAMPLE_DRAW_HIGH] + (low < column);
    const struct tensor_random r =
        tensor_random(low, high, settings[SAMPLE_STREAM], SAMPLE_WORD, settings[SAMPLE_SEED_LOW],
                      settings[SAMPLE_SEED_HIGH]);
    const float x = ((float)r.word[0] + 0.5f) / 4294967296.0f;
    return x < 0.99999994f ? x : 0.99999994f;
}

struct sorted {
    float logit[SYMBOLS];
    uint32_t symbol[SYMBOLS];
};

/* The likeliest first, equal ones by symbol. False: one is not finite. */
static bool sort(const float *logits, struct sorted *s)
{
    uint32_t flaws = 0;
    for (uint32_t v = 0; v < SYMBOLS; v++) {
        uint32_t bits;
        memcpy(&bits, logits + v, sizeof bits);
        flaws |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    for (int32_t v = 0; v < SYMBOLS && !flaws; v++) {
        const float x = logits[v];
        int32_t rank = 0;
#pragma omp simd reduction(+ : rank)
        for (int32_t w = 0; w < SYMBOLS; w++)
            rank += (logits[w] > x) | ((logits[w] == x) & (w < v));
        s->logit[rank] = x;
        s->symbol[rank] = (uint32_t)v;
    }
    return !flaws;
}

static uint32_t choose(const uint32_t *settings, uint32_t column, const float *logits)
{
    const float temperature = float_of(settings[SAMPLE_TEMPERATURE]);
    const float top_p = float_of(settings[SAMPLE_TOP_P]);
    const uint32_t top_k = settings[SAMPLE_TOP_K];
    struct sorted s;
    float weight[SYMBOLS], sums[SYMBOLS], sum = 0;
    if (!sort(logits, &s))
        return SAMPLE_NONE;
    if (temperature <= 0)
        return s.symbol[0];
    uint32_t count = top_k && top_k < SYMBOLS ? top_k : SYMBOLS;
    for (uint32_t i = 0; i < count; i++) {
        const float x = (s.logit[i] - s.logit[0]) / temperature;
        weight[i] = x < -87 ? 0 : tensor_cpu_exp(x);
    }
    for (uint32_t i = 0; i < count; i++)
        sums[i] = sum += weight[i];
    if (top_p < 1) {
        uint32_t i = 0;
        while (i + 1 < count && sums[i] < top_p * sum)
            i++;
        count = i + 1;
    }
    const float left = uniform_number(settings, column) * sums[count - 1];
    for (uint32_t i = 0; i < count; i++)
        if (weight[i] > 0 && sums[i] > left)
            return s.symbol[i];
    return s.symbol[0];
}

static int sample_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct sample_params *p = params;
    for (uint32_t n = 0; n < p->rows; n++) {
        const uint32_t *settings = u32_at(p->settings) + (size_t)n * SAMPLE_SETTINGS;
        if (p->column >= settings[SAMPLE_GIVEN])
            u32_at(p->symbols)[(size_t)n * p->columns + p->column] =
                choose(settings, p->column, f32_at(p->logits) + (size_t)n * SYMBOLS);
    }
    return 0;
}

static void sample_launch(const struct tensor_device_info *info, const void *params,
                          struct tensor_launch *launch)
{
    tensor_launch_groups(launch, ((const struct sample_params *)params)->rows);
    launch->workgroup = SYMBOLS;
}

static const struct tensor_kernel sample = {
    .name = "sample",
    .params_size = sizeof(struct sample_params),
    .args = 3,
    .writes = TENSOR_ARG(sample_params, symbols),
    .cpu = sample_cpu,
    .launch = sample_launch,
    .variant = {"sample"},
};
const struct tensor_kernel *const tensor_kernel_sample = &sample;

void tensor_sample(struct tensor_graph *g, struct tensor *logits, struct tensor *settings,
                   struct tensor *symbols, uint32_t column)
{
    const uint32_t rows = tensor_rows(logits), columns = tensor_columns(symbols);
    if (!tensor_check(g, tensor_columns(logits) == SYMBOLS && settings->type == TENSOR_U32 &&
                             settings->count == (uint64_t)rows * SAMPLE_SETTINGS, "sample",
                      "logits (N, 256), settings (N, 9) U32", logits, settings) ||
        !tensor_check(g, symbols->type == TENSOR_U32 && tensor_rows(symbols) == rows &&
                             column < columns, "sample",
                      "logits (N, 256), symbols (N, P) U32, p < P", logits, symbols))
        return;
    const struct sample_params p = {.rows = rows, .columns = columns, .column = column};
    tensor_graph_pass(g, &sample, &p, (struct tensor *[]){logits, settings, symbols}, 0);
}
