#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/embedding_step.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { embedding_next_params p; };

void main()
{
    const uint id = linear_id(), n = id / p.columns, column = id % p.columns;
    if (n >= p.sequences)
        return;

    const uint at = n * p.step + p.p;
    uint symbol = 0u;
    if (p.p > 0u)
        symbol = p.symbols.at[n * p.patch_size + p.p - 1u] & 255u;
    p.y.at[id] = p.x.at[at * p.columns + column] + p.table.at[symbol * p.columns + column];
}
