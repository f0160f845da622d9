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
layout(push_constant) uniform push { attention_params p; };

const uint FOURS = (HEAD + 3u) / 4u;
const bool wide = WIDE != 0u;

/* An item is a query (n, h, i). One pass over its keys takes the softmax as it goes: `highest` is
 * the largest score so far, `sum` and `y` are relative to it. */
void main()
{
    const uint id = linear_id(), i = id % p.queries;
    const uint h = id / p.queries % p.heads, n = id / p.queries / p.heads;
    if (n >= p.sequences)
        return;
    const bool drops = p.threshold != 0u;

    const uint row = n * p.queries + i;
    vec4 q[FOURS], y[FOURS];
    [[unroll]] for (uint c = 0u; c < FOURS; c++) {
        q[c] = load_four(p.q, row * p.stride_q + h * HEAD + 4u * c, HEAD - 4u * c, wide) * p.scale;
        y[c] = vec4(0.0);
    }

    uint t = p.keys - p.queries + i, key_row = n * p.key_rows;
    if ((p.flags & ATTENTION_PLACE) != 0u) {
        key_row = p.place.at[2u * n] * p.key_rows;
        t = p.place.at[2u * n + 1u] + i;
    }
    uvec2 seed = uvec2(0u);
    uint draw = 0u;
    if (drops) {
        seed = uvec2(p.random.at[0], p.random.at[1]);
        draw = p.random.at[2];
    }

    const uint begin = ATTENTION_BEGIN(t, p.span, p.reach);
    uint line = begin % p.key_rows;
    uvec4 word = uvec4(0u);
    float highest = -3.0e38, sum = 0.0;
    for (uint j = begin; j <= t; j++) {
        const uint at = (key_row + line) * p.stride_k + h * HEAD;
        const uint at_v = at + p.heads * HEAD;
        float score = 0.0;
        [[unroll]] for (uint c = 0u; c < FOURS; c++)
            score += dot(q[c], load_four(p.kv, at + 4u * c, HEAD - 4u * c, wide));

        const float raised = max(highest, score);
        const float shrink = exp(highest - raised), weight = exp(score - raised);
        highest = raised;
        sum = sum * shrink + weight;

        if (drops) {
            if (j == begin || (j & 3u) == 0u)
                word = tensor_random(uvec4(j >> 2, id, p.stream, draw), seed);
        }
        const float kept =
            drops ? (word[j & 3u] < p.threshold ? 0.0 : weight * p.drop_scale) : weight;
        [[unroll]] for (uint c = 0u; c < FOURS; c++)
            y[c] = y[c] * shrink + kept * load_four(p.kv, at_v + 4u * c, HEAD - 4u * c, wide);
        line = line + 1u == p.key_rows ? 0u : line + 1u;
    }

    [[unroll]] for (uint c = 0u; c < FOURS; c++)
        store_four(p.y, (row * p.heads + h) * HEAD + 4u * c, HEAD - 4u * c, wide, y[c] / sum);
    if ((p.flags & ATTENTION_LSE) != 0u)
        p.lse.at[row * p.heads + h] = highest + log(sum);
}
