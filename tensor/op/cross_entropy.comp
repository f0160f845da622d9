#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "tensor/op/cross_entropy.h"
#include "tensor/op/lanes.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { cross_entropy_params p; };

/* A subgroup takes a row. */
void main()
{
    const uint row = subgroup_row(), lane = lane_index(), lanes = lane_count();
    if (row >= p.rows)
        return;

    float loss = 0.0, lse = 0.0;
    if (row % p.per_sequence < p.lengths.at[row / p.per_sequence]) {
        const uint begin = row * p.symbols;
        float highest = p.logits.at[begin];
        for (uint v = lane; v < p.symbols; v += lanes)
            highest = max(highest, p.logits.at[begin + v]);
        highest = subgroupMax(highest);

        float sum = 0.0;
        for (uint v = lane; v < p.symbols; v += lanes)
            sum += exp(p.logits.at[begin + v] - highest);
        lse = log(subgroupAdd(sum)) + highest;
        loss = lse - p.logits.at[begin + byte_at(p.target, row)];
    }
    if (lane == 0u) {
        p.loss.at[row] = loss;
        p.lse.at[row] = lse;
    }
}
