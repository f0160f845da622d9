#version 460
#extension GL_GOOGLE_include_directive : require
#include "tensor/op/attention_grad_patch.glsl"
