/* attention_grad.c - gradient of causal attention: probabilities are computed again from the row's
 * log-sum-exp (Dao et al. 2022), one kernel for the queries, one for keys and values, no
 * atomics. */
#include "tensor/op/attention_record.h"
#include "tensor/op/attention_cpu.h"
#include "tensor/op/attention_patch.h"
#include "tensor/recording.h"
#include <string.h>

#define AT(member) TENSOR_AT(attention_grad_params, member)

/* One head of one sequence. */
struct head {
    const float *q, *kv, *y, *dy; /* row 0 */
    const float *lse;             /* of row 0; stride is heads */
    float *delta;                 /* as lse; NULL: computed where it is used */
    float *dq, *dkv;
    size_t width; /* of y, of k and of v */
    size_t stride_q, stride_k;
    uint32_t first; /* position of query 0 */
    uint32_t row; /* number of query 0 over all sequences and heads */
};

static struct head head_of(const struct attention_grad_params *p, uint32_t n, uint32_t h)
{
    const size_t width = (size_t)p->heads * p->head_dim, row = (size_t)n * p->queries;
    const size_t column = (size_t)h * p->head_dim, at_y = row * width + column;
    const size_t at_q = row * ATTENTION_STRIDE_Q(*p) + column;
    const size_t at_k = (size_t)n * p->keys * ATTENTION_STRIDE_K(*p) + column;
    return (struct head){
        /* Addresses, not pointers, are added to: some kernels leave one at 0. */
        .q = f32_at(p->q + 4 * at_q), .kv = f32_at(p->kv + 4 * at_k),
        .y = f32_at(p->y + 4 * at_y), .dy = f32_at(p->dy + 4 * at_y),
        .lse = f32_at(p->lse + 4 * (row * p->heads + h)),
        .delta = f32_at(p->delta + 4 * (row * p->heads + h)),
        .dq = f32_at(p->dq + 4 * at_q), .dkv = f32_at(p->dkv + 4 * at_k), .width = width,
        .stride_q = ATTENTION_STRIDE_Q(*p), .stride_k = ATTENTION_STRIDE_K(*p),
        .first = p->flags & ATTENTION_FIRST ? *u32_at(p->first) : p->keys - p->queries,
        .row = (n * p->heads + h) * p->queries,
    };
}

/* dy_i·y_i, which a pass before this one may have left. */
static float delta_of(const struct attention_grad_params *p, const struct head *a, uint32_t i)
{
    if (a->delta)
        return a->delta[(size_t)i * p->heads];
    return attention_dot(a->y + i * a->width, a->dy + i * a->width, p->head_dim);
}

/* The pairs of a block of queries with a tile of keys: D_ij P_ij and dS_ij. */
struct pairs {
    attention_pairs dropped[ATTENTION_TILE], ds[ATTENTION_TILE];
};

/* A tile of keys and what belongs to it. */
struct tiles {
    struct attention_tile k, v;
};

static void load_tiles(const struct attention_grad_params *p, const struct head *a, uint32_t first,
                       struct tiles *tiles)
{
    const uint32_t left = p->keys - first, count = left < ATTENTION_TILE ? left : ATTENTION_TILE;
    attention_tile_load(&tiles->k, a->kv, a->stride_k, p->head_dim, first, count, p->keys);
    attention_tile_load(&tiles->v, a->kv + a->width, a->stride_k, p->head_dim, first, count,
                        p->keys);
}

/* Of query i: dropped from q·k_j to D_ij P_ij, ds from dy·v_j to dS_ij; zeros where it sees
 * nothing. */
static void turn_into_gradients(const struct attention_grad_params *p, const struct head *a,
                                const struct attention_tile *k, uint32_t i,
                                struct attention_range all, float *dropped, float *ds)
{
    const uint32_t t = a->first + i;
    const struct attention_range sees = attention_sees(k, t, p->span, p->reach);
    const struct attention_range lanes = attention_lanes(all);
    const uint32_t count = sees.end - sees.from;
    const float lse = a->lse[(size_t)i * p->heads];
    float weight[ATTENTION_TILE], mask[ATTENTION_TILE], sum = 0;
    if (p->threshold)
        attention_masks(u32_at(p->random), a->row + i, k, all, p->stream, p->threshold,
                        p->drop_scale, mask);
    else
        for (uint32_t j = lanes.from; j < lanes.end; j++)
            mask[j] = 1;
#pragma omp simd reduction(+ : sum)
    for (uint32_t j = lanes.from; j < lanes.end; j++) {
        const float e = tensor_cpu_exp(p->scale * dropped[j] - lse);
        weight[j] = j - sees.from < count ? e : 0;
        dropped[j] = weight[j] * mask[j];
        sum += dropped[j] * ds[j];
    }
    /* dy_i·y_i = sum_j D_ij P_ij dy_i·v_j, where all that the query sees is in this tile. */
    const bool whole = count == t + 1 - ATTENTION_BEGIN(t, p->span, p->reach);
    const float delta = whole && !a->delta ? sum : count ? delta_of(p, a, i) : 0;
#pragma omp simd
    for (uint32_t j = lanes.from; j < lanes.end; j++)
        ds[j] = p->scale * weight[j] * (mask[j] * ds[j] - delta);
}

