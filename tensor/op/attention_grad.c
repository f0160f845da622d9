/* attention_grad.c - gradient of causal attention: probabilities are computed again from the row's
 * log-sum-exp (Dao et al. 2022), one kernel for the queries, one for keys and values, no
 * atomics. */
#include "tensor/op/attention_patch.h"
#include "tensor/op/attention_record.h"
#include "tensor/op/attention_cpu.h"
#include "tensor/recording.h"
#include <string.h>

/* One head of one sequence. */
struct head {
    const float *q, *kv, *y, *dy; /* row 0 */
    const float *lse;             /* of row 0; stride is heads */
    float *delta, *dq, *dkv;
    size_t width; /* of y, of k and of v */
    uint32_t row; /* number of query 0 over all sequences and heads */
};

static struct head head_of(const struct attention_grad_params *p, uint32_t n, uint32_t h)
{
    const size_t width = (size_t)p->heads * p->head_dim, row = (size_t)n * p->queries;
    const size_t column = (size_t)h * p->head_dim, at_y = row * width + column;
    const size_t at_q = row * p->stride_q + column;
    const size_t at_k = (size_t)n * p->keys * p->stride_k + column;
    return (struct head){
        /* Addresses, not pointers, are added to: some kernels leave one at 0. */
        .q = f32_at(p->q + 4 * at_q), .kv = f32_at(p->kv + 4 * at_k),
        .y = f32_at(p->y + 4 * at_y), .dy = f32_at(p->dy + 4 * at_y),
        .lse = f32_at(p->lse + 4 * (row * p->heads + h)),
        .delta = f32_at(p->delta + 4 * (row * p->heads + h)),
        .dq = f32_at(p->dq + 4 * at_q), .dkv = f32_at(p->dkv + 4 * at_k), .width = width,
        .row = (n * p->heads + h) * p->queries,
    };
}

/* A tile of keys, and the pairs of one query with them. */
struct pairs {
    struct attention_tile k, v;
    uint32_t first;          /* of the keys */
    uint32_t from, end;      /* keys that the query sees, from `first` on */
    float dropped[ATTENTION_TILE], ds[ATTENTION_TILE]; /* D_ij P_ij, dS_ij */
};

static void load_tiles(const struct attention_grad_params *p, const struct head *a, uint32_t first,
                       struct pairs *s)
{
    const uint32_t left = p->keys - first, count = left < ATTENTION_TILE ? left : ATTENTION_TILE;
    attention_tile_load(&s->k, a->kv, p->stride_k, p->head_dim, first, count, p->keys);
    attention_tile_load(&s->v, a->kv + a->width, p->stride_k, p->head_dim, first, count, p->keys);
    s->first = first;
}

/* Query i against the tile; false if it sees nothing of it. */
static bool take_pairs(const struct attention_grad_params *p, const struct head *a, uint32_t i,
                       struct pairs *s)
{
    const uint32_t t = p->keys - p->queries + i, begin = ATTENTION_BEGIN(t, p->span, p->reach);
    if (begin >= s->first + s->k.count)
        return false;
    s->from = begin > s->first ? begin - s->first : 0;
    s->end = t + 1 - s->first < s->k.count ? t + 1 - s->first : s->k.count;
    float mask[ATTENTION_TILE], *dropped = s->dropped, *ds = s->ds;
    const float lse = a->lse[(size_t)i * p->heads], delta = a->delta[(size_t)i * p->heads];
    attention_products(a->q + (size_t)i * p->stride_q, &s->k, p->head_dim, s->end, p->scale,
                       dropped);
    attention_products(a->dy + i * a->width, &s->v, p->head_dim, s->end, 1, ds);
    attention_masks(u32_at(p->random), a->row + i, s->first, s->end, p->stream, p->threshold,
                    p->drop_scale, mask);
#pragma omp simd
    for (uint32_t j = s->from; j < s->end; j++) {
        const float weight = tensor_cpu_exp(dropped[j] - lse);
        dropped[j] = weight * mask[j];
        ds[j] = p->scale * weight * (mask[j] * ds[j] - delta);
    }
    return true;
}

