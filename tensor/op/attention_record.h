/* attention_record.h - what attention*.c share when they record (private to them). */
#ifndef TENSOR_OP_ATTENTION_RECORD_H
#define TENSOR_OP_ATTENTION_RECORD_H

#include "tensor/contract.h"
#include "tensor/op/attention.h"

/* Variants of attention, attention_grad_query and attention_grad_key; attention_grad_patch has the
 * first two. */
enum { ATTENTION_DIRECT, ATTENTION_LONG, ATTENTION_TILED };

/* Chooses one and spreads it over `rows` rows, of queries or of keys, of each of `heads` heads over
 * all sequences. `wide`: all rows of a head begin at multiples of 16 bytes and are whole fours. */
void tensor_attention_launch(const struct tensor_device_info *info, uint64_t heads, uint32_t rows,
                             uint32_t span, uint32_t head_dim, bool wide,
                             struct tensor_launch *launch);

/* Whether y, and in the gradient d(q) and d(kv), can be of 16 bits: on the cpu within short patches
 * (attention_patch.h), on Vulkan where a patch of one head is a tile of the direct kernels. */
bool tensor_attention_16bit(const struct tensor_device_info *info,
                            const struct attention_params *p);

/* Which of the first two, where an invocation goes by itself. */
uint32_t tensor_attention_direct(const struct tensor_device_info *info);

/* Gradient of a node with inputs q and kv (NULL: they are packed in one), saved log-sum-exp, and
 * the kernels' parameters without addresses. */
tensor_gradient_rule tensor_attention_gradient;

/* The rows of packed q, k and v, or of their gradient, from the first that has a query on. */
struct tensor *tensor_attention_queries(struct tensor_graph *g, struct tensor *qkv,
                                        const struct attention_grad_params *params);

/* Multiply-adds of q·k over all pairs, heads and sequences. */
double tensor_attention_products(const struct attention_grad_params *p);

/* tensor_attention_cached() of one new row a sequence. */
struct tensor *tensor_record_attention_step(struct tensor_graph *g, struct tensor *qkv,
                                            struct tensor *cache, struct tensor *slot,
                                            const struct attention_params *params);

#endif
