#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "tensor/op/layer_norm.h"
#include "tensor/op/bits16.glsl"
#include "tensor/op/lanes.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = ELEMENT_F32; /* p.type */
layout(push_constant) uniform push { layer_norm_params p; };

float normalised(uint begin, uint c, float mean, float rstd)
{
    return (p.x.at[begin + c] - mean) * rstd * p.gain.at[c] + p.bias.at[c];
}

/* A subgroup takes a row. */
void main()
{
    const uint row = subgroup_row(), lane = lane_index(), lanes = lane_count();
    if (row >= p.rows)
        return;
    const uint begin = row * p.columns;

    float sum = 0.0;
    for (uint c = lane; c < p.columns; c += lanes)
        sum += p.x.at[begin + c];
    const float mean = subgroupAdd(sum) / float(p.columns);

    float squares = 0.0;
    for (uint c = lane; c < p.columns; c += lanes) {
        const float d = p.x.at[begin + c] - mean;
        squares += d * d;
    }
    const float rstd = 1.0 / sqrt(subgroupAdd(squares) / float(p.columns) + p.epsilon);

    if (TYPE == ELEMENT_F32)
        for (uint c = lane; c < p.columns; c += lanes)
            p.y.at[begin + c] = normalised(begin, c, mean, rstd);
    else
        for (uint c = 2u * lane; c < p.columns; c += 2u * lanes)
            store_four_16bit(u32_ptr(uvec2(p.y)), begin + c, 2u,
                              vec4(normalised(begin, c, mean, rstd),
                                   normalised(begin, c + 1u, mean, rstd), 0.0, 0.0), TYPE);
    if (lane == 0u) {
        p.stat.at[2u * row] = mean;
        p.stat.at[2u * row + 1u] = rstd;
    }
}
