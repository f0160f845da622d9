/* epilogue.c - the epilogue of a matrix product on the cpu device (matmul.h). */
#include "tensor/cpu/matmul.h"
#include "tensor/cpu/convert.h"
#include "tensor/op/dropout.h"
#include "tensor/op/matmul_config.h"
#include <string.h>

#define CHUNK 64 /* elements of a row that are finished at a time */

static void finish_chunk(const struct matmul_params *p, uint32_t epilogue, uint32_t row,
                         uint32_t column, uint32_t count, float sum[CHUNK])
{
    const size_t at = (size_t)row * p->n + column;
    const bool is16 = p->flags & MATMUL_16BIT;
    if (epilogue & MATMUL_BIAS)
        for (uint32_t i = 0; i < count; i++)
            sum[i] += f32_at(p->bias)[column + i];
    if (epilogue & MATMUL_RELU)
        for (uint32_t i = 0; i < count; i++)
            sum[i] = sum[i] < 0 ? 0 : sum[i];
    if (epilogue & MATMUL_DROPOUT)
        tensor_dropout(sum, sum, row, column, count, u32_at(p->random), p->stream, p->threshold,
                       p->scale);
    if (epilogue & MATMUL_RESIDUAL) {
        float wide[CHUNK];
        const float *residual = is16 ? wide : f32_at(p->residual) + at;
        if (is16)
            tensor_row_from_16bit(u16_at(p->residual) + at, wide, count, tensor_cpu_factors(p));
        for (uint32_t i = 0; i < count; i++)
            sum[i] += residual[i];
    }
    if (is16)
        tensor_row_to_16bit(sum, u16_at(p->c) + at, count, tensor_cpu_factors(p));
    else
        memcpy(f32_at(p->c) + at, sum, count * sizeof *sum);
}

void tensor_cpu_matmul_epilogue(const struct matmul_params *p, uint32_t epilogue, const float *sums)
{
    const size_t count = (size_t)p->m * p->n;
    const uint32_t splits = tensor_matmul_splits(p->k, p->split_k);
#pragma omp parallel for schedule(static)
    for (uint32_t row = 0; row < p->m; row++)
        for (uint32_t column = 0; column < p->n; column += CHUNK) {
            const float *from = sums + (size_t)row * p->n + column;
            const uint32_t here = p->n - column < CHUNK ? p->n - column : CHUNK;
            float sum[CHUNK];
            memcpy(sum, from, here * sizeof *sum);
            for (uint32_t split = 1; split < splits; split++)
                for (uint32_t i = 0; i < here; i++)
                    sum[i] += from[split * count + i];
            finish_chunk(p, epilogue, row, column, here, sum);
        }
}
