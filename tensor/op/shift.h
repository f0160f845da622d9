/* shift.h - parameters of the shift with a pad (op.h: tensor_shift) */
#ifndef TENSOR_OP_SHIFT_H
#define TENSOR_OP_SHIFT_H

#include "tensor/op/share.h"

/* Row r = i·n + j of y is pad[j] if j < s, else x[r - s]. */
struct shift_params {
    f32_ptr x;   /* (rows, columns) */
    f32_ptr pad; /* (s, columns) */
    f32_ptr y;   /* (rows, columns) */
    u32 rows;
    u32 columns;
    u32 n;
    u32 s;
};

/* Row r = i·n + j of dx is dy[r + s] if j + s < n, else 0. */
struct shift_grad_params {
    f32_ptr dy;
    f32_ptr dx;
    u32 rows;
    u32 columns;
    u32 n;
    u32 s;
};

#endif
