/* sum.h - parameters of sums over all elements (op.h: tensor_sum, tensor_sum_squares) */
#ifndef TENSOR_OP_SUM_H
#define TENSOR_OP_SUM_H

#include "tensor/op/share.h"

/* y[i] = factor · sum of x (or x²) over elements [i·chunk, (i+1)·chunk) below count. */
#define SUM_SQUARE 1u
#define SUM_FACTOR 2u /* factor is given; else 1 */
struct sum_params {
    f32_ptr x;      /* (count) */
    f32_ptr factor; /* (1) */
    f32_ptr y;      /* (ceil(count / chunk)) */
    u32 count;
    u32 chunk;
    u32 flags;
};

/* dx = factor[0] · dy[0] for all elements */
struct sum_grad_params {
    f32_ptr dy;
    f32_ptr factor;
    f32_ptr dx;
    u32 count;
};

#endif
