/* attention_step.h - parameters of attention by one new position a sequence (op.h:
 * tensor_attention_cached) */
#ifndef TENSOR_OP_ATTENTION_STEP_H
#define TENSOR_OP_ATTENTION_STEP_H

#include "tensor/op/attention.h"

#define ATTENTION_STEP_HEAD_MAX 256

/* Row n is position t = slot[2n + 1] of sequence s = slot[2n] in the cache. Its k and v columns
 * are written to cache row s·capacity + t mod capacity, and
 *     y_n = sum over j of softmax_j(scale q_n·k_j) v_j,  ATTENTION_BEGIN(t) <= j <= t,
 * where the k and v of j < t are those of cache row s·capacity + j mod capacity. */
struct attention_step_params {
    f32_ptr qkv;   /* (sequences, 3·heads·head_dim) */
    u32_ptr slot;  /* (sequences, 2) */
    f32_ptr cache; /* (any·capacity, 2·heads·head_dim) */
    f32_ptr y;     /* (sequences, heads·head_dim) */
    u32 sequences;
    u32 capacity;
    u32 heads;
    u32 head_dim;
    u32 span; /* as in attention_params */
    u32 reach;
    f32 scale;
};

#endif
