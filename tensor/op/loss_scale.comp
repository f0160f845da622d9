#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/loss_scale.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { loss_scale_params p; };

void main()
{
    if (linear_id() != 0u)
        return;
    /* By its bits: a compiler may assume that a float is never infinite. */
    const uint squared = floatBitsToUint(p.norm_squared.at[0]);
    const bool finite = (squared & 0x7f800000u) != 0x7f800000u;
    const float used = p.scale.at[0], good = p.state.at[LOSS_SCALE_GOOD] + 1.0;

    p.state.at[LOSS_SCALE_USED] = used;
    if (!finite)
        p.scale.at[0] = max(used * 0.5, p.least);
    else if (squared < 0x7f800000u && good >= float(p.growth))
        p.scale.at[0] = min(used * 2.0, p.most);
    else if (squared < 0x7f800000u)
        p.state.at[LOSS_SCALE_GOOD] = good;
    if (!finite || (squared < 0x7f800000u && good >= float(p.growth)))
        p.state.at[LOSS_SCALE_GOOD] = 0.0;
}
