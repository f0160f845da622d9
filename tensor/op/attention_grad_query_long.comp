#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#define FOUR_LONG
#include "tensor/op/attention_grad_query.glsl"
