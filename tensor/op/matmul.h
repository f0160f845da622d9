/* matmul.h - parameters of the matrix product and of relu's gradient (op.h: tensor_linear) */
#ifndef TENSOR_OP_MATMUL_H
#define TENSOR_OP_MATMUL_H

#include "tensor/op/share.h"

#define MATMUL_TRANSPOSE_A 1u  /* a is stored (k, m) */
#define MATMUL_TRANSPOSE_B 2u  /* b is stored (n, k) */
#define MATMUL_ACCUMULATE  4u  /* c += instead of c = */
#define MATMUL_BIAS        8u  /* add bias[column] */
#define MATMUL_RELU        16u /* then max(0, …) */
#define MATMUL_BF16        32u /* elements of a and b are bfloat16, two to a word */
#define MATMUL_F16         64u /* … or half precision; neither: float32 */
#define MATMUL_NARROW      128u /* so are those of c, rounded once; n is a multiple of 4 */

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
#define MATMUL_COOP_C_ALIGNED 4u /* whole fours, likewise */
#define MATMUL_COOP_DIRECT    8u /* a and b aligned, and whole tiles only: nothing is staged */

/* Parts of k are multiples of it, so that no step of a kernel reaches from one into the next. */
#define MATMUL_PART      64
#define MATMUL_PARTS_MAX 32

/* c = a' · b', with a' (m, k), b' (k, n), c (m, n); each stored row-major and dense. If part < k,
 * c is (parts, m, n), a product for every `part` of k, the last one may be shorter; their sums are
 * what matmul_sum makes of them. */
struct matmul_params {
    f32_ptr a; /* of the type that flags say; so is b */
    f32_ptr b;
    f32_ptr bias; /* (n) */
    f32_ptr c;
    u32 m;
    u32 n;
    u32 k;
    u32 flags;
    u32 part;
};

/* matmul_sum takes the same: its a is the parts' products, in fp32, its b is not used. It adds them
 * in their order, and then does what flags say of c, bias and ReLU. Products of parts are not
 * MATMUL_NARROW, their sums may be. */

/* dx = y > 0 ? dy : 0; dx may be dy. All three are of the type; the half word behind an odd count
 * becomes 0. */
struct relu_grad_params {
    f32_ptr y;
    f32_ptr dy;
    f32_ptr dx;
    u32 count;
    u32 type; /* NARROW_NONE … */
};

#endif
