/* adamw.h - parameters of the optimizer's update (op.h: tensor_adamw) */
#ifndef TENSOR_OP_ADAMW_H
#define TENSOR_OP_ADAMW_H

#include "tensor/op/share.h"

struct adamw_params {
    f32_ptr weight;
    f32_ptr gradient;
    f32_ptr moment1;
    f32_ptr moment2;
    f32_ptr settings;     /* (8): enum tensor_adamw_setting */
    f32_ptr norm_squared; /* (1) */
    f32_ptr scale;        /* (1), of the gradient and its norm */
    u16_ptr copy16;       /* (count), of type: what becomes of weight, rounded */
    u32 count;
    u32 decayed; /* the first so many elements decay */
    u32 type;    /* ELEMENT_F32: there is no copy16 */
    u32 scaled;  /* 0: there is no scale */
};

#endif
