/* attention_cpu.h - what the C twins of attention share (private to attention*.c).
 *
 * All work is products of small matrices in the first-level cache: ATTENTION_TILE keys, transposed,
 * against a few queries at a time for the scores, rows of v (or of k, q, dy) weighted by them for
 * the sums. attention_product() does each of them with its result in registers. Queries are taken
 * ATTENTION_ROWS at a time, and of a tile only the keys that one of those sees: short patches are
 * bands of narrow products.
 */
#ifndef TENSOR_OP_ATTENTION_CPU_H
#define TENSOR_OP_ATTENTION_CPU_H

#include "tensor/cpu/exp.h"
#include "tensor/op/attention.h"
#include "tensor/random.h"
#include <stddef.h>

#define ATTENTION_TILE     64
#define ATTENTION_WIDE     16 /* columns that are computed together */
#define ATTENTION_ROWS     4
#define ATTENTION_HEAD_MAX 256

/* Compilers make it as many registers as they need. */
typedef float attention_wide
    __attribute__((vector_size(4 * ATTENTION_WIDE), aligned(4), may_alias));

typedef float attention_four __attribute__((vector_size(16), aligned(4), may_alias));

struct attention_tile {
    _Alignas(64) float at[ATTENTION_HEAD_MAX][ATTENTION_TILE]; /* (dim, key) */
    uint32_t first, count;                                     /* keys in it */
};

static inline float attention_dot(const float *x, const float *y, uint32_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* A line a query, an element a key of the tile. */
typedef float attention_pairs[ATTENTION_TILE];

/* Elements `column` … column + 3 of four rows, as columns j … j + 3 of the tile. */
static inline void attention_turn(struct attention_tile *tile, const float *const row[4],
                                  uint32_t column, uint32_t j)
{
    const attention_four a = *(const attention_four *)(row[0] + column);
    const attention_four b = *(const attention_four *)(row[1] + column);
    const attention_four c = *(const attention_four *)(row[2] + column);
    const attention_four d = *(const attention_four *)(row[3] + column);
    const attention_four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const attention_four cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const attention_four AB = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const attention_four CD = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    float(*to)[ATTENTION_TILE] = &tile->at[column];
    *(attention_four *)&to[0][j] = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    *(attention_four *)&to[1][j] = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    *(attention_four *)&to[2][j] = __builtin_shufflevector(AB, CD, 0, 1, 4, 5);
    *(attention_four *)&to[3][j] = __builtin_shufflevector(AB, CD, 2, 3, 6, 7);
}

/* Rows first … first + count - 1, counted around after `ring` rows; zeros behind them. */
static inline void attention_tile_load(struct attention_tile *tile, const float *rows,
                                       size_t stride, uint32_t dim, uint32_t first, uint32_t count,
                                       uint32_t ring)
{
    const uint32_t padded = (count + ATTENTION_WIDE - 1) / ATTENTION_WIDE * ATTENTION_WIDE;
    tile->first = first;
    tile->count = count;
    for (uint32_t j = 0; j < count; j += 4) {
        const float *row[4];
        for (uint32_t i = 0; i < 4; i++) /* the last one again behind the end: never looked at */
            row[i] = rows + (first + (j + i < count ? j + i : count - 1)) % ring * stride;
        uint32_t d = 0;
        for (; d + 4 <= dim; d += 4)
            attention_turn(tile, row, d, j);
        for (; d < dim; d++)
            for (uint32_t i = 0; i < 4; i++)
                tile->at[d][j + i] = row[i][d];
    }
    for (uint32_t d = 0; d < dim; d++)
        for (uint32_t j = (count + 3) / 4 * 4; j < padded; j++)
            tile->at[d][j] = 0;
}

/* A factor of a product: element (row, column) is at[row · row_step + column · column_step]. */
struct attention_factor {
    const float *at;
    size_t row_step, column_step;
};

/* `rows` rows of `wides` times ATTENTION_WIDE columns; both are constants at each call. */
static inline __attribute__((always_inline)) void
attention_block(uint32_t rows, uint32_t wides, struct attention_factor a, const float *b,
                size_t b_step, uint32_t depth, float *c, size_t c_step, _Bool add)
{
    attention_wide sum[ATTENTION_ROWS][4];
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t u = 0; u < wides; u++) {
            const attention_wide *to = (const attention_wide *)(c + i * c_step);
            sum[i][u] = add ? to[u] : (attention_wide){0};
        }
    for (uint32_t k = 0; k < depth; k++) {
        const attention_wide *row = (const attention_wide *)(b + k * b_step);
        for (uint32_t i = 0; i < rows; i++)
            for (uint32_t u = 0; u < wides; u++)
                sum[i][u] += a.at[i * a.row_step + k * a.column_step] * row[u];
    }
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t u = 0; u < wides; u++)
            ((attention_wide *)(c + i * c_step))[u] = sum[i][u];
}

