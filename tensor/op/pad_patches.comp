#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/embedding_step.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { pad_patches_params p; };

void main()
{
    const uint id = linear_id(), row = id / p.columns, group = row / p.patch_size;
    if (row >= p.rows)
        return;
    float y;
    if (p.slot.at[2u * (group / p.each) + 1u] + group % p.each > 0u)
        y = p.x.at[id];
    else
        y = p.pad.at[row % p.patch_size * p.columns + id % p.columns];
    p.y.at[id] = y;
}
