/* exp.h - the exponential function in a form that compilers vectorise (private to the library).
 *
 * exp(x) = 2^n · exp(f) with n = round(x / ln 2), |f| <= ln 2 / 2, and a polynomial for exp(f)
 * whose coefficients are the Taylor series up to f^7: within 2e-7 relative from -87 to 88, below
 * which the result stays at exp(-87), about 1e-38.
 */
#ifndef TENSOR_CPU_EXP_H
#define TENSOR_CPU_EXP_H

#include <math.h>
#include <stdint.h>

static inline float tensor_cpu_exp(float x)
{
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float n = rintf(x * 1.44269504f);
    /* ln 2 in two parts, so that n · ln 2 is subtracted exactly enough. */
    const float f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * f + 1.0f / 720;
    p = p * f + 1.0f / 120;
    p = p * f + 1.0f / 24;
    p = p * f + 1.0f / 6;
    p = p * f + 0.5f;
    p = p * f + 1.0f;
    p = p * f + 1.0f;
    const union {
        uint32_t bits;
        float power;
    } two = {.bits = (uint32_t)((n >= -127.0f ? (int32_t)n : 0) + 127) << 23}; /* n may be NaN */
    return p * two.power;
}

#endif
