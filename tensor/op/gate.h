/* gate.h - parameters of the gate in front of an update (op.h: tensor_gate) */
#ifndef TENSOR_OP_GATE_H
#define TENSOR_OP_GATE_H

#include "tensor/op/share.h"

/* y[0] = value[0] if the sum of x is finite and at most limit[0], else -1; one workgroup adds all
 * of x, in an order of its own. */
struct gate_params {
    f32_ptr value; /* (1) */
    f32_ptr x;     /* (count) */
    f32_ptr limit; /* (1) */
    f32_ptr y;     /* (1) */
    u32 count;
};

#endif
