#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#include "tensor/op/attention.h"
#include "tensor/random.h"
#include "tensor/op/four.glsl"

#include "tensor/op/attention_grad_position.glsl"

#define ATTENTION_TILED_SUMS 1u
#include "tensor/op/attention_tiled.glsl"

/* dy·y of four queries whose rows begin at `at`; those that share them share out the columns. */
vec4 deltas(uvec4 at)
{
    vec4 delta = vec4(0.0);
    for (uint c = 4u * pass(); c < HEAD; c += PASSING)
        [[unroll]] for (uint u = 0u; u < 4u; u++)
            delta[u] += dot(fetch(p.y, at[u], c), fetch(p.dy, at[u], c));
    meet(delta);
    return sum_met();
}

/* A workgroup is 64 queries, as in attention_tiled.comp. */
void main()
{
    const uint heads = p.sequences * p.heads, tiles = (p.queries + OWNED - 1u) / OWNED;
    const uint id = linear_group(), h = id % heads % p.heads, n = id % heads / p.heads;
    if (id >= tiles * heads)
        return;
    const uint i = (tiles - 1u - id / heads) * OWNED, first = first_position();
    const uint column = h * HEAD, columns = p.heads * HEAD, last_query = p.queries - 1u;
    const uvec4 own_query = min(i + 4u * own() + FOUR, uvec4(last_query));
    const uvec4 t = first + own_query, number = (n * p.heads + h) * p.queries + own_query;
    const uvec4 row = n * p.queries + own_query, begin = begins(t);
    const uvec2 staged = n * p.queries + min(i + product_rows(), uvec2(last_query));

    const vec4 delta = deltas(row * columns + column);
    vec4 lse;
    [[unroll]] for (uint u = 0u; u < 4u; u++) {
        lse[u] = p.lse.at[row[u] * p.heads + h];
        if (pass() == 0u && i + 4u * own() + u < p.queries)
            p.delta.at[row[u] * p.heads + h] = delta[u];
    }

    clear_sums();
    vec4 score[4], ds[4];
    const uint last = first + min(i + OWNED - 1u, last_query);
    for (uint j = ATTENTION_BEGIN(first + i, p.span, p.reach) & ~3u; j <= last; j += PASSING) {
        const uint k = (n * p.keys + min(j + product_rows().x, last)) * stride_k() + column;
        products(p.q, staged * stride_q() + column, p.kv, k, score);
        products(p.dy, staged * columns + column, p.kv, k + columns, ds);
        const uint own_key = j + 4u * pass();
        if (p.threshold != 0u)
            [[unroll]] for (uint u = 0u; u < 4u; u++) {
                const vec4 keep = keep_four(own_key, number[u]);
                [[unroll]] for (uint k = 0u; k < 4u; k++)
                    ds[k][u] *= keep[k];
            }
        [[unroll]] for (uint k = 0u; k < 4u; k++) {
            const vec4 weight = mix(vec4(0.0), exp(score[k] * p.scale - lse),
                                    sees(begin, t, own_key + k));
            ds[k] = p.scale * weight * (ds[k] - delta);
        }
        share(ds);
        const uvec2 rows = n * p.keys + min(j + sum_rows(), uvec2(last));
        add_rows(p.kv, rows * stride_k() + column, 0u);
    }
    store_sums(p.dq, row * stride_q() + column, p.queries - i, 0u, vec4(1.0));
}