/* c (+)= a · b for at most ATTENTION_ROWS rows: a (rows, depth), b (depth, columns) and c (rows,
 * columns) with rows at b_step and c_step elements. */
static inline void attention_product(uint32_t rows, uint32_t columns, struct attention_factor a,
                                     const float *b, size_t b_step, uint32_t depth, float *c,
                                     size_t c_step, _Bool add)
{
    for (uint32_t left; rows; rows -= left) {
        uint32_t n = 0;
        left = rows == ATTENTION_ROWS ? ATTENTION_ROWS : 1;
        for (; n + 4 * ATTENTION_WIDE <= columns; n += 4 * ATTENTION_WIDE)
            if (left == ATTENTION_ROWS)
                attention_block(ATTENTION_ROWS, 4, a, b + n, b_step, depth, c + n, c_step, add);
            else
                attention_block(1, 4, a, b + n, b_step, depth, c + n, c_step, add);
        for (; n + ATTENTION_WIDE <= columns; n += ATTENTION_WIDE)
            if (left == ATTENTION_ROWS)
                attention_block(ATTENTION_ROWS, 1, a, b + n, b_step, depth, c + n, c_step, add);
            else
                attention_block(1, 1, a, b + n, b_step, depth, c + n, c_step, add);
        for (; n < columns; n++)
            for (uint32_t i = 0; i < left; i++) {
                float sum = add ? c[i * c_step + n] : 0;
                for (uint32_t k = 0; k < depth; k++)
                    sum += a.at[i * a.row_step + k * a.column_step] * b[k * b_step + n];
                c[i * c_step + n] = sum;
            }
        a.at += left * a.row_step;
        c += left * c_step;
    }
}

/* Which keys of a tile a query sees: from … end - 1, none if they are equal. */
struct attention_range {
    uint32_t from, end;
};

static inline struct attention_range attention_sees(const struct attention_tile *tile, uint32_t t,
                                                    uint32_t span, uint32_t reach)
{
    const uint32_t begin = ATTENTION_BEGIN(t, span, reach), behind = tile->first + tile->count;
    const uint32_t from = begin > tile->first ? begin : tile->first;
    const uint32_t end = t + 1 < behind ? t + 1 : behind;
    if (from >= end)
        return (struct attention_range){0, 0};
    return (struct attention_range){from - tile->first, end - tile->first};
}

/* What a few queries at t, t + 1, … see together; whole lanes of it are `lanes`. */
static inline struct attention_range attention_see(const struct attention_tile *tile, uint32_t t,
                                                   uint32_t rows, uint32_t span, uint32_t reach)
{
    struct attention_range all = {ATTENTION_TILE, 0};
    for (uint32_t i = 0; i < rows; i++) {
        const struct attention_range one = attention_sees(tile, t + i, span, reach);
        if (one.from == one.end)
            continue;
        all.from = one.from < all.from ? one.from : all.from;
        all.end = one.end > all.end ? one.end : all.end;
    }
    return all.end ? all : (struct attention_range){0, 0};
}

static inline struct attention_range attention_lanes(struct attention_range r)
{
    return (struct attention_range){r.from / ATTENTION_WIDE * ATTENTION_WIDE,
                                    (r.end + ATTENTION_WIDE - 1) / ATTENTION_WIDE * ATTENTION_WIDE};
}

/* out (rows, keys of the tile) = x · keys, for whole lanes around `range`. */
static inline void attention_scores(const float *x, size_t stride, uint32_t rows, uint32_t dim,
                                    const struct attention_tile *tile, struct attention_range range,
                                    attention_pairs *out)
{
    const struct attention_range lanes = attention_lanes(range);
    attention_product(rows, lanes.end - lanes.from, (struct attention_factor){x, stride, 1},
                      &tile->at[0][lanes.from], ATTENTION_TILE, dim, &out[0][lanes.from],
                      ATTENTION_TILE, 0);
}

/* mask[j] = what probability (row, tile's key j) is multiplied by, in whole lanes around `range`;
 * the tile begins at a multiple of 4. */
static inline void attention_masks(const uint32_t *random, uint32_t row,
                                   const struct attention_tile *tile, struct attention_range range,
                                   uint32_t stream, uint32_t threshold, float scale, float *mask)
{
    const struct attention_range lanes = attention_lanes(range);
    for (uint32_t j = lanes.from; j < lanes.end; j += 4) {
        const struct tensor_random r =
            tensor_random((tile->first + j) / 4, row, stream, random[2], random[0], random[1]);
        for (uint32_t i = 0; i < 4; i++)
            mask[j + i] = r.word[i] < threshold ? 0 : scale;
    }
}

#endif
