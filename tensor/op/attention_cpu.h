/* attention_cpu.h - what the C twins of attention share (private to attention*.c).
 *
 * Keys (or values) are taken in tiles of ATTENTION_TILE rows, transposed, so that products of one
 * query with all keys of a tile run over neighbouring numbers: no sums across a vector register.
 */
#ifndef TENSOR_OP_ATTENTION_CPU_H
#define TENSOR_OP_ATTENTION_CPU_H

#include "tensor/cpu/exp.h"
#include "tensor/op/attention.h"
#include "tensor/random.h"
#include <stddef.h>

#define ATTENTION_TILE     64
#define ATTENTION_LANES    16 /* keys that are computed together */
#define ATTENTION_HEAD_MAX 256

struct attention_tile {
    _Alignas(64) float at[ATTENTION_HEAD_MAX][ATTENTION_TILE]; /* (dim, key) */
    uint32_t count;                                            /* keys in it */
};

/* Rows first … first + count - 1, counted around after `ring` rows. */
static inline void attention_tile_load(struct attention_tile *tile, const float *rows,
                                       size_t stride, uint32_t dim, uint32_t first, uint32_t count,
                                       uint32_t ring)
{
    const uint32_t padded = (count + ATTENTION_LANES - 1) / ATTENTION_LANES * ATTENTION_LANES;
    tile->count = count;
    for (uint32_t j = 0; j < count; j++)
        for (uint32_t d = 0; d < dim; d++)
            tile->at[d][j] = rows[(first + j) % ring * stride + d];
    for (uint32_t d = 0; d < dim; d++)
        for (uint32_t j = count; j < padded; j++)
            tile->at[d][j] = 0;
}

/* out[j] = scale · x·key_j for the first `count` keys of a tile; writes whole lanes. */
static inline void attention_products(const float *x, const struct attention_tile *tile,
                                      uint32_t dim, uint32_t count, float scale,
                                      float out[ATTENTION_TILE])
{
    for (uint32_t first = 0; first < count; first += ATTENTION_LANES) {
        float a[ATTENTION_LANES] = {0}, b[ATTENTION_LANES] = {0}; /* two chains of additions */
        uint32_t d = 0;
        for (; d + 2 <= dim; d += 2) {
            const float *even = &tile->at[d][first], *odd = &tile->at[d + 1][first];
#pragma omp simd
            for (int j = 0; j < ATTENTION_LANES; j++) {
                a[j] += x[d] * even[j];
                b[j] += x[d + 1] * odd[j];
            }
        }
        if (d < dim)
            for (int j = 0; j < ATTENTION_LANES; j++)
                a[j] += x[d] * tile->at[d][first + (uint32_t)j];
        for (int j = 0; j < ATTENTION_LANES; j++)
            out[first + (uint32_t)j] = scale * (a[j] + b[j]);
    }
}

/* y += factor · x */
static inline void attention_add(float *restrict y, float factor, const float *restrict x,
                                 uint32_t n)
{
#pragma omp simd
    for (uint32_t d = 0; d < n; d++)
        y[d] += factor * x[d];
}

/* mask[j - first] = what probability (row, j) is multiplied by, for j in [first, first + count);
 * first is a multiple of 4. */
static inline void attention_masks(const uint32_t *random, uint32_t row, uint32_t first,
                                   uint32_t count, uint32_t stream, uint32_t threshold, float scale,
                                   float mask[ATTENTION_TILE])
{
    for (uint32_t j = 0; j < count; j += 4) {
        if (!threshold) {
            mask[j] = mask[j + 1] = mask[j + 2] = mask[j + 3] = 1;
            continue;
        }
        const struct tensor_random r =
            tensor_random((first + j) / 4, row, stream, random[2], random[0], random[1]);
        for (uint32_t i = 0; i < 4; i++)
            mask[j + i] = r.word[i] < threshold ? 0 : scale;
    }
}

#endif
