#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/row.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { append_row_params p; };

void main()
{
    if (linear_id() != 0)
        return;
    const uint row = p.row.at[0];
    for (uint i = 0; i < p.count; i++)
        p.to.at[row % p.rows * p.count + i] = p.from.at[i];
    p.row.at[0] = row + 1;
}
