#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/concat_columns.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { concat_columns_params p; };

void main()
{
    const uint id = linear_id(), wide = p.left + p.right, r = id / wide, c = id % wide;
    if (r >= p.rows)
        return;
    float value;
    if (c < p.left)
        value = p.a.at[r * p.left + c];
    else
        value = p.b.at[r * p.right + c - p.left];
    p.y.at[id] = value;
}
