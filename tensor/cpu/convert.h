/* convert.h - to and from bfloat16, which is the upper half of a float, and IEEE half precision
 * (private to the library).
 *
 * Rounding goes to the nearest, ties to even; what is not a number stays none. All of it is written
 * so that compilers vectorise loops over it.
 */
#ifndef TENSOR_CPU_CONVERT_H
#define TENSOR_CPU_CONVERT_H

#include "tensor/op/share.h"
#include <stdint.h>
#include <string.h>

static inline uint32_t tensor_float_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float tensor_bits_float(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint16_t tensor_to_bf16(float x)
{
    const uint32_t bits = tensor_float_bits(x);

    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u
                          ? bits >> 16 | 0x40
                          : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float tensor_from_bf16(uint16_t x)
{
    return tensor_bits_float((uint32_t)x << 16);
}

static inline uint16_t tensor_to_f16(float x)
{
    const uint32_t bits = tensor_float_bits(x), size = bits & 0x7fffffffu;
    const uint32_t normal = (size - 0x38000000u + 0xfff + (size >> 13 & 1)) >> 13;
    /* Next to 0.5 a float has the spacing of the halves below 2^-14: the sum rounds to it. */
    const uint32_t small = tensor_float_bits(tensor_bits_float(size) + 0.5f) - 0x3f000000u;
    uint32_t half = size < 0x38800000u ? small : normal;

    half = size >= 0x477ff000u ? 0x7c00u : half;
    half = size > 0x7f800000u ? 0x7e00u | (size >> 13 & 0x3ff) : half;
    return (uint16_t)(half | (bits >> 16 & 0x8000u));
}

static inline float tensor_from_f16(uint16_t x)
{
    const uint32_t size = (uint32_t)(x & 0x7fff) << 13, sign = (uint32_t)(x & 0x8000) << 16;
    const uint32_t small = tensor_float_bits((float)(int32_t)(x & 0x7fff) * 0x1p-24f);
    uint32_t bits = size < 0x800000u ? small : size + 0x38000000u;

    bits = size >= 0xf800000u ? size + 0x70000000u : bits;
    return tensor_bits_float(bits | sign);
}

/* A number of a type of share.h. */
static inline uint16_t tensor_to_16bit(float x, uint32_t type)
{
    return type == ELEMENT_BF16 ? tensor_to_bf16(x) : tensor_to_f16(x);
}

static inline float tensor_from_16bit(uint16_t x, uint32_t type)
{
    return type == ELEMENT_BF16 ? tensor_from_bf16(x) : tensor_from_f16(x);
}

/* Rows of `count`, by the thread that calls. */
static inline void tensor_row_to_16bit(const float *from, uint16_t *to, uint32_t count,
                                       uint32_t type)
{
    if (type == ELEMENT_BF16) {
#pragma omp simd
        for (uint32_t i = 0; i < count; i++)
            to[i] = tensor_to_bf16(from[i]);
    } else {
#pragma omp simd
        for (uint32_t i = 0; i < count; i++)
            to[i] = tensor_to_f16(from[i]);
    }
}

static inline void tensor_row_from_16bit(const uint16_t *from, float *to, uint32_t count,
                                         uint32_t type)
{
    if (type == ELEMENT_BF16) {
#pragma omp simd
        for (uint32_t i = 0; i < count; i++)
            to[i] = tensor_from_bf16(from[i]);
    } else {
#pragma omp simd
        for (uint32_t i = 0; i < count; i++)
            to[i] = tensor_from_f16(from[i]);
    }
}

/* Arrays of `count`, by all threads. (op/cast.c) */
void tensor_cpu_to_16bit(const float *from, uint16_t *to, uint64_t count, uint32_t type);
void tensor_cpu_from_16bit(const uint16_t *from, float *to, uint64_t count, uint32_t type);

#endif
