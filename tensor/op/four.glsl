/* four.glsl - four neighbouring floats at a time, in one access where addresses allow it.
 *
 * Addresses go through a uvec2, since SwiftShader cannot turn one reference into another. With
 * FOUR_LONG it is two accesses of 64 bits, for devices where one costs as much as one of 32
 * (TENSOR_LONG_LOADS).
 */
#ifdef FOUR_LONG
layout(buffer_reference, std430, buffer_reference_align = 8) buffer u64_ptr { uint64_t at[]; };
#endif

/* Elements i … i + 3 of x, of which the first `count` exist; zeros for the others. `wide`: x is
 * aligned to 16 bytes, i is a multiple of 4, and all exist. */
vec4 load_four(f32_ptr x, uint i, uint count, bool wide)
{
#ifdef FOUR_LONG
    if (wide)
        return vec4(uintBitsToFloat(unpack32(u64_ptr(uvec2(x)).at[i >> 1])),
                    uintBitsToFloat(unpack32(u64_ptr(uvec2(x)).at[(i >> 1) + 1u])));
#else
    if (wide)
        return vec4_ptr(uvec2(x)).at[i >> 2];
#endif
    vec4 four = vec4(x.at[i], 0.0, 0.0, 0.0);
    if (count > 1u)
        four.y = x.at[i + 1u];
    if (count > 2u)
        four.z = x.at[i + 2u];
    if (count > 3u)
        four.w = x.at[i + 3u];
    return four;
}

void store_four(f32_ptr x, uint i, uint count, bool wide, vec4 four)
{
    if (wide) {
#ifdef FOUR_LONG
        u64_ptr(uvec2(x)).at[i >> 1] = pack64(floatBitsToUint(four.xy));
        u64_ptr(uvec2(x)).at[(i >> 1) + 1u] = pack64(floatBitsToUint(four.zw));
#else
        vec4_ptr(uvec2(x)).at[i >> 2] = four;
#endif
        return;
    }
    x.at[i] = four.x;
    if (count > 1u)
        x.at[i + 1u] = four.y;
    if (count > 2u)
        x.at[i + 2u] = four.z;
    if (count > 3u)
        x.at[i + 3u] = four.w;
}
