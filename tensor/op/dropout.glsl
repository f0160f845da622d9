/* dropout.glsl - what dropout makes of four neighbours of a row, of which the first is in column
 * `column`, a multiple of 4 (dropout.h). */
#include "tensor/random.h"

vec4 dropout_four(vec4 x, uint row, uint column, u32_ptr random, uint stream, uint threshold,
                  float scale)
{
    const uvec2 key = uvec2(random.at[0], random.at[1]);
    const uvec4 words = tensor_random(uvec4(column / 4u, row, stream, random.at[2]), key);
    return mix(x * scale, vec4(0.0), lessThan(words, uvec4(threshold)));
}
