#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "tensor/op/matmul.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FLAGS = 0;     /* MATMUL_CONSTANT of p.flags */
layout(constant_id = 2) const uint ROWS = 16;     /* of c, that an invocation takes; even, or 1 */
layout(constant_id = 3) const uint GROUPS = 4;    /* of four columns, likewise */
layout(constant_id = 4) const uint FACTOR = 0;    /* MATMUL_BF16 or MATMUL_F16 of p.flags */
layout(push_constant) uniform push { matmul_params p; };
#define EPILOGUE_16BIT (FACTOR != 0u)
#define EPILOGUE_DROPOUT ((FLAGS & MATMUL_DROPOUT) != 0u)
#include "tensor/op/matmul_epilogue.glsl"

layout(buffer_reference, std430, buffer_reference_align = 8) buffer u64_ptr { uint64_t at[]; };

const uint STEP = FACTOR == 0u ? 2u : 4u; /* elements of 64 bits */

/* Elements i … i + STEP - 1 of x in one load; i is a multiple of STEP. */
vec4 load_step(f32_ptr x, uint i)
{
    const uvec2 words = unpack32(u64_ptr(uvec2(x)).at[i / STEP]);
    if (FACTOR == 0u)
        return vec4(uintBitsToFloat(words), 0.0, 0.0);
    const uint type = FACTOR == MATMUL_BF16 ? ELEMENT_BF16 : ELEMENT_F16;
    return vec4(widen(words.x, type), widen(words.y, type));
}

/* Four elements from i on, a multiple of 4, of a line of n from `begin` on. */
vec4 load_columns(f32_ptr x, uint begin, uint i, uint n)
{
    const vec4 first = load_step(x, begin + min(i, n - STEP));
    return STEP == 4u ? first : vec4(first.xy, load_step(x, begin + min(i + 2u, n - STEP)).xy);
}

/* For devices where a load costs far more than a product of what it brought, and costs the same for
 * 32 and 64 bits: so they are of 64 bits, and few for a large tile, although that does not fit into
 * registers. All invocations of a workgroup share their rows, whose loads a compiler may see to be
 * the same for all lanes, and take neighbouring fours of columns.
 *
 * k is a multiple of STEP, and so are the lengths of all lines in memory, and ROWS where a
 * workgroup takes splits of lines. Lines past the last repeat others, and nothing that comes of
 * them is stored. */
void main()
{
    const uint width = 4u * gl_WorkGroupSize.x; /* from one group of columns to the next */
    const uint row = gl_WorkGroupID.y * ROWS;
    const uint column = gl_WorkGroupID.x * GROUPS * width + gl_LocalInvocationID.x * 4u;
    const bool across_a = (FLAGS & MATMUL_TRANSPOSE_A) != 0u;
    const bool across_b = (FLAGS & MATMUL_TRANSPOSE_B) == 0u;

    vec4 sum[ROWS * GROUPS];
    [[unroll]] for (uint i = 0u; i < ROWS * GROUPS; i++)
        sum[i] = vec4(0.0);
    for (uint k = split_begin(), end = split_end(); k < end; k += STEP) {
        float a[STEP * (ROWS + 3u)]; /* of each row k … k + STEP - 1; room for a step of rows */
        vec4 b[STEP * GROUPS];       /* of each group likewise */
        if (across_a) {
            [[unroll]] for (uint i = 0u; i < ROWS; i += STEP)
                [[unroll]] for (uint j = 0u; j < STEP; j++) {
                    const vec4 rows = load_step(p.a, (k + j) * p.m + min(row + i, p.m - STEP));
                    [[unroll]] for (uint l = 0u; l < STEP; l++)
                        a[STEP * (i + l) + j] = rows[l];
                }
        } else {
            [[unroll]] for (uint i = 0u; i < ROWS; i++) {
                const vec4 some = load_step(p.a, min(row + i, p.m - 1u) * p.k + k);
                [[unroll]] for (uint l = 0u; l < STEP; l++)
                    a[STEP * i + l] = some[l];
            }
        }
        if (across_b) {
            [[unroll]] for (uint i = 0u; i < GROUPS; i++)
                [[unroll]] for (uint j = 0u; j < STEP; j++)
                    b[STEP * i + j] = load_columns(p.b, (k + j) * p.n, column + i * width, p.n);
        } else {
            [[unroll]] for (uint i = 0u; i < GROUPS; i++)
                [[unroll]] for (uint j = 0u; j < 4u; j++) {
                    const uint line = min(column + i * width + j, p.n - 1u);
                    const vec4 some = load_step(p.b, line * p.k + k);
                    [[unroll]] for (uint l = 0u; l < STEP; l++)
                        b[STEP * i + l][j] = some[l];
                }
        }
        [[unroll]] for (uint i = 0u; i < ROWS; i++)
            [[unroll]] for (uint j = 0u; j < GROUPS; j++)
                [[unroll]] for (uint l = 0u; l < STEP; l++)
                    sum[i * GROUPS + j] += a[STEP * i + l] * b[STEP * j + l];
    }

    /* An index that is not constant would keep an array in memory during the sums: so a copy, which
     * is not just a copy to the compiler. The loop is one, or the kernel would take seconds to
     * compile. */
    vec4 kept[ROWS * GROUPS];
    [[unroll]] for (uint i = 0u; i < ROWS * GROUPS; i++)
        kept[i] = sum[i] + 0.0;
    const bool wide = epilogue_aligned();
    [[dont_unroll]] for (uint i = 0u; i < ROWS * GROUPS; i++)
        epilogue_four(kept[i], row + i / GROUPS, column + i % GROUPS * width, wide);
}
