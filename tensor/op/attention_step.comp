#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "tensor/op/attention_step.h"
#include "tensor/op/four.glsl"
#include "tensor/op/lanes.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint HEAD = 64; /* p.head_dim */
layout(constant_id = 2) const uint WIDE = 0;  /* whether rows begin at multiples of 16 bytes */
layout(push_constant) uniform push { attention_step_params p; };

const bool wide = WIDE != 0u;
const uint FOURS = (HEAD + 3u) / 4u, SIZE = gl_WorkGroupSize.x;
const uint SHARES = SIZE / FOURS; /* into which the keys of a tile part, for their values */
const uint TILE = 4u * SIZE;

shared float weight[TILE];
shared vec4 gathered[SIZE];
shared float partial[SIZE / 4u]; /* one a subgroup, of which there are no more */

/* Where a key lies, with its value a row's columns behind it. */
struct key_position {
    uvec2 rows; /* an address; a reference could not be const */
    uint at;
};

/* Row n of qkv has the newest key, the cache the others. */
key_position find_key(uint n, uint h, uint row, uint j, uint last)
{
    const uint columns = p.heads * HEAD, cached = (row + j % p.capacity) * 2u * columns;
    const bool fresh = j == last;
    return key_position(fresh ? uvec2(p.qkv) : uvec2(p.cache),
                        (fresh ? (n * 3u + 1u) * columns : cached) + h * HEAD);
}

vec4 load_part(key_position key, uint at, uint c)
{
    return load_four(f32_ptr(key.rows), key.at + at + 4u * c, HEAD - 4u * c, wide);
}

float dot_at(uint begin_q, key_position key, uint c)
{
    return dot(load_four(p.qkv, begin_q + 4u * c, HEAD - 4u * c, wide), load_part(key, 0u, c));
}

float workgroup_max(float x, uint lane)
{
    x = subgroupMax(x);
    barrier();
    if (lane == 0u)
        partial[gl_SubgroupID] = x;
    barrier();
    for (uint s = 0u; s < gl_NumSubgroups; s++)
        x = max(x, partial[s]);
    return x;
}

float workgroup_sum(float x, uint lane)
{
    x = subgroupAdd(x);
    barrier();
    if (lane == 0u)
        partial[gl_SubgroupID] = x;
    barrier();
    x = 0.0;
    for (uint s = 0u; s < gl_NumSubgroups; s++)
        x += partial[s];
    return x;
}

/* A workgroup is a head of a sequence. Keys are taken in tiles: an invocation scores keys by
 * itself, then it adds up four columns of a share of the values. As in attention.comp, sums are
 * relative to the largest score so far. */
void main()
{
    const uint local = gl_LocalInvocationID.x, lane = lane_index();
    const uint n = linear_group() / p.heads, h = linear_group() % p.heads;
    if (n >= p.sequences)
        return;
    const uint columns = p.heads * HEAD, row = p.slot.at[2u * n] * p.capacity;
    const uint last = p.slot.at[2u * n + 1u], begin_q = n * 3u * columns + h * HEAD;
    const uint c = local % FOURS, share = local / FOURS;

    float highest = -3.0e38, sum = 0.0;
    vec4 y = vec4(0.0);
    for (uint first = ATTENTION_BEGIN(last, p.span, p.reach); first <= last; first += TILE) {
        const uint count = min(last + 1u - first, TILE);
        float score[4], raised = highest;
        for (uint t = 0u; t < 4u; t++) {
            const uint j = local + t * SIZE;
            score[t] = -3.0e38;
            if (j < count) {
                const key_position key = find_key(n, h, row, first + j, last);
                float s = 0.0;
                /* In fours: of more, drivers that unroll it all make what compiles for seconds. */
                [[dont_unroll]] for (uint d = 0u; d < FOURS; d += 4u)
                    [[unroll]] for (uint c = 0u; c < 4u; c++)
                        if (d + c < FOURS)
                            s += dot_at(begin_q, key, d + c);
                score[t] = s * p.scale;
            }
            raised = max(raised, score[t]);
        }
        raised = workgroup_max(raised, lane);
        float added = 0.0;
        for (uint t = 0u; t < 4u; t++) {
            const float w = local + t * SIZE < count ? exp(score[t] - raised) : 0.0;
            weight[local + t * SIZE] = w;
            added += w;
        }
        const float shrink = exp(highest - raised);
        sum = sum * shrink + workgroup_sum(added, lane); /* its barriers show the weights, too */
        y *= shrink;
        if (share < SHARES)
            for (uint j = share; j < count; j += SHARES)
                y += weight[j] * load_part(find_key(n, h, row, first + j, last), columns, c);
        highest = raised;
        barrier();
    }

    gathered[local] = y;
    barrier();
    if (share != 0u)
        return;
    for (uint s = 1u; s < SHARES; s++)
        y += gathered[s * FOURS + c];
    store_four(p.y, n * columns + h * HEAD + 4u * c, HEAD - 4u * c, wide, y / sum);
    const key_position newest = find_key(n, h, row, last, last);
    for (uint which = 0u; which < 2u; which++) /* k, then v */
        store_four(p.cache,
                   ((row + last % p.capacity) * 2u + which) * columns + h * HEAD + 4u * c,
                   HEAD - 4u * c, wide, load_part(newest, which * columns, c));
}
