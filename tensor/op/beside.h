/* beside.h - parameters of two matrices side by side (op.h: tensor_beside) */
#ifndef TENSOR_OP_BESIDE_H
#define TENSOR_OP_BESIDE_H

#include "tensor/op/share.h"

/* y[r] = (a[r], b[r]) */
struct beside_params {
    f32_ptr a; /* (rows, left) */
    f32_ptr b; /* (rows, right) */
    f32_ptr y; /* (rows, left + right) */
    u32 rows;
    u32 left;
    u32 right;
};

#endif
