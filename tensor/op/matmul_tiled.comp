#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#include "tensor/op/matmul.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"

layout(local_size_x_id = 0) in; /* 256 */
layout(constant_id = 1) const uint FLAGS = 0;     /* MATMUL_CONSTANT of p.flags */
layout(constant_id = 2) const uint WIDE = 0;      /* as in matmul_direct.comp */
layout(constant_id = 3) const uint FACTOR = 0;    /* MATMUL_BF16 or MATMUL_F16 of p.flags */
layout(push_constant) uniform push { matmul_params p; };
#include "tensor/op/factor.glsl"
#define EPILOGUE_16BIT (FACTOR != 0u)
#define EPILOGUE_DROPOUT ((FLAGS & MATMUL_DROPOUT) != 0u)
#include "tensor/op/matmul_epilogue.glsl"

const uint LINES = MATMUL_TILED_M, K = MATMUL_TILED_K; /* a tile is square */
const bool wide = WIDE != 0u;

/* One k after another; a k has LINES / 4 fours and one that keeps the writes of a column apart. */
const uint PITCH = LINES / 4u + 1u;
shared vec4 tile_a[K * PITCH], tile_b[K * PITCH];

/* What one invocation brings to a tile: four neighbours, along k or `across` it; zeros past the
 * ends. */
vec4 fetch(f32_ptr x, bool across, uint first, uint lines, uint k)
{
    const uint local = gl_LocalInvocationID.x;
    const uint line = first + (across ? local % 16u * 4u : local / 4u);
    const uint at_k = k + (across ? local / 16u : local % 4u * 4u);
    if (line >= lines || at_k >= p.k)
        return vec4(0.0);
    return across ? load_factors(x, at_k * lines + line, lines - line, wide)
                  : load_factors(x, line * p.k + at_k, p.k - at_k, wide);
}

/* A workgroup takes a square tile, each of its 16 x 16 invocations 4 x 4 of it. */
void main()
{
    const uint local = gl_LocalInvocationID.x, x = local % 16u, y = local / 16u;
    const uint row = gl_WorkGroupID.y * LINES, column = gl_WorkGroupID.x * LINES;
    const bool across_a = (FLAGS & MATMUL_TRANSPOSE_A) != 0u;
    const bool across_b = (FLAGS & MATMUL_TRANSPOSE_B) == 0u;
    /* Where this invocation's fours go. */
    const uint across_at = local / 16u * PITCH + local % 16u;
    const uint along_at = local % 4u * 4u * PITCH + local / 16u, part = local / 4u % 4u;

    vec4 sum[4] = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    const uint begin = split_begin(), end = split_end();
    vec4 a = fetch(p.a, across_a, row, p.m, begin), b = fetch(p.b, across_b, column, p.n, begin);
    for (uint k = begin; k < end; k += K) {
        if (across_a)
            tile_a[across_at] = a;
        else
            [[unroll]] for (uint i = 0u; i < 4u; i++)
                tile_a[along_at + i * PITCH][part] = a[i];
        if (across_b)
            tile_b[across_at] = b;
        else
            [[unroll]] for (uint i = 0u; i < 4u; i++)
                tile_b[along_at + i * PITCH][part] = b[i];
        barrier();

        /* The next tile's loads are under way while this one is multiplied. */
        a = fetch(p.a, across_a, row, p.m, k + K);
        b = fetch(p.b, across_b, column, p.n, k + K);
        [[unroll]] for (uint i = 0u; i < K; i++) {
            const vec4 lines = tile_a[i * PITCH + y], columns = tile_b[i * PITCH + x];
            [[unroll]] for (uint j = 0u; j < 4u; j++)
                sum[j] += lines[j] * columns;
        }
        barrier();
    }

    [[unroll]] for (uint i = 0u; i < 4u; i++)
        epilogue_four(sum[i], row + y * 4u + i, column + x * 4u, epilogue_aligned());
}
