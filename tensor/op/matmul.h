/* matmul.h - parameters of the matrix product and of relu's gradient (op.h: tensor_linear) */
#ifndef TENSOR_OP_MATMUL_H
#define TENSOR_OP_MATMUL_H

#include "tensor/op/share.h"

/* One of the two or neither: a layer's y = x · weightᵀ, dx = dy · weight, dweight = dyᵀ · x. */
#define MATMUL_TRANSPOSE_A 1u  /* a is stored (k, m) */
#define MATMUL_TRANSPOSE_B 2u  /* b is stored (n, k) */
#define MATMUL_BF16        4u  /* elements of a and b are bfloat16, two to a word */
#define MATMUL_F16         8u  /* … or half precision; neither: float32 */
/* The epilogue of a product: what is done with its sums, in this order. */
#define MATMUL_BIAS        16u  /* add bias[column] */
#define MATMUL_RELU        32u  /* max(0, …) */
#define MATMUL_DROPOUT     64u  /* 0, or times scale (dropout.h) */
#define MATMUL_RESIDUAL    128u /* add residual[row, column], which is of c's type, … */
#define MATMUL_IN_PLACE    256u /* … and which is c as it was: c += … */
#define MATMUL_16BIT       512u /* c is of the factors' 16 bits, rounded once; n a multiple of 4 */
#define MATMUL_ORDER    (MATMUL_TRANSPOSE_A | MATMUL_TRANSPOSE_B)
#define MATMUL_FACTORS  (MATMUL_BF16 | MATMUL_F16)
#define MATMUL_CONSTANT (MATMUL_ORDER | MATMUL_DROPOUT) /* pipelines are made for */
#define MATMUL_EPILOGUE                                                                            \
    (MATMUL_BIAS | MATMUL_RELU | MATMUL_DROPOUT | MATMUL_RESIDUAL | MATMUL_IN_PLACE | MATMUL_16BIT)

/* Tiles of the variants: rows and columns of c that one invocation of matmul_direct and one
 * workgroup (of 256) of matmul_tiled take; the kernels are written for these. */
#define MATMUL_DIRECT_M 8
#define MATMUL_DIRECT_N 8
#define MATMUL_PAIRS_ROWS   16 /* at most; of matmul_pairs an invocation takes rows … */
#define MATMUL_PAIRS_GROUPS 4  /* … by groups of four columns, a workgroup's width apart */
#define MATMUL_TILED_M  64
#define MATMUL_TILED_N  64
#define MATMUL_TILED_K  16

/* What the kernels for matrix units know of the lines of a, b and c in memory. */
#define MATMUL_COOP_A_ALIGNED 1u /* whole eights of elements, each at a multiple of 16 bytes */
#define MATMUL_COOP_B_ALIGNED 2u
#define MATMUL_COOP_C_ALIGNED 4u /* whole fours, likewise; also of the residual */
#define MATMUL_COOP_DIRECT    8u /* a and b aligned, and whole tiles only: nothing is staged */

/* Split-K: the parts of k are multiples of this, so that no step of a kernel reaches from one into
 * the next; and how many there may be. */
#define MATMUL_SPLIT_K_STEP 64
#define MATMUL_SPLITS_MAX   32

/* c = a' · b', with a' (m, k), b' (k, n), c (m, n); each stored row-major and dense. With split-K,
 * split_k < k, c is (splits, m, n): one product for every split_k elements of k, the last of which
 * may be fewer. These have no epilogue; matmul_sum adds them up and applies it. */
struct matmul_params {
    f32_ptr a; /* of the type that flags say; so is b */
    f32_ptr b;
    f32_ptr bias;     /* (n) */
    f32_ptr residual; /* (m, n); c with MATMUL_IN_PLACE, and else nothing of c */
    u32_ptr random;   /* (3), of MATMUL_DROPOUT, as are … */
    f32_ptr c;
    u32 m;
    u32 n;
    u32 k;
    u32 flags;
    u32 split_k;
    u32 stream; /* … these three */
    u32 threshold;
    f32 scale;
};

/* matmul_sum takes the same: its a is the products of the splits, in fp32; its b is not used. It
 * adds them in their order, and then applies the epilogue. */

/* dx = y > 0 ? dy : 0; dx may be dy. All three are of the type; the half word behind an odd count
 * becomes 0. */
struct relu_grad_params {
    f32_ptr y;
    f32_ptr dy;
    f32_ptr dx;
    u32 count;
    u32 type; /* ELEMENT_F32 … */
};

#endif
