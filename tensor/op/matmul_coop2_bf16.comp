#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_bfloat16 : require
#extension GL_EXT_shader_16bit_storage : require
#define FACTOR bfloat16_t
#include "tensor/op/matmul_coop2.glsl"
