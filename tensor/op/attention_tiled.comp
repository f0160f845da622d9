#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#include "tensor/op/attention.h"
#include "tensor/random.h"
#include "tensor/op/four.glsl"

layout(push_constant) uniform push { attention_params p; };

#define ATTENTION_TILED_SUMS 1u
#include "tensor/op/attention_tiled.glsl"

/* Makes weights of the scores of four keys, from j on, for four queries; returns what earlier sums
 * are multiplied by, since all are relative to the largest score so far. `total` sums the weights
 * of this invocation's keys. */
vec4 soften(inout vec4 block[4], uint j, uvec4 t, inout vec4 highest, inout vec4 total)
{
    const uvec4 begin = begins(t);
    vec4 raised = highest;
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        block[i] = mix(vec4(-3.0e38), block[i] * p.scale, sees(begin, t, j + i));
        raised = max(raised, block[i]);
    }
    meet(raised);
    [[unroll]] for (uint i = 0u; i < PASSING / 4u; i++)
        raised = max(raised, stage[i * GROUPS + own()]);
    const vec4 shrink = exp(highest - raised);
    total *= shrink;
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        block[i] = exp(block[i] - raised);
        total += block[i];
    }
    highest = raised;
    return shrink;
}

/* A workgroup is 64 queries of one head of one sequence; those that see most keys come first. */
void main()
{
    const uint heads = p.sequences * p.heads, tiles = (p.queries + OWNED - 1u) / OWNED;
    const uint id = linear_group(), h = id % heads % p.heads, n = id % heads / p.heads;
    if (id >= tiles * heads)
        return;
    const uint i = (tiles - 1u - id / heads) * OWNED;
    uint first = p.keys - p.queries, key_row = n * p.key_rows;
    if ((p.flags & ATTENTION_SLOT) != 0u) {
        key_row = p.slot.at[2u * n] * p.key_rows;
        first = p.slot.at[2u * n + 1u];
    } else if ((p.flags & ATTENTION_FIRST) != 0u) {
        first = p.slot.at[0];
    }
    const uint column = h * HEAD, columns = p.heads * HEAD, last_query = p.queries - 1u;
    const uvec4 own_query = min(i + 4u * own() + FOUR, uvec4(last_query));
    const uvec4 t = first + own_query, number = (n * p.heads + h) * p.queries + own_query;
    const uvec2 at_q =
        (n * p.queries + min(i + product_rows(), uvec2(last_query))) * p.stride_q + column;

    clear_sums();
    vec4 highest = vec4(-1.0e30), total = vec4(0.0), block[4];
    const uint last = first + min(i + OWNED - 1u, last_query);
    for (uint j = ATTENTION_BEGIN(first + i, p.span, p.reach) & ~3u; j <= last; j += PASSING) {
        const uint k = min(j + product_rows().x, last) % p.key_rows;
        const uvec2 v = min(j + sum_rows(), uvec2(last)) % p.key_rows;
        products(p.q, at_q, p.kv, (key_row + k) * p.stride_k + column, block);
        const uint own_key = j + 4u * pass();
        const vec4 shrink = soften(block, own_key, t, highest, total);
        if (p.threshold != 0u)
            [[unroll]] for (uint u = 0u; u < 4u; u++) {
                const vec4 keep = keep_four(own_key, number[u]);
                [[unroll]] for (uint k = 0u; k < 4u; k++)
                    block[k][u] *= keep[k];
            }
        share(block);
        [[unroll]] for (uint s = 0u; s < 4u * SLICES; s++)
            sum[s] *= shrink[s % 4u];
        add_rows(p.kv, (key_row + v) * p.stride_k + columns + column, 0u);
    }

    meet(total);
    total = sum_met();
    const uvec4 row = n * p.queries + own_query;
    store_sums(p.y, row * columns + column, p.queries - i, 0u, 1.0 / total);
    if ((p.flags & ATTENTION_LSE) != 0u && pass() == 0u)
        [[unroll]] for (uint u = 0u; u < 4u; u++)
            if (i + 4u * own() + u < p.queries)
                p.lse.at[row[u] * p.heads + h] = highest[u] + log(total[u]);
}
