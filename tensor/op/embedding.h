/* embedding.h - parameters of the lookup by byte (op.h: tensor_embedding) */
#ifndef TENSOR_OP_EMBEDDING_H
#define TENSOR_OP_EMBEDDING_H

#include "tensor/op/share.h"

/* y[r, c] = table[bytes[r], c] */
struct embedding_params {
    u8_ptr bytes;  /* (rows) */
    f32_ptr table; /* (256, columns) */
    f32_ptr y;     /* (rows, columns) */
    u32 rows;
    u32 columns;
};

/* dtable[v, c] += sum over r with bytes[r] = v of dy[r, c], in the order of r */
struct embedding_grad_params {
    u8_ptr bytes;
    f32_ptr dy;
    f32_ptr dtable;
    u32 rows;
    u32 columns;
};

#endif
