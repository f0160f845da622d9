/* attention_patch.c - attention within short patches, and its whole gradient in one kernel. */
#include "tensor/op/attention_patch.h"
#include "tensor/cpu/exp.h"
#include "tensor/op/attention_record.h"
#include "tensor/random.h"
#include <math.h>
#include <string.h>

#define KEYS (2 * ATTENTION_PATCH_MAX) /* with those that it reaches */
#define WIDE 16

/* Sixteen columns; compilers make it as many registers as they need. */
typedef float wide __attribute__((vector_size(4 * WIDE), aligned(4), may_alias));

/* Rows of one head: of k and v, or of q and dy. */
struct rows {
    const float *at; /* row 0 */
    size_t stride;
};

static inline const float *row_of(const struct rows *rows, uint32_t i)
{
    return rows->at + i * rows->stride;
}

/* out[j] = factor · x·row first + j, for j < count; four rows share the loads of x. */
static void products(const float *x, const struct rows *rows, uint32_t first, uint32_t count,
                     uint32_t dim, float factor, float *out)
{
    const uint32_t whole = dim / WIDE * WIDE;
    for (uint32_t j = 0; j < count; j += 4) {
        const uint32_t last = first + count - 1, at = first + j;
        const float *a = row_of(rows, at), *b = row_of(rows, at + 1 < last ? at + 1 : last);
        const float *c = row_of(rows, at + 2 < last ? at + 2 : last);
        const float *d = row_of(rows, at + 3 < last ? at + 3 : last);
        wide sum[4] = {{0}, {0}, {0}, {0}};
        for (uint32_t i = 0; i < whole; i += WIDE) {
            const wide four = *(const wide *)(x + i);
            sum[0] += four * *(const wide *)(a + i);
            sum[1] += four * *(const wide *)(b + i);
            sum[2] += four * *(const wide *)(c + i);
            sum[3] += four * *(const wide *)(d + i);
        }
        float total[4];
        for (int u = 0; u < 4; u++) {
            float part = 0;
#pragma omp simd reduction(+ : part)
            for (int i = 0; i < WIDE; i++)
                part += ((const float *)&sum[u])[i];
            total[u] = part;
        }
        for (uint32_t i = whole; i < dim; i++) {
            total[0] += x[i] * a[i];
            total[1] += x[i] * b[i];
            total[2] += x[i] * c[i];
            total[3] += x[i] * d[i];
        }
        for (uint32_t u = 0; u < 4 && j + u < count; u++)
            out[j + u] = factor * total[u];
    }
}

/* y (+)= sum over j < count of weight[j · step] · row first + j, with the sums in registers. */
static void combine(float *y, const float *weight, size_t step, const struct rows *rows,
                    uint32_t first, uint32_t count, uint32_t dim, bool add)
{
    uint32_t i = 0;
    for (; i + 4 * WIDE <= dim; i += 4 * WIDE) {
        wide *to = (wide *)(y + i), a = {0}, b = {0}, c = {0}, d = {0};
        if (add) {
            a = to[0];
            b = to[1];
            c = to[2];
            d = to[3];
        }
        for (uint32_t j = 0; j < count; j++) {
            const wide *row = (const wide *)(row_of(rows, first + j) + i);
            const float w = weight[j * step];
            a += w * row[0];
            b += w * row[1];
            c += w * row[2];
            d += w * row[3];
        }
        to[0] = a;
        to[1] = b;
        to[2] = c;
        to[3] = d;
    }
    for (; i + WIDE <= dim; i += WIDE) {
        wide *to = (wide *)(y + i), a = {0};
        if (add)
            a = *to;
        for (uint32_t j = 0; j < count; j++)
            a += weight[j * step] * *(const wide *)(row_of(rows, first + j) + i);
        *to = a;
    }
    for (; i < dim; i++) {
        float sum = add ? y[i] : 0;
        for (uint32_t j = 0; j < count; j++)
            sum += weight[j * step] * row_of(rows, first + j)[i];
        y[i] = sum;
    }
}

/* mask[j] = what the pair of a query and key first + j is multiplied by; `row` is the query's
 * number over all sequences and heads. */
static void masks(const uint32_t *random, uint32_t row, uint32_t first, uint32_t count,
                  uint32_t stream, uint32_t threshold, float scale, float *mask)
{
    for (uint32_t j = 0; j < count;) {
        const struct tensor_random r =
            tensor_random((first + j) / 4, row, stream, random[2], random[0], random[1]);
        do {
            mask[j] = r.word[(first + j) % 4] < threshold ? 0 : scale;
            j++;
        } while (j < count && (first + j) % 4);
    }
}

