/* attention.c - causal self-attention, forward and cached (op.h); its gradient:
 * attention_grad.c. */
#include "tensor/contract.h"
#include "tensor/op/attention_cpu.h"
#include "tensor/op/attention_grad.h"
#include <math.h>
#include <string.h>

/* A block of queries of one head of one sequence. */
struct block {
    const float *q, *k, *v;  /* row 0 of the block; row 0 of the keys */
    float *y, *lse;          /* row 0 of the block; lse may be NULL */
    uint32_t first, count;   /* positions of the queries among the keys */
    uint32_t row;            /* number of the first query over all sequences and heads */
    size_t width;            /* of y */
};

/* One query against one tile of keys, with a running maximum (Milakov and Gimelshein 2018). */
static void attend(const struct attention_params *p, const struct block *b,
                   const struct attention_tile *tile, uint32_t i, uint32_t first_key,
                   float *maximum, float *sum)
{
    float score[ATTENTION_TILE], mask[ATTENTION_TILE];
    const uint32_t seen = b->first + i + 1 - first_key;
    const uint32_t count = seen < tile->count ? seen : tile->count, dim = p->head_dim;
    float *y = b->y + i * b->width, largest = *maximum, total = 0;
    attention_products(b->q + (size_t)i * p->stride_q, tile, dim, count, p->scale, score);
    for (uint32_t j = 0; j < count; j++)
        largest = score[j] > largest ? score[j] : largest;
    if (largest > *maximum) {
        const float shrink = *sum > 0 ? tensor_cpu_exp(*maximum - largest) : 0;
        *sum *= shrink;
        for (uint32_t d = 0; d < dim; d++)
            y[d] *= shrink;
        *maximum = largest;
    }
#pragma omp simd
    for (uint32_t j = 0; j < count; j++)
        score[j] = tensor_cpu_exp(score[j] - largest);
    for (uint32_t j = 0; j < count; j++)
        total += score[j];
    *sum += total;
    attention_masks(u32_at(p->random), b->row + i, first_key, count, p->stream, p->threshold,
                    p->drop_scale, mask);
    for (uint32_t j = 0; j < count; j++)
        attention_add(y, score[j] * mask[j], b->v + (size_t)(first_key + j) * p->stride_k, dim);
}

static void attend_block(const struct attention_params *p, const struct block *b)
{
    struct attention_tile tile;
    float maximum[ATTENTION_TILE], sum[ATTENTION_TILE];
    for (uint32_t i = 0; i < b->count; i++) {
        maximum[i] = -INFINITY;
        sum[i] = 0;
        memset(b->y + i * b->width, 0, p->head_dim * sizeof *b->y);
    }
    const uint32_t keys = b->first + b->count;
    for (uint32_t first = 0; first < keys; first += ATTENTION_TILE) {
        const uint32_t left = keys - first, count = left < ATTENTION_TILE ? left : ATTENTION_TILE;
        attention_tile_load(&tile, b->k + (size_t)first * p->stride_k, p->stride_k, p->head_dim,
                            count);
        for (uint32_t i = first > b->first ? first - b->first : 0; i < b->count; i++)
            attend(p, b, &tile, i, first, &maximum[i], &sum[i]);
    }
    for (uint32_t i = 0; i < b->count; i++) {
        const float scale = 1 / sum[i];
        for (uint32_t d = 0; d < p->head_dim; d++)
            b->y[i * b->width + d] *= scale;
        if (b->lse)
            b->lse[(size_t)i * p->heads] = maximum[i] + logf(sum[i]);
    }
}

static void attention_cpu(const void *params)
{
    const struct attention_params *p = params;
    const uint32_t *place = p->flags & ATTENTION_PLACE ? u32_at(p->place) : NULL;
    const uint32_t blocks = (p->queries + ATTENTION_TILE - 1) / ATTENTION_TILE;
    const size_t width = (size_t)p->heads * p->head_dim;
#pragma omp parallel for collapse(3) schedule(dynamic, 4)
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t h = 0; h < p->heads; h++)
            for (uint32_t i = 0; i < blocks; i++) {
                const uint32_t begin = i * ATTENTION_TILE, left = p->queries - begin;
                const size_t row = (size_t)n * p->queries + begin, column = (size_t)h * p->head_dim;
                const size_t key_row = (size_t)(place ? place[2 * n] : n) * p->key_rows;
                const size_t key = key_row * p->stride_k + column;
                attend_block(p, &(struct block){
                    .q = f32_at(p->q) + row * p->stride_q + column, .k = f32_at(p->k) + key,
                    .v = f32_at(p->v) + key, .y = f32_at(p->y) + row * width + column,
                    .lse = p->flags & ATTENTION_LSE ? f32_at(p->lse) + row * p->heads + h : NULL,
                    .first = (place ? place[2 * n + 1] : 0) + begin,
                    .count = left < ATTENTION_TILE ? left : ATTENTION_TILE,
                    .row = (n * p->heads + h) * p->queries + begin, .width = width});
            }
}

static void attention_launch(const struct tensor_device_info *info, const void *params,
                             struct tensor_launch *launch)
{
    const struct attention_params *p = params;
    launch->constant[0] = p->head_dim;
    /* Loads of four floats at once, where all rows allow it. */
    launch->constant[1] = (p->head_dim | p->stride_q | p->stride_k) % 4 == 0 &&
                          (p->q | p->k | p->v | p->y) % 16 == 0;
    tensor_launch_items(launch, (uint64_t)p->sequences * p->heads * p->queries);
}

