#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/slice.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { slice_grad_params p; };

void main()
{
    const uint id = linear_id(), size = p.positions * p.columns;
    if (id >= p.sequences * size)
        return;
    const uint row = id % size / p.columns, first = p.first.at[0];
    float value = 0.0;
    if (row >= first && row < first + p.taken)
        value = p.dy.at[(id / size * p.taken + row - first) * p.columns + id % p.columns];
    p.dx.at[id] = value;
}