void tensor_attention_patch(const struct attention_params *p, uint32_t n, uint32_t h,
                            uint32_t patch)
{
    const uint32_t dim = p->head_dim, before = p->keys - p->queries;
    const uint32_t end = (patch + 1) * p->span < p->keys ? (patch + 1) * p->span : p->keys;
    const uint32_t begin = ATTENTION_BEGIN(patch * p->span, p->span, p->reach);
    const size_t width = (size_t)p->heads * dim, column = (size_t)h * dim;
    const struct rows k = {f32_at(p->kv) + (size_t)n * p->key_rows * p->stride_k + column,
                           p->stride_k};
    const struct rows v = {k.at + width, p->stride_k};
    for (uint32_t t = patch * p->span > before ? patch * p->span : before; t < end; t++) {
        float weight[KEYS], mask[KEYS], largest = -INFINITY, sum = 0;
        const uint32_t i = t - before, count = t + 1 - begin;
        const size_t row = (size_t)n * p->queries + i;
        float *y = f32_at(p->y) + row * width + column;
        products(f32_at(p->q) + row * p->stride_q + column, &k, begin, count, dim, p->scale,
                 weight);
        for (uint32_t j = 0; j < count; j++)
            largest = weight[j] > largest ? weight[j] : largest;
#pragma omp simd reduction(+ : sum)
        for (uint32_t j = 0; j < count; j++) {
            weight[j] = tensor_cpu_exp(weight[j] - largest);
            sum += weight[j];
        }
        const float part = 1 / sum;
        for (uint32_t j = 0; j < count; j++)
            weight[j] *= part;
        if (p->threshold) {
            masks(u32_at(p->random), (n * p->heads + h) * p->queries + i, begin, count, p->stream,
                  p->threshold, p->drop_scale, mask);
            for (uint32_t j = 0; j < count; j++)
                weight[j] *= mask[j];
        }
        combine(y, weight, 1, &v, begin, count, dim, false);
        if (p->flags & ATTENTION_LSE)
            f32_at(p->lse)[row * p->heads + h] = largest + logf(sum);
    }
}

/* One head of one sequence. */
struct head {
    struct rows q, k, v, y, dy;
    const float *lse; /* stride is heads */
    float *dq, *dk, *dv;
    uint32_t row; /* number of query 0 over all sequences and heads */
};

/* The pairs of a patch: a line a query, which begins at the first key that the patch sees. */
struct pairs {
    float dropped[ATTENTION_PATCH_MAX][KEYS], ds[ATTENTION_PATCH_MAX][KEYS]; /* D P, dS */
};

static void fill_pairs(const struct attention_grad_params *p, const struct head *a, uint32_t t,
                       uint32_t begin, float *dropped, float *ds)
{
    const uint32_t i = t - (p->keys - p->queries), count = t + 1 - begin;
    const float *dy = row_of(&a->dy, i), lse = a->lse[(size_t)i * p->heads];
    float mask[KEYS], delta;
    products(row_of(&a->q, i), &a->k, begin, count, p->head_dim, p->scale, dropped);
    products(dy, &a->v, begin, count, p->head_dim, 1, ds);
    products(dy, &a->y, i, 1, p->head_dim, 1, &delta);
    if (p->threshold)
        masks(u32_at(p->random), a->row + i, begin, count, p->stream, p->threshold, p->drop_scale,
              mask);
    else
        for (uint32_t j = 0; j < count; j++)
            mask[j] = 1;
#pragma omp simd
    for (uint32_t j = 0; j < count; j++) {
        const float weight = tensor_cpu_exp(dropped[j] - lse);
        dropped[j] = weight * mask[j];
        ds[j] = p->scale * weight * (mask[j] * ds[j] - delta);
    }
}

/* The gradients of one patch; those of keys before it, which its queries reached, are added to. */
static void grad_patch(const struct attention_grad_params *p, const struct head *a, uint32_t start,
                       struct pairs *s)
{
    const uint32_t before = p->keys - p->queries, begin = start > p->reach ? start - p->reach : 0;
    const uint32_t end = start + p->span < p->keys ? start + p->span : p->keys;
    const uint32_t from = start > before ? start : before; /* the first query's position */
    for (uint32_t t = from; t < end; t++) {
        float *ds = s->ds[t - from];
        fill_pairs(p, a, t, begin, s->dropped[t - from], ds);
        combine(a->dq + (size_t)(t - before) * p->stride_q, ds, 1, &a->k, begin, t + 1 - begin,
                p->head_dim, false);
    }
    for (uint32_t j = begin; j < end; j++) {
        const uint32_t first = j > from ? j : from, count = first < end ? end - first : 0;
        const size_t to = (size_t)j * p->stride_k;
        if (!count && j < start)
            continue;
        combine(a->dk + to, &s->ds[first - from][j - begin], KEYS, &a->q, first - before, count,
                p->head_dim, j < start);
        combine(a->dv + to, &s->dropped[first - from][j - begin], KEYS, &a->dy, first - before,
                count, p->head_dim, j < start);
    }
}

void tensor_attention_patch_grad(const struct attention_grad_params *p, uint32_t n, uint32_t h)
{
    const size_t width = (size_t)p->heads * p->head_dim, row = (size_t)n * p->queries;
    const size_t column = (size_t)h * p->head_dim, at_q = row * p->stride_q + column;
    const size_t at_k = (size_t)n * p->keys * p->stride_k + column, at_y = row * width + column;
    const struct head a = {
        .q = {f32_at(p->q) + at_q, p->stride_q}, .k = {f32_at(p->kv) + at_k, p->stride_k},
        .v = {f32_at(p->kv) + at_k + width, p->stride_k}, .y = {f32_at(p->y) + at_y, width},
        .dy = {f32_at(p->dy) + at_y, width}, .lse = f32_at(p->lse) + row * p->heads + h,
        .dq = f32_at(p->dq) + at_q, .dk = f32_at(p->dkv) + at_k,
        .dv = f32_at(p->dkv) + at_k + width, .row = (n * p->heads + h) * p->queries};
    struct pairs s;
    for (uint32_t start = 0; start < p->keys; start += p->span)
        grad_patch(p, &a, start, &s);
}
