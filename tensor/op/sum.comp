#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/sum.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { sum_params p; };

shared float partial[gl_WorkGroupSize.x];

/* A workgroup takes a chunk: each invocation adds elements a workgroup's size apart, then a tree
 * adds those sums. */
void main()
{
    const uint local = gl_LocalInvocationID.x, size = gl_WorkGroupSize.x;
    const uint group = linear_group(), first = group * p.chunk;
    const bool mine = group < (p.count + p.chunk - 1u) / p.chunk;

    float sum = 0.0;
    if (mine) {
        const uint end = min(p.count - first, p.chunk) + first;
        for (uint i = first + local; i < end; i += size) {
            const float x = p.x.at[i];
            sum += (p.flags & SUM_SQUARE) != 0u ? x * x : x;
        }
    }
    partial[local] = sum;

    for (uint span = size / 2u; span > 0u; span /= 2u) {
        barrier();
        if (local < span)
            partial[local] += partial[local + span];
    }
    if (mine && local == 0u)
        p.y.at[group] = (p.flags & SUM_FACTOR) != 0u ? p.factor.at[0] * partial[0] : partial[0];
}
