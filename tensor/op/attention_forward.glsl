/* attention_forward.glsl - attention, by tiles in registers (attention_direct.glsl). */
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/attention.h"
#include "tensor/random.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"

layout(push_constant) uniform push { attention_params p; };

#include "tensor/op/attention_direct.glsl"

vec4 highest0 = vec4(-1.0e30), highest1 = vec4(-1.0e30), sum0 = vec4(0.0), sum1 = vec4(0.0);

/* Makes weights of the scores of four queries against eight keys; returns what earlier sums are
 * multiplied by, since all are relative to the largest score so far. */
vec4 soften(inout mat4 low, inout mat4 high, mat4 seen_low, mat4 seen_high, inout vec4 highest,
            inout vec4 sum)
{
    vec4 shrink;
    for (uint i = 0u; i < 4u; i++) {
        const vec4 a = mix(vec4(-3.0e38), low[i] * p.scale, notEqual(seen_low[i], vec4(0.0)));
        const vec4 b = mix(vec4(-3.0e38), high[i] * p.scale, notEqual(seen_high[i], vec4(0.0)));
        const vec4 larger = max(a, b);
        const float raised =
            max(highest[i], max(max(larger.x, larger.y), max(larger.z, larger.w)));
        shrink[i] = exp(highest[i] - raised);
        low[i] = exp(a - raised);
        high[i] = exp(b - raised);
        highest[i] = raised;
        sum[i] = sum[i] * shrink[i] + dot(low[i] + high[i], vec4(1.0));
    }
    return shrink;
}

/* An invocation is eight queries of one head of one sequence; neighbours are those of other heads,
 * so that all see as many keys. y takes sums as they grow. */
void main()
{
    const uint id = linear_id(), heads = p.sequences * p.heads;
    const uint h = id % heads % p.heads, n = id % heads / p.heads, i = id / heads * 8u;
    if (i >= p.queries)
        return;
    uint first = p.keys - p.queries, key_row = n * p.key_rows;
    if ((p.flags & ATTENTION_SLOT) != 0u) {
        key_row = p.slot.at[2u * n] * p.key_rows;
        first = p.slot.at[2u * n + 1u];
    } else if ((p.flags & ATTENTION_FIRST) != 0u) {
        first = p.slot.at[0];
    }
    const uint columns = p.heads * p.head_dim, column = h * p.head_dim;
    const uvec4 i0 = min(i + FOUR, uvec4(p.queries - 1u));
    const uvec4 i1 = min(i + 4u + FOUR, uvec4(p.queries - 1u));
    const uvec4 row0 = n * p.queries + i0, row1 = n * p.queries + i1;
    const eight query = eight(row0 * p.stride_q + column, row1 * p.stride_q + column);
    const eight to = eight(row0 * columns + column, row1 * columns + column);
    const uint last = first + i1.w, number = (n * p.heads + h) * p.queries;

    const uint begin = ATTENTION_BEGIN(first + i, p.span, p.reach) & ~3u;
    for (uint j = begin; j <= last; j += 8u) {
        const uvec4 j0 = min(j + FOUR, uvec4(last)), j1 = min(j + 4u + FOUR, uvec4(last));
        const eight key = eight((key_row + j0 % p.key_rows) * p.stride_k + column,
                                (key_row + j1 % p.key_rows) * p.stride_k + column);
        pairs s = products(p.kv, key, p.q, query, false);
        const vec4 shrink0 = soften(s.at00, s.at10, seen_block(j + FOUR, first + i0),
                                    seen_block(j + 4u + FOUR, first + i0), highest0, sum0);
        const vec4 shrink1 = soften(s.at01, s.at11, seen_block(j + FOUR, first + i1),
                                    seen_block(j + 4u + FOUR, first + i1), highest1, sum1);
        if (p.threshold != 0u) {
            s.at00 = matrixCompMult(s.at00, keep_block(j, number + i0));
            s.at01 = matrixCompMult(s.at01, keep_block(j, number + i1));
            s.at10 = matrixCompMult(s.at10, keep_block(j + 4u, number + i0));
            s.at11 = matrixCompMult(s.at11, keep_block(j + 4u, number + i1));
        }
        vec4 factor0 = vec4(1.0), factor1 = vec4(1.0);
        if (j + 8u > last) { /* the last keys */
            factor0 /= sum0;
            factor1 /= sum1;
        }
        for (uint c = 0u; c < p.head_dim; c += 4u) {
            const mat4 v0 = load_rows(p.kv, key.low + columns, c);
            const mat4 v1 = load_rows(p.kv, key.high + columns, c);
            mat4 y0 = v0 * s.at00 + v1 * s.at10, y1 = v0 * s.at01 + v1 * s.at11;
            if (j != begin) {
                const mat4 old0 = load_rows(p.y, to.low, c), old1 = load_rows(p.y, to.high, c);
                for (uint u = 0u; u < 4u; u++) {
                    y0[u] += old0[u] * shrink0[u];
                    y1[u] += old1[u] * shrink1[u];
                }
            }
            for (uint u = 0u; u < 4u; u++) {
                y0[u] *= factor0[u];
                y1[u] *= factor1[u];
            }
            store_rows(p.y, to.low, c, i, i, p.queries, y0, false);
            store_rows(p.y, to.high, c, i + 4u, i, p.queries, y1, false);
        }
    }

    if ((p.flags & ATTENTION_LSE) == 0u)
        return;
    const vec4 lse0 = highest0 + log(sum0), lse1 = highest1 + log(sum1);
    for (uint u = 0u; u < 8u && i + u < p.queries; u++)
        p.lse.at[(n * p.queries + i + u) * p.heads + h] = u < 4u ? lse0[u] : lse1[u - 4u];
}
