/* layer_norm.c - layer normalisation by row (op.h: tensor_layer_norm). */
#include "tensor/op/layer_norm.h"
#include "tensor/contract.h"
#include "tensor/cpu/convert.h"
#include <math.h>

#define CHUNK 64 /* rows that one invocation adds for the gradients of gain and bias */

/* Element c of a row, which is at one of the two. */
static inline __attribute__((always_inline)) float element(const float *x, const uint16_t *halves,
                                                           uint32_t c, uint32_t type)
{
    return type == ELEMENT_F32 ? x[c] : tensor_from_16bit(halves[c], type);
}

/* A row, of which `type` is known where this is compiled into its callers; so below. */
static inline __attribute__((always_inline)) void normalise(const struct layer_norm_params *p,
                                                            uint32_t r, uint32_t type)
{
    const float *gain = f32_at(p->gain), *bias = f32_at(p->bias);
    const uint32_t columns = p->columns;
    const size_t begin = (size_t)r * columns;
    const float *x = f32_at(p->x) + begin;
    float *y = f32_at(p->y) + begin, *stat = f32_at(p->stat) + 2 * (size_t)r;
    uint16_t *halves = u16_at(p->y) + begin;
    float sum = 0, square = 0;
#pragma omp simd reduction(+ : sum)
    for (uint32_t c = 0; c < columns; c++)
        sum += x[c];
    const float mean = sum / (float)columns;
#pragma omp simd reduction(+ : square)
    for (uint32_t c = 0; c < columns; c++)
        square += (x[c] - mean) * (x[c] - mean);
    const float rstd = 1 / sqrtf(square / (float)columns + p->epsilon);
    if (type == ELEMENT_F32) {
#pragma omp simd
        for (uint32_t c = 0; c < columns; c++)
            y[c] = (x[c] - mean) * rstd * gain[c] + bias[c];
    } else {
#pragma omp simd
        for (uint32_t c = 0; c < columns; c++)
            halves[c] = tensor_to_16bit((x[c] - mean) * rstd * gain[c] + bias[c], type);
    }
    stat[0] = mean;
    stat[1] = rstd;
}

static int layer_norm_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct layer_norm_params *p = params;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++)
        switch (p->type) {
        case ELEMENT_BF16: normalise(p, r, ELEMENT_BF16); break;
        case ELEMENT_F16: normalise(p, r, ELEMENT_F16); break;
        default: normalise(p, r, ELEMENT_F32); break;
        }
    return 0;
}

static void layer_norm_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    const struct layer_norm_params *p = params;
    launch->constant[0] = p->type;
    tensor_launch_rows(info, launch, p->rows);
}

static const struct tensor_kernel layer_norm = {
    .name = "layer_norm",
    .params_size = sizeof(struct layer_norm_params),
    .args = 5,
    .writes = TENSOR_ARG(layer_norm_params, y) | TENSOR_ARG(layer_norm_params, stat),
    .args16 = TENSOR_ARG(layer_norm_params, y),
    .cpu = layer_norm_cpu,
    .launch = layer_norm_launch,
    .variant = {"layer_norm"},
};
const struct tensor_kernel *const tensor_kernel_layer_norm = &layer_norm;

static inline __attribute__((always_inline)) void
normalise_grad(const struct layer_norm_grad_params *p, uint32_t r, uint32_t type)
{
    const float *gain = f32_at(p->gain), *stat = f32_at(p->stat) + 2 * (size_t)r;
    const uint32_t columns = p->columns;
    const size_t begin = (size_t)r * columns;
    const float *x = f32_at(p->x) + begin;
    const float *dy = f32_at(p->dy) + begin;
    const uint16_t *halves = u16_at(p->dy) + begin;
    float *dx = f32_at(p->dx) + begin;
    const float mean = stat[0], rstd = stat[1];
    float sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
    for (uint32_t c = 0; c < columns; c++) {
        const float e = element(dy, halves, c, type) * gain[c];
        sum += e;
        dot += e * (x[c] - mean) * rstd;
    }
    sum /= (float)columns;
    dot /= (float)columns;
    if (!p->accumulate) { /* what lies there may be anything, even NaN */
#pragma omp simd
        for (uint32_t c = 0; c < columns; c++)
            dx[c] = rstd * (element(dy, halves, c, type) * gain[c] - sum -
                            (x[c] - mean) * rstd * dot);
    } else {
#pragma omp simd
        for (uint32_t c = 0; c < columns; c++)
            dx[c] += rstd * (element(dy, halves, c, type) * gain[c] - sum -
                             (x[c] - mean) * rstd * dot);
    }
}

