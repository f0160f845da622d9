/* slice.h - parameters of taking some rows of each sequence (op.h: tensor_slice) */
#ifndef TENSOR_OP_SLICE_H
#define TENSOR_OP_SLICE_H

#include "tensor/op/share.h"

/* Row n·taken + i of y is row n·positions + first[0] + i of x. */
struct slice_params {
    f32_ptr x;     /* (sequences·positions, columns) */
    u32_ptr first; /* (1) */
    f32_ptr y;     /* (sequences·taken, columns) */
    u32 sequences;
    u32 positions;
    u32 taken;
    u32 columns;
};

/* Row n·positions + first[0] + i of dx is row n·taken + i of dy; all others are 0. */
struct slice_grad_params {
    f32_ptr dy;
    u32_ptr first;
    f32_ptr dx;
    u32 sequences;
    u32 positions;
    u32 taken;
    u32 columns;
};

#endif
