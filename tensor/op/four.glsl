/* four.glsl - four neighbouring floats at a time, in one access where addresses allow it.
 *
 * Addresses go through a uvec2, since SwiftShader cannot turn one reference into another.
 */

/* Elements i … i + 3 of x, of which the first `count` exist; zeros for the others. `wide`: x is
 * aligned to 16 bytes, i is a multiple of 4, and all exist. */
vec4 load_four(f32_ptr x, uint i, uint count, bool wide)
{
    if (wide)
        return vec4_ptr(uvec2(x)).at[i >> 2];
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
        vec4_ptr(uvec2(x)).at[i >> 2] = four;
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
