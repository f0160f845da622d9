/* matmul_epilogue.glsl - which part of k a workgroup sums, and what becomes of the sums: what all
 * variants share.
 *
 * Wants p, the matmul_params, four.glsl and bits16.glsl, and EPILOGUE_DROPOUT, whether p.flags have
 * MATMUL_DROPOUT: a constant of the pipeline, so that few carry its code. EPILOGUE_16BIT may say
 * when c can be of 16 bits, likewise.
 */
#include "tensor/op/dropout.glsl"

#ifndef EPILOGUE_16BIT
#define EPILOGUE_16BIT true
#endif

/* Parts of k follow one another along the third dimension of the grid. */
uint split_begin()
{
    return gl_WorkGroupID.z * p.split_k;
}

uint split_end()
{
    return min(split_begin() + p.split_k, p.k);
}

/* Where the part's sums begin in c. */
uint split_at()
{
    return gl_WorkGroupID.z * p.m * p.n;
}

/* Whether lines of c, and its splits, begin at multiples of 16 bytes. */
bool epilogue_aligned()
{
    return ((uvec2(p.c).x | uvec2(p.bias).x | uvec2(p.residual).x) & 15u) == 0u &&
           (p.n & 3u) == 0u;
}

/* What a sum becomes before the residual is added. */
float epilogue_one(float sum, uint row, uint column)
{
    if ((p.flags & MATMUL_BIAS) != 0u)
        sum += p.bias.at[column];
    if ((p.flags & MATMUL_RELU) != 0u)
        sum = max(sum, 0.0);
    if (EPILOGUE_DROPOUT) {
        const vec4 four = dropout_four(vec4(sum), row, column & ~3u, p.random, p.stream,
                                       p.threshold, p.scale);
        sum = four[column & 3u];
    }
    return sum;
}

/* The type of c where it is of 16 bits. */
uint epilogue_type()
{
    return (p.flags & MATMUL_BF16) != 0u ? ELEMENT_BF16 : ELEMENT_F16;
}

/* Four neighbours of row `row` from `column`, a multiple of 4, on; those past the last column fall
 * away, and so does a row past the last. `wide`: epilogue_aligned(). */
void epilogue_four(vec4 sum, uint row, uint column, bool wide)
{
    if (row >= p.m || column >= p.n)
        return;
    const bool is16 = EPILOGUE_16BIT && (p.flags & MATMUL_16BIT) != 0u; /* then all four exist */
    const uint at = split_at() + row * p.n + column, count = p.n - column;
    if ((p.flags & MATMUL_BIAS) != 0u)
        sum += load_four(p.bias, column, count, wide);
    if ((p.flags & MATMUL_RELU) != 0u)
        sum = max(sum, vec4(0.0));
    if (EPILOGUE_DROPOUT)
        sum = dropout_four(sum, row, column, p.random, p.stream, p.threshold, p.scale);
    if ((p.flags & MATMUL_RESIDUAL) != 0u) {
        if (is16)
            sum += load_four_16bit(u32_ptr(uvec2(p.residual)), at, 4u, false, epilogue_type());
        else
            sum += load_four(p.residual, at, count, wide);
    }
    if (is16)
        store_four_16bit(u32_ptr(uvec2(p.c)), at, 4u, sum, epilogue_type());
    else
        store_four(p.c, at, count, wide, sum);
}
