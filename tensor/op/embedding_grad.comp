#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/embedding.h"
#include "tensor/op/four.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint WIDE = 0; /* whether lines of dy and dtable begin at multiples of
                                                16 bytes */
layout(push_constant) uniform push { embedding_grad_params p; };

/* 128 in every byte of x that is 0, else 0. */
uint zero_bytes(uint x)
{
    return ~(((x & 0x7f7f7f7fu) + 0x7f7f7f7fu) | x | 0x7f7f7f7fu);
}

/* An item is four neighbours of row v of the table: with no atomics, each symbol looks for its rows
 * of dy, four bytes at a time. Items of one v run side by side and find the same, and the search is
 * a loop of its own, since most words hold no v. */
void main()
{
    const uint fours = (p.columns + 3u) / 4u;
    const uint id = linear_id(), v = id / fours, c = id % fours * 4u, words = (p.rows + 3u) / 4u;
    if (v >= 256u)
        return;

    const uint count = p.columns - c;
    const bool wide = WIDE != 0u;
    vec4 sum = vec4(0.0);
    for (uint i = 0u; i < words; i++) {
        uint found = 0u;
        while (i < words && (found = zero_bytes(p.bytes.at[i] ^ (v * 0x01010101u))) == 0u)
            i++;
        while (found != 0u) {
            const uint r = i * 4u + findLSB(found) / 8u;
            found &= found - 1u;
            if (r < p.rows)
                sum += load_four(p.dy, r * p.columns + c, count, wide);
        }
    }
    sum += load_four(p.dtable, v * p.columns + c, count, wide);
    store_four(p.dtable, v * p.columns + c, count, wide, sum);
}
