/* unfold.h - parameters of rows with what stands before them (op.h: tensor_unfold) */
#ifndef TENSOR_OP_UNFOLD_H
#define TENSOR_OP_UNFOLD_H

#include "tensor/op/share.h"

/* y[r, j·columns + c] = x[r - (taps - 1) + j, c], or 0 where that row is before the first of its
 * group of n. */
struct unfold_params {
    f32_ptr x; /* (rows, columns) */
    f32_ptr y; /* (rows, taps·columns) */
    u32 rows;
    u32 columns;
    u32 n;
    u32 taps;
};

/* dx[r, c] = sum over j of dy[r + (taps - 1) - j, j·columns + c], over rows of r's group. */
struct unfold_grad_params {
    f32_ptr dy; /* (rows, taps·columns) */
    f32_ptr dx; /* (rows, columns) */
    u32 rows;
    u32 columns;
    u32 n;
    u32 taps;
};

#endif
