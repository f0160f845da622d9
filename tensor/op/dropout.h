/* dropout.h - dropout at the end of a matrix product (op.h: tensor_linear_residual), and parameters
 * of its gradient */
#ifndef TENSOR_OP_DROPOUT_H
#define TENSOR_OP_DROPOUT_H

#include "tensor/op/share.h"

/* Element (r, c) becomes 0 when word c mod 4 of tensor_random((c / 4, r, stream, random[2]),
 * (random[0], random[1])) is below threshold = p · 2^32; the others are multiplied by scale. So the
 * gradient drops the same elements, in whatever order and by whatever kernel either is computed. */
struct dropout_grad_params {
    f32_ptr dy;
    u32_ptr random; /* (3) */
    f32_ptr dx;     /* dropout(dy) */
    u32 rows;
    u32 columns;
    u32 stream;
    u32 threshold;
    f32 scale;
};

#ifndef VULKAN
/* That of `count` elements of row `row`, of which the first is in column `column`, a multiple of 4;
 * y may be x. */
void tensor_dropout(const float *x, float *y, uint32_t row, uint32_t column, uint32_t count,
                    const uint32_t random[3], uint32_t stream, uint32_t threshold, float scale);
#endif

#endif
