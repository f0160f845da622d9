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
    const uint size = p.n * p.columns;
    const uint first = (p.flags & ADD_ROWS_POSITION) != 0u ? p.position.at[0] * size : 0u;
    p.y.at[id] = p.x.at[id] + p.table.at[first + id % size];
}
