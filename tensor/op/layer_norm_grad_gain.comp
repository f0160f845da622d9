#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/layer_norm.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { layer_norm_grad_gain_params p; };

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
        gain += p.dy.at[i] * ((p.x.at[i] - mean) * rstd);
        bias += p.dy.at[i];
    }
    p.partial.at[2u * chunk * p.columns + c] = gain;
    p.partial.at[(2u * chunk + 1u) * p.columns + c] = bias;
}
