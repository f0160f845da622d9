/* loss_scale.h - parameters of the loss scale's update (op.h: tensor_loss_scale) */
#ifndef TENSOR_OP_LOSS_SCALE_H
#define TENSOR_OP_LOSS_SCALE_H

#include "tensor/op/share.h"

/* The order of enum tensor_loss_scale_state (op.h). */
#define LOSS_SCALE_GOOD 0
#define LOSS_SCALE_USED 1

/* One invocation. */
struct loss_scale_params {
    f32_ptr norm_squared; /* (1) */
    f32_ptr scale;        /* (1) */
    f32_ptr state;        /* (2) */
    u32 growth;
    f32 least;
    f32 most;
};

#endif