static int layer_norm_grad_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct layer_norm_grad_params *p = params;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++)
        switch (p->type) {
        case ELEMENT_BF16: normalise_grad(p, r, ELEMENT_BF16); break;
        case ELEMENT_F16: normalise_grad(p, r, ELEMENT_F16); break;
        default: normalise_grad(p, r, ELEMENT_F32); break;
        }
    return 0;
}

static void layer_norm_grad_launch(const struct tensor_device_info *info, const void *params,
                                   struct tensor_launch *launch)
{
    const struct layer_norm_grad_params *p = params;
    launch->constant[0] = p->type;
    tensor_launch_rows(info, launch, p->rows);
}

static const struct tensor_kernel layer_norm_grad = {
    .name = "layer_norm_grad",
    .params_size = sizeof(struct layer_norm_grad_params),
    .args = 5,
    .writes = TENSOR_ARG(layer_norm_grad_params, dx),
    .args16 = TENSOR_ARG(layer_norm_grad_params, dy),
    .cpu = layer_norm_grad_cpu,
    .launch = layer_norm_grad_launch,
    .variant = {"layer_norm_grad"},
};
const struct tensor_kernel *const tensor_kernel_layer_norm_grad = &layer_norm_grad;

static inline __attribute__((always_inline)) void
add_row(const struct layer_norm_grad_gain_params *p, uint32_t r, float *dgain, float *dbias,
        uint32_t type)
{
    const size_t begin = (size_t)r * p->columns;
    const float *x = f32_at(p->x) + begin, *dy = f32_at(p->dy) + begin;
    const uint16_t *halves = u16_at(p->dy) + begin;
    const float mean = f32_at(p->stat)[2 * (size_t)r], rstd = f32_at(p->stat)[2 * (size_t)r + 1];
#pragma omp simd
    for (uint32_t c = 0; c < p->columns; c++) {
        const float d = element(dy, halves, c, type);
        dgain[c] += d * (x[c] - mean) * rstd;
        dbias[c] += d;
    }
}

static int layer_norm_grad_gain_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct layer_norm_grad_gain_params *p = params;
    const uint32_t columns = p->columns, chunks = (p->rows + p->chunk - 1) / p->chunk;
#pragma omp parallel for schedule(static)
    for (uint32_t i = 0; i < chunks; i++) {
        float *dgain = f32_at(p->partial) + (size_t)i * 2 * columns, *dbias = dgain + columns;
        for (uint32_t c = 0; c < 2 * columns; c++)
            dgain[c] = 0;
        for (uint32_t r = i * p->chunk; r < (i + 1) * p->chunk && r < p->rows; r++)
            switch (p->type) {
            case ELEMENT_BF16: add_row(p, r, dgain, dbias, ELEMENT_BF16); break;
            case ELEMENT_F16: add_row(p, r, dgain, dbias, ELEMENT_F16); break;
            default: add_row(p, r, dgain, dbias, ELEMENT_F32); break;
            }
    }
    return 0;
}

static void layer_norm_grad_gain_launch(const struct tensor_device_info *info, const void *params,
                                        struct tensor_launch *launch)
{
    const struct layer_norm_grad_gain_params *p = params;
    launch->constant[0] = p->type;
    tensor_launch_items(launch, (uint64_t)((p->rows + p->chunk - 1) / p->chunk) * p->columns);
}

