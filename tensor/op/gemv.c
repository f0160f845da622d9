/* gemv.c - linear layers of a few rows, in one pass over the weight (op.h: tensor_gemv). */
#include "tensor/op/gemv.h"
#include "tensor/contract.h"
#include "tensor/cpu/bf16.h"
#include <math.h>
#include <string.h>

#define LANES    16 /* inputs that are multiplied together */
#define OUTPUTS  4  /* outputs of a tile */
#define ROWS     4  /* rows of a tile, at most */
#define PARALLEL (1u << 17) /* multiply-adds below which waking threads costs more */

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t words __attribute__((vector_size(4 * LANES)));

/* x to bfloat16, as tensor_to_bf16() rounds. */
#define ROUND_LANES(x)                                                                             \
    do {                                                                                           \
        const words bits = (words)(x), nan = (bits & 0x7fffffff) > 0x7f800000;                     \
        const words near = (bits + 0x7fff + (bits >> 16 & 1)) & (int32_t)0xffff0000;               \
        (x) = (lanes)((nan & (bits | 0x400000)) | (~nan & near));                                  \
    } while (0)

static float rounded(float x, bool bf16)
{
    return bf16 ? tensor_from_bf16(tensor_to_bf16(x)) : x;
}

static float sum_of(const lanes *x)
{
    float part[LANES];
    memcpy(part, x, sizeof part);
    for (int span = LANES / 2; span; span /= 2)
        for (int i = 0; i < span; i++)
            part[i] += part[i + span];
    return part[0];
}

/* A tile of outputs by rows. Inlined with constant sizes: every sum is taken in the same order
 * whatever they are. */
static inline __attribute__((always_inline)) void tile(const struct gemv_params *p, const float *x,
                                                       const float *weight, int outputs, int rows,
                                                       bool bf16, float sum[OUTPUTS][ROWS])
{
    const size_t inputs = p->inputs, whole = inputs / LANES * LANES;
    lanes part[OUTPUTS][ROWS];
    memset(part, 0, sizeof part);
    for (size_t i = 0; i < whole; i += LANES) {
        lanes w[OUTPUTS];
        for (int o = 0; o < outputs; o++) {
            memcpy(&w[o], weight + (size_t)o * inputs + i, sizeof w[o]);
            if (bf16)
                ROUND_LANES(w[o]);
        }
        for (int r = 0; r < rows; r++) {
            lanes a;
            memcpy(&a, x + (size_t)r * inputs + i, sizeof a);
            for (int o = 0; o < outputs; o++)
                part[o][r] += w[o] * a;
        }
    }
    for (int o = 0; o < outputs; o++)
        for (int r = 0; r < rows; r++) {
            sum[o][r] = sum_of(&part[o][r]);
            for (size_t i = whole; i < inputs; i++)
                sum[o][r] += rounded(weight[(size_t)o * inputs + i], bf16) *
                             x[(size_t)r * inputs + i];
        }
}

static void store(const struct gemv_params *p, uint32_t first_row, uint32_t rows, uint32_t first,
                  uint32_t outputs, float sum[OUTPUTS][ROWS])
{
    const float *bias = f32_at(p->bias), *residual = f32_at(p->residual);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t o = 0; o < outputs; o++) {
            const size_t at = (size_t)(first_row + r) * p->outputs + first + o;
            float y = sum[o][r];
            if (p->flags & GEMV_BIAS)
                y += bias[first + o];
            if (p->flags & GEMV_RELU)
                y = y > 0 ? y : 0;
            if (p->flags & GEMV_RESIDUAL)
                y += residual[at];
            f32_at(p->y)[at] = y;
        }
}

#define TILE(rows_)                                                                                \
    for (uint32_t o = 0; o < outputs; o += step)                                                   \
        if (step == OUTPUTS)                                                                       \
            tile(p, x, weight + (size_t)o * p->inputs, OUTPUTS, rows_, bf16, sum);                 \
        else                                                                                       \
            tile(p, x, weight + (size_t)o * p->inputs, 1, rows_, bf16, sum + o)

/* Up to OUTPUTS outputs of all rows. */
static inline __attribute__((always_inline)) void outputs_of(const struct gemv_params *p,
                                                             const float *rows, uint32_t first,
                                                             bool bf16)
{
    const uint32_t left = p->outputs - first, outputs = left < OUTPUTS ? left : OUTPUTS;
    const uint32_t step = outputs == OUTPUTS ? OUTPUTS : 1;
    const float *weight = f32_at(p->weight) + (size_t)first * p->inputs;
    for (uint32_t r = 0; r < p->rows; r += ROWS) {
        const uint32_t count = p->rows - r < ROWS ? p->rows - r : ROWS;
        const float *x = rows + (size_t)r * p->inputs;
        float sum[OUTPUTS][ROWS];
        switch (count) {
        case 1:
            TILE(1);
            break;
        case 2:
            TILE(2);
            break;
        case 3:
            TILE(3);
            break;
        default:
            TILE(4);
        }
        store(p, r, count, first, outputs, sum);
    }
}