/* The first query that sees a key of the tile that begins at `first`, or one before it. */
static uint32_t first_query(const struct attention_grad_params *p, uint32_t first)
{
    const uint32_t before = p->keys - p->queries;
    return first > before ? first - before : 0;
}

/* Behind the last query that sees a key of the tile. */
static uint32_t end_query(const struct attention_grad_params *p, const struct pairs *s)
{
    const uint32_t last = s->first + s->k.count - 1, end = ATTENTION_END(last, p->span, p->reach);
    const uint32_t before = p->keys - p->queries;
    return end >= p->keys ? p->queries : end > before ? end - before : 0;
}

static void grad_query_head(const struct attention_grad_params *p, const struct head *a)
{
    struct pairs s;
    for (uint32_t i = 0; i < p->queries; i++) {
        const float *y = a->y + i * a->width, *dy = a->dy + i * a->width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (uint32_t d = 0; d < p->head_dim; d++)
            sum += y[d] * dy[d];
        a->delta[(size_t)i * p->heads] = sum;
        memset(a->dq + (size_t)i * p->stride_q, 0, p->head_dim * sizeof(float));
    }
    for (uint32_t first = 0; first < p->keys; first += ATTENTION_TILE) {
        load_tiles(p, a, first, &s);
        const uint32_t end = end_query(p, &s);
        for (uint32_t i = first_query(p, first); i < end; i++)
            if (take_pairs(p, a, i, &s))
                for (uint32_t j = s.from; j < s.end; j++)
                    attention_add(a->dq + (size_t)i * p->stride_q, s.ds[j],
                                  a->kv + (size_t)(first + j) * p->stride_k, p->head_dim);
    }
}

