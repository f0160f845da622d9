#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/sum_rows.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { sum_rows_params p; };

/* An item is a column of a chunk of rows. */
void main()
{
    const uint id = linear_id(), first = id / p.columns * p.chunk;
    if (first >= p.rows)
        return;

    const uint end = min(p.rows - first, p.chunk) + first;
    float sum = 0.0;
    for (uint r = first; r < end; r++)
        sum += p.x.at[r * p.stride + id % p.columns];
    p.y.at[id] = p.accumulate != 0u ? p.y.at[id] + sum : sum;
}
