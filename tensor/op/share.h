/* share.h - what the parameter structs are made of, for C and for GLSL.
 *
 * A parameter struct is written once, in tensor/op/<stem>.h. In C an address is a 64-bit number (on
 * the cpu device a pointer); in GLSL it is a buffer reference, indexed as p.x.at[i]. Bytes travel
 * four to a 32-bit word, since not every device can load 8 bits: byte_at(p.bytes, i). So do
 * numbers of 16 bits, two to a word (bits16.glsl).
 */
#ifndef TENSOR_OP_SHARE_H
#define TENSOR_OP_SHARE_H

/* The 16-bit types, as kernels are told of them. */
#define ELEMENT_F32  0u /* 32 bits */
#define ELEMENT_BF16 1u
#define ELEMENT_F16  2u

#ifdef VULKAN

layout(buffer_reference, std430, buffer_reference_align = 4) buffer f32_ptr { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer u32_ptr { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer uvec2_ptr
{
    uvec2 at[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) buffer vec4_ptr { vec4 at[]; };
#define u8_ptr  u32_ptr
#define u16_ptr u32_ptr
#define u32    uint
#define f32    float

#define byte_at(bytes, i) (((bytes).at[(i) >> 2] >> (8u * ((i) & 3u))) & 255u)

/* The other end of tensor_launch_items, _groups and _rows (contract.h). */
#define linear_group() (gl_WorkGroupID.x + gl_WorkGroupID.y * 32768u)
#define linear_id()    (linear_group() * gl_WorkGroupSize.x + gl_LocalInvocationID.x)
#define subgroup_row() (linear_group() * gl_NumSubgroups + gl_SubgroupID)

#else

#include <stdint.h>
typedef uint64_t f32_ptr, u32_ptr, u16_ptr, u8_ptr;
typedef uint32_t u32;
typedef float f32;

/* A C twin's view of an address. */
#define f32_at(address) ((float *)(uintptr_t)(address))
#define u32_at(address) ((uint32_t *)(uintptr_t)(address))
#define u16_at(address) ((uint16_t *)(uintptr_t)(address))
#define u8_at(address)  ((uint8_t *)(uintptr_t)(address))

#endif
#endif
