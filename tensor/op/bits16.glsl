/* bits16.glsl - numbers of 16 bits, which travel two to a word: the lower half is the first.
 *
 * `type` is ELEMENT_BF16 or ELEMENT_F16; where much is read, a constant of the pipeline.
 */

vec2 widen(uint word, uint type)
{
    return type == ELEMENT_BF16 ? uintBitsToFloat(uvec2(word << 16, word & 0xffff0000u))
                               : unpackHalf2x16(word);
}

/* Elements i … i + 3 of x, of which the first `count` exist; zeros for the others. `wide`: x is
 * aligned to 8 bytes, i is a multiple of 4, and all exist. */
vec4 load_four_16bit(u32_ptr x, uint i, uint count, bool wide, uint type)
{
    if (wide) {
        const uvec2 words = uvec2_ptr(uvec2(x)).at[i >> 2];
        return vec4(widen(words.x, type), widen(words.y, type));
    }
    vec4 four = vec4(0.0);
    const vec2 first = widen(x.at[i >> 1], type);
    const bool odd = (i & 1u) != 0u;
    four.x = odd ? first.y : first.x;
    if (count > 1u) {
        const vec2 second = odd ? widen(x.at[(i >> 1) + 1u], type) : first;
        four.y = odd ? second.x : second.y;
    }
    if (count > 2u) {
        const vec2 third = widen(x.at[(i + 2u) >> 1], type);
        four.z = odd ? third.y : third.x;
    }
    if (count > 3u) {
        const vec2 fourth = widen(x.at[(i + 3u) >> 1], type);
        four.w = odd ? fourth.x : fourth.y;
    }
    return four;
}

/* To bfloat16, the nearest, ties to even. What is not a number stays none. */
uvec4 to_bf16(vec4 x)
{
    const uvec4 bits = floatBitsToUint(x);
    const bvec4 no_number = greaterThan(bits & 0x7fffffffu, uvec4(0x7f800000u));

    return mix(bits + 0x7fffu + (bits >> 16 & 1u), bits | 0x400000u, no_number) >> 16;
}

/* To half precision, likewise; packHalf2x16 may round as the device likes. */
uvec4 to_f16(vec4 x)
{
    const uvec4 bits = floatBitsToUint(x), size = bits & 0x7fffffffu;
    const uvec4 normal = (size - 0x38000000u + 0xfffu + (size >> 13 & 1u)) >> 13;
    /* Next to 0.5 a float has the spacing of the halves below 2^-14: the sum rounds to it. */
    const uvec4 small = floatBitsToUint(uintBitsToFloat(size) + 0.5) - 0x3f000000u;
    const uvec4 none = 0x7e00u | (size >> 13 & 0x3ffu);
    uvec4 half_bits = mix(normal, small, lessThan(size, uvec4(0x38800000u)));

    half_bits = mix(half_bits, uvec4(0x7c00u), greaterThanEqual(size, uvec4(0x477ff000u)));
    half_bits = mix(half_bits, none, greaterThan(size, uvec4(0x7f800000u)));
    return half_bits | (bits >> 16 & 0x8000u);
}

/* x as numbers of 16 bits hold it. */
vec4 round_16bit(vec4 x, uint type)
{
    if (type == ELEMENT_BF16)
        return uintBitsToFloat(to_bf16(x) << 16);
    const uvec4 bits = to_f16(x);
    return vec4(unpackHalf2x16(bits.x | bits.y << 16), unpackHalf2x16(bits.z | bits.w << 16));
}

/* Elements i … i + 3 of x, i a multiple of 4, of which the first `count` exist; the other half of
 * the last word is 0. */
void store_four_16bit(u32_ptr x, uint i, uint count, vec4 four, uint type)
{
    four = mix(vec4(0.0), four, greaterThan(uvec4(count), uvec4(0u, 1u, 2u, 3u)));
    const uvec4 bits = type == ELEMENT_BF16 ? to_bf16(four) : to_f16(four);

    x.at[i >> 1] = bits.x | bits.y << 16;
    if (count > 2u)
        x.at[(i >> 1) + 1u] = bits.z | bits.w << 16;
}
