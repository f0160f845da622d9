/* cast.h - parameters of the cast to 16 bits (op.h: tensor_cast) */
#ifndef TENSOR_OP_CAST_H
#define TENSOR_OP_CAST_H

#include "tensor/op/share.h"

/* y = x, rounded to the nearest, ties to even. The half word behind an odd count becomes 0. */
struct cast_params {
    f32_ptr x;
    u16_ptr y;
    u32 count;
    u32 type; /* ELEMENT_BF16 or ELEMENT_F16 */
};

#endif
