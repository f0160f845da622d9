#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/residual.h"
#include "tensor/random.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { residual_grad_params p; };

/* An item is four neighbouring columns of a row, as in residual.comp. */
void main()
{
    const uint groups = (p.columns + 3u) / 4u;
    const uint id = linear_id(), r = id / groups, first = id % groups * 4u;
    if (r >= p.rows)
        return;

    const uvec2 key = uvec2(p.random.at[0], p.random.at[1]);
    uvec4 word = tensor_random(uvec4(first / 4u, r, p.stream, p.random.at[2]), key);
    for (uint c = first; c < min(first + 4u, p.columns); c++, word = word.yzwx) {
        const uint i = r * p.columns + c;
        p.dz.at[i] = word.x < p.threshold ? 0.0 : p.dy.at[i] * p.scale;
    }
}
