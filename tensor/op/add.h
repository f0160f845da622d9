/* add.h - parameters of the sums of tensors (op.h: tensor_add, tensor_add_rows) */
#ifndef TENSOR_OP_ADD_H
#define TENSOR_OP_ADD_H

#include "tensor/op/share.h"

/* y = x + z; y may be x. */
struct add_params {
    f32_ptr x;
    f32_ptr z;
    f32_ptr y;
    u32 count;
};

/* y[r, c] = x[r, c] + table[first · n + r mod n, c], first = position[0] if given (flag), else 0 */
#define ADD_ROWS_POSITION 1u
struct add_rows_params {
    f32_ptr x;        /* (rows, columns) */
    f32_ptr table;    /* (at least (first + 1) · n, columns) */
    u32_ptr position; /* (1) */
    f32_ptr y;        /* (rows, columns) */
    u32 rows;
    u32 columns;
    u32 n;
    u32 flags;
};

#endif
