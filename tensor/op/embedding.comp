#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/embedding.h"

layout(local_size_x_id = 0) in;
layout(push_constant) uniform push { embedding_params p; };

void main()
{
    const uint id = linear_id();
    if (id < p.rows * p.columns)
        p.y.at[id] = p.table.at[byte_at(p.bytes, id / p.columns) * p.columns + id % p.columns];
}
