/* attention_grad.h - the gradient rule of attention (attention_grad.c, private to attention.c). */
#ifndef TENSOR_OP_ATTENTION_GRAD_H
#define TENSOR_OP_ATTENTION_GRAD_H

#include "tensor/contract.h"

/* Of a node with input qkv, saved log-sum-exp, numbers (positions, heads, stream, threshold) and
 * reals (scale, drop_scale). */
tensor_gradient_rule tensor_attention_gradient;

#endif
