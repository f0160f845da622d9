#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/slice.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { slice_params p; };

void main()
{
    const uint id = linear_id(), size = p.taken * p.columns;
    if (id >= p.sequences * size)
        return;
    const uint begin = (id / size * p.positions + p.first.at[0]) * p.columns;
    p.y.at[id] = p.x.at[begin + id % size];
}
