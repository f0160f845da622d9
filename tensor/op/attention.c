/* attention.c - causal self-attention, forward and cached (op.h); its gradient:
 * attention_grad.c. */
#include "tensor/contract.h"
#include "tensor/op/attention_cpu.h"
#include "tensor/op/attention_patch.h"
#include "tensor/op/attention_record.h"
#include <math.h>
#include <string.h>

#define AT(member) TENSOR_AT(attention_params, member)

/* A block of queries of one head of one sequence. */
struct block {
    const float *q, *kv;     /* row 0 of the block; row 0 of the keys */
    float *y, *lse;          /* row 0 of the block; lse may be NULL */
    uint32_t first, count;   /* position of the first query; queries */
    uint32_t begin;          /* the first key of the first tile */
    uint32_t row;            /* number of the first query over all sequences and heads */
    size_t width;            /* of y, of k and of v */
};

/* What is known of the queries of a block: their largest score and the sum so far. */
struct running {
    float largest[ATTENTION_TILE], sum[ATTENTION_TILE];
};

/* The largest of what a query sees; in lanes, as compilers do not reorder comparisons of floats. */
static float largest_of(const float *score, struct attention_range sees,
                        struct attention_range lanes)
{
    float most[ATTENTION_WIDE];
    for (uint32_t u = 0; u < ATTENTION_WIDE; u++)
        most[u] = -INFINITY;
    for (uint32_t j = lanes.from; j < lanes.end; j += ATTENTION_WIDE)
        for (uint32_t u = 0; u < ATTENTION_WIDE; u++) {
            const float x = j + u - sees.from < sees.end - sees.from ? score[j + u] : -INFINITY;
            most[u] = x > most[u] ? x : most[u];
        }
    for (uint32_t half = ATTENTION_WIDE / 2; half; half /= 2)
        for (uint32_t u = 0; u < half; u++)
            most[u] = most[u + half] > most[u] ? most[u + half] : most[u];
    return most[0];
}

/* Scores of one query turned into weights, with a running maximum (Milakov and Gimelshein 2018);
 * what was summed up before is brought to the new one. Zeros where it sees nothing. */
static void weigh(const struct attention_params *p, const struct block *b,
                  const struct attention_tile *tile, uint32_t i, struct attention_range all,
                  float *score, struct running *running)
{
    const struct attention_range sees = attention_sees(tile, b->first + i, p->span, p->reach);
    const struct attention_range lanes = attention_lanes(all);
    const uint32_t count = sees.end - sees.from;
    float before = running->largest[i], total = 0;
    float *y = b->y + i * b->width;
    const float largest = p->scale * largest_of(score, sees, lanes);
    if (count && largest > before) {
        const float shrink = running->sum[i] > 0 ? tensor_cpu_exp(before - largest) : 0;
        running->sum[i] *= shrink;
        for (uint32_t d = 0; d < p->head_dim && tile->first > b->begin; d++)
            y[d] *= shrink;
        running->largest[i] = before = largest;
    }
#pragma omp simd reduction(+ : total)
    for (uint32_t j = lanes.from; j < lanes.end; j++) {
        const float weight = tensor_cpu_exp(p->scale * score[j] - before);
        score[j] = j - sees.from < count ? weight : 0;
        total += score[j];
    }
    running->sum[i] += total;
    if (p->threshold) {
        float mask[ATTENTION_TILE];
        attention_masks(u32_at(p->random), b->row + i, tile, all, p->stream, p->threshold,
                        p->drop_scale, mask);
        for (uint32_t j = lanes.from; j < lanes.end; j++)
            score[j] *= mask[j];
    }
}

