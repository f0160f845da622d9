/* dropout.c - dropout at the end of a matrix product, and its gradient (dropout.h). */
#include "tensor/op/dropout.h"
#include "tensor/contract.h"
#include "tensor/random.h"

#define FOURS 16 /* drawn at a time */

void tensor_dropout(const float *x, float *y, uint32_t row, uint32_t column, uint32_t count,
                    const uint32_t random[3], uint32_t stream, uint32_t threshold, float scale)
{
    for (uint32_t begin = 0; begin < count; begin += 4 * FOURS) {
        uint32_t word[FOURS][4];
        const uint32_t rest = count - begin, four = (column + begin) / 4;
        const uint32_t fours = rest < 4 * FOURS ? (rest + 3) / 4 : FOURS;
#pragma omp simd
        for (uint32_t i = 0; i < fours; i++) {
            const struct tensor_random r =
                tensor_random(four + i, row, stream, random[2], random[0], random[1]);
            for (int j = 0; j < 4; j++)
                word[i][j] = r.word[j];
        }
        const uint32_t *words = word[0];
        for (uint32_t i = 0; i < 4 * FOURS && i < rest; i++)
            y[begin + i] = words[i] < threshold ? 0 : x[begin + i] * scale;
    }
}

static void dropout_grad_cpu(const void *params)
{
    const struct dropout_grad_params *p = params;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        const size_t at = (size_t)r * p->columns;
        tensor_dropout(f32_at(p->dy) + at, f32_at(p->dx) + at, r, 0, p->columns,
                       u32_at(p->random), p->stream, p->threshold, p->scale);
    }
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
    .writes = 1u << 2,
    .cpu = dropout_grad_cpu,
    .launch = dropout_grad_launch,
    .variant = {"dropout_grad"},
};
const struct tensor_kernel *const tensor_kernel_dropout_grad = &dropout_grad;
