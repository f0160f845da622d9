/* sum_rows.h - parameters of the sum over rows (contract.h: tensor_record_sum_rows) */
#ifndef TENSOR_OP_SUM_ROWS_H
#define TENSOR_OP_SUM_ROWS_H

#include "tensor/op/share.h"

/* y[i, c] (+)= sum over r in [i·chunk, (i+1)·chunk) and r < rows of x[r·stride + c]; the grid
 * covers i < ceil(rows / chunk). Row sums of tall matrices are taken in two such steps, in a fixed
 * order. */
struct sum_rows_params {
    f32_ptr x; /* of the type */
    f32_ptr y; /* (chunks, columns) */
    u32 rows;
    u32 columns;
    u32 stride;
    u32 chunk;
    u32 accumulate;
    u32 type; /* ELEMENT_F32 …; with 16 bits columns and stride are even */
};

#endif