/* The queries from i on, at most ATTENTION_ROWS before `end`, against a tile: lines 0 … of the
 * pairs; returns the keys that one of them sees. Where a query sees nothing the pairs are 0. */
static struct attention_range take_pairs(const struct attention_grad_params *p,
                                         const struct head *a, const struct tiles *tiles,
                                         uint32_t i, uint32_t rows, attention_pairs *dropped,
                                         attention_pairs *ds)
{
    const struct attention_tile *k = &tiles->k;
    const struct attention_range all = attention_see(k, a->first + i, rows, p->span, p->reach);
    if (all.from == all.end)
        return all;
    attention_scores(a->q + (size_t)i * a->stride_q, a->stride_q, rows, p->head_dim, k, all,
                     dropped);
    attention_scores(a->dy + i * a->width, a->width, rows, p->head_dim, &tiles->v, all, ds);
    for (uint32_t r = 0; r < rows; r++)
        turn_into_gradients(p, a, k, i + r, all, dropped[r], ds[r]);
    return all;
}

/* The first query that sees a key from `first` on, or one before it. */
static uint32_t first_query(const struct attention_grad_params *p, const struct head *a,
                            uint32_t first)
{
    const uint32_t i = first > a->first ? first - a->first : 0;
    return i < p->queries ? i : p->queries;
}

/* Behind the last query that sees a key up to `last`. */
static uint32_t end_query(const struct attention_grad_params *p, const struct head *a,
                          uint32_t last)
{
    return first_query(p, a, ATTENTION_END(last, p->span, p->reach));
}

/* What queries i … end - 1, lines of the pairs, give to the keys of a tile. */
static void give_keys(const struct attention_grad_params *p, const struct head *a,
                      const struct attention_tile *k, uint32_t i, uint32_t end, bool add,
                      const struct pairs *s)
{
    for (uint32_t j = 0; j < k->count; j += ATTENTION_ROWS) {
        const uint32_t left = k->count - j, rows = left < ATTENTION_ROWS ? left : ATTENTION_ROWS;
        const uint32_t least = first_query(p, a, k->first + j), from = least > i ? least : i;
        const uint32_t most = end_query(p, a, k->first + j + rows - 1);
        const uint32_t to = most < end ? most : end;
        float *dk = a->dkv + (size_t)(k->first + j) * a->stride_k;
        if (from >= to && add)
            continue;
        const uint32_t line = from < to ? from - i : 0, depth = from < to ? to - from : 0;
        attention_product(rows, p->head_dim,
                          (struct attention_factor){&s->ds[line][j], 1, ATTENTION_TILE},
                          a->q + (size_t)(i + line) * a->stride_q, a->stride_q, depth, dk,
                          a->stride_k, add);
        attention_product(rows, p->head_dim,
                          (struct attention_factor){&s->dropped[line][j], 1, ATTENTION_TILE},
                          a->dy + (i + line) * a->width, a->width, depth, dk + a->width,
                          a->stride_k, add);
    }
}

/* One tile of keys against all queries that see it; `query` and `key`: whose gradients. */
static void grad_tile(const struct attention_grad_params *p, const struct head *a,
                      const struct tiles *tiles, bool query, bool key)
{
    const struct attention_tile *k = &tiles->k;
    const uint32_t last = k->first + k->count - 1, end = end_query(p, a, last);
    uint32_t i = first_query(p, a, k->first);
    struct pairs s;
    bool add = false;
    do {
        const uint32_t left = end > i ? end - i : 0;
        const uint32_t count = left < ATTENTION_TILE ? left : ATTENTION_TILE;
        for (uint32_t line = 0; line < count; line += ATTENTION_ROWS) {
            const uint32_t most = count - line;
            const uint32_t rows = most < ATTENTION_ROWS ? most : ATTENTION_ROWS;
            const struct attention_range all =
                take_pairs(p, a, tiles, i + line, rows, &s.dropped[line], &s.ds[line]);
            if (query && all.from < all.end)
                attention_product(
                    rows, p->head_dim,
                    (struct attention_factor){&s.ds[line][all.from], ATTENTION_TILE, 1},
                    a->kv + (size_t)(k->first + all.from) * a->stride_k, a->stride_k,
                    all.end - all.from, a->dq + (size_t)(i + line) * a->stride_q, a->stride_q,
                    true);
        }
        if (key)
            give_keys(p, a, k, i, i + count, add, &s);
        add = true;
        i += count;
    } while (i < end);
}