static const struct tensor_kernel attention = {
    .name = "attention",
    .params_size = sizeof(struct attention_params),
    .args = 7,
    .writes = 1u << 5 | 1u << 6,
    .cpu = attention_cpu,
    .launch = attention_launch,
    .variant = {"attention"},
};
const struct tensor_kernel *const tensor_kernel_attention = &attention;

static void append_cpu(const void *params)
{
    const struct attention_append_params *p = params;
    const size_t columns = p->columns;
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t i = 0; i < p->fresh; i++)
            memcpy(f32_at(p->cache) + ((size_t)u32_at(p->place)[2 * n] * p->capacity +
                                       u32_at(p->place)[2 * n + 1] + i) * 2 * columns,
                   f32_at(p->qkv) + (n * (size_t)p->fresh + i) * 3 * columns + columns,
                   2 * columns * sizeof(float));
}

static void append_launch(const struct tensor_device_info *info, const void *params,
                          struct tensor_launch *launch)
{
    const struct attention_append_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->sequences * p->fresh * 2 * p->columns);
}

static const struct tensor_kernel append = {
    .name = "attention_append",
    .params_size = sizeof(struct attention_append_params),
    .args = 3,
    .writes = 1u << 2,
    .cpu = append_cpu,
    .launch = append_launch,
    .variant = {"attention_append"},
};
const struct tensor_kernel *const tensor_kernel_attention_append = &append;

static bool check_heads(struct tensor_graph *g, const struct tensor *qkv, uint32_t heads)
{
    const uint32_t columns = tensor_columns(qkv) / 3;
    if (heads && columns && tensor_columns(qkv) % 3 == 0 && columns % heads == 0 &&
        columns / heads <= ATTENTION_HEAD_MAX)
        return true;
    tensor_graph_fail(g,
                      "attention: %u columns of q, k and v do not part into %u heads of at most %d",
                      tensor_columns(qkv), heads, ATTENTION_HEAD_MAX);
    return false;
}

struct tensor *tensor_attention(struct tensor_graph *g, struct tensor *qkv, uint32_t positions,
                                uint32_t heads, float dropout)
{
    const uint32_t rows = tensor_rows(qkv), columns = tensor_columns(qkv) / 3;
    if (!check_heads(g, qkv, heads) || !tensor_check(g, positions && rows % positions == 0,
                                                     "attention", "qkv (N·S, 3·C)", qkv, NULL))
        return qkv;
    struct tensor *y = tensor_graph_matrix(g, rows, columns);
    const bool training = tensor_graph_training(g);
    struct tensor *lse = training ? tensor_graph_matrix(g, rows, heads) : NULL;
    const struct attention_params p = {
        .sequences = rows / positions, .queries = positions, .key_rows = positions,
        .stride_q = 3 * columns, .stride_k = 3 * columns,
        .heads = heads, .head_dim = columns / heads, .stream = tensor_graph_stream(g),
        .threshold = tensor_dropout_threshold(g, dropout), .flags = training ? ATTENTION_LSE : 0,
        .scale = 1 / sqrtf((float)(columns / heads)), .drop_scale = 1 / (1 - dropout)};
    const uint32_t shape[2] = {1, columns};
    tensor_graph_pass(g, &attention, &p,
                      (struct tensor *[]){tensor_graph_view(g, qkv, 0, 2, shape),
                                          tensor_graph_view(g, qkv, columns, 2, shape),
                                          tensor_graph_view(g, qkv, 2 * columns, 2, shape),
                                          p.threshold ? tensor_graph_random(g) : NULL, NULL, y,
                                          lse},
                      2.0 * rows * columns * (positions + 1.0));
    tensor_graph_node(g, &(struct tensor_node){tensor_attention_gradient, .output = y,
                                               .input = {qkv}, .saved = {lse},
                                               .number = {positions, heads, p.stream, p.threshold},
                                               .real = {p.scale, p.drop_scale}});
    return y;
}

struct tensor *tensor_attention_cached(struct tensor_graph *g, struct tensor *qkv,
                                       struct tensor *cache, struct tensor *place, uint32_t heads)
{
    const uint32_t columns = tensor_columns(qkv) / 3, sequences = (uint32_t)(place->count / 2);
    const uint32_t fresh = tensor_rows(qkv) / sequences;
    if (!check_heads(g, qkv, heads) ||
        !tensor_check(g, cache->rank == 3 && cache->shape[2] == 2 * columns && fresh &&
                      tensor_rows(qkv) % sequences == 0 && fresh <= cache->shape[1],
                      "attention_cached", "qkv (N·n, 3·C), cache (M, L, 2·C)", qkv, cache))
        return qkv;
    if (fresh == 1)
        return tensor_record_attention_step(g, qkv, cache, place, heads);
    const struct attention_append_params a = {
        .sequences = sequences, .fresh = fresh, .capacity = cache->shape[1], .columns = columns};
    tensor_graph_pass(g, &append, &a, (struct tensor *[]){qkv, place, cache}, 0);
    struct tensor *y = tensor_graph_matrix(g, tensor_rows(qkv), columns);
    const struct attention_params p = {
        .sequences = sequences, .queries = fresh, .key_rows = cache->shape[1],
        .stride_q = 3 * columns, .stride_k = 2 * columns, .heads = heads,
        .head_dim = columns / heads, .flags = ATTENTION_PLACE,
        .scale = 1 / sqrtf((float)(columns / heads)), .drop_scale = 1};
    const uint64_t half = cache->count - columns;
    tensor_graph_pass(g, &attention, &p, (struct tensor *[]){
        qkv, cache, tensor_graph_view(g, cache, columns, 1, (uint32_t[]){(uint32_t)half}), NULL,
        place, y, NULL}, 4.0 * tensor_rows(qkv) * columns * cache->shape[1]);
    return y;
}
