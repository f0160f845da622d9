#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#include "tensor/op/matmul.h"
#include "tensor/op/four.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TRANSPOSE = 0; /* MATMUL_TRANSPOSE_* of p.flags */
layout(constant_id = 2) const uint WIDE = 0;      /* whether lines of a and b begin at multiples of
                                                     16 bytes, and k is a multiple of 4 */
layout(push_constant) uniform push { matmul_params p; };

const uint M = MATMUL_DIRECT_M, N = MATMUL_DIRECT_N;
const bool wide = WIDE != 0u;

/* Columns 0 … 3 of the result are lines line … line + 3 of x at k … k + 3, where x is stored line after
 * line, or `across`: k after k. Past the end of k there are zeros; lines past the last repeat others,
 * and nothing that comes of them is stored. */
mat4 load_block(f32_ptr x, bool across, uint line, uint lines, uint k)
{
    mat4 block = mat4(0.0);
    if (!across) {
        [[unroll]] for (uint i = 0u; i < 4u; i++)
            block[i] = load_four(x, min(line + i, lines - 1u) * p.k + k, p.k - k, wide);
        return block;
    }
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        if (wide)
            block[i] = load_four(x, (k + i) * lines + min(line, lines - 4u), 4u, true);
        else if (k + i < p.k)
            [[unroll]] for (uint j = 0u; j < 4u; j++)
                block[i][j] = x.at[(k + i) * lines + min(line + j, lines - 1u)];
    }
    return transpose(block);
}

void store(float sum, uint row, uint column)
{
    const uint at = row * p.n + column;
    if (row >= p.m || column >= p.n)
        return;
    if ((p.flags & MATMUL_ACCUMULATE) != 0u)
        sum += p.c.at[at];
    if ((p.flags & MATMUL_BIAS) != 0u)
        sum += p.bias.at[column];
    p.c.at[at] = (p.flags & MATMUL_RELU) != 0u ? max(sum, 0.0) : sum;
}

/* An item is a tile of M rows and N columns, kept in registers. */
void main()
{
    const uint id = linear_id(), tiles = (p.n + N - 1u) / N;
    const uint row = id / tiles * M, column = id % tiles * N;
    if (row >= p.m)
        return;
    const bool across_a = (TRANSPOSE & MATMUL_TRANSPOSE_A) != 0u;
    const bool across_b = (TRANSPOSE & MATMUL_TRANSPOSE_B) == 0u;

    float sum[M][N];
    [[unroll]] for (uint i = 0u; i < M; i++)
        [[unroll]] for (uint j = 0u; j < N; j++)
            sum[i][j] = 0.0;

    for (uint k = 0u; k < p.k; k += 4u) {
        mat4 a[M / 4u];
        [[unroll]] for (uint i = 0u; i < M; i += 4u)
            a[i / 4u] = load_block(p.a, across_a, row + i, p.m, k);
        [[unroll]] for (uint j = 0u; j < N; j += 4u) {
            const mat4 b = load_block(p.b, across_b, column + j, p.n, k);
            [[unroll]] for (uint i = 0u; i < M; i++)
                [[unroll]] for (uint t = 0u; t < 4u; t++)
                    sum[i][j + t] += dot(a[i / 4u][i % 4u], b[t]);
        }
    }

    [[unroll]] for (uint i = 0u; i < M; i++)
        [[unroll]] for (uint j = 0u; j < N; j++)
            store(sum[i][j], row + i, column + j);
}
