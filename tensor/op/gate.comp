#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/gate.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { gate_params p; };

void main()
{
    if (linear_id() != 0u)
        return;
    float sum = 0.0;
    for (uint i = 0u; i < p.count; i++)
        sum += p.x.at[i];
    /* By its bits: a compiler may assume that a float is never infinite. */
    const bool finite = (floatBitsToUint(sum) & 0x7f800000u) != 0x7f800000u;
    p.y.at[0] = finite && sum <= p.limit.at[0] ? p.value.at[0] : -1.0;
}
