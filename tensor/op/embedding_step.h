/* embedding_step.h - parameters of lookups within generation (op.h: tensor_embedding_patches,
 * tensor_pad_patches, tensor_embedding_next) */
#ifndef TENSOR_OP_EMBEDDING_STEP_H
#define TENSOR_OP_EMBEDDING_STEP_H

#include "tensor/op/share.h"

/* Row (n·each + s)·patch_size + j of y is of byte j of patch k = min(slot[2n + 1] + s, patches):
 * y = k > 0 ? table[symbols[row] mod 256] + position[(k - 1)·patch_size + j] : pad[j]
 * If own, k = min(slot[2n + 1] + s, patches - 1), and
 * y = (k > 0 ? table[symbols[row] mod 256] : pad[j]) + position[k·patch_size + j] */
struct embedding_patches_params {
    u32_ptr symbols;  /* (sequences·each·patch_size) */
    f32_ptr table;    /* (256, columns) */
    f32_ptr position; /* (patches·patch_size, columns) */
    f32_ptr pad;      /* (patch_size, columns) */
    u32_ptr slot;     /* (sequences, 2) */
    f32_ptr y;        /* (sequences·each·patch_size, columns) */
    u32 rows; /* sequences·each·patch_size */
    u32 columns;
    u32 each;
    u32 patch_size;
    u32 patches;
    u32 own;
};

/* Row (n·each + s)·patch_size + j of y is pad[j] where slot[2n + 1] + s = 0, else that of x. */
struct pad_patches_params {
    f32_ptr x;     /* (sequences·each·patch_size, columns) */
    f32_ptr pad;   /* (patch_size, columns) */
    u32_ptr slot;  /* (sequences, 2) */
    f32_ptr y;     /* as x */
    u32 rows;      /* sequences·each·patch_size */
    u32 columns;
    u32 each;
    u32 patch_size;
};

/* y[n] = x[n·step + p] + table[p > 0 ? symbols[n·patch_size + p - 1] mod 256 : 0] */
struct embedding_next_params {
    f32_ptr x;       /* (sequences·patch_size, columns), or (patch_size, columns) */
    u32_ptr symbols; /* (sequences·patch_size); not read for p = 0 */
    f32_ptr table;   /* (256, columns); (1, columns) for p = 0 */
    f32_ptr y;       /* (sequences, columns) */
    u32 sequences;
    u32 columns;
    u32 patch_size;
    u32 step; /* rows of x from one sequence to the next: patch_size, or 0 */
    u32 p;
};

#endif
