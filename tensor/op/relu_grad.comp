#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/matmul.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { relu_grad_params p; };

void main()
{
    const uint i = linear_id();
    if (i < p.count)
        p.dx.at[i] = p.y.at[i] > 0.0 ? p.dy.at[i] : 0.0;
}
