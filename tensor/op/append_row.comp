#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/row.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { append_row_params p; };

/* One workgroup. All of it has read the number of the row before one invocation writes the next. */
void main()
{
    const uint local = gl_LocalInvocationID.x;
    const uint row = p.row.at[0], begin = row % p.rows * p.count;
    for (uint i = local; i < p.count; i += gl_WorkGroupSize.x)
        p.to.at[begin + i] = p.from.at[i];
    barrier();
    if (local == 0u)
        p.row.at[0] = row + 1u;
}
