#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/add.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { add_rows_params p; };

void main()
{
    const uint id = linear_id();
    if (id >= p.rows * p.columns)
        return;
    p.y.at[id] = p.x.at[id] + p.table.at[id % (p.n * p.columns)];
}
