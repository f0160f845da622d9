#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/row.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { take_row_params p; };

void main()
{
    const uint i = linear_id();
    if (4 * i >= p.bytes)
        return;
    const uint begin = p.row.at[0] % p.rows * p.bytes + 4 * i, word = begin >> 2;
    const uint shift = 8 * (begin & 3u), left = p.bytes - 4 * i;
    uint value = p.from.at[word] >> shift;
    if (shift != 0u && 8 * left > 32 - shift)
        value |= p.from.at[word + 1] << (32 - shift);
    p.to.at[i] = left < 4 ? value & ((1u << (8 * left)) - 1) : value;
}
