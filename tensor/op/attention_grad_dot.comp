#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/attention.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { attention_grad_dot_params p; };

/* An item is (row, head): the columns of all heads lie behind one another. */
void main()
{
    const uint id = linear_id();
    if (id >= p.rows * p.heads)
        return;

    float sum = 0.0;
    for (uint i = id * p.head_dim; i < (id + 1u) * p.head_dim; i++)
        sum += p.y.at[i] * p.dy.at[i];
    p.delta.at[id] = sum;
}
