/* attention_grad.c - gradient of causal attention: probabilities are computed again from the row's
 * log-sum-exp (Dao et al. 2022), one kernel for the queries, one for keys and values, no atomics. */
#include "tensor/op/attention_grad.h"
#include "tensor/op/attention_cpu.h"
#include <math.h>
#include <string.h>

static void grad_dot_cpu(const void *params)
{
    const struct attention_grad_dot_params *p = params;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++)
        for (uint32_t h = 0; h < p->heads; h++) {
            const size_t at = ((size_t)r * p->heads + h) * p->head_dim;
            f32_at(p->delta)[(size_t)r * p->heads + h] =
                attention_dot(f32_at(p->y) + at, f32_at(p->dy) + at, p->head_dim);
        }
}

static void grad_dot_launch(const struct tensor_device_info *info, const void *params,
                            struct tensor_launch *launch)
{
    const struct attention_grad_dot_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->heads);
}

static const struct tensor_kernel grad_dot = {
    .name = "attention_grad_dot",
    .params_size = sizeof(struct attention_grad_dot_params),
    .args = 3,
    .writes = 1u << 2,
    .cpu = grad_dot_cpu,
    .launch = grad_dot_launch,
    .variant = {"attention_grad_dot"},
};
const struct tensor_kernel *const tensor_kernel_attention_grad_dot = &grad_dot;

/* One head of one sequence. */
struct head {
    const float *q, *k, *v, *dy; /* row 0 */
    const float *lse, *delta;    /* of row 0; stride is heads */
    float *dq, *dk, *dv;
    size_t stride, stride_dy; /* elements from row to row */
    uint32_t row;             /* number of query 0 over all sequences and heads */
};

static struct head head_of(const struct attention_grad_params *p, uint32_t n, uint32_t h)
{
    const size_t width = (size_t)p->heads * p->head_dim, row = (size_t)n * p->positions;
    const size_t at = row * 3 * width + (size_t)h * p->head_dim;
    const float *qkv = f32_at(p->qkv) + at;
    float *dqkv = f32_at(p->dqkv) + at;
    return (struct head){
        .q = qkv, .k = qkv + width, .v = qkv + 2 * width,
        .dq = dqkv, .dk = dqkv + width, .dv = dqkv + 2 * width,
        .dy = f32_at(p->dy) + row * width + (size_t)h * p->head_dim,
        .lse = f32_at(p->lse) + row * p->heads + h, .delta = f32_at(p->delta) + row * p->heads + h,
        .stride = 3 * width, .stride_dy = width, .row = (n * p->heads + h) * p->positions,
    };
}

/* The probability P_ij, and P_ij with its dropout factor; dS_ij. */
static inline void pair(const struct attention_grad_params *p, const struct head *a, uint32_t i,
                        uint32_t j, float *dropped, float *ds)
{
    const uint32_t dim = p->head_dim;
    const float score =
        p->scale * attention_dot(a->q + i * a->stride, a->k + j * a->stride, dim);
    const float weight = expf(score - a->lse[(size_t)i * p->heads]);
    const float mask = attention_mask(u32_at(p->random), a->row + i, j, p->stream, p->threshold,
                                      p->drop_scale);
    const float dp = mask == 0 ? 0 : mask * attention_dot(a->dy + i * a->stride_dy,
                                                          a->v + j * a->stride, dim);
    *dropped = weight * mask;
    *ds = p->scale * weight * (dp - a->delta[(size_t)i * p->heads]);
}

static void grad_query_cpu(const void *params)
{
    const struct attention_grad_params *p = params;
#pragma omp parallel for collapse(2) schedule(static)
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t h = 0; h < p->heads; h++) {
            const struct head a = head_of(p, n, h);
            for (uint32_t i = 0; i < p->positions; i++) {
                float *dq = a.dq + i * a.stride, dropped, ds;
                memset(dq, 0, p->head_dim * sizeof *dq);
                for (uint32_t j = 0; j <= i; j++) {
                    pair(p, &a, i, j, &dropped, &ds);
                    attention_add(dq, ds, a.k + j * a.stride, p->head_dim);
                }
            }
        }
}

static void grad_key_cpu(const void *params)
{
    const struct attention_grad_params *p = params;
#pragma omp parallel for collapse(2) schedule(static)
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t h = 0; h < p->heads; h++) {
            const struct head a = head_of(p, n, h);
            for (uint32_t j = 0; j < p->positions; j++) {
                float *dk = a.dk + j * a.stride, *dv = a.dv + j * a.stride, dropped, ds;
                memset(dk, 0, p->head_dim * sizeof *dk);
                memset(dv, 0, p->head_dim * sizeof *dv);
                for (uint32_t i = j; i < p->positions; i++) {
                    pair(p, &a, i, j, &dropped, &ds);
                    attention_add(dk, ds, a.q + i * a.stride, p->head_dim);
                    attention_add(dv, dropped, a.dy + i * a.stride_dy, p->head_dim);
                }
            }
        }
}

static void grad_launch(const struct tensor_device_info *info, const void *params,
                        struct tensor_launch *launch)
{
    const struct attention_grad_params *p = params;
    launch->constant[0] = p->head_dim;
    launch->constant[1] = p->head_dim % 4 == 0 && (p->qkv | p->dy | p->dqkv) % 16 == 0;
    tensor_launch_items(launch, (uint64_t)p->sequences * p->heads * p->positions);
}

static const struct tensor_kernel grad_query = {
    .name = "attention_grad_query",
    .params_size = sizeof(struct attention_grad_params),
    .args = 6,
    .writes = 1u << 5,
    .cpu = grad_query_cpu,
    .launch = grad_launch,
    .variant = {"attention_grad_query"},
};
const struct tensor_kernel *const tensor_kernel_attention_grad_query = &grad_query;

static const struct tensor_kernel grad_key = {
    .name = "attention_grad_key",
    .params_size = sizeof(struct attention_grad_params),
    .args = 6,
    .writes = 1u << 5,
    .cpu = grad_key_cpu,
    .launch = grad_launch,
    .variant = {"attention_grad_key"},
};
const struct tensor_kernel *const tensor_kernel_attention_grad_key = &grad_key;

void tensor_attention_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *qkv = node->input[0], *y = node->output, *lse = node->saved[0];
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    const uint32_t rows = tensor_rows(y), heads = node->number[1];
    const uint32_t dim = tensor_columns(y) / heads;
    struct tensor *delta = tensor_graph_matrix(g, rows, heads);
    const struct attention_grad_dot_params dot = {.rows = rows, .heads = heads, .head_dim = dim};
    tensor_graph_pass(g, &grad_dot, &dot, (struct tensor *[]){y, dy, delta}, 0);

    struct tensor *dqkv = tensor_graph_like(g, qkv);
    const struct attention_grad_params p = {
        .sequences = rows / node->number[0], .positions = node->number[0], .heads = heads,
        .head_dim = dim, .stream = node->number[2], .threshold = node->number[3],
        .scale = node->real[0], .drop_scale = node->real[1]};
    struct tensor *const args[] = {qkv, dy, lse, delta,
                                   p.threshold ? tensor_graph_random(g) : NULL, dqkv};
    const double pairs = 0.5 * rows * (node->number[0] + 1.0) * tensor_columns(y);
    tensor_graph_pass(g, &grad_query, &p, args, 6 * pairs); /* q·k, dy·v, dS k */
    tensor_graph_pass(g, &grad_key, &p, args, 8 * pairs);   /* q·k, dy·v, dS q, P dy */
    tensor_graph_give(g, qkv, dqkv);
}
