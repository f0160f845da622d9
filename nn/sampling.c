/* sampling.c - settings of sampling as the device reads them. */
#include "nn/sampling.h"
#include "tensor/op.h"
#include <float.h>
#include <string.h>

static uint32_t bits_of(double number)
{
    const float x = (float)number;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

void nn_sampling_row(const struct nn_sampling *s, uint32_t stream, uint64_t draw, uint32_t given,
                     uint32_t *row)
{
    const uint64_t first = draw - given;
    /* Some devices take numbers this small for 0, and would divide by it. */
    row[TENSOR_SAMPLE_TEMPERATURE] = bits_of(s->temperature < FLT_MIN ? 0 : s->temperature);
    row[TENSOR_SAMPLE_TOP_P] = bits_of(s->top_p);
    row[TENSOR_SAMPLE_GIVEN] = given;
    row[TENSOR_SAMPLE_TOP_K] = s->top_k;
    row[TENSOR_SAMPLE_SEED_LOW] = (uint32_t)s->seed;
    row[TENSOR_SAMPLE_SEED_HIGH] = (uint32_t)(s->seed >> 32);
    row[TENSOR_SAMPLE_STREAM] = stream;
    row[TENSOR_SAMPLE_DRAW_LOW] = (uint32_t)first;
    row[TENSOR_SAMPLE_DRAW_HIGH] = (uint32_t)(first >> 32);
}
