#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/rope.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { rope_params p; };

/* The upper 64 bits of the product of two numbers of 64 (low word, high word). */
uvec2 multiply(uvec2 a, uvec2 b)
{
    uint low, carry, more, unused, high[4];
    umulExtended(a.x, b.x, high[0], unused);
    umulExtended(a.x, b.y, high[1], low);
    umulExtended(a.y, b.x, high[2], more);
    low = uaddCarry(low, high[0], carry);
    high[1] += carry;
    low = uaddCarry(low, more, carry);
    high[2] += carry;
    umulExtended(a.y, b.y, high[3], low);
    low = uaddCarry(low, high[1], carry);
    high[3] += carry;
    low = uaddCarry(low, high[2], carry);
    return uvec2(low, high[3] + carry);
}

/* Cosine and sine of t · w^c. */
vec2 turn(uint t, uint c)
{
    uvec2 rate = uvec2(p.unit[0], p.unit[1]);
    for (uint i = 0u; c >> i != 0u; i++)
        if ((c >> i & 1u) != 0u)
            rate = multiply(rate, uvec2(p.power[2u * i], p.power[2u * i + 1u]));
    uint high, low;
    umulExtended(t, rate.x, high, low);
    const uint phase = t * rate.y + high;

    const uint quarter = (phase + 0x20000000u) >> 30;
    const float x = float(int(phase - (quarter << 30))) * ROPE_RADIANS, x2 = x * x;
    const float sine = ROPE_SIN(x, x2), cosine = ROPE_COS(x2);
    vec2 point = (quarter & 1u) != 0u ? vec2(-sine, cosine) : vec2(cosine, sine);
    return (quarter & 2u) != 0u ? -point : point;
}

/* An item is one pair of columns in all heads of a row. */
void main()
{
    const uint id = linear_id(), r = id / p.pairs, c = id % p.pairs;
    if (r >= p.rows)
        return;
    uint t = p.first + r % p.positions;
    if ((p.flags & ROPE_SLOT) != 0u)
        t += p.slot.at[2u * (r / p.positions) + 1u];
    vec2 angle = turn(t, c);
    if ((p.flags & ROPE_BACK) != 0u)
        angle.y = -angle.y;

    uint at = r * p.columns + c;
    for (uint h = 0u; h < p.turned; h++) {
        const float a = p.x.at[at], b = p.x.at[at + p.pairs];
        p.y.at[at] = angle.x * a - angle.y * b;
        p.y.at[at + p.pairs] = angle.x * b + angle.y * a;
        at += 2u * p.pairs;
    }
    if ((p.flags & ROPE_IN_PLACE) != 0u)
        return;
    for (; at < (r + 1u) * p.columns; at += p.pairs)
        p.y.at[at] = p.x.at[at];
}
