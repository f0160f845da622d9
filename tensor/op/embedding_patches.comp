#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/embedding_step.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { embedding_patches_params p; };

void main()
{
    const uint id = linear_id(), row = id / p.columns, column = id % p.columns;
    if (row >= p.rows)
        return;
    const uint j = row % p.patch_size, group = row / p.patch_size;
    const uint s = group % p.each, n = group / p.each;
    const uint k = min(p.slot.at[2u * n + 1u] + s, p.patches - p.own);

    float y;
    if (k > 0u)
        y = p.table.at[(p.symbols.at[row] & 255u) * p.columns + column];
    else
        y = p.pad.at[j * p.columns + column];
    if (k + p.own > 0u)
        y += p.position.at[((k + p.own - 1u) * p.patch_size + j) * p.columns + column];
    p.y.at[id] = y;
}
