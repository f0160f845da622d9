#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/matmul.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FLAGS = 0; /* MATMUL_DROPOUT of p.flags */
layout(push_constant) uniform push { matmul_params p; };
#define EPILOGUE_DROPOUT (FLAGS != 0u)
#include "tensor/op/matmul_epilogue.glsl"

/* An item is four neighbours of a row of c. */
void main()
{
    const uint id = linear_id(), fours = (p.n + 3u) / 4u, count = p.m * p.n;
    const uint row = id / fours, column = id % fours * 4u;
    if (row >= p.m)
        return;

    const uint at = row * p.n + column, splits = (p.k + p.split_k - 1u) / p.split_k;
    const bool whole = (p.n & 3u) == 0u && (uvec2(p.a).x & 15u) == 0u;
    vec4 sum = load_four(p.a, at, p.n - column, whole);
    for (uint i = 1u; i < splits; i++)
        sum += load_four(p.a, i * count + at, p.n - column, whole);
    epilogue_four(sum, row, column, epilogue_aligned());
}
