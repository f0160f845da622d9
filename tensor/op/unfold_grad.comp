#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/unfold.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { unfold_grad_params p; };

void main()
{
    const uint id = linear_id(), wide = p.taps * p.columns;
    if (id >= p.rows * p.columns)
        return;
    const uint r = id / p.columns, c = id % p.columns;
    const uint count = min(p.taps, p.n - r % p.n);
    float sum = 0.0;
    for (uint back = 0u; back < count; back++)
        sum += p.dy.at[(r + back) * wide + (p.taps - 1u - back) * p.columns + c];
    p.dx.at[id] = sum;
}
