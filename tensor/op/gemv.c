/* gemv.c - linear layers of a few rows, in one pass over the weight (op.h: tensor_gemv). */
#include "tensor/op/gemv.h"
#include "tensor/contract.h"
#include "tensor/cpu/convert.h"
#include <math.h>
#include <string.h>

#define AT(member) TENSOR_AT(gemv_params, member)

#define LANES    16 /* inputs that are multiplied together */
#define OUTPUTS  4  /* outputs of a tile */
#define ROWS     4  /* rows of a tile, at most */
#define PARALLEL (1u << 17) /* multiply-adds below which waking threads costs more */

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

/* LANES elements of the weight from number i on; half precision as in tensor_from_f16(). */
static inline __attribute__((always_inline)) void load(const void *weight, size_t i, uint32_t type,
                                                       lanes *to)
{
    if (type == ELEMENT_F32) {
        memcpy(to, (const float *)weight + i, sizeof *to);
        return;
    }
    halves half;
    memcpy(&half, (const uint16_t *)weight + i, sizeof half);
    const words bits = __builtin_convertvector(half, words);
    if (type == ELEMENT_BF16) {
        *to = (lanes)(bits << 16);
        return;
    }
    const words size = (bits & 0x7fff) << 13, sign = bits << 16 & (int32_t)0x80000000;
    const words small = (words)(__builtin_convertvector(bits & 0x7fff, lanes) * 0x1p-24f);
    const words is_small = size < 0x800000, is_large = size >= 0xf800000;
    const words large = (size + 0x38000000) + (is_large & 0x38000000);
    *to = (lanes)((is_small & small) | (~is_small & large) | sign);
}

static inline float element(const void *weight, size_t i, uint32_t type)
{
    return type == ELEMENT_F32 ? ((const float *)weight)[i]
                               : tensor_from_16bit(((const uint16_t *)weight)[i], type);
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
                                                       size_t first, int outputs, int rows,
                                                       uint32_t type, float sum[OUTPUTS][ROWS])
{
    const size_t inputs = p->inputs, whole = inputs / LANES * LANES;
    const void *weight = f32_at(p->weight);
    lanes part[OUTPUTS][ROWS];
    memset(part, 0, sizeof part);
    for (size_t i = 0; i < whole; i += LANES) {
        lanes w[OUTPUTS];
        for (int o = 0; o < outputs; o++)
            load(weight, (first + (size_t)o) * inputs + i, type, &w[o]);
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
                sum[o][r] += element(weight, (first + (size_t)o) * inputs + i, type) *
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
            tile(p, x, first + o, OUTPUTS, rows_, type, sum);                                      \
        else                                                                                       \
            tile(p, x, first + o, 1, rows_, type, sum + o)

/* Up to OUTPUTS outputs of all rows. */
static inline __attribute__((always_inline)) void outputs_of(const struct gemv_params *p,
                                                             const float *rows, uint32_t first,
                                                             uint32_t type)
{
    const uint32_t left = p->outputs - first, outputs = left < OUTPUTS ? left : OUTPUTS;
    const uint32_t step = outputs == OUTPUTS ? OUTPUTS : 1;
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
static void prepare(const struct gemv_params *p, uint32_t r, uint32_t type)
{
    const float *x = f32_at(p->x) + (size_t)r * p->inputs;
    const float *gain = f32_at(p->gain), *shift = f32_at(p->shift);
    float *y = f32_at(p->scratch) + (size_t)r * p->inputs, sum = 0, square = 0;
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
    for (uint32_t i = 0; type != ELEMENT_F32 && i < p->inputs; i++)
        y[i] = tensor_from_16bit(tensor_to_16bit(y[i], type), type);
}

static uint32_t type_of(const struct gemv_params *p)
{
    return p->flags & GEMV_BF16 ? ELEMENT_BF16 : p->flags & GEMV_F16 ? ELEMENT_F16 : ELEMENT_F32;
}

static int gemv_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct gemv_params *p = params;
    const float *rows = f32_at(p->x);
    const uint32_t type = type_of(p);
    if (p->flags & GEMV_NORM || type != ELEMENT_F32) {
        for (uint32_t r = 0; r < p->rows; r++)
            prepare(p, r, type);
        rows = f32_at(p->scratch);
    }
    const bool large __attribute__((unused)) = /* only OpenMP asks for it */
        (uint64_t)p->rows * p->inputs * p->outputs >= PARALLEL;
#pragma omp parallel for schedule(static) if (large)
    for (uint32_t o = 0; o < p->outputs; o += OUTPUTS)
        switch (type) {
        case ELEMENT_BF16: outputs_of(p, rows, o, ELEMENT_BF16); break;
        case ELEMENT_F16: outputs_of(p, rows, o, ELEMENT_F16); break;
        default: outputs_of(p, rows, o, ELEMENT_F32); break;
        }
    return 0;
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
    .writes = TENSOR_ARG(gemv_params, scratch) | TENSOR_ARG(gemv_params, y),
    .args16 = TENSOR_ARG(gemv_params, weight),
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
    struct tensor *weight = tensor_graph_cast16(g, layer->weight);
    const uint32_t type = weight->type == TENSOR_BF16  ? GEMV_BF16
                          : weight->type == TENSOR_F16 ? GEMV_F16
                                                       : 0;
    const struct gemv_params p = {
        .rows = rows, .inputs = inputs, .outputs = outputs, .epsilon = layer->epsilon,
        .flags = (gain ? GEMV_NORM : 0) | (bias ? GEMV_BIAS : 0) | (layer->relu ? GEMV_RELU : 0) |
                 (residual ? GEMV_RESIDUAL : 0) | type};
    struct tensor *scratch = gain || type ? tensor_graph_like(g, x) : NULL;
    tensor_graph_pass(g, &gemv, &p, (struct tensor *[TENSOR_PASS_ARGS]){
        AT(x) = x, AT(gain) = layer->gain, AT(shift) = layer->shift, AT(weight) = weight,
        AT(bias) = layer->bias, AT(residual) = layer->residual, AT(scratch) = scratch, AT(y) = y},
        2.0 * rows * inputs * outputs);
    return y;
}
