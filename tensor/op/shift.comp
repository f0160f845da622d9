#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/shift.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { shift_params p; };

void main()
{
    const uint id = linear_id();
    if (id >= p.rows * p.columns)
        return;

    const uint r = id / p.columns, j = r % p.n;
    if (j < p.s)
        p.y.at[id] = p.pad.at[j * p.columns + id % p.columns];
    else
        p.y.at[id] = p.x.at[id - p.s * p.columns];
}
