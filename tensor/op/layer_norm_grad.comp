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
layout(push_constant) uniform push { layer_norm_grad_params p; };

float dy_at(uint i)
{
    return TYPE == ELEMENT_F32 ? p.dy.at[i]
                               : widen(u32_ptr(uvec2(p.dy)).at[i >> 1], TYPE)[i & 1u];
}

/* A subgroup takes a row. */
void main()
{
    const uint row = subgroup_row(), lane = lane_index(), lanes = lane_count();
    if (row >= p.rows)
        return;
    const uint begin = row * p.columns;
    const float mean = p.stat.at[2u * row], rstd = p.stat.at[2u * row + 1u];

    float sum = 0.0, dot = 0.0;
    for (uint c = lane; c < p.columns; c += lanes) {
        const float e = dy_at(begin + c) * p.gain.at[c];
        sum += e;
        dot += e * ((p.x.at[begin + c] - mean) * rstd);
    }
    const float mean_e = subgroupAdd(sum) / float(p.columns);
    const float mean_ex = subgroupAdd(dot) / float(p.columns);

    for (uint c = lane; c < p.columns; c += lanes) {
        const uint i = begin + c;
        const float e = dy_at(i) * p.gain.at[c], x = (p.x.at[i] - mean) * rstd;
        const float d = rstd * (e - mean_e - x * mean_ex);
        p.dx.at[i] = p.accumulate != 0u ? p.dx.at[i] + d : d;
    }
}
