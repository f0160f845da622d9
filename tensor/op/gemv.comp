#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "tensor/op/gemv.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"
#include "tensor/op/lanes.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FLAGS = 0; /* p.flags */
layout(constant_id = 2) const uint WIDE = 0;  /* whether lines begin at multiples of 16 bytes */
layout(constant_id = 3) const uint ROWS = 1;  /* that a workgroup takes, at most GEMV_ROWS */
layout(push_constant) uniform push { gemv_params p; };

const bool wide = WIDE != 0u, norm = (FLAGS & GEMV_NORM) != 0u;
const uint TYPE = (FLAGS & GEMV_BF16) != 0u  ? ELEMENT_BF16
                  : (FLAGS & GEMV_F16) != 0u ? ELEMENT_F16
                                             : ELEMENT_F32;
const uint SUBGROUPS = gl_WorkGroupSize.x / 4u; /* at most */

shared float partial[GEMV_ROWS * SUBGROUPS];
float mean[ROWS], rstd[ROWS];

/* Sums over the workgroup, one a row, of what its subgroups have put into partial[]. */
float total(uint row)
{
    float sum = 0.0;
    for (uint s = 0u; s < gl_NumSubgroups; s++)
        sum += partial[row * SUBGROUPS + s];
    return sum;
}

/* Mean and 1 / deviation of each row. All invocations take part. */
void statistics(uint first_row, uint lane)
{
    const uint size = gl_WorkGroupSize.x, local = gl_LocalInvocationID.x;
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        const uint begin = min(first_row + r, p.rows - 1u) * p.inputs;
        float sum = 0.0;
        for (uint i = local; i < p.inputs; i += size)
            sum += p.x.at[begin + i];
        sum = subgroupAdd(sum);
        if (lane == 0u)
            partial[r * SUBGROUPS + gl_SubgroupID] = sum;
    }
    barrier();
    [[unroll]] for (uint r = 0u; r < ROWS; r++)
        mean[r] = total(r) / float(p.inputs);
    barrier();
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        const uint begin = min(first_row + r, p.rows - 1u) * p.inputs;
        float squares = 0.0;
        for (uint i = local; i < p.inputs; i += size) {
            const float d = p.x.at[begin + i] - mean[r];
            squares += d * d;
        }
        squares = subgroupAdd(squares);
        if (lane == 0u)
            partial[r * SUBGROUPS + gl_SubgroupID] = squares;
    }
    barrier();
    [[unroll]] for (uint r = 0u; r < ROWS; r++)
        rstd[r] = 1.0 / sqrt(total(r) / float(p.inputs) + p.epsilon);
}

void store(float sum, uint row, uint column)
{
    if (row >= p.rows || column >= p.outputs)
        return;
    if ((FLAGS & GEMV_BIAS) != 0u)
        sum += p.bias.at[column];
    if ((FLAGS & GEMV_RELU) != 0u)
        sum = max(sum, 0.0);
    if ((FLAGS & GEMV_RESIDUAL) != 0u)
        sum += p.residual.at[row * p.outputs + column];
    p.y.at[row * p.outputs + column] = sum;
}

/* Elements i … i + 3 of the weight, as load_four. */
vec4 load_weight(uint i, uint count)
{
    return TYPE == ELEMENT_F32 ? load_four(p.weight, i, count, wide)
                               : load_four_16bit(u32_ptr(uvec2(p.weight)), i, count, wide, TYPE);
}

/* A subgroup takes two outputs of ROWS rows; its lanes take fours of inputs in turn. */
void main()
{
    const uint lane = lane_index(), lanes = lane_count();
    const uint first_row = gl_WorkGroupID.z * ROWS, column = 2u * subgroup_row();
    float sum0[ROWS], sum1[ROWS];
    if (norm)
        statistics(first_row, lane);
    [[unroll]] for (uint r = 0u; r < ROWS; r++)
        sum0[r] = sum1[r] = 0.0;
    if (column >= p.outputs)
        return;

    const uint line0 = column * p.inputs, line1 = min(column + 1u, p.outputs - 1u) * p.inputs;
    for (uint i = 4u * lane; i < p.inputs; i += 4u * lanes) {
        const uint left = p.inputs - i;
        const vec4 w0 = load_weight(line0 + i, left), w1 = load_weight(line1 + i, left);
        vec4 gain = vec4(0.0), shift = vec4(0.0);
        if (norm) {
            gain = load_four(p.gain, i, left, wide);
            shift = load_four(p.shift, i, left, wide);
        }
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            const uint begin = min(first_row + r, p.rows - 1u) * p.inputs;
            vec4 x = load_four(p.x, begin + i, left, wide);
            if (norm)
                x = (x - mean[r]) * rstd[r] * gain + shift;
            if (TYPE != ELEMENT_F32)
                x = round_16bit(x, TYPE);
            sum0[r] += dot(w0, x);
            sum1[r] += dot(w1, x);
        }
    }

    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        const float all0 = subgroupAdd(sum0[r]), all1 = subgroupAdd(sum1[r]);
        if (lane == 0u) {
            store(all0, first_row + r, column);
            store(all1, first_row + r, column + 1u);
        }
    }
}
