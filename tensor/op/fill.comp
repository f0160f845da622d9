#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/fill.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { fill_params p; };

void main()
{
    const uint i = linear_id();
    if (i < p.count)
        p.x.at[i] = p.value;
}
