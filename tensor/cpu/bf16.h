/* bf16.h - rounding to bfloat16, the upper half of a float (private to the library). */
#ifndef TENSOR_CPU_BF16_H
#define TENSOR_CPU_BF16_H

#include <stdint.h>
#include <string.h>

/* To the nearest, ties to even. What is not a number stays none. */
static inline uint16_t tensor_to_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u
                          ? bits >> 16 | 0x40
                          : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float tensor_from_bf16(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
