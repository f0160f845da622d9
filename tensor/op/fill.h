/* fill.h - parameters of filling and copying (op.h: tensor_fill, tensor_copy) */
#ifndef TENSOR_OP_FILL_H
#define TENSOR_OP_FILL_H

#include "tensor/op/share.h"

struct fill_params {
    f32_ptr x;
    u32 count;
    f32 value;
};

/* Copies 32-bit words. */
struct copy_params {
    u32_ptr from;
    u32_ptr to;
    u32 count;
};

#endif
