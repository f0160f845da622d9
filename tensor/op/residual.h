/* residual.h - parameters of dropout and residual sum (op.h: tensor_residual) */
#ifndef TENSOR_OP_RESIDUAL_H
#define TENSOR_OP_RESIDUAL_H

#include "tensor/op/share.h"

/* Element (r, c) is dropped when word c mod 4 of tensor_random((c / 4, r, stream, random[2]),
 * (random[0], random[1])) is below threshold = p · 2^32; the others are multiplied by scale. */
struct residual_params {
    f32_ptr x;
    f32_ptr z;
    u32_ptr random; /* (3) */
    f32_ptr y;      /* x + dropout(z) */
    u32 rows;
    u32 columns;
    u32 stream;
    u32 threshold;
    f32 scale;
};

struct residual_grad_params {
    f32_ptr dy;
    u32_ptr random;
    f32_ptr dz; /* dy · mask · scale */
    u32 rows;
    u32 columns;
    u32 stream;
    u32 threshold;
    f32 scale;
};

#endif
