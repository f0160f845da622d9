#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/sum.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { sum_grad_params p; };

void main()
{
    const uint i = linear_id();
    if (i < p.count)
        p.dx.at[i] = p.factor.at[0] * p.dy.at[0];
}
