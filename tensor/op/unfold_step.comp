#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/unfold_step.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { unfold_step_params p; };

/* An item is an element of y; that of a row's own tap brings it to the cache, too. */
void main()
{
    const uint id = linear_id(), wide = p.taps * p.columns;
    const uint r = id / wide, tap = id % wide / p.columns, c = id % p.columns;
    if (r >= p.sequences * p.fresh)
        return;
    const uint n = r / p.fresh, i = r % p.fresh, back = p.taps - 1u - tap;
    /* Positions, with `unit` added to all, so that none is below 0. */
    const uint t = p.slot.at[2u * n + 1u] * p.unit + i;
    const uint first = p.slot.at[2u * n] * p.capacity;
    float value = 0.0;
    if (t >= p.unit + back) {
        if (i >= back)
            value = p.x.at[(r - back) * p.columns + c];
        else
            value = p.cache.at[(first + (t - p.unit - back) % p.capacity) * p.columns + c];
    }
    p.y.at[id] = value;
    if (back == 0u && t >= p.unit)
        p.cache.at[(first + (t - p.unit) % p.capacity) * p.columns + c] = value;
}
