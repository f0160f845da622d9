/* layer_norm.h - parameters of layer normalisation (op.h: tensor_layer_norm) */
#ifndef TENSOR_OP_LAYER_NORM_H
#define TENSOR_OP_LAYER_NORM_H

#include "tensor/op/share.h"

struct layer_norm_params {
    f32_ptr x;    /* (rows, columns) */
    f32_ptr gain; /* (columns) */
    f32_ptr bias; /* (columns) */
    f32_ptr y;    /* (rows, columns), of the type */
    f32_ptr stat; /* (rows, 2): mean, 1 / sqrt(variance + epsilon) */
    u32 rows;
    u32 columns;
    f32 epsilon;
    u32 type; /* ELEMENT_F32 …; with 16 bits columns are even */
};

/* With x^ = (x - mean)·rstd and e = dy·gain: dx (+)= rstd · (e - mean(e) - x^ · mean(e·x^)) */
struct layer_norm_grad_params {
    f32_ptr x;
    f32_ptr gain;
    f32_ptr stat;
    f32_ptr dy; /* of the type */
    f32_ptr dx; /* may be a dy of 32 bits if not accumulating */
    u32 rows;
    u32 columns;
    u32 accumulate;
    u32 type;
};

/* For each chunk of rows: partial[i, c] = sum of dy·x^, partial[i, columns + c] = sum of dy. */
struct layer_norm_grad_gain_params {
    f32_ptr x;
    f32_ptr stat;
    f32_ptr dy;      /* of the type */
    f32_ptr partial; /* (chunks, 2·columns) */
    u32 rows;
    u32 columns;
    u32 chunk;
    u32 type;
};

#endif
