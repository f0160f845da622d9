/* epilogue.c - the epilogue of a matrix product on the cpu device (matmul.h). */
#include "tensor/cpu/matmul.h"
#include "tensor/cpu/narrow.h"
#include "tensor/op/dropout.h"
#include "tensor/op/matmul_config.h"
#include <string.h>

#define CHUNK 64 /* elements of a row that are finished at a time */

static void finish_chunk(const struct matmul_params *p, uint32_t ends, uint32_t row,
                         uint32_t column, uint32_t count, float sum[CHUNK])
{
    const size_t at = (size_t)row * p->n + column;
    const bool narrow = p->flags & MATMUL_NARROW;
    if (ends & MATMUL_BIAS)
        for (uint32_t i = 0; i < count; i++)
            sum[i] += f32_at(p->bias)[column + i];
    if (ends & MATMUL_RELU)
        for (uint32_t i = 0; i < count; i++)
            sum[i] = sum[i] < 0 ? 0 : sum[i];
    if (ends & MATMUL_DROPOUT)
        tensor_dropout(sum, sum, row, column, count, u32_at(p->random), p->stream, p->threshold,
                       p->scale);
    if (ends & MATMUL_RESIDUAL) {
        float wide[CHUNK];
        const float *residual = narrow ? wide : f32_at(p->residual) + at;
        if (narrow)
            tensor_widen_row(u16_at(p->residual) + at, wide, count, tensor_cpu_factors(p));
        for (uint32_t i = 0; i < count; i++)
            sum[i] += residual[i];
    }
    if (narrow)
        tensor_narrow_row(sum, u16_at(p->c) + at, count, tensor_cpu_factors(p));
    else
        memcpy(f32_at(p->c) + at, sum, count * sizeof *sum);
}

void tensor_cpu_matmul_end(const struct matmul_params *p, uint32_t ends, const float *sums)
{
    const size_t count = (size_t)p->m * p->n;
    const uint32_t parts = tensor_matmul_parts(p->k, p->part);
#pragma omp parallel for schedule(static)
    for (uint32_t row = 0; row < p->m; row++)
        for (uint32_t column = 0; column < p->n; column += CHUNK) {
            const float *from = sums + (size_t)row * p->n + column;
            const uint32_t here = p->n - column < CHUNK ? p->n - column : CHUNK;
            float sum[CHUNK];
            memcpy(sum, from, here * sizeof *sum);
            for (uint32_t part = 1; part < parts; part++)
                for (uint32_t i = 0; i < here; i++)
                    sum[i] += from[part * count + i];
            finish_chunk(p, ends, row, column, here, sum);
        }
}
