#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/adamw.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { adamw_params p; };

/* The order of enum tensor_adamw_setting (op.h). */
const uint RATE = 0u, BETA1 = 1u, BETA2 = 2u, EPSILON = 3u, DECAY = 4u, CORRECT1 = 5u,
           CORRECT2 = 6u, CLIP = 7u;

void main()
{
    const uint i = linear_id();
    const float squared = p.norm_squared.at[0];
    /* By its bits, that it is finite and not negative: a compiler may assume that a float is never
     * infinite. */
    const bool applied = floatBitsToUint(squared) < 0x7f800000u;
    if (i >= p.count || !applied)
        return;

    const float rate = p.settings.at[RATE], clip = p.settings.at[CLIP];
    const float beta1 = p.settings.at[BETA1], beta2 = p.settings.at[BETA2];
    float g = p.gradient.at[i], w = p.weight.at[i];
    if (clip > 0.0)
        g *= min(1.0, clip / (sqrt(squared) + 1e-6));

    const float m = beta1 * p.moment1.at[i] + (1.0 - beta1) * g;
    const float v = beta2 * p.moment2.at[i] + (1.0 - beta2) * g * g;
    if (i < p.decayed)
        w -= rate * p.settings.at[DECAY] * w;
    w -= rate * (m * p.settings.at[CORRECT1]) /
         (sqrt(v * p.settings.at[CORRECT2]) + p.settings.at[EPSILON]);

    p.moment1.at[i] = m;
    p.moment2.at[i] = v;
    p.weight.at[i] = w;
}