static void grad_key_head(const struct attention_grad_params *p, const struct head *a)
{
    struct pairs s;
    for (uint32_t first = 0; first < p->keys; first += ATTENTION_TILE) {
        load_tiles(p, a, first, &s);
        const uint32_t end = end_query(p, &s);
        float *dk = a->dkv + (size_t)first * p->stride_k, *dv = dk + a->width;
        for (uint32_t j = 0; j < s.k.count; j++) {
            memset(dk + (size_t)j * p->stride_k, 0, p->head_dim * sizeof(float));
            memset(dv + (size_t)j * p->stride_k, 0, p->head_dim * sizeof(float));
        }
        for (uint32_t i = first_query(p, first); i < end; i++) {
            if (!take_pairs(p, a, i, &s))
                continue;
            for (uint32_t j = s.from; j < s.end; j++) {
                attention_add(dk + (size_t)j * p->stride_k, s.ds[j],
                              a->q + (size_t)i * p->stride_q, p->head_dim);
                attention_add(dv + (size_t)j * p->stride_k, s.dropped[j], a->dy + i * a->width,
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

static void grad_launch(const struct attention_grad_params *p, struct tensor_launch *launch,
                        uint32_t rows)
{
    launch->constant[1] = p->head_dim;
    /* Loads of four floats at once, where all rows allow it. */
    launch->constant[0] = (p->head_dim | p->stride_q | p->stride_k) % 4 == 0 &&
                          (p->q | p->kv | p->y | p->dy | p->dq | p->dkv) % 16 == 0;
    tensor_launch_items(launch, (uint64_t)p->sequences * p->heads * rows);
}

static void grad_query_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    const struct attention_grad_params *p = params;
    grad_launch(p, launch, p->queries);
}

static void grad_key_launch(const struct tensor_device_info *info, const void *params,
                            struct tensor_launch *launch)
{
    const struct attention_grad_params *p = params;
    grad_launch(p, launch, p->keys);
}

static const struct tensor_kernel grad_query = {
    .name = "attention_grad_query",
    .params_size = sizeof(struct attention_grad_params),
    .args = 8,
    .writes = 1u << 6 | 1u << 7,
    .cpu = grad_query_cpu,
    .launch = grad_query_launch,
    .variant = {"attention_grad_query"},
};
const struct tensor_kernel *const tensor_kernel_attention_grad_query = &grad_query;

static const struct tensor_kernel grad_key = {
    .name = "attention_grad_key",
    .params_size = sizeof(struct attention_grad_params),
    .args = 9,
    .writes = 1u << 8,
    .cpu = grad_key_cpu,
    .launch = grad_key_launch,
    .variant = {"attention_grad_key"},
};
const struct tensor_kernel *const tensor_kernel_attention_grad_key = &grad_key;

static void grad_patch_cpu(const void *params)
{
    const struct attention_grad_params *p = params;
#pragma omp parallel for collapse(2) schedule(static)
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t h = 0; h < p->heads; h++)
            tensor_attention_patch_grad(p, n, h);
}

static void grad_patch_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    const struct attention_grad_params *p = params;
    const uint64_t patches = (p->keys + p->span - 1) / p->span;
    grad_launch(p, launch, p->keys);
    launch->constant[1] = 0; /* the same for heads of every width */
    tensor_launch_items(launch, p->sequences * p->heads * patches);
}

static const struct tensor_kernel grad_patch = {
    .name = "attention_grad_patch",
    .params_size = sizeof(struct attention_grad_params),
    .args = 9,
    .writes = 1u << 7 | 1u << 8,
    .cpu = grad_patch_cpu,
    .launch = grad_patch_launch,
    .variant = {"attention_grad_patch"},
};
const struct tensor_kernel *const tensor_kernel_attention_grad_patch = &grad_patch;

double tensor_attention_products(const struct attention_grad_params *p)
{
    double seen = 0;
    for (uint32_t t = p->keys - p->queries; t < p->keys; t++)
        seen += t + 1 - ATTENTION_BEGIN(t, p->span, p->reach);
    return seen * p->sequences * p->heads * p->head_dim;
}

void tensor_attention_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    const struct attention_grad_params *p = node->params;
    struct tensor *q = node->input[0], *kv = node->input[1], *y = node->output;
    struct tensor *lse = node->saved[0], *dy = tensor_graph_output_gradient(g, node);
    struct tensor *random = p->threshold ? tensor_graph_random(g) : NULL;
    struct tensor *dq = tensor_graph_like(g, q);
    struct tensor *dkv = kv ? tensor_graph_like(g, kv) : NULL, *whole = kv, *to = dkv;
    if (!kv) { /* packed */
        const uint32_t columns = tensor_columns(y), shape[1] = {(uint32_t)q->count - columns};
        whole = tensor_graph_view(g, q, columns, 1, shape);
        to = tensor_graph_view(g, dq, columns, 1, shape);
    }
    const double products = tensor_attention_products(p);
    if (p->span <= ATTENTION_PATCH_MAX && strcmp(g->device->info.kind, "cpu") == 0) {
        tensor_graph_pass(g, &grad_patch, p,
                          (struct tensor *[]){q, whole, y, dy, lse, random, NULL, dq, to},
                          10 * products);
    } else {
        struct tensor *delta = tensor_graph_like(g, lse);
        tensor_graph_pass(g, &grad_query, p,
                          (struct tensor *[]){q, whole, y, dy, lse, random, delta, dq},
                          6 * products);
        tensor_graph_pass(g, &grad_key, p,
                          (struct tensor *[]){q, whole, NULL, dy, lse, random, delta, NULL, to},
                          8 * products);
    }
    if (tensor_graph_wants(g, q))
        tensor_graph_give(g, q, dq);
    if (kv && tensor_graph_wants(g, kv))
        tensor_graph_give(g, kv, dkv);
}