/* Row r as it is multiplied: normalised, rounded, or both. */
static void prepare(const struct gemv_params *p, uint32_t r)
{
    const float *x = f32_at(p->x) + (size_t)r * p->inputs;
    const float *gain = f32_at(p->gain), *shift = f32_at(p->shift);
    float *y = f32_at(p->room) + (size_t)r * p->inputs, sum = 0, square = 0;
    if (!(p->flags & GEMV_NORM)) {
        memcpy(y, x, p->inputs * sizeof *y);
    } else {
#pragma omp simd reduction(+ : sum)
        for (uint32_t i = 0; i < p->inputs; i++)
            sum += x[i];
        const float mean = sum / (float)p->inputs;
#pragma omp simd reduction(+ : square)
        for (uint32_t i = 0; i < p->inputs; i++)
            square += (x[i] - mean) * (x[i] - mean);
        const float rstd = 1 / sqrtf(square / (float)p->inputs + p->epsilon);
#pragma omp simd
        for (uint32_t i = 0; i < p->inputs; i++)
            y[i] = (x[i] - mean) * rstd * gain[i] + shift[i];
    }
    for (uint32_t i = 0; p->flags & GEMV_BF16 && i < p->inputs; i++)
        y[i] = rounded(y[i], true);
}

static void gemv_cpu(const void *params)
{
    const struct gemv_params *p = params;
    const float *rows = f32_at(p->x);
    if (p->flags & (GEMV_NORM | GEMV_BF16)) {
        for (uint32_t r = 0; r < p->rows; r++)
            prepare(p, r);
        rows = f32_at(p->room);
    }
    const bool large = (uint64_t)p->rows * p->inputs * p->outputs >= PARALLEL;
#pragma omp parallel for schedule(static) if (large)
    for (uint32_t o = 0; o < p->outputs; o += OUTPUTS)
        if (p->flags & GEMV_BF16)
            outputs_of(p, rows, o, true);
        else
            outputs_of(p, rows, o, false);
}

static void gemv_launch(const struct tensor_device_info *info, const void *params,
                        struct tensor_launch *launch)
{
    const struct gemv_params *p = params;
    const uint32_t rows = p->rows < GEMV_ROWS ? p->rows : GEMV_ROWS;
    tensor_launch_rows(info, launch, (p->outputs + 1) / 2);
    launch->groups[2] = (p->rows + rows - 1) / rows;
    launch->constant[0] = p->flags;
    launch->constant[1] =
        p->inputs % 4 == 0 && (p->x | p->gain | p->shift | p->weight) % 16 == 0;
    launch->constant[2] = rows;
}

static const struct tensor_kernel gemv = {
    .name = "gemv",
    .params_size = sizeof(struct gemv_params),
    .args = 8,
    .writes = 1u << 6 | 1u << 7,
    .cpu = gemv_cpu,
    .launch = gemv_launch,
    .variant = {"gemv"},
};
const struct tensor_kernel *const tensor_kernel_gemv = &gemv;

struct tensor *tensor_gemv(struct tensor_graph *g, struct tensor *x,
                           const struct tensor_gemv *layer)
{
    const uint32_t rows = tensor_rows(x), inputs = tensor_columns(x);
    const uint32_t outputs = layer->weight->shape[0];
    const struct tensor *gain = layer->gain, *shift = layer->shift, *bias = layer->bias;
    const struct tensor *residual = layer->residual;
    if (!tensor_check(g, layer->weight->rank == 2 && layer->weight->shape[1] == inputs, "gemv",
                      "x (R, I), weight (O, I)", x, layer->weight) ||
        !tensor_check(g, !gain == !shift && (!gain || gain->count == inputs) &&
                             (!shift || shift->count == inputs), "gemv",
                      "x (R, I), gain and shift (I)", x, gain ? gain : layer->weight) ||
        !tensor_check(g, (!bias || bias->count == outputs) &&
                             (!residual || residual->count == (uint64_t)rows * outputs), "gemv",
                      "weight (O, I), bias (O), residual (R, O)", layer->weight,
                      residual ? residual : bias ? bias : layer->weight))
        return x;
    struct tensor *y = tensor_graph_matrix(g, rows, outputs);
    const uint32_t bf16 = tensor_graph_precision(g) == TENSOR_PRECISION_BF16 ? GEMV_BF16 : 0;
    const struct gemv_params p = {
        .rows = rows, .inputs = inputs, .outputs = outputs, .epsilon = layer->epsilon,
        .flags = (gain ? GEMV_NORM : 0) | (bias ? GEMV_BIAS : 0) | (layer->relu ? GEMV_RELU : 0) |
                 (residual ? GEMV_RESIDUAL : 0) | bf16};
    struct tensor *room = gain || bf16 ? tensor_graph_like(g, x) : NULL;
    tensor_graph_pass(g, &gemv, &p, (struct tensor *[]){
        x, layer->gain, layer->shift, layer->weight, layer->bias, layer->residual, room, y},
        2.0 * rows * inputs * outputs);
    return y;
}
