/* attention_step.c - attention by one new position a sequence, for generation (op.h:
 * tensor_attention_cached). */
#include "tensor/op/attention_step.h"
#include "tensor/op/attention_cpu.h"
#include "tensor/op/attention_record.h"
#include <math.h>
#include <string.h>

#define TILE      256         /* keys of which the scores are held */
#define PARALLEL  (1u << 16)  /* multiply-adds below which waking threads costs more */
#define WORKGROUP 128

/* Head h of sequence n. */
static void attend(const struct attention_step_params *p, uint32_t n, uint32_t h)
{
    const size_t columns = (size_t)p->heads * p->head_dim, stride = 2 * columns;
    const uint32_t t = u32_at(p->slot)[2 * n + 1], dim = p->head_dim;
    const uint32_t begin = ATTENTION_BEGIN(t, p->span, p->reach), last = t % p->capacity;
    const float *q = f32_at(p->qkv) + n * 3 * columns + (size_t)h * dim;
    float *k = f32_at(p->cache) + (size_t)u32_at(p->slot)[2 * n] * p->capacity * stride +
               (size_t)h * dim;
    float *v = k + columns, *y = f32_at(p->y) + n * columns + (size_t)h * dim;
    float weight[TILE], highest = -INFINITY, sum = 0;
    memcpy(k + last * stride, q + columns, dim * sizeof *k);
    memcpy(v + last * stride, q + 2 * columns, dim * sizeof *v);
    memset(y, 0, dim * sizeof *y);
    for (uint32_t first = begin; first <= t; first += TILE) {
        const uint32_t left = t + 1 - first, count = left < TILE ? left : TILE;
        float raised = highest;
        for (uint32_t j = 0; j < count; j++) {
            weight[j] = p->scale * attention_dot(q, k + (first + j) % p->capacity * stride, dim);
            raised = weight[j] > raised ? weight[j] : raised;
        }
        const float shrink = sum > 0 ? tensor_cpu_exp(highest - raised) : 0;
#pragma omp simd
        for (uint32_t j = 0; j < count; j++)
            weight[j] = tensor_cpu_exp(weight[j] - raised);
        sum *= shrink;
        for (uint32_t d = 0; d < dim; d++)
            y[d] *= shrink;
        for (uint32_t j = 0; j < count; j++) {
            const float *row = v + (first + j) % p->capacity * stride;
            sum += weight[j];
#pragma omp simd
            for (uint32_t d = 0; d < dim; d++)
                y[d] += weight[j] * row[d];
        }
        highest = raised;
    }
    for (uint32_t d = 0; d < dim; d++)
        y[d] /= sum;
}

static int attention_step_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct attention_step_params *p = params;
    uint64_t work __attribute__((unused)) = 0; /* only OpenMP asks for it */
    for (uint32_t n = 0; n < p->sequences; n++)
        work += 2ull * (u32_at(p->slot)[2 * n + 1] + 1) * p->heads * p->head_dim;
#pragma omp parallel for collapse(2) schedule(static) if (work >= PARALLEL)
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t h = 0; h < p->heads; h++)
            attend(p, n, h);
    return 0;
}

static void attention_step_launch(const struct tensor_device_info *info, const void *params,
                                  struct tensor_launch *launch)
{
    const struct attention_step_params *p = params;
    tensor_launch_groups(launch, (uint64_t)p->sequences * p->heads);
    launch->workgroup = WORKGROUP;
    launch->constant[0] = p->head_dim;
    launch->constant[1] = p->head_dim % 4 == 0 && (p->qkv | p->cache | p->y) % 16 == 0;
}

static const struct tensor_kernel attention_step = {
    .name = "attention_step",
    .params_size = sizeof(struct attention_step_params),
    .args = 4,
    .writes = TENSOR_ARG(attention_step_params, cache) | TENSOR_ARG(attention_step_params, y),
    .cpu = attention_step_cpu,
    .launch = attention_step_launch,
    .variant = {"attention_step"},
};
const struct tensor_kernel *const tensor_kernel_attention_step = &attention_step;

struct tensor *tensor_record_attention_step(struct tensor_graph *g, struct tensor *qkv,
                                            struct tensor *cache, struct tensor *slot,
                                            const struct attention_params *params)
{
    const uint32_t rows = tensor_rows(qkv), columns = tensor_columns(qkv) / 3;
    struct tensor *y = tensor_graph_matrix(g, rows, columns);
    const struct attention_step_params p = {
        .sequences = rows, .capacity = cache->shape[1], .heads = params->heads,
        .head_dim = params->head_dim, .span = params->span, .reach = params->reach,
        .scale = params->scale};
    tensor_graph_pass(g, &attention_step, &p, (struct tensor *[]){qkv, slot, cache, y},
                      4.0 * rows * columns * cache->shape[1]);
    return y;
}