static const struct tensor_kernel layer_norm_grad_gain = {
    .name = "layer_norm_grad_gain",
    .params_size = sizeof(struct layer_norm_grad_gain_params),
    .args = 4,
    .writes = TENSOR_ARG(layer_norm_grad_gain_params, partial),
    .args16 = TENSOR_ARG(layer_norm_grad_gain_params, dy),
    .cpu = layer_norm_grad_gain_cpu,
    .launch = layer_norm_grad_gain_launch,
    .variant = {"layer_norm_grad_gain"},
};
const struct tensor_kernel *const tensor_kernel_layer_norm_grad_gain = &layer_norm_grad_gain;

static void gain_gradient(struct tensor_graph *g, const struct tensor_node *node, struct tensor *dy)
{
    struct tensor *x = node->input[0], *gain = node->input[1], *bias = node->input[2];
    const uint32_t rows = tensor_rows(x), columns = tensor_columns(x);
    const uint32_t chunks = (rows + CHUNK - 1) / CHUNK;
    struct tensor *partial = tensor_graph_matrix(g, chunks, 2 * columns);
    const struct layer_norm_grad_gain_params p = {.rows = rows, .columns = columns, .chunk = CHUNK,
                                                  .type = tensor_element_type(dy)};
    tensor_graph_pass(g, &layer_norm_grad_gain, &p,
                      (struct tensor *[]){x, node->saved[0], dy, partial}, 0);
    struct tensor *const to[2] = {gain, bias};
    for (uint32_t i = 0; i < 2; i++) {
        if (!tensor_graph_wants(g, to[i]))
            continue;
        uint32_t add;
        struct tensor *half = tensor_graph_view(g, partial, i * columns, 1, (uint32_t[]){columns});
        struct tensor *target = tensor_graph_target(g, to[i], &add);
        tensor_record_sum_rows(g, half, chunks, columns, 2 * columns, target, add);
    }
}

static void layer_norm_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *x = node->input[0], *gain = node->input[1];
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    if (tensor_graph_wants(g, gain) || tensor_graph_wants(g, node->input[2]))
        gain_gradient(g, node, dy);
    if (!tensor_graph_wants(g, x))
        return;
    struct layer_norm_grad_params p = {.rows = tensor_rows(x), .columns = tensor_columns(x),
                                       .type = tensor_element_type(dy)};
    struct tensor *dx = tensor_graph_target(g, x, &p.accumulate);
    tensor_graph_pass(g, &layer_norm_grad, &p, (struct tensor *[]){x, gain, node->saved[0], dy, dx},
                      0);
}

struct tensor *tensor_layer_norm(struct tensor_graph *g, struct tensor *x, struct tensor *gain,
                                 struct tensor *bias, float epsilon, bool low_precision)
{
    const uint32_t rows = tensor_rows(x), columns = tensor_columns(x);
    if (!tensor_check(g, gain->count == columns, "layer_norm", "x (R, C), gain (C)", x, gain) ||
        !tensor_check(g, bias->count == columns, "layer_norm", "x (R, C), bias (C)", x, bias))
        return x;
    const enum tensor_type type =
        low_precision && columns % 4 == 0 ? tensor_graph_factor_type(g) : TENSOR_F32;
    struct tensor *y = tensor_graph_new(g, type, 2, (uint32_t[]){rows, columns});
    struct tensor *stat = tensor_graph_matrix(g, rows, 2);
    const struct layer_norm_params p = {.rows = rows, .columns = columns, .epsilon = epsilon,
                                        .type = tensor_element_type(y)};
    tensor_graph_pass(g, &layer_norm, &p, (struct tensor *[]){x, gain, bias, y, stat}, 0);
    tensor_graph_node(g, &(struct tensor_node){layer_norm_gradient, .output = y,
                                               .input = {x, gain, bias}, .saved = {stat}});
    return y;
}
