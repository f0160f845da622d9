/* attention.h - parameters of causal attention (op.h: tensor_attention, _cross, _cached) */
#ifndef TENSOR_OP_ATTENTION_H
#define TENSOR_OP_ATTENTION_H

#include "tensor/op/share.h"

/* Query row i of sequence n stands at position t = first + i. It sees, of sequence s of the keys,
 * those j with
 *     ATTENTION_BEGIN(t) <= j <= t
 * which are those of its own patch up to itself, and the last `reach` before the patch. Without
 * patches `span` is ATTENTION_WHOLE. If slot is given (flags), s = slot[2n] and first =
 * slot[2n + 1]; else s = n, and first = slot[0] where that is given, or keys - queries.
 *     y_i = sum_j drop(exp(scale q_i·k_j - lse_i)) v_j,   lse_i = log sum_j exp(scale q_i·k_j)
 * Key j lies in row s·key_rows + j mod key_rows of kv. Column of head h: h·head_dim in q, k and v;
 * k and v are the halves of a row of 2·heads·head_dim columns. Dropout: probability (i, j) is
 * dropped when word j mod 4 of tensor_random((j / 4, (n·heads + h)·queries + i, stream, random[2]),
 * …) is below threshold; threshold 0 means no dropout, and random is then not read. */
#define ATTENTION_WHOLE 0xffffffffu
#define ATTENTION_SLOT   1u /* slot is given */
#define ATTENTION_LSE    2u /* lse is wanted */
#define ATTENTION_FIRST  4u /* the position of the first query is given */
#define ATTENTION_PACKED 8u /* q, k and v are columns of one row; else q lies alone */
/* y and dy, dq and dkv are of 16 bits: where tensor_attention_16bit() says so. */
#define ATTENTION_BF16   16u
#define ATTENTION_F16    32u

/* Rows that an invocation of the direct kernels takes, and a workgroup of the tiled ones, which has
 * so many invocations. */
#define ATTENTION_DIRECT_ROWS 8
#define ATTENTION_TILED_OWNED 64
#define ATTENTION_TILED_GROUP 128

struct attention_params {
    f32_ptr q;      /* row (n·queries + i) at stride_q elements */
    f32_ptr kv;     /* rows at stride_k elements */
    u32_ptr random; /* (3) */
    u32_ptr slot;   /* (sequences, 2), or (1) */
    f32_ptr y;      /* (sequences·queries, heads·head_dim) */
    f32_ptr lse;    /* (sequences·queries, heads) */
    u32 sequences;
    u32 queries;
    u32 keys;     /* without a place: of a sequence */
    u32 key_rows; /* rows from one sequence to the next */
    u32 stride_q;
    u32 stride_k;
    u32 heads;
    u32 head_dim;
    u32 span;  /* positions of a patch, at least 1 */
    u32 reach; /* at most span */
    u32 stream;
    u32 threshold;
    u32 flags;
    f32 scale;
    f32 drop_scale; /* 1 / (1 - p) */
};

/* The first key that a query at position t sees. */
#define ATTENTION_BEGIN(t, span, reach)                                                            \
    ((t) / (span) * (span) > (reach) ? (t) / (span) * (span) - (reach) : 0u)
/* Behind the last position that sees key j, as far as there are positions. */
#define ATTENTION_END(j, span, reach)                                                              \
    (((j) / (span) + 1u) * (span) + ((j) % (span) + (reach) >= (span) ? (span) : 0u))

/* The gradient, with P_ij = exp(scale q_i·k_j - lse_i) and mask/keep factor D_ij:
 *     delta_i = dy_i·y_i                      (attention_grad_query)
 *     dP_ij = D_ij dy_i·v_j,   dS_ij = scale P_ij (dP_ij - delta_i)
 *     dq_i = sum_j dS_ij k_j                  (attention_grad_query)
 *     dk_j = sum_i dS_ij q_i,   dv_j = sum_i D_ij P_ij dy_i    (attention_grad_key)
 * over the pairs of which i sees j; keys that no query sees get 0. Queries stand at first[0] … if
 * that is given (flags), else they are the last of `keys` positions. attention_grad_patch does all
 * of it, without delta, which is sum_j D_ij P_ij dy_i·v_j as well (exactly so where y was rounded);
 * on Vulkan for patches of at most ATTENTION_PATCH_MAX positions. */
#define ATTENTION_PATCH_MAX 16
struct attention_grad_params {
    f32_ptr q;      /* row (n·queries + i) at ATTENTION_STRIDE_Q elements */
    f32_ptr kv;     /* row (n·keys + j) at ATTENTION_STRIDE_K elements */
    f32_ptr y;      /* (sequences·queries, heads·head_dim); not of attention_grad_key */
    f32_ptr dy;     /* as y */
    f32_ptr lse;    /* (sequences·queries, heads) */
    u32_ptr random; /* (3) */
    u32_ptr first;  /* (1) */
    f32_ptr delta;  /* as lse; attention_grad_query writes it, attention_grad_key reads it */
    f32_ptr dq;     /* as q; not of attention_grad_key */
    f32_ptr dkv;    /* as kv; not of attention_grad_query */
    u32 sequences;
    u32 queries;
    u32 keys;
    u32 flags; /* ATTENTION_FIRST, _PACKED, _BF16, _F16 */
    u32 heads;
    u32 head_dim;
    u32 span;
    u32 reach;
    u32 stream;
    u32 threshold;
    f32 scale;
    f32 drop_scale;
};

/* Elements from one row of q, or of k and v, to the next. */
#define ATTENTION_STRIDE_Q(p)                                                                      \
    ((p).heads * (p).head_dim * (((p).flags & ATTENTION_PACKED) != 0u ? 3u : 1u))
#define ATTENTION_STRIDE_K(p)                                                                      \
    ((p).heads * (p).head_dim * (((p).flags & ATTENTION_PACKED) != 0u ? 3u : 2u))

/* Copies the k and v columns of qkv row (n·fresh + i) to cache row slot[2n]·capacity +
 * (slot[2n + 1] + i) mod capacity. */
struct attention_append_params {
    f32_ptr qkv;   /* (sequences·fresh, 3·columns) */
    u32_ptr slot;  /* (sequences, 2) */
    f32_ptr cache; /* (any·capacity, 2·columns) */
    u32 sequences;
    u32 fresh;
    u32 capacity;
    u32 columns;
};

#endif