/* A few queries from i on against one tile of keys. */
static void attend(const struct attention_params *p, const struct block *b,
                   const struct attention_tile *tile, uint32_t i, struct running *running)
{
    const uint32_t left = b->count - i, rows = left < ATTENTION_ROWS ? left : ATTENTION_ROWS;
    const uint32_t dim = p->head_dim;
    attention_pairs score[ATTENTION_ROWS];
    struct attention_range all = attention_see(tile, b->first + i, rows, p->span, p->reach);
    float *y = b->y + i * b->width;
    if (all.from == all.end && tile->first > b->begin)
        return;
    attention_scores(b->q + (size_t)i * p->stride_q, p->stride_q, rows, dim, tile, all, score);
    for (uint32_t r = 0; r < rows; r++)
        weigh(p, b, tile, i + r, all, score[r], running);
    bool add = tile->first > b->begin;
    do { /* rows of v lie side by side up to the end of the ring */
        const uint32_t row = (tile->first + all.from) % p->key_rows, run = p->key_rows - row;
        const uint32_t depth = all.end - all.from < run ? all.end - all.from : run;
        attention_product(rows, dim,
                          (struct attention_factor){&score[0][all.from], ATTENTION_TILE, 1},
                          b->kv + (size_t)row * p->stride_k + b->width, p->stride_k, depth, y,
                          b->width, add);
        all.from += depth;
        add = true;
    } while (all.from < all.end);
}

static void attend_block(const struct attention_params *p, struct block *b)
{
    struct attention_tile tile;
    struct running running;
    for (uint32_t i = 0; i < b->count; i++) {
        running.largest[i] = -INFINITY;
        running.sum[i] = 0;
    }
    const uint32_t end = b->first + b->count;
    b->begin = ATTENTION_BEGIN(b->first, p->span, p->reach) / 4 * 4;
    for (uint32_t first = b->begin; first < end; first += ATTENTION_TILE) {
        const uint32_t left = end - first, count = left < ATTENTION_TILE ? left : ATTENTION_TILE;
        attention_tile_load(&tile, b->kv, p->stride_k, p->head_dim, first, count, p->key_rows);
        for (uint32_t i = 0; i < b->count; i += ATTENTION_ROWS)
            attend(p, b, &tile, i, &running);
    }
    for (uint32_t i = 0; i < b->count; i++) {
        const float scale = 1 / running.sum[i];
        for (uint32_t d = 0; d < p->head_dim; d++)
            b->y[i * b->width + d] *= scale;
        if (b->lse)
            b->lse[(size_t)i * p->heads] = running.largest[i] + logf(running.sum[i]);
    }
}

static int attention_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct attention_params *p = params;
    const uint32_t *slot = p->flags & ATTENTION_SLOT ? u32_at(p->slot) : NULL;
    const uint32_t least = p->flags & ATTENTION_FIRST ? *u32_at(p->slot) : p->keys - p->queries;
    const uint32_t blocks = (p->queries + ATTENTION_TILE - 1) / ATTENTION_TILE;
    const size_t width = (size_t)p->heads * p->head_dim;
    if (tensor_attention_in_patches(p)) {
        tensor_attention_patches(p);
        return 0;
    }
#pragma omp parallel for collapse(3) schedule(dynamic, 4)
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t i = 0; i < blocks; i++)
            for (uint32_t h = 0; h < p->heads; h++) {
                const uint32_t begin = i * ATTENTION_TILE, left = p->queries - begin;
                const size_t row = (size_t)n * p->queries + begin, column = (size_t)h * p->head_dim;
                const size_t key_row = (size_t)(slot ? slot[2 * n] : n) * p->key_rows;
                const uint32_t first = slot ? slot[2 * n + 1] : least;
                attend_block(p, &(struct block){
                    .q = f32_at(p->q) + row * p->stride_q + column,
                    .kv = f32_at(p->kv) + key_row * p->stride_k + column,
                    .y = f32_at(p->y) + row * width + column,
                    .lse = p->flags & ATTENTION_LSE ? f32_at(p->lse) + row * p->heads + h : NULL,
                    .first = first + begin, .count = left < ATTENTION_TILE ? left : ATTENTION_TILE,
                    .row = (n * p->heads + h) * p->queries + begin, .width = width});
            }
    return 0;
}

/* A tile is as many positions from a multiple of 4 on. The position of a query that is given at run
 * time might lie anywhere. */
