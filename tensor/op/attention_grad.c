/* attention_grad.c - gradient of causal attention: probabilities are computed again from the row's
 * log-sum-exp (Dao et al. 2022), one kernel for the queries, one for keys and values, no
 * atomics. */
#include "tensor/op/attention_grad.h"
#include "tensor/op/attention_cpu.h"
#include <string.h>

static void grad_dot_cpu(const void *params)
{
    const struct attention_grad_dot_params *p = params;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++)
        for (uint32_t h = 0; h < p->heads; h++) {
            const size_t at = ((size_t)r * p->heads + h) * p->head_dim;
            const float *y = f32_at(p->y) + at, *dy = f32_at(p->dy) + at;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (uint32_t d = 0; d < p->head_dim; d++)
                sum += y[d] * dy[d];
            f32_at(p->delta)[(size_t)r * p->heads + h] = sum;
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

/* Query i against keys [first, first + count): dropped[j] = D_ij P_ij and ds[j] = dS_ij. */
static void pairs(const struct attention_grad_params *p, const struct head *a,
                  const struct attention_tile *k, const struct attention_tile *v, uint32_t i,
                  uint32_t first, uint32_t count, float dropped[ATTENTION_TILE],
                  float ds[ATTENTION_TILE])
{
    float mask[ATTENTION_TILE];
    const float lse = a->lse[(size_t)i * p->heads], delta = a->delta[(size_t)i * p->heads];
    attention_products(a->q + i * a->stride, k, p->head_dim, count, p->scale, dropped);
    attention_products(a->dy + i * a->stride_dy, v, p->head_dim, count, 1, ds);
    attention_masks(u32_at(p->random), a->row + i, first, count, p->stream, p->threshold,
                    p->drop_scale, mask);
#pragma omp simd
    for (uint32_t j = 0; j < count; j++) {
        const float weight = tensor_cpu_exp(dropped[j] - lse);
        dropped[j] = weight * mask[j];
        ds[j] = p->scale * weight * (mask[j] * ds[j] - delta);
    }
}

/* Loads a tile of keys and values that begins at `first`. */
static uint32_t load_tiles(const struct attention_grad_params *p, const struct head *a,
                           uint32_t first, struct attention_tile *k, struct attention_tile *v)
{
    const uint32_t left = p->positions - first;
    const uint32_t count = left < ATTENTION_TILE ? left : ATTENTION_TILE;
    attention_tile_load(k, a->k + first * a->stride, a->stride, p->head_dim, count);
    attention_tile_load(v, a->v + first * a->stride, a->stride, p->head_dim, count);
    return count;
}

static void grad_query_head(const struct attention_grad_params *p, const struct head *a)
{
    struct attention_tile k, v;
    float dropped[ATTENTION_TILE], ds[ATTENTION_TILE];
    for (uint32_t i = 0; i < p->positions; i++)
        memset(a->dq + i * a->stride, 0, p->head_dim * sizeof(float));
    for (uint32_t first = 0; first < p->positions; first += ATTENTION_TILE) {
        const uint32_t tile = load_tiles(p, a, first, &k, &v);
        for (uint32_t i = first; i < p->positions; i++) {
            const uint32_t count = i + 1 - first < tile ? i + 1 - first : tile;
            pairs(p, a, &k, &v, i, first, count, dropped, ds);
            for (uint32_t j = 0; j < count; j++)
                attention_add(a->dq + i * a->stride, ds[j], a->k + (first + j) * a->stride,
                              p->head_dim);
        }
    }
}

static void grad_key_head(const struct attention_grad_params *p, const struct head *a)
{
    struct attention_tile k, v;
    float dropped[ATTENTION_TILE], ds[ATTENTION_TILE];
    for (uint32_t first = 0; first < p->positions; first += ATTENTION_TILE) {
        const uint32_t tile = load_tiles(p, a, first, &k, &v);
        for (uint32_t j = first; j < first + tile; j++) {
            memset(a->dk + j * a->stride, 0, p->head_dim * sizeof(float));
            memset(a->dv + j * a->stride, 0, p->head_dim * sizeof(float));
        }
        for (uint32_t i = first; i < p->positions; i++) {
            const uint32_t count = i + 1 - first < tile ? i + 1 - first : tile;
            pairs(p, a, &k, &v, i, first, count, dropped, ds);
            for (uint32_t j = 0; j < count; j++) {
                attention_add(a->dk + (first + j) * a->stride, ds[j], a->q + i * a->stride,
                              p->head_dim);
                attention_add(a->dv + (first + j) * a->stride, dropped[j], a->dy + i * a->stride_dy,
                              p->head_dim);
            }
        }
    }
}

static void each_head(const struct attention_grad_params *p,
                      void (*run)(const struct attention_grad_params *p, const struct head *a))
{
#pragma omp parallel for collapse(2) schedule(dynamic, 4)
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t h = 0; h < p->heads; h++) {
            const struct head a = head_of(p, n, h);
            run(p, &a);
        }
}

static void grad_query_cpu(const void *params)
{
    each_head(params, grad_query_head);
}

static void grad_key_cpu(const void *params)
{
    each_head(params, grad_key_head);
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
