/* bf16.glsl - rounding to bfloat16, the upper half of a float. */

/* To the nearest, ties to even. What is not a number stays none. */
vec4 round_bf16(vec4 x)
{
    const uvec4 bits = floatBitsToUint(x);
    const uvec4 nearest = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
    const bvec4 no_number = greaterThan(bits & 0x7fffffffu, uvec4(0x7f800000u));

    return uintBitsToFloat(mix(nearest, bits | 0x400000u, no_number));
}
