#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/cross_entropy.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { cross_entropy_grad_params p; };

void main()
{
    const uint id = linear_id();
    if (id >= p.rows * p.symbols)
        return;

    const uint r = id / p.symbols, v = id % p.symbols;
    float d = 0.0;
    if (r % p.per_sequence < p.lengths.at[r / p.per_sequence]) {
        const float onehot = v == byte_at(p.target, r) ? 1.0 : 0.0;
        d = (exp(p.logits.at[id] - p.lse.at[r]) - onehot) * p.dloss.at[r];
    }
    p.dlogits.at[id] = d;
}
