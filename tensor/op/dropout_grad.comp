#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/dropout.h"
#include "tensor/op/dropout.glsl"
#include "tensor/op/four.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { dropout_grad_params p; };

/* An item is four neighbouring columns of a row: as many as one random draw decides on. */
void main()
{
    const uint groups = (p.columns + 3u) / 4u;
    const uint id = linear_id(), row = id / groups, column = id % groups * 4u;
    if (row >= p.rows)
        return;

    const uint at = row * p.columns + column, count = p.columns - column;
    const bool wide = (p.columns & 3u) == 0u && ((uvec2(p.dy).x | uvec2(p.dx).x) & 15u) == 0u;
    const vec4 dy = load_four(p.dy, at, count, wide);
    store_four(p.dx, at, count, wide,
               dropout_four(dy, row, column, p.random, p.stream, p.threshold, p.scale));
}
