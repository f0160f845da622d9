/* attention_patch.c - attention within short patches, on the processor. */
#include "tensor/op/attention_patch.h"
#include "tensor/cpu/exp.h"
#include "tensor/cpu/convert.h"
#include "tensor/random.h"
#include <math.h>
#include <stddef.h>

#define LANES 16 /* columns that are taken together */
#define MOST  ATTENTION_PATCH_MAX
#define HEAD_MOST 256 /* columns of a head */
#define KEYS  8 /* keys whose products with two queries are summed up together */

typedef float wide __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float half __attribute__((vector_size(4 * KEYS), aligned(4), may_alias));

/* Of one patch: a line a query, an element a key. */
typedef float pairs[MOST][MOST];

/* The rows of a head in a patch: where the first one is, and how far it is to the next. */
struct rows {
    const float *at;
    size_t step;
};

static bool fits(uint32_t span, uint32_t reach, uint32_t head_dim, uint32_t threshold)
{
    /* Four neighbouring keys share a random number. */
    return span <= MOST && !reach && head_dim % LANES == 0 && (!threshold || span % 4 == 0);
}

bool tensor_attention_in_patches(const struct attention_params *p)
{
    return !(p->flags & (ATTENTION_SLOT | ATTENTION_FIRST)) && p->queries == p->keys &&
           p->key_rows == p->keys && fits(p->span, p->reach, p->head_dim, p->threshold);
}

bool tensor_attention_grad_in_patches(const struct attention_grad_params *p)
{
    return !(p->flags & ATTENTION_FIRST) && p->queries == p->keys &&
           fits(p->span, p->reach, p->head_dim, p->threshold);
}

/* ---- products ---- */