bool tensor_attention_16bit(const struct tensor_device_info *info,
                             const struct attention_params *p)
{
    if (strcmp(info->kind, "cpu") == 0)
        return tensor_attention_in_patches(p);
    return p->span <= ATTENTION_DIRECT_ROWS && p->span % 4 == 0 && p->reach == 0 &&
           !(p->flags & (ATTENTION_SLOT | ATTENTION_FIRST)) &&
           (p->keys - p->queries) % p->span == 0 && p->head_dim % 4 == 0;
}

uint32_t tensor_attention_direct(const struct tensor_device_info *info)
{
    return !(info->features & TENSOR_SHARED_TILES) && info->features & TENSOR_LONG_LOADS
               ? ATTENTION_LONG : ATTENTION_DIRECT;
}

/* Tiles pass through shared memory on GPUs; on software devices, and where patches are short and
 * many, an invocation is eight rows. */
void tensor_attention_launch(const struct tensor_device_info *info, uint64_t heads, uint32_t rows,
                             uint32_t span, uint32_t head_dim, bool wide,
                             struct tensor_launch *launch)
{
    launch->constant[0] = wide;
    if (info->features & TENSOR_SHARED_TILES && span > ATTENTION_PATCH_MAX) {
        launch->variant = ATTENTION_TILED;
        launch->constant[1] = head_dim;
        tensor_launch_groups(launch,
                             heads * ((rows + ATTENTION_TILED_OWNED - 1) / ATTENTION_TILED_OWNED));
        launch->workgroup = ATTENTION_TILED_GROUP;
        return;
    }
    launch->variant = tensor_attention_direct(info);
    tensor_launch_items(launch,
                        heads * ((rows + ATTENTION_DIRECT_ROWS - 1) / ATTENTION_DIRECT_ROWS));
}

static void attention_launch(const struct tensor_device_info *info, const void *params,
                             struct tensor_launch *launch)
{
    const struct attention_params *p = params;
    const bool wide = (p->head_dim | p->stride_q | p->stride_k) % 4 == 0 &&
                      (p->q | p->kv | p->y) % 16 == 0;
    tensor_attention_launch(info, (uint64_t)p->sequences * p->heads, p->queries, p->span,
                            p->head_dim, wide, launch);
    if (p->flags & (ATTENTION_BF16 | ATTENTION_F16))
        launch->constant[1] = p->flags & ATTENTION_BF16 ? ELEMENT_BF16 : ELEMENT_F16;
}

static const struct tensor_kernel attention = {
    .name = "attention",
    .params_size = sizeof(struct attention_params),
    .args = 6,
    .writes = TENSOR_ARG(attention_params, y) | TENSOR_ARG(attention_params, lse),
    .args16 = TENSOR_ARG(attention_params, y),
    .cpu = attention_cpu,
    .launch = attention_launch,
    .variant = {"attention_direct", "attention_long", "attention_tiled"},
};
const struct tensor_kernel *const tensor_kernel_attention = &attention;

static int append_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct attention_append_params *p = params;
    const size_t columns = p->columns;
    for (uint32_t n = 0; n < p->sequences; n++) {
        const uint32_t *slot = u32_at(p->slot) + 2 * (size_t)n;
        float *cache = f32_at(p->cache) + (size_t)slot[0] * p->capacity * 2 * columns;
        for (uint32_t i = 0; i < p->fresh; i++)
            memcpy(cache + (slot[1] + i) % p->capacity * 2 * columns,
                   f32_at(p->qkv) + (n * (size_t)p->fresh + i) * 3 * columns + columns,
                   2 * columns * sizeof(float));
    }
    return 0;
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
    .writes = TENSOR_ARG(attention_append_params, cache),
    .cpu = append_cpu,
    .launch = append_launch,
    .variant = {"attention_append"},
};
const struct tensor_kernel *const tensor_kernel_attention_append = &append;