static void grad_head(const struct attention_grad_params *p, const struct head *a, bool query,
                      bool key)
{
    struct tiles tiles;
    for (uint32_t i = 0; query && i < p->queries; i++) {
        if (a->delta)
            a->delta[(size_t)i * p->heads] =
                attention_dot(a->y + i * a->width, a->dy + i * a->width, p->head_dim);
        memset(a->dq + (size_t)i * a->stride_q, 0, p->head_dim * sizeof(float));
    }
    for (uint32_t first = 0; first < p->keys; first += ATTENTION_TILE) {
        load_tiles(p, a, first, &tiles);
        grad_tile(p, a, &tiles, query, key);
    }
}

static void each_head(const struct attention_grad_params *p, bool query, bool key)
{
#pragma omp parallel for collapse(2) schedule(dynamic, 1)
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t h = 0; h < p->heads; h++) {
            struct head a = head_of(p, n, h);
            if (query && key)
                a.delta = NULL; /* of which the pass has none */
            grad_head(p, &a, query, key);
        }
}

static int grad_query_cpu(struct tensor_cpu *cpu, const void *params)
{
    each_head(params, true, false);
    return 0;
}

static int grad_key_cpu(struct tensor_cpu *cpu, const void *params)
{
    each_head(params, false, true);
    return 0;
}

static int grad_patch_cpu(struct tensor_cpu *cpu, const void *params)
{
    if (tensor_attention_grad_in_patches(params))
        tensor_attention_grad_patches(params);
    else
        each_head(params, true, true);
    return 0;
}

static bool grad_wide(const struct attention_grad_params *p)
{
    return (p->head_dim | ATTENTION_STRIDE_Q(*p) | ATTENTION_STRIDE_K(*p)) % 4 == 0 &&
           (p->q | p->kv | p->y | p->dy | p->dq | p->dkv) % 16 == 0;
}

static void grad_launch(const struct tensor_device_info *info,
                        const struct attention_grad_params *p, uint32_t rows,
                        struct tensor_launch *launch)
{
    tensor_attention_launch(info, (uint64_t)p->sequences * p->heads, rows, p->span, p->head_dim,
                            grad_wide(p), launch);
}

static void grad_query_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    const struct attention_grad_params *p = params;
    grad_launch(info, p, p->queries, launch);
}

static void grad_key_launch(const struct tensor_device_info *info, const void *params,
                            struct tensor_launch *launch)
{
    const struct attention_grad_params *p = params;
    grad_launch(info, p, p->keys, launch);
}

static const struct tensor_kernel grad_query = {
    .name = "attention_grad_query",
    .params_size = sizeof(struct attention_grad_params),
    .args = 9,
    .writes = TENSOR_ARG(attention_grad_params, delta) | TENSOR_ARG(attention_grad_params, dq),
    .cpu = grad_query_cpu,
    .launch = grad_query_launch,
    .variant = {"attention_grad_query_direct", "attention_grad_query_long",
                "attention_grad_query_tiled"},
};
const struct tensor_kernel *const tensor_kernel_attention_grad_query = &grad_query;

static const struct tensor_kernel grad_key = {
    .name = "attention_grad_key",
    .params_size = sizeof(struct attention_grad_params),
    .args = 10,
    .writes = TENSOR_ARG(attention_grad_params, dkv),
    .cpu = grad_key_cpu,
    .launch = grad_key_launch,
    .variant = {"attention_grad_key_direct", "attention_grad_key_long",
                "attention_grad_key_tiled"},
};
const struct tensor_kernel *const tensor_kernel_attention_grad_key = &grad_key;

static void grad_patch_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    const struct attention_grad_params *p = params;
    const uint64_t patches = (p->keys + p->span - 1) / p->span;
    launch->variant = tensor_attention_direct(info);
    launch->constant[0] = grad_wide(p);
    launch->constant[1] = p->flags & ATTENTION_BF16  ? ELEMENT_BF16
                          : p->flags & ATTENTION_F16 ? ELEMENT_F16 : ELEMENT_F32;
    tensor_launch_items(launch, p->sequences * p->heads * patches);
}