/* The sum of each of eight vectors, in their order. */
static inline __attribute__((always_inline)) half sums_of(const wide x[KEYS])
{
    half h[8], q[4], r[2];
    for (int k = 0; k < 8; k++)
        h[k] = __builtin_shufflevector(x[k], x[k], 0, 1, 2, 3, 4, 5, 6, 7) +
               __builtin_shufflevector(x[k], x[k], 8, 9, 10, 11, 12, 13, 14, 15);
    for (int k = 0; k < 4; k++)
        q[k] = __builtin_shufflevector(h[k], h[k + 4], 0, 1, 2, 3, 8, 9, 10, 11) +
               __builtin_shufflevector(h[k], h[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    for (int k = 0; k < 2; k++)
        r[k] = __builtin_shufflevector(q[k], q[k + 2], 0, 1, 8, 9, 4, 5, 12, 13) +
               __builtin_shufflevector(q[k], q[k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    return __builtin_shufflevector(r[0], r[1], 0, 8, 2, 10, 4, 12, 6, 14) +
           __builtin_shufflevector(r[0], r[1], 1, 9, 3, 11, 5, 13, 7, 15);
}

/* out[0] and out[1]: x0 and x1 times each of the rows from `first` on; the last row stands in for
 * those behind it. */
static inline __attribute__((always_inline)) void dots(const float *x0, const float *x1,
                                                       struct rows rows, uint32_t first,
                                                       uint32_t count, uint32_t dim, half out[2])
{
    wide sum0[KEYS] = {0}, sum1[KEYS] = {0};
    const float *row[KEYS];
    for (uint32_t j = 0; j < KEYS; j++)
        row[j] = rows.at + (first + j < count ? first + j : count - 1) * rows.step;
    for (uint32_t c = 0; c < dim; c += LANES) {
        const wide a = *(const wide *)(x0 + c), b = *(const wide *)(x1 + c);
        for (uint32_t j = 0; j < KEYS; j++) {
            const wide y = *(const wide *)(row[j] + c);
            sum0[j] += a * y;
            sum1[j] += b * y;
        }
    }
    out[0] = sums_of(sum0);
    out[1] = sums_of(sum1);
}

/* s[i][j] = x_i·y_j for j <= i, and whatever comes behind. */
static inline void multiply(struct rows x, struct rows y, uint32_t count, uint32_t dim, pairs s)
{
    for (uint32_t i = 0; i < count; i += 2) {
        const uint32_t last = i + 1 < count ? i + 1 : i;
        for (uint32_t j = 0; j <= last; j += KEYS) {
            half out[2];
            dots(x.at + i * x.step, x.at + last * x.step, y, j, count, dim, out);
            *(half *)&s[i][j] = out[0];
            *(half *)&s[last][j] = out[last - i];
        }
    }
}

/* to = sum over k of weight[k * step] times row k: `vectors` times LANES columns. */
static inline __attribute__((always_inline)) void combine(uint32_t vectors, const float *weight,
                                                          size_t step, struct rows rows,
                                                          uint32_t count, float *to)
{
    wide sum[4] = {0};
    for (uint32_t k = 0; k < count; k++)
        for (uint32_t u = 0; u < vectors; u++)
            sum[u] += weight[k * step] * *(const wide *)(rows.at + k * rows.step + u * LANES);
    for (uint32_t u = 0; u < vectors; u++)
        *(wide *)(to + u * LANES) = sum[u];
}

static inline __attribute__((always_inline)) void combine_all(const float *weight, size_t step,
                                                              struct rows rows, uint32_t count,
                                                              uint32_t dim, float *to)
{
    uint32_t c = 0;
    for (; c + 4 * LANES <= dim; c += 4 * LANES)
        combine(4, weight, step, (struct rows){rows.at + c, rows.step}, count, to + c);
    for (; c < dim; c += LANES)
        combine(1, weight, step, (struct rows){rows.at + c, rows.step}, count, to + c);
}

/* The type of y, dy, dq and dkv. */
static uint32_t type_of(uint32_t flags)
{
    return flags & ATTENTION_BF16  ? ELEMENT_BF16
           : flags & ATTENTION_F16 ? ELEMENT_F16
                                   : ELEMENT_F32;
}

/* combine_all() to element `at` of an array of the type. */
static inline void give(const float *weight, size_t step, struct rows rows, uint32_t count,
                        uint32_t dim, uint64_t to, size_t at, uint32_t type)
{
    float line[HEAD_MOST];
    if (type == ELEMENT_F32) {
        combine_all(weight, step, rows, count, dim, f32_at(to) + at);
        return;
    }
    combine_all(weight, step, rows, count, dim, line);
    tensor_row_to_16bit(line, u16_at(to) + at, dim, type);
}

/* Rows of the type as floats: where they are, or in `scratch`. */
static inline struct rows take(uint64_t from, size_t at, size_t step, uint32_t count, uint32_t dim,
                               uint32_t type, float scratch[MOST * HEAD_MOST])
{
    if (type == ELEMENT_F32)
        return (struct rows){f32_at(from) + at, step};
    for (uint32_t i = 0; i < count; i++)
        tensor_row_from_16bit(u16_at(from) + at + i * step, scratch + i * dim, dim, type);
    return (struct rows){scratch, dim};
}

/* What the probabilities of query number `row` are multiplied by, from key `first` on. */
static void draw_mask(uint64_t random, uint32_t first, uint32_t row, uint32_t stream,
                      uint32_t threshold, float scale, float mask[MOST])
{
    const uint32_t *seed = u32_at(random);
    for (uint32_t j = 0; j < MOST; j += 4) {
        const struct tensor_random r =
            tensor_random((first + j) / 4, row, stream, seed[2], seed[0], seed[1]);
        for (uint32_t i = 0; i < 4; i++)
            mask[j + i] = r.word[i] < threshold ? 0 : scale;
    }
}

/* ---- forward ---- */

/* Weights of the keys 0 … i from their scores, before they are divided by the sum, and that. */
static inline float weigh(float *score, uint32_t i, float scale, float *largest)
{
    float most = -INFINITY, sum = 0;
    for (uint32_t j = 0; j <= i; j++)
        most = score[j] > most ? score[j] : most;
    most *= scale;
#pragma omp simd reduction(+ : sum)
    for (uint32_t j = 0; j < MOST; j++) {
        const float weight = tensor_cpu_exp(scale * score[j] - most);
        score[j] = j <= i ? weight : 0;
        sum += score[j];
    }
    *largest = most;
    return sum;
}

/* One head of the patch from position `first` on of sequence n. */
static void attend(const struct attention_params *p, uint32_t n, uint32_t first, uint32_t h)
{
    const uint32_t left = p->keys - first, count = left < p->span ? left : p->span;
    const uint32_t dim = p->head_dim;
    const size_t row = (size_t)n * p->keys + first, column = (size_t)h * dim;
    const size_t width = (size_t)p->heads * dim;
    const struct rows q = {f32_at(p->q) + row * p->stride_q + column, p->stride_q};
    const struct rows k = {f32_at(p->kv) + row * p->stride_k + column, p->stride_k};
    const struct rows v = {k.at + width, p->stride_k};
    const uint32_t type = type_of(p->flags);
    float mask[MOST];
    pairs s = {{0}};
    multiply(q, k, count, dim, s);
    for (uint32_t i = 0; i < count; i++) {
        float largest;
        const float sum = weigh(s[i], i, p->scale, &largest), whole = 1 / sum;
        if (p->threshold)
            draw_mask(p->random, first, (n * p->heads + h) * p->queries + first + i, p->stream,
                      p->threshold, p->drop_scale, mask);
        for (uint32_t j = 0; j < MOST; j++)
            s[i][j] *= p->threshold ? whole * mask[j] : whole;
        give(s[i], 1, v, i + 1, dim, p->y, (row + i) * width + column, type);
        if (p->flags & ATTENTION_LSE)
            f32_at(p->lse)[(row + i) * p->heads + h] = largest + logf(sum);
    }
}

void tensor_attention_patches(const struct attention_params *p)
{
    const uint32_t patches = (p->keys + p->span - 1) / p->span;
#pragma omp parallel for collapse(2) schedule(static)
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t i = 0; i < patches; i++)
            for (uint32_t h = 0; h < p->heads; h++)
                attend(p, n, i * p->span, h);
}

/* ---- gradient ---- */

/* Of query i: dropped from q·k_j to D_ij P_ij, ds from dy·v_j to dS_ij; zeros behind it. */
static inline void turn(float scale, float lse, uint32_t i, const float mask[MOST], float *dropped,
                        float *ds)
{
    float weight[MOST], delta = 0;
#pragma omp simd reduction(+ : delta)
    for (uint32_t j = 0; j < MOST; j++) {
        const float e = tensor_cpu_exp(scale * dropped[j] - lse);
        weight[j] = j <= i ? e : 0;
        dropped[j] = weight[j] * mask[j];
        delta += j <= i ? dropped[j] * ds[j] : 0;
    }
#pragma omp simd
    for (uint32_t j = 0; j < MOST; j++)
        ds[j] = j <= i ? scale * weight[j] * (mask[j] * ds[j] - delta) : 0;
}

static void attend_grad(const struct attention_grad_params *p, uint32_t n, uint32_t first,
                        uint32_t h)
{
    const uint32_t left = p->keys - first, count = left < p->span ? left : p->span;
    const uint32_t dim = p->head_dim;
    const size_t row = (size_t)n * p->keys + first, column = (size_t)h * dim;
    const size_t width = (size_t)p->heads * dim;
    const size_t stride_q = ATTENTION_STRIDE_Q(*p), stride_k = ATTENTION_STRIDE_K(*p);
    const struct rows q = {f32_at(p->q) + row * stride_q + column, stride_q};
    const struct rows k = {f32_at(p->kv) + row * stride_k + column, stride_k};
    const struct rows v = {k.at + width, stride_k};
    const uint32_t type = type_of(p->flags);
    float mask[MOST], scratch[MOST * HEAD_MOST];
    const struct rows dy = take(p->dy, row * width + column, width, count, dim, type, scratch);
    pairs dropped = {{0}}, ds = {{0}};
    for (uint32_t j = 0; j < MOST; j++)
        mask[j] = 1;
    multiply(q, k, count, dim, dropped);
    multiply(dy, v, count, dim, ds);
    for (uint32_t i = 0; i < count; i++) {
        if (p->threshold)
            draw_mask(p->random, first, (n * p->heads + h) * p->queries + first + i, p->stream,
                      p->threshold, p->drop_scale, mask);
        turn(p->scale, f32_at(p->lse)[(row + i) * p->heads + h], i, mask, dropped[i], ds[i]);
        give(ds[i], 1, k, i + 1, dim, p->dq, (row + i) * stride_q + column, type);
    }
    for (uint32_t j = 0; j < count; j++) { /* queries from j on see key j */
        const struct rows from_q = {q.at + j * stride_q, stride_q};
        const struct rows from_dy = {dy.at + j * dy.step, dy.step};
        const size_t dk = (row + j) * stride_k + column;
        give(&ds[j][j], MOST, from_q, count - j, dim, p->dkv, dk, type);
        give(&dropped[j][j], MOST, from_dy, count - j, dim, p->dkv, dk + width, type);
    }
}

void tensor_attention_grad_patches(const struct attention_grad_params *p)
{
    const uint32_t patches = (p->keys + p->span - 1) / p->span;
#pragma omp parallel for collapse(2) schedule(static)
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t i = 0; i < patches; i++)
            for (uint32_t h = 0; h < p->heads; h++)
                attend_grad(p, n, i * p->span, h);
}
