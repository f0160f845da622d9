#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/unfold.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { unfold_params p; };

void main()
{
    const uint id = linear_id(), wide = p.taps * p.columns, before = p.taps - 1u;
    if (id >= p.rows * wide)
        return;
    const uint r = id / wide, j = id % wide / p.columns;
    float value = 0.0;
    if (r % p.n + j >= before)
        value = p.x.at[(r + j - before) * p.columns + id % p.columns];
    p.y.at[id] = value;
}
