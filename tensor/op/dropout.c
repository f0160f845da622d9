/* dropout.c - dropout at the end of a matrix product, and its gradient (dropout.h). */
#include "tensor/op/dropout.h"
#include "tensor/contract.h"
#include "tensor/random.h"

#define FOURS 16 /* drawn at a time */

/* The words of tensor_random() for so many neighbouring fours of a row: the same steps, side by
 * side, which compilers vectorise. Dropout takes a third of the time so. */
static void draw(uint32_t four, uint32_t row, uint32_t stream, const uint32_t random[3],
                 uint32_t word[4][FOURS])
{
    for (uint32_t i = 0; i < FOURS; i++) {
        word[0][i] = four + i;
        word[1][i] = row;
        word[2][i] = stream;
        word[3][i] = random[2];
    }
    for (uint32_t round = 0; round < 10; round++) {
        const uint32_t key0 = random[0] + round * TENSOR_PHILOX_W0;
        const uint32_t key1 = random[1] + round * TENSOR_PHILOX_W1;
#pragma omp simd
        for (uint32_t i = 0; i < FOURS; i++) {
            const uint64_t product0 = (uint64_t)TENSOR_PHILOX_M0 * word[0][i];
            const uint64_t product1 = (uint64_t)TENSOR_PHILOX_M1 * word[2][i];
            word[0][i] = (uint32_t)(product1 >> 32) ^ word[1][i] ^ key0;
            word[1][i] = (uint32_t)product1;
            word[2][i] = (uint32_t)(product0 >> 32) ^ word[3][i] ^ key1;
            word[3][i] = (uint32_t)product0;
        }
    }
}

void tensor_dropout(const float *x, float *y, uint32_t row, uint32_t column, uint32_t count,
                    const uint32_t random[3], uint32_t stream, uint32_t threshold, float scale)
{
    for (uint32_t begin = 0; begin < count; begin += 4 * FOURS) {
        uint32_t word[4][FOURS], line[4 * FOURS];
        const uint32_t here = count - begin < 4 * FOURS ? count - begin : 4 * FOURS;
        const float *from = x + begin;
        float *to = y + begin;
        draw((column + begin) / 4, row, stream, random, word);
        for (uint32_t i = 0; i < FOURS; i++)
            for (uint32_t j = 0; j < 4; j++)
                line[4 * i + j] = word[j][i];
#pragma omp simd
        for (uint32_t i = 0; i < here; i++)
            to[i] = line[i] < threshold ? 0 : from[i] * scale;
    }
}

static int dropout_grad_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct dropout_grad_params *p = params;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        const size_t at = (size_t)r * p->columns;
        tensor_dropout(f32_at(p->dy) + at, f32_at(p->dx) + at, r, 0, p->columns,
                       u32_at(p->random), p->stream, p->threshold, p->scale);
    }
    return 0;
}

static void dropout_grad_launch(const struct tensor_device_info *info, const void *params,
                                struct tensor_launch *launch)
{
    const struct dropout_grad_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * ((p->columns + 3) / 4));
}

static const struct tensor_kernel dropout_grad = {
    .name = "dropout_grad",
    .params_size = sizeof(struct dropout_grad_params),
    .args = 3,
    .writes = TENSOR_ARG(dropout_grad_params, dx),
    .cpu = dropout_grad_cpu,
    .launch = dropout_grad_launch,
    .variant = {"dropout_grad"},
};
const struct tensor_kernel *const tensor_kernel_dropout_grad = &dropout_grad;
