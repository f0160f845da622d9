#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/cast.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = ELEMENT_BF16; /* p.type */
layout(constant_id = 2) const uint WIDE = 0;           /* whether x is aligned to 16 bytes */
layout(push_constant) uniform push { cast_params p; };

/* An item is four elements. */
void main()
{
    const uint i = linear_id() * 4u;
    if (i >= p.count)
        return;
    const uint count = p.count - i;
    const vec4 four = load_four(p.x, i, count, WIDE != 0u && count >= 4u);

    store_four_16bit(p.y, i, count, four, TYPE);
}
