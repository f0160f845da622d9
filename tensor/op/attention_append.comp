#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/attention.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { attention_append_params p; };

/* An item is an element of the new rows' k and v columns. */
void main()
{
    const uint id = linear_id(), width = 2u * p.columns;
    const uint r = id / width, c = id % width;
    if (r >= p.sequences * p.fresh)
        return;

    const uint n = r / p.fresh, line = (p.slot.at[2u * n + 1u] + r % p.fresh) % p.capacity;
    const uint row = p.slot.at[2u * n] * p.capacity + line;
    p.cache.at[row * width + c] = p.qkv.at[r * 3u * p.columns + p.columns + c];
}
