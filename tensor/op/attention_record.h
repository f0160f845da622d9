/* attention_record.h - what attention*.c share when they record (private to them). */
#ifndef TENSOR_OP_ATTENTION_RECORD_H
#define TENSOR_OP_ATTENTION_RECORD_H

#include "tensor/contract.h"
#include "tensor/op/attention.h"

/* Gradient of a node with inputs q and kv (NULL: they are packed in one), saved log-sum-exp, and
 * the kernels' parameters without addresses. */
tensor_gradient_rule tensor_attention_gradient;

/* Multiply-adds of q·k over all pairs, heads and sequences. */
double tensor_attention_products(const struct attention_grad_params *p);

/* tensor_attention_cached() of one new row a sequence. */
struct tensor *tensor_record_attention_step(struct tensor_graph *g, struct tensor *qkv,
                                            struct tensor *cache, struct tensor *place,
                                            const struct attention_params *params);

#endif