static const struct tensor_kernel grad_patch = {
    .name = "attention_grad_patch",
    .params_size = sizeof(struct attention_grad_params),
    .args = 10,
    .writes = TENSOR_ARG(attention_grad_params, dq) | TENSOR_ARG(attention_grad_params, dkv),
    .args16 = TENSOR_ARG(attention_grad_params, y) | TENSOR_ARG(attention_grad_params, dy) |
              TENSOR_ARG(attention_grad_params, dq) | TENSOR_ARG(attention_grad_params, dkv),
    .cpu = grad_patch_cpu,
    .launch = grad_patch_launch,
    .variant = {"attention_grad_patch", "attention_grad_patch_long"},
};
const struct tensor_kernel *const tensor_kernel_attention_grad_patch = &grad_patch;

double tensor_attention_products(const struct attention_grad_params *p)
{
    double seen = 0;
    for (uint32_t t = p->keys - p->queries; t < p->keys; t++)
        seen += t + 1 - ATTENTION_BEGIN(t, p->span, p->reach);
    return seen * p->sequences * p->heads * p->head_dim;
}

struct tensor *tensor_attention_queries(struct tensor_graph *g, struct tensor *qkv,
                                        const struct attention_grad_params *p)
{
    const uint32_t context = p->keys - p->queries, columns = tensor_columns(qkv);
    if (!context)
        return qkv;
    return tensor_graph_view(g, qkv, (uint64_t)context * columns, 2,
                             (uint32_t[]){p->queries, columns});
}

/* Sets the rows of d(qkv) that have no query to 0: no kernel writes to their columns of q. */
static void clear_context(struct tensor_graph *g, struct tensor *dqkv,
                          const struct attention_grad_params *p)
{
    const uint32_t shape[2] = {p->keys - p->queries, tensor_columns(dqkv)};
    if (shape[0])
        tensor_fill(g, tensor_graph_view(g, dqkv, 0, 2, shape), 0);
}

void tensor_attention_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    const struct attention_grad_params *p = node->params;
    struct tensor *q = node->input[0], *kv = node->input[1], *first = node->input[2];
    struct tensor *y = node->output, *lse = node->saved[0];
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    struct tensor *random = p->threshold ? tensor_graph_random(g) : NULL;
    struct tensor *dq = tensor_graph_new(g, y->type, q->rank, q->shape);
    struct tensor *dkv = kv ? tensor_graph_new(g, y->type, kv->rank, kv->shape) : NULL;
    struct tensor *whole = kv, *to = dkv, *from = q, *to_q = dq;
    if (!tensor_check(g, dy->type == y->type, "attention", "what reads y in 16 bits is linear", y,
                      dy))
        return;
    if (!kv) { /* packed */
        const uint32_t columns = tensor_columns(y), shape[1] = {(uint32_t)q->count - columns};
        whole = tensor_graph_view(g, q, columns, 1, shape);
        to = tensor_graph_view(g, dq, columns, 1, shape);
        from = tensor_attention_queries(g, q, p);
        to_q = tensor_attention_queries(g, dq, p);
        clear_context(g, dq, p);
    }
    const double products = tensor_attention_products(p);
    if (p->span <= ATTENTION_PATCH_MAX || strcmp(g->device->info.kind, "cpu") == 0) {
        tensor_graph_pass(g, &grad_patch, p, (struct tensor *[TENSOR_PASS_ARGS]){
            AT(q) = from, AT(kv) = whole, AT(y) = y, AT(dy) = dy, AT(lse) = lse,
            AT(random) = random, AT(first) = first, AT(dq) = to_q, AT(dkv) = to},
            10 * products);
    } else {
        struct tensor *delta = tensor_graph_like(g, lse);
        tensor_graph_pass(g, &grad_query, p, (struct tensor *[TENSOR_PASS_ARGS]){
            AT(q) = from, AT(kv) = whole, AT(y) = y, AT(dy) = dy, AT(lse) = lse,
            AT(random) = random, AT(first) = first, AT(delta) = delta, AT(dq) = to_q},
            6 * products);
        tensor_graph_pass(g, &grad_key, p, (struct tensor *[TENSOR_PASS_ARGS]){
            AT(q) = from, AT(kv) = whole, AT(dy) = dy, AT(lse) = lse, AT(random) = random,
            AT(first) = first, AT(delta) = delta, AT(dkv) = to},
            8 * products);
    }
    if (tensor_graph_wants(g, q))
        tensor_graph_give(g, q, dq);
    if (kv && tensor_graph_wants(g, kv))
        tensor_graph_give(g, kv, dkv);
}