/* Heads divide the columns of q, k and v; a patch reaches no further than the one before it. */
static bool check_params(struct tensor_graph *g, uint32_t columns,
                         const struct tensor_attention_params *a)
{
    if (!a->heads || !columns || columns % a->heads || columns / a->heads > ATTENTION_HEAD_MAX)
        tensor_graph_fail(g, "attention: %u columns of q do not part into %u heads of at most %d",
                          columns, a->heads, ATTENTION_HEAD_MAX);
    else if (a->reach > a->patch)
        tensor_graph_fail(g, "attention: a patch of %u positions cannot reach back %u", a->patch,
                          a->reach);
    else
        return true;
    return false;
}

/* What follows from the settings and the width of q. */
static struct attention_params params_of(const struct tensor_attention_params *a, uint32_t columns)
{
    return (struct attention_params){
        .stride_q = columns, .stride_k = 2 * columns, .heads = a->heads,
        .head_dim = columns / a->heads, .span = a->patch ? a->patch : ATTENTION_WHOLE,
        .reach = a->reach, .scale = 1 / sqrtf((float)(columns / a->heads)), .drop_scale = 1};
}

/* Everything behind the first `columns` elements of t. */
static struct tensor *behind(struct tensor_graph *g, struct tensor *t, uint32_t columns)
{
    return tensor_graph_view(g, t, columns, 1, (uint32_t[]){(uint32_t)(t->count - columns)});
}

/* q and kv may be the same tensor: packed rows, of which the last have queries. first: NULL, or
 * (1). */
static struct tensor *record(struct tensor_graph *g, struct tensor *q, struct tensor *kv,
                             struct tensor *first, const struct tensor_attention_params *a,
                             struct attention_params *p)
{
    const bool training = tensor_graph_training(g);
    const uint32_t columns = p->heads * p->head_dim, rows = p->sequences * p->queries;
    struct tensor *lse = training ? tensor_graph_matrix(g, rows, p->heads) : NULL;
    p->key_rows = p->keys;
    p->span = p->span < p->keys ? p->span : p->keys;
    p->stream = tensor_graph_stream(g);
    p->threshold = tensor_dropout_threshold(g, a->dropout);
    p->drop_scale = 1 / (1 - a->dropout);
    p->flags = (training ? ATTENTION_LSE : 0) | (first ? ATTENTION_FIRST : 0);
    const bool can = a->low_precision && tensor_attention_16bit(tensor_graph_device_info(g), p);
    const enum tensor_type type = can ? tensor_graph_factor_type(g) : TENSOR_F32;
    const uint32_t type16 =
        type == TENSOR_BF16 ? ATTENTION_BF16 : type == TENSOR_F16 ? ATTENTION_F16 : 0;
    p->flags |= type16;
    struct tensor *y = tensor_graph_new(g, type, 2, (uint32_t[]){rows, columns});
    struct attention_grad_params *grad = tensor_graph_memory_take(g, sizeof *grad);
    if (!grad)
        return y;
    *grad = (struct attention_grad_params){
        .sequences = p->sequences, .queries = p->queries, .keys = p->keys,
        .flags = (first ? ATTENTION_FIRST : 0) | (q == kv ? ATTENTION_PACKED : 0) | type16,
        .heads = p->heads, .head_dim = p->head_dim, .span = p->span, .reach = p->reach,
        .stream = p->stream, .threshold = p->threshold, .scale = p->scale,
        .drop_scale = p->drop_scale};
    tensor_graph_pass(g, &attention, p, (struct tensor *[TENSOR_PASS_ARGS]){
        AT(q) = q == kv ? tensor_attention_queries(g, q, grad) : q,
        AT(kv) = q == kv ? behind(g, kv, columns) : kv,
        AT(random) = p->threshold ? tensor_graph_random(g) : NULL, AT(slot) = first, AT(y) = y,
        AT(lse) = lse},
        4 * tensor_attention_products(grad));
    tensor_graph_node(g, &(struct tensor_node){tensor_attention_gradient, .output = y,
                                               .input = {q, q == kv ? NULL : kv, first},
                                               .saved = {lse},
                                               .params = grad});
    return y;
}

