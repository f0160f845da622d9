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

/* y[r, c] = x[r, c] + table[r mod n, c] */
struct add_rows_params {
    f32_ptr x;     /* (rows, columns) */
    f32_ptr table; /* (n, columns) */
    f32_ptr y;     /* (rows, columns) */
    u32 rows;
    u32 columns;
    u32 n;
};

#endif
