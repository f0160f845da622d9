#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/gate.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { gate_params p; };

shared float partial[gl_WorkGroupSize.x];

/* One workgroup: each invocation adds elements a workgroup's size apart, then a tree adds those
 * sums. */
void main()
{
    const uint local = gl_LocalInvocationID.x, size = gl_WorkGroupSize.x;

    float sum = 0.0;
    for (uint i = local; i < p.count; i += size)
        sum += p.x.at[i];
    partial[local] = sum;
    for (uint span = size / 2u; span > 0u; span /= 2u) {
        barrier();
        if (local < span)
            partial[local] += partial[local + span];
    }
    if (local != 0u)
        return;
    sum = partial[0];
    /* By its bits: a compiler may assume that a float is never infinite. */
    const bool finite = (floatBitsToUint(sum) & 0x7f800000u) != 0x7f800000u;
    p.y.at[0] = finite && sum <= p.limit.at[0] ? p.value.at[0] : -1.0;
}
