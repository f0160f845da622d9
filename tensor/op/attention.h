/* attention.h - parameters of causal attention (op.h: tensor_attention, tensor_attention_cached) */
#ifndef TENSOR_OP_ATTENTION_H
#define TENSOR_OP_ATTENTION_H

#include "tensor/op/share.h"

/* Query row i of sequence n, head h, sees key rows 0 … first + i of sequence s of the keys. If
 * place is given (flags), s = place[2n] and first = place[2n + 1]; else s = n and first = 0.
 *     y_i = sum_j drop(exp(scale q_i·k_j - lse_i)) v_j,   lse_i = log sum_j exp(scale q_i·k_j)
 * Column of head h: h·head_dim. Dropout: probability (i, j) is dropped when word j mod 4 of
 * tensor_random((j / 4, (n·heads + h)·queries + i, stream, random[2]), …) is below threshold;
 * threshold 0 means no dropout, and random is then not read. */
#define ATTENTION_PLACE 1u /* place is given */
#define ATTENTION_LSE   2u /* lse is wanted */
struct attention_params {
    f32_ptr q;        /* row (n·queries + i) at stride_q elements */
    f32_ptr k;        /* row (s·key_rows + j) at stride_k elements */
    f32_ptr v;        /* as k */
    u32_ptr random;   /* (3) */
    u32_ptr place;    /* (sequences, 2) */
    f32_ptr y;        /* (sequences·queries, heads·head_dim) */
    f32_ptr lse;      /* (sequences·queries, heads) */
    u32 sequences;
    u32 queries;
    u32 key_rows; /* rows from one sequence to the next */
    u32 stride_q;
    u32 stride_k;
    u32 heads;
    u32 head_dim;
    u32 stream;
    u32 threshold;
    u32 flags;
    f32 scale;
    f32 drop_scale; /* 1 / (1 - p) */
};

/* delta[r, h] = sum over the head's columns of dy·y */
struct attention_grad_dot_params {
    f32_ptr y;
    f32_ptr dy;
    f32_ptr delta; /* (rows, heads) */
    u32 rows;
    u32 heads;
    u32 head_dim;
};

/* Both halves of the gradient read the packed rows (q, k, v: 3·heads·head_dim columns) and write
 * their part of dqkv, packed alike. With P_ij = exp(scale q_i·k_j - lse_i), mask/keep factor D_ij:
 *     dP_ij = D_ij dy_i·v_j,   dS_ij = scale P_ij (dP_ij - delta_i)
 *     dq_i = sum_{j<=i} dS_ij k_j             (attention_grad_query)
 *     dk_j = sum_{i>=j} dS_ij q_i,   dv_j = sum_{i>=j} D_ij P_ij dy_i    (attention_grad_key) */
struct attention_grad_params {
    f32_ptr qkv;    /* (sequences·positions, 3·heads·head_dim) */
    f32_ptr dy;     /* (sequences·positions, heads·head_dim) */
    f32_ptr lse;    /* (sequences·positions, heads) */
    f32_ptr delta;  /* (sequences·positions, heads) */
    u32_ptr random; /* (3) */
    f32_ptr dqkv;   /* as qkv */
    u32 sequences;
    u32 positions;
    u32 heads;
    u32 head_dim;
    u32 stream;
    u32 threshold;
    f32 scale;
    f32 drop_scale;
};

/* Copies the k and v columns of qkv row (n·fresh + i) to cache row (place[2n]·capacity +
 * place[2n + 1] + i). */
struct attention_append_params {
    f32_ptr qkv;   /* (sequences·fresh, 3·columns) */
    u32_ptr place; /* (sequences, 2) */
    f32_ptr cache; /* (any·capacity, 2·columns) */
    u32 sequences;
    u32 fresh;
    u32 capacity;
    u32 columns;
};

#endif
