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

/* An item is a query (n, h, i): one pass over the keys that it saw. */
void main()
{
    const uint id = linear_id(), i = id % p.queries;
    const uint h = id / p.queries % p.heads, n = id / p.queries / p.heads;
    if (n >= p.sequences)
        return;
    const bool drops = p.threshold != 0u;
    const uint columns = p.heads * HEAD, row = n * p.queries + i, t = p.keys - p.queries + i;
    const uint at_q = row * p.stride_q + h * HEAD, at_y = row * columns + h * HEAD;

    vec4 q[FOURS], dy[FOURS], dq[FOURS];
    float delta = 0.0;
    [[unroll]] for (uint c = 0u; c < FOURS; c++) {
        q[c] = load_four(p.q, at_q + 4u * c, HEAD - 4u * c, wide) * p.scale;
        dy[c] = load_four(p.dy, at_y + 4u * c, HEAD - 4u * c, wide);
        delta += dot(dy[c], load_four(p.y, at_y + 4u * c, HEAD - 4u * c, wide));
        dq[c] = vec4(0.0);
    }
    p.delta.at[row * p.heads + h] = delta;
    const float lse = p.lse.at[row * p.heads + h];
    uvec2 seed = uvec2(0u);
    uint draw = 0u;
    if (drops) {
        seed = uvec2(p.random.at[0], p.random.at[1]);
        draw = p.random.at[2];
    }

    const uint begin = ATTENTION_BEGIN(t, p.span, p.reach);
    uvec4 word = uvec4(0u);
    for (uint j = begin; j <= t; j++) {
        const uint at_k = (n * p.keys + j) * p.stride_k + h * HEAD, at_v = at_k + columns;
        float score = 0.0, dp = 0.0;
        [[unroll]] for (uint c = 0u; c < FOURS; c++) {
            score += dot(q[c], load_four(p.kv, at_k + 4u * c, HEAD - 4u * c, wide));
            dp += dot(dy[c], load_four(p.kv, at_v + 4u * c, HEAD - 4u * c, wide));
        }
        if (drops) {
            if (j == begin || (j & 3u) == 0u)
                word = tensor_random(uvec4(j >> 2, id, p.stream, draw), seed);
            dp = word[j & 3u] < p.threshold ? 0.0 : dp * p.drop_scale;
        }
        const float ds = p.scale * exp(score - lse) * (dp - delta);
        [[unroll]] for (uint c = 0u; c < FOURS; c++)
            dq[c] += ds * load_four(p.kv, at_k + 4u * c, HEAD - 4u * c, wide);
    }

    [[unroll]] for (uint c = 0u; c < FOURS; c++)
        store_four(p.dq, at_q + 4u * c, HEAD - 4u * c, wide, dq[c]);
}
