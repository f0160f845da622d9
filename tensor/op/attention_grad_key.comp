#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#include "tensor/op/attention.h"
#include "tensor/random.h"
#include "tensor/op/four.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint WIDE = 0;  /* whether rows begin at multiples of 16 bytes */
layout(constant_id = 2) const uint HEAD = 64; /* p.head_dim */
layout(push_constant) uniform push { attention_grad_params p; };

const uint FOURS = (HEAD + 3u) / 4u;
const bool wide = WIDE != 0u;

/* An item is a key (n, h, j): one pass over the queries that saw it. */
void main()
{
    const uint id = linear_id(), j = id % p.keys;
    const uint h = id / p.keys % p.heads, n = id / p.keys / p.heads;
    if (n >= p.sequences)
        return;
    const bool drops = p.threshold != 0u;
    const uint columns = p.heads * HEAD;
    const uint at_k = (n * p.keys + j) * p.stride_k + h * HEAD, at_v = at_k + columns;

    vec4 k[FOURS], v[FOURS], dk[FOURS], dv[FOURS];
    [[unroll]] for (uint c = 0u; c < FOURS; c++) {
        k[c] = load_four(p.kv, at_k + 4u * c, HEAD - 4u * c, wide) * p.scale;
        v[c] = load_four(p.kv, at_v + 4u * c, HEAD - 4u * c, wide);
        dk[c] = vec4(0.0);
        dv[c] = vec4(0.0);
    }
    uvec2 seed = uvec2(0u);
    uint draw = 0u;
    if (drops) {
        seed = uvec2(p.random.at[0], p.random.at[1]);
        draw = p.random.at[2];
    }

    const uint first = p.keys - p.queries; /* position of query 0 */
    const uint end = min(ATTENTION_END(j, p.span, p.reach), p.keys);
    for (uint t = max(j, first); t < end; t++) {
        const uint row = n * p.queries + t - first;
        const uint at_q = row * p.stride_q + h * HEAD, at_dy = row * columns + h * HEAD;
        float score = 0.0, dp = 0.0;
        [[unroll]] for (uint c = 0u; c < FOURS; c++) {
            score += dot(k[c], load_four(p.q, at_q + 4u * c, HEAD - 4u * c, wide));
            dp += dot(v[c], load_four(p.dy, at_dy + 4u * c, HEAD - 4u * c, wide));
        }
        float keep = 1.0;
        if (drops) {
            const uint query = (n * p.heads + h) * p.queries + t - first;
            const uvec4 word = tensor_random(uvec4(j >> 2, query, p.stream, draw), seed);
            keep = word[j & 3u] < p.threshold ? 0.0 : p.drop_scale;
        }
        const float weight = exp(score - p.lse.at[row * p.heads + h]);
        const float ds = p.scale * weight * (keep * dp - p.delta.at[row * p.heads + h]);
        [[unroll]] for (uint c = 0u; c < FOURS; c++) {
            dk[c] += ds * load_four(p.q, at_q + 4u * c, HEAD - 4u * c, wide);
            dv[c] += keep * weight * load_four(p.dy, at_dy + 4u * c, HEAD - 4u * c, wide);
        }
    }

    [[unroll]] for (uint c = 0u; c < FOURS; c++) {
        store_four(p.dkv, at_k + 4u * c, HEAD - 4u * c, wide, dk[c]);
        store_four(p.dkv, at_v + 4u * c, HEAD - 4u * c, wide, dv[c]);
    }
}
