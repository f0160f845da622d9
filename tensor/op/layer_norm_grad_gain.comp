#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/layer_norm.h"
#include "tensor/op/bits16.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = ELEMENT_F32; /* p.type */
layout(push_constant) uniform push { layer_norm_grad_gain_params p; };

float dy_at(uint i)
{
    return TYPE == ELEMENT_F32 ? p.dy.at[i]
                               : widen(u32_ptr(uvec2(p.dy)).at[i >> 1], TYPE)[i & 1u];
}

/* An item is a column of a chunk of rows. */
void main()
{
    const uint id = linear_id(), chunk = id / p.columns, c = id % p.columns;
    const uint first = chunk * p.chunk;
    if (first >= p.rows)
        return;

    const uint end = min(p.rows - first, p.chunk) + first;
    float gain = 0.0, bias = 0.0;
    for (uint r = first; r < end; r++) {
        const uint i = r * p.columns + c;
        const float mean = p.stat.at[2u * r], rstd = p.stat.at[2u * r + 1u];
        const float dy = dy_at(i);
        gain += dy * ((p.x.at[i] - mean) * rstd);
        bias += dy;
    }
    p.partial.at[2u * chunk * p.columns + c] = gain;
    p.partial.at[(2u * chunk + 1u) * p.columns + c] = bias;
}
