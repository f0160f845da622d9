#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/shift.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { shift_grad_params p; };

void main()
{
    const uint id = linear_id();
    if (id >= p.rows * p.columns)
        return;

    const uint j = id / p.columns % p.n;
    float d = 0.0;
    if (j + p.s < p.n)
        d = p.dy.at[id + p.s * p.columns];
    p.dx.at[id] = d;
}
