/* gemv.h - parameters of the linear layer of a few rows (op.h: tensor_gemv) */
#ifndef TENSOR_OP_GEMV_H
#define TENSOR_OP_GEMV_H

#include "tensor/op/share.h"

#define GEMV_NORM     1u  /* x is normalised first */
#define GEMV_BIAS     2u  /* add bias[output] */
#define GEMV_RELU     4u  /* then max(0, …) */
#define GEMV_RESIDUAL 8u  /* then add residual */
#define GEMV_BF16     16u /* weight is bfloat16, two to a word, and x' is so rounded */
#define GEMV_F16      32u /* … half precision */

#define GEMV_ROWS 16 /* rows that read the weight together, on Vulkan */

/* y[r, o] = relu(sum over i of x'[r, i] weight[o, i] + bias[o]) + residual[r, o], where x' is x or
 * (x - mean) / sqrt(variance + epsilon) · gain + shift by row. The order of each sum depends on
 * `inputs` alone. */
struct gemv_params {
    f32_ptr x;        /* (rows, inputs) */
    f32_ptr gain;     /* (inputs) */
    f32_ptr shift;    /* (inputs) */
    f32_ptr weight;   /* (outputs, inputs), of the type that flags say */
    f32_ptr bias;     /* (outputs) */
    f32_ptr residual; /* (rows, outputs) */
    f32_ptr scratch;  /* (rows, inputs): where the cpu keeps x' */
    f32_ptr y;        /* (rows, outputs) */
    u32 rows;
    u32 inputs;
    u32 outputs;
    u32 flags;
    f32 epsilon;
};

#endif
