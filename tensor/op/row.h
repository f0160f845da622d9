/* row.h - parameters of rows chosen at run time (op.h: tensor_take_row, tensor_append_row) */
#ifndef TENSOR_OP_ROW_H
#define TENSOR_OP_ROW_H

#include "tensor/op/share.h"

/* to = the `bytes` bytes of `from` behind the first (row[0] % rows) · bytes, which need not lie on
 * words; what fills up the last word of `to` is 0. */
struct take_row_params {
    u32_ptr from;
    u32_ptr row; /* (1) */
    u32_ptr to;
    u32 bytes;
    u32 rows;
};

/* The `count` words of `from` become row row[0] % rows of `to`; then row[0] goes up by 1. One
 * workgroup does it all. */
struct append_row_params {
    u32_ptr from;
    u32_ptr row; /* (1) */
    u32_ptr to;
    u32 count;
    u32 rows;
};

#endif
