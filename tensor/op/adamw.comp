#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/adamw.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE = ELEMENT_F32; /* p.type */
layout(constant_id = 2) const uint WIDE = 0;           /* whether all are aligned to 16 bytes */
layout(push_constant) uniform push { adamw_params p; };

/* The order of enum tensor_adamw_setting (op.h). */
const uint RATE = 0u, BETA1 = 1u, BETA2 = 2u, EPSILON = 3u, DECAY = 4u, CORRECT1 = 5u,
           CORRECT2 = 6u, CLIP = 7u;

/* An item is four elements. */
void main()
{
    const uint i = linear_id() * 4u;
    const float squared = p.norm_squared.at[0];
    /* By its bits, that it is finite and not negative: a compiler may assume that a float is never
     * infinite. */
    const bool applied = floatBitsToUint(squared) < 0x7f800000u;
    if (i >= p.count || !applied)
        return;

    const uint count = p.count - i;
    const bool wide = WIDE != 0u && count >= 4u;
    const float rate = p.settings.at[RATE], clip = p.settings.at[CLIP];
    const float beta1 = p.settings.at[BETA1], beta2 = p.settings.at[BETA2];
    vec4 g = load_four(p.gradient, i, count, wide), w = load_four(p.weight, i, count, wide);
    const float unscale = p.scaled != 0u ? 1.0 / p.scale.at[0] : 1.0; /* a power of two */
    g *= unscale;
    if (clip > 0.0)
        g *= min(1.0, clip / (sqrt(squared) * unscale + 1e-6));

    const vec4 m = beta1 * load_four(p.moment1, i, count, wide) + (1.0 - beta1) * g;
    const vec4 v = beta2 * load_four(p.moment2, i, count, wide) + (1.0 - beta2) * g * g;
    const bvec4 decays = lessThan(uvec4(i) + uvec4(0u, 1u, 2u, 3u), uvec4(p.decayed));
    w -= mix(vec4(0.0), rate * p.settings.at[DECAY] * w, decays);
    w -= rate * (m * p.settings.at[CORRECT1]) /
         (sqrt(v * p.settings.at[CORRECT2]) + p.settings.at[EPSILON]);

    store_four(p.moment1, i, count, wide, m);
    store_four(p.moment2, i, count, wide, v);
    store_four(p.weight, i, count, wide, w);
    if (TYPE != ELEMENT_F32)
        store_four_16bit(p.copy16, i, count, w, TYPE);
}
