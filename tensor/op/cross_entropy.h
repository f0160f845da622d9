/* cross_entropy.h - parameters of the loss (op.h: tensor_cross_entropy) */
#ifndef TENSOR_OP_CROSS_ENTROPY_H
#define TENSOR_OP_CROSS_ENTROPY_H

#include "tensor/op/share.h"

/* Row r = n·per_sequence + i counts if i < lengths[n]; else loss and lse are 0. */
struct cross_entropy_params {
    f32_ptr logits;  /* (rows, symbols) */
    u8_ptr target;   /* (rows) */
    u32_ptr lengths; /* (rows / per_sequence) */
    f32_ptr loss;    /* (rows), nats */
    f32_ptr lse;     /* (rows): log sum exp */
    u32 rows;
    u32 symbols;
    u32 per_sequence;
};

/* dlogits[r, v] = (exp(logits[r, v] - lse[r]) - (v == target[r])) · dloss[r], 0 in rows that do not
 * count. */
struct cross_entropy_grad_params {
    f32_ptr logits;
    u8_ptr target;
    u32_ptr lengths;
    f32_ptr lse;
    f32_ptr dloss;   /* (rows) */
    f32_ptr dlogits; /* (rows, symbols) */
    u32 rows;
    u32 symbols;
    u32 per_sequence;
};

#endif
