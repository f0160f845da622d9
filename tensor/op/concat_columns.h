/* concat_columns.h - parameters of the columns of two matrices in one (op.h:
 * tensor_concat_columns) */
#ifndef TENSOR_OP_CONCAT_COLUMNS_H
#define TENSOR_OP_CONCAT_COLUMNS_H

#include "tensor/op/share.h"

/* y[r] = (a[r], b[r]) */
struct concat_columns_params {
    f32_ptr a; /* (rows, left) */
    f32_ptr b; /* (rows, right) */
    f32_ptr y; /* (rows, left + right) */
    u32 rows;
    u32 left;
    u32 right;
};

#endif
