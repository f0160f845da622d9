#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_bfloat16 : require
#define FACTOR bfloat16_t
#include "tensor/op/matmul_coop.glsl"
