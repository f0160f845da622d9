#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/embedding.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { embedding_grad_params p; };

/* An item is an element (v, c) of the table: with no atomics, each symbol looks for its rows. */
void main()
{
    const uint id = linear_id(), v = id / p.columns, c = id % p.columns;
    if (v >= 256u)
        return;

    float sum = 0.0;
    for (uint r = 0u; r < p.rows; r += 4u) {
        /* A byte of `word` is 0 where the row's symbol is v; most words have none. */
        uint word = p.bytes.at[r >> 2] ^ (v * 0x01010101u);
        if (((word - 0x01010101u) & ~word & 0x80808080u) == 0u)
            continue;
        for (uint i = r; i < min(r + 4u, p.rows); i++, word >>= 8)
            if ((word & 255u) == 0u)
                sum += p.dy.at[i * p.columns + c];
    }
    p.dtable.at[id] += sum;
}
