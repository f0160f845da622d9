#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/sum_rows.h"
#include "tensor/op/bits16.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = ELEMENT_F32; /* p.type */
layout(push_constant) uniform push { sum_rows_params p; };

/* An item is a column of a chunk of rows, or with 16 bits two of them. */
void main()
{
    const uint each = TYPE == ELEMENT_F32 ? 1u : 2u, items = p.columns / each;
    const uint id = linear_id(), first = id / items * p.chunk, column = id % items * each;
    if (first >= p.rows)
        return;

    const uint end = min(p.rows - first, p.chunk) + first, to = id * each;
    vec2 sum = vec2(0.0);
    if (TYPE == ELEMENT_F32)
        for (uint r = first; r < end; r++)
            sum.x += p.x.at[r * p.stride + column];
    else
        for (uint r = first; r < end; r++)
            sum += widen(u32_ptr(uvec2(p.x)).at[(r * p.stride + column) >> 1], TYPE);
    p.y.at[to] = p.accumulate != 0u ? p.y.at[to] + sum.x : sum.x;
    if (TYPE != ELEMENT_F32)
        p.y.at[to + 1u] = p.accumulate != 0u ? p.y.at[to + 1u] + sum.y : sum.y;
}
