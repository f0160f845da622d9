#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/matmul.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FLAGS = 0;     /* MATMUL_CONSTANT of p.flags */
layout(constant_id = 2) const uint WIDE = 0;      /* whether lines of a and b begin at multiples of
                                                     16 bytes, and k is a multiple of 4 */
layout(constant_id = 3) const uint FACTOR = 0;    /* MATMUL_BF16 or MATMUL_F16 of p.flags */
layout(push_constant) uniform push { matmul_params p; };
#include "tensor/op/factor.glsl"
#define EPILOGUE_16BIT (FACTOR != 0u)
#define EPILOGUE_DROPOUT ((FLAGS & MATMUL_DROPOUT) != 0u)
#include "tensor/op/matmul_epilogue.glsl"

const bool wide = WIDE != 0u;

/* Four k of a line of x that is stored line after line, from k on. */
vec4 load_along(f32_ptr x, uint line, uint lines, uint k)
{
    return load_factors(x, min(line, lines - 1u) * p.k + k, p.k - k, wide);
}

/* Four lines, from `line` on, of an x that is stored k after k, at one k. */
vec4 load_across(f32_ptr x, uint line, uint lines, uint k)
{
    if (wide)
        return load_factors(x, k * lines + min(line, lines - 4u), 4u, true);
    if (k >= p.k)
        return vec4(0.0);
    const uint begin = k * lines, last = lines - 1u;
    return vec4(load_factor(x, begin + min(line, last)),
                load_factor(x, begin + min(line + 1u, last)),
                load_factor(x, begin + min(line + 2u, last)),
                load_factor(x, begin + min(line + 3u, last)));
}

/* Column i of the result is line + i of x at k … k + 3. Past the end of k there are zeros; lines
 * past the last repeat others, and nothing that comes of them is stored. */
mat4 load_block(f32_ptr x, bool across, uint line, uint lines, uint k)
{
    if (across)
        return transpose(mat4(
            load_across(x, line, lines, k), load_across(x, line, lines, k + 1u),
            load_across(x, line, lines, k + 2u), load_across(x, line, lines, k + 3u)));
    return mat4(load_along(x, line, lines, k), load_along(x, line + 1u, lines, k),
                load_along(x, line + 2u, lines, k), load_along(x, line + 3u, lines, k));
}

/* An item is a tile of 2 x 2 blocks of 4 x 4, kept in registers. It is spelt out, not looped over:
 * SwiftShader keeps arrays in memory. The end, where that costs little, is a loop: spelt out it
 * takes SwiftShader six times as long to compile. */
void main()
{
    const uint id = linear_id(), tiles = (p.n + MATMUL_DIRECT_N - 1u) / MATMUL_DIRECT_N;
    const uint row = id / tiles * MATMUL_DIRECT_M, column = id % tiles * MATMUL_DIRECT_N;
    if (row >= p.m)
        return;
    const bool across_a = (FLAGS & MATMUL_TRANSPOSE_A) != 0u;
    const bool across_b = (FLAGS & MATMUL_TRANSPOSE_B) == 0u;

    mat4 sum00 = mat4(0.0), sum01 = mat4(0.0), sum10 = mat4(0.0), sum11 = mat4(0.0);
    for (uint k = split_begin(), end = split_end(); k < end; k += 4u) {
        const mat4 a0 = transpose(load_block(p.a, across_a, row, p.m, k));
        const mat4 a1 = transpose(load_block(p.a, across_a, row + 4u, p.m, k));
        const mat4 b0 = load_block(p.b, across_b, column, p.n, k);
        const mat4 b1 = load_block(p.b, across_b, column + 4u, p.n, k);
        sum00 += a0 * b0;
        sum01 += a0 * b1;
        sum10 += a1 * b0;
        sum11 += a1 * b1;
    }

    const mat4 sum[4] = mat4[4](transpose(sum00), transpose(sum01), transpose(sum10),
                                transpose(sum11));
    const bool whole = epilogue_aligned();
    for (uint i = 0u; i < 16u; i++)
        epilogue_four(sum[i >> 2][i & 3u], row + 4u * (i >> 3) + (i & 3u), column + (i & 4u),
                      whole);
}
