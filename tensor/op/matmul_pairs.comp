#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#include "tensor/op/matmul.h"
#include "tensor/op/four.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TRANSPOSE = 0; /* MATMUL_TRANSPOSE_* of p.flags */
layout(constant_id = 2) const uint ROWS = 16;     /* of c, that an invocation takes; even, or 1 */
layout(constant_id = 3) const uint GROUPS = 4;    /* of four columns, likewise */
layout(push_constant) uniform push { matmul_params p; };
#include "tensor/op/matmul_end.glsl"

layout(buffer_reference, std430, buffer_reference_align = 8) buffer u64_ptr { uint64_t at[]; };

/* Elements i and i + 1 of x in one load; i is even. */
vec2 pair(f32_ptr x, uint i)
{
    return uintBitsToFloat(unpack32(u64_ptr(uvec2(x)).at[i >> 1]));
}

/* For devices where a load costs far more than a product of what it brought, and costs the same for
 * 32 and 64 bits: so they are of 64 bits, and few for a large tile, although that does not fit into
 * registers. All invocations of a workgroup share their rows, whose loads a compiler may see to be
 * the same for all lanes, and take neighbouring fours of columns.
 *
 * k is even, and so are the lengths of all lines in memory. Lines past the last repeat others, and
 * nothing that comes of them is stored. */
void main()
{
    const uint width = 4u * gl_WorkGroupSize.x; /* from one group of columns to the next */
    const uint row = gl_WorkGroupID.y * ROWS;
    const uint column = gl_WorkGroupID.x * GROUPS * width + gl_LocalInvocationID.x * 4u;
    const bool across_a = (TRANSPOSE & MATMUL_TRANSPOSE_A) != 0u;
    const bool across_b = (TRANSPOSE & MATMUL_TRANSPOSE_B) == 0u;

    vec4 sum[ROWS * GROUPS];
    [[unroll]] for (uint i = 0u; i < ROWS * GROUPS; i++)
        sum[i] = vec4(0.0);
    for (uint k = 0u; k < p.k; k += 2u) {
        float a[2u * ROWS + 2u]; /* of each row k, then k + 1; room for a pair of rows */
        vec4 b[2u * GROUPS];     /* of each group likewise */
        if (across_a) {
            [[unroll]] for (uint i = 0u; i < ROWS; i += 2u)
                [[unroll]] for (uint j = 0u; j < 2u; j++) {
                    const vec2 two = pair(p.a, (k + j) * p.m + min(row + i, p.m - 2u));
                    a[2u * i + j] = two.x;
                    a[2u * i + 2u + j] = two.y;
                }
        } else {
            [[unroll]] for (uint i = 0u; i < ROWS; i++) {
                const vec2 two = pair(p.a, min(row + i, p.m - 1u) * p.k + k);
                a[2u * i] = two.x;
                a[2u * i + 1u] = two.y;
            }
        }
        if (across_b) {
            [[unroll]] for (uint i = 0u; i < GROUPS; i++)
                [[unroll]] for (uint j = 0u; j < 2u; j++) {
                    const uint first = column + i * width, begin = (k + j) * p.n, end = p.n - 2u;
                    b[2u * i + j] = vec4(pair(p.b, begin + min(first, end)),
                                         pair(p.b, begin + min(first + 2u, end)));
                }
        } else {
            [[unroll]] for (uint i = 0u; i < GROUPS; i++)
                [[unroll]] for (uint j = 0u; j < 4u; j++) {
                    const uint line = min(column + i * width + j, p.n - 1u);
                    const vec2 two = pair(p.b, line * p.k + k);
                    b[2u * i][j] = two.x;
                    b[2u * i + 1u][j] = two.y;
                }
        }
        [[unroll]] for (uint i = 0u; i < ROWS; i++)
            [[unroll]] for (uint j = 0u; j < GROUPS; j++) {
                sum[i * GROUPS + j] += a[2u * i] * b[2u * j];
                sum[i * GROUPS + j] += a[2u * i + 1u] * b[2u * j + 1u];
            }
    }

    /* An index that is not constant would keep an array in memory during the sums: so a copy, which
     * is not just a copy to the compiler. The loop is one, or the kernel would take seconds to
     * compile. */
    vec4 kept[ROWS * GROUPS];
    [[unroll]] for (uint i = 0u; i < ROWS * GROUPS; i++)
        kept[i] = sum[i] + 0.0;
    const bool wide = end_wide();
    [[dont_unroll]] for (uint i = 0u; i < ROWS * GROUPS; i++)
        end_four(kept[i], row + i / GROUPS, column + i % GROUPS * width, wide);
}
