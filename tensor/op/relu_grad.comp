#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/matmul.h"
#include "tensor/op/bits16.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = ELEMENT_F32; /* p.type */
layout(push_constant) uniform push { relu_grad_params p; };

/* Of two numbers of 16 bits in a word those where y is above 0. */
uint through(uint dy, uint y)
{
    const vec2 wide = widen(y, TYPE);
    return (wide.x > 0.0 ? dy & 0xffffu : 0u) | (wide.y > 0.0 ? dy & 0xffff0000u : 0u);
}

/* An item is an element, or with 16 bits a word of two. */
void main()
{
    const uint i = linear_id();
    if (TYPE == ELEMENT_F32) {
        if (i < p.count)
            p.dx.at[i] = p.y.at[i] > 0.0 ? p.dy.at[i] : 0.0;
    } else if (2u * i < p.count) {
        const uint dy = u32_ptr(uvec2(p.dy)).at[i], y = u32_ptr(uvec2(p.y)).at[i];
        const uint last = 2u * i + 1u < p.count ? 0xffffffffu : 0xffffu;
        u32_ptr(uvec2(p.dx)).at[i] = through(dy, y) & last;
    }
}
