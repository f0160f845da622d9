#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#include "tensor/op/attention.h"
#include "tensor/random.h"
#include "tensor/op/four.glsl"

#include "tensor/op/attention_grad_position.glsl"

#define ATTENTION_TILED_SUMS 2u
#include "tensor/op/attention_tiled.glsl"

const uint DV = 0u, DK = 4u * SLICES; /* where their sums begin */

/* A workgroup is 64 keys of one head of one sequence, by which the queries pass that see them; the
 * keys that most see come first. */
void main()
{
    const uint heads = p.sequences * p.heads, tiles = (p.keys + OWNED - 1u) / OWNED;
    const uint id = linear_group(), h = id % heads % p.heads, n = id % heads / p.heads;
    if (id >= tiles * heads)
        return;
    const uint j = id / heads * OWNED, last = p.keys - 1u;
    const uint first = first_position(), last_t = first + p.queries - 1u;
    const uint column = h * HEAD, columns = p.heads * HEAD;
    const uvec4 own_key = min(j + 4u * own() + FOUR, uvec4(last));
    const uvec2 staged = n * p.keys + min(j + product_rows(), uvec2(last));

    clear_sums();
    vec4 score[4], ds[4];
    const uint end = min(ATTENTION_END(min(j + OWNED - 1u, last), p.span, p.reach), last_t + 1u);
    for (uint t = max(j, first); t < end; t += PASSING) {
        const uint i = n * p.queries - first; /* wraps around: a position is added to it */
        const uint at = i + min(t + product_rows().x, last_t);
        products(p.kv, staged * stride_k() + column, p.q, at * stride_q() + column, score);
        products(p.kv, staged * stride_k() + columns + column, p.dy, at * columns + column, ds);
        [[unroll]] for (uint u = 0u; u < 4u; u++) {
            const uint at_t = min(t + 4u * pass() + u, last_t), row = i + at_t;
            const uint begin = ATTENTION_BEGIN(at_t, p.span, p.reach);
            const bool counts = t + 4u * pass() + u < end;
            const bvec4 seen = bvec4(uvec4(counts) * uvec4(lessThanEqual(uvec4(begin), own_key)) *
                                     uvec4(lessThanEqual(own_key, uvec4(at_t))));
            const vec4 keep = keep_four(j + 4u * own(),
                                        (n * p.heads + h) * p.queries + at_t - first);
            const float lse = p.lse.at[row * p.heads + h], delta = p.delta.at[row * p.heads + h];
            const vec4 weight = mix(vec4(0.0), exp(score[u] * p.scale - lse), seen);
            score[u] = weight * keep;
            ds[u] = p.scale * weight * (ds[u] * keep - delta);
        }
        const uvec2 rows = i + min(t + sum_rows(), uvec2(last_t));
        share(score);
        add_rows(p.dy, rows * columns + column, DV);
        barrier();
        share(ds);
        add_rows(p.q, rows * stride_q() + column, DK);
    }
    const uvec4 to = (n * p.keys + own_key) * stride_k() + column;
    store_sums(p.dkv, to, p.keys - j, DK, vec4(1.0));
    store_sums(p.dkv, to + columns, p.keys - j, DV, vec4(1.0));
}