struct tensor *tensor_attention(struct tensor_graph *g, struct tensor *qkv,
                                const struct tensor_attention_params *a)
{
    const uint32_t rows = tensor_rows(qkv), columns = tensor_columns(qkv) / 3;
    if (!tensor_check(g, a->positions && rows % a->positions == 0 && tensor_columns(qkv) % 3 == 0,
                      "attention", "qkv (N·S, 3·C)", qkv, NULL) ||
        !tensor_check(g, !a->context_rows || (a->context_rows < rows && rows == a->positions),
                      "attention", "one sequence of more rows than are context", qkv, NULL) ||
        !check_params(g, columns, a))
        return qkv;
    struct attention_params p = params_of(a, columns);
    p.sequences = rows / a->positions;
    p.keys = a->positions;
    p.queries = a->positions - a->context_rows;
    p.stride_q = p.stride_k = 3 * columns;
    return record(g, qkv, qkv, NULL, a, &p);
}

struct tensor *tensor_attention_cross(struct tensor_graph *g, struct tensor *q, struct tensor *kv,
                                      struct tensor *first, const struct tensor_attention_params *a)
{
    const uint32_t rows = tensor_rows(kv), columns = tensor_columns(q);
    const uint32_t sequences = a->positions ? rows / a->positions : 0;
    const uint32_t queries = sequences ? tensor_rows(q) / sequences : 0;
    if (!tensor_check(g, q != kv && queries && queries <= a->positions &&
                      sequences * a->positions == rows && sequences * queries == tensor_rows(q) &&
                      tensor_columns(kv) == 2 * columns,
                      "attention_cross", "q (N·Q, C), kv (N·S, 2·C), Q <= S", q, kv) ||
        !tensor_check(g, !first || first->type == TENSOR_U32, "attention_cross", "first (1) U32",
                      first, NULL) || !check_params(g, columns, a))
        return q;
    struct attention_params p = params_of(a, columns);
    p.sequences = sequences;
    p.queries = queries;
    p.keys = a->positions;
    return record(g, q, kv, first, a, &p);
}

struct tensor *tensor_attention_cached(struct tensor_graph *g, struct tensor *qkv,
                                       struct tensor *cache, struct tensor *slot,
                                       const struct tensor_attention_params *a)
{
    const uint32_t columns = tensor_columns(qkv) / 3, sequences = (uint32_t)(slot->count / 2);
    const uint32_t fresh = sequences ? tensor_rows(qkv) / sequences : 0, capacity = cache->shape[1];
    if (!tensor_check(g, cache->rank == 3 && cache->shape[2] == 2 * columns && fresh &&
                      tensor_rows(qkv) % sequences == 0 && fresh <= capacity &&
                      tensor_columns(qkv) % 3 == 0 && a->reach + 1 <= capacity,
                      "attention_cached", "qkv (N·n, 3·C), cache (M, L, 2·C)", qkv, cache) ||
        !check_params(g, columns, a))
        return qkv;
    struct attention_params p = params_of(a, columns);
    p.sequences = sequences;
    p.queries = fresh;
    p.key_rows = capacity;
    p.stride_q = 3 * columns;
    p.flags = ATTENTION_SLOT;
    if (fresh == 1)
        return tensor_record_attention_step(g, qkv, cache, slot, &p);
    const struct attention_append_params append_params = {
        .sequences = sequences, .fresh = fresh, .capacity = capacity, .columns = columns};
    tensor_graph_pass(g, &append, &append_params, (struct tensor *[]){qkv, slot, cache}, 0);
    struct tensor *y = tensor_graph_matrix(g, tensor_rows(qkv), columns);
    tensor_graph_pass(g, &attention, &p, (struct tensor *[TENSOR_PASS_ARGS]){
        AT(q) = qkv, AT(kv) = cache, AT(slot) = slot, AT(y) = y},
        4.0 * tensor_rows(qkv) * columns * capacity);
    return y;
}
