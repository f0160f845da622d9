/* attention_cpu.h - what the C twins of attention share (private to attention*.c). */
#ifndef TENSOR_OP_ATTENTION_CPU_H
#define TENSOR_OP_ATTENTION_CPU_H

#include "tensor/op/attention.h"
#include "tensor/random.h"

static inline float attention_dot(const float *a, const float *b, uint32_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (uint32_t d = 0; d < n; d++)
        sum += a[d] * b[d];
    return sum;
}

/* y += factor · x */
static inline void attention_add(float *y, float factor, const float *x, uint32_t n)
{
#pragma omp simd
    for (uint32_t d = 0; d < n; d++)
        y[d] += factor * x[d];
}

/* What probability (row, j) is multiplied by. */
static inline float attention_mask(const uint32_t *random, uint32_t row, uint32_t j, uint32_t stream,
                                   uint32_t threshold, float scale)
{
    if (!threshold)
        return 1;
    const struct tensor_random r =
        tensor_random(j / 4, row, stream, random[2], random[0], random[1]);
    return r.word[j % 4] < threshold ? 0 : scale;
}

#endif
