/* factor.glsl - elements of a matrix product's factors, of the type that FACTOR names, a constant:
 * MATMUL_BF16 or MATMUL_F16 of p.flags, or 0 for float32. Include four.glsl and bits16.glsl
 * before. */

const uint FACTOR_TYPE = FACTOR == MATMUL_BF16 ? ELEMENT_BF16 : ELEMENT_F16;

/* As load_four. */
vec4 load_factors(f32_ptr x, uint i, uint count, bool wide)
{
    if (FACTOR == 0u)
        return load_four(x, i, count, wide);
    return load_four_16bit(u32_ptr(uvec2(x)), i, count, wide, FACTOR_TYPE);
}

float load_factor(f32_ptr x, uint i)
{
    if (FACTOR == 0u)
        return x.at[i];
    const vec2 two = widen(u32_ptr(uvec2(x)).at[i >> 1], FACTOR_TYPE);
    return (i & 1u) != 0u ? two.y : two.x;
}
