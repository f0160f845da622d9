/* matmul_coop2.glsl - the matrix product on matrices that a workgroup holds together
 * (GL_NV_cooperative_matrix2), for factors that are stored in 16 bits; sums are float32.
 *
 * Included by matmul_coop2_f16.comp and matmul_coop2_bf16.comp, which define FACTOR, the type of
 * the elements. A workgroup makes a tile of c, of TILE_M x TILE_N; how the factors travel to the
 * matrix units is the driver's matter. What reaches beyond the ends of a tensor is read as zero and
 * not written; tiles that lie within are loaded without that.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_memory_scope_semantics : require
#include "tensor/op/matmul.h"
#include "tensor/op/bands.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FLAGS = 0;     /* MATMUL_CONSTANT of p.flags */
layout(constant_id = 2) const uint LINES = 0;     /* MATMUL_COOP_*_ALIGNED */
layout(constant_id = 3) const uint TILE_M = 256;
layout(constant_id = 4) const uint TILE_N = 128;
layout(constant_id = 5) const uint TILE_K = 64;
layout(push_constant) uniform push { matmul_params p; };
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"
#define EPILOGUE_DROPOUT ((FLAGS & MATMUL_DROPOUT) != 0u)
#include "tensor/op/matmul_epilogue.glsl"

layout(buffer_reference, std430, buffer_reference_align = 4) buffer factor_ptr { FACTOR at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer aligned_ptr { FACTOR at[]; };

const bool ACROSS_A = (FLAGS & MATMUL_TRANSPOSE_A) != 0u;
const bool ACROSS_B = (FLAGS & MATMUL_TRANSPOSE_B) == 0u;
const bool ALIGNED_A = (LINES & MATMUL_COOP_A_ALIGNED) != 0u;
const bool ALIGNED_B = (LINES & MATMUL_COOP_B_ALIGNED) != 0u;

#define MATRIX_A coopmat<FACTOR, gl_ScopeWorkgroup, TILE_M, TILE_K, gl_MatrixUseA>
#define MATRIX_B coopmat<FACTOR, gl_ScopeWorkgroup, TILE_K, TILE_N, gl_MatrixUseB>
#define MATRIX_C coopmat<float, gl_ScopeWorkgroup, TILE_M, TILE_N, gl_MatrixUseAccumulator>
#define CLAMPED  gl_CooperativeMatrixClampModeConstantNV
#define FREE     gl_CooperativeMatrixClampModeUndefinedNV

MATRIX_C sum;

/* Loads one factor: from lines along k where `across` is false, else from lines across k, which the
 * view turns. `first` counts lines of the result, `k` its other dimension. */
#define LOAD(matrix, x, lay, across, aligned, turned, first, lines, k, depth)                      \
    if (across && aligned)                                                                         \
        coopMatLoadTensorNV(matrix, aligned_ptr(uvec2(x)).at, 0u,                                  \
                            sliceTensorLayoutNV(lay, k, depth, first, lines), turned);             \
    else if (across)                                                                               \
        coopMatLoadTensorNV(matrix, factor_ptr(uvec2(x)).at, 0u,                                   \
                            sliceTensorLayoutNV(lay, k, depth, first, lines), turned);             \
    else if (aligned)                                                                              \
        coopMatLoadTensorNV(matrix, aligned_ptr(uvec2(x)).at, 0u,                                  \
                            sliceTensorLayoutNV(lay, first, lines, k, depth));                     \
    else                                                                                           \
        coopMatLoadTensorNV(matrix, factor_ptr(uvec2(x)).at, 0u,                                   \
                            sliceTensorLayoutNV(lay, first, lines, k, depth))

/* Of a layout over lines of `length` elements. That lines begin at multiples of 16 bytes shows in
 * their number, so that the compiler sees it. */
#define DESCRIBE(lay, across, aligned, lines, k)                                                   \
    lay = setTensorLayoutDimensionNV(lay, across ? k : lines, across ? lines : k);                 \
    lay = setTensorLayoutStrideNV(lay, (across ? lines : k) & (aligned ? ~7u : ~0u), 1u)

/* b is wanted as (k, n), so it is turned where it lies along k. */
#define MULTIPLY(name, clamp)                                                                      \
    void name(uint row, uint column, uint begin, uint end)                                         \
    {                                                                                              \
        tensorLayoutNV<2, clamp> lay_a = createTensorLayoutNV(2, clamp);                           \
        tensorLayoutNV<2, clamp> lay_b = createTensorLayoutNV(2, clamp);                           \
        tensorViewNV<2, false, 1, 0> turned = createTensorViewNV(2, false, 1, 0);                  \
        MATRIX_A a;                                                                                \
        MATRIX_B b;                                                                                \
        DESCRIBE(lay_a, ACROSS_A, ALIGNED_A, p.m, p.k);                                            \
        DESCRIBE(lay_b, ACROSS_B, ALIGNED_B, p.n, p.k);                                            \
        for (uint k = begin; k < end; k += TILE_K) {                                               \
            LOAD(a, p.a, lay_a, ACROSS_A, ALIGNED_A, turned, row, TILE_M, k, TILE_K);              \
            LOAD(b, p.b, lay_b, !ACROSS_B, ALIGNED_B, turned, k, TILE_K, column, TILE_N);          \
            sum = coopMatMulAdd(a, b, sum);                                                        \
        }                                                                                          \
    }

MULTIPLY(multiply_within, FREE)
MULTIPLY(multiply_clamped, CLAMPED)

/* Bias and what comes behind, where the residual was not what the sum began with. */
const uint BEHIND_BIAS = MATMUL_RELU | MATMUL_DROPOUT;

float finish(const in uint row, const in uint column, const in float value, const in uvec2 first)
{
    const uint at_row = min(first.x + row, p.m - 1u), at_column = min(first.y + column, p.n - 1u);
    float sum = epilogue_one(value, at_row, at_column);
    if ((p.flags & MATMUL_RESIDUAL) != 0u && (p.flags & BEHIND_BIAS) != 0u)
        sum += p.residual.at[at_row * p.n + at_column];
    return sum;
}

/* A c of 16 bits is written one by one, since a matrix of such sums need not be among what the
 * device has. The rounding is ours; the conversion then has nothing left to round. */
float finish_16bit(const in uint row, const in uint column, const in float value,
                    const in uvec2 first)
{
    const uint at_row = first.x + row, at_column = first.y + column;
    if (at_row >= p.m || at_column >= p.n)
        return value;
    const uint at = at_row * p.n + at_column;
    float sum = epilogue_one(value, at_row, at_column);
    if ((p.flags & MATMUL_RESIDUAL) != 0u)
        sum += float(factor_ptr(uvec2(p.residual)).at[at]);
    factor_ptr(uvec2(p.c)).at[at] = FACTOR(round_16bit(vec4(sum), epilogue_type()).x);
    return sum;
}

void main()
{
    const uvec2 tiles = uvec2((p.m + TILE_M - 1u) / TILE_M, (p.n + TILE_N - 1u) / TILE_N);
    if (linear_group() >= tiles.x * tiles.y)
        return;
    const uvec2 place = tile_in_bands(linear_group(), tiles) * uvec2(TILE_M, TILE_N);
    const bool within = place.x + TILE_M <= p.m && place.y + TILE_N <= p.n;
    const uint begin = split_begin(), end = split_end();
    const uint deep = within ? end - (end - begin) % TILE_K : begin;

    tensorLayoutNV<2, CLAMPED> lay_c = createTensorLayoutNV(2, CLAMPED);
    lay_c = setTensorLayoutDimensionNV(lay_c, p.m, p.n);
    lay_c = sliceTensorLayoutNV(lay_c, place.x, TILE_M, place.y, TILE_N);

    sum = MATRIX_C(0.0);
    const bool is16 = (p.flags & MATMUL_16BIT) != 0u;
    /* The sum begins with the residual where nothing stands between them but a bias. */
    if ((p.flags & MATMUL_RESIDUAL) != 0u && (p.flags & BEHIND_BIAS) == 0u && !is16)
        coopMatLoadTensorNV(sum, p.residual.at, split_at(), lay_c);
    if (deep > begin)
        multiply_within(place.x, place.y, begin, deep);
    if (deep < end)
        multiply_clamped(place.x, place.y, deep, end);
    if (is16) {
        coopMatPerElementNV(sum, sum, finish_16bit, place);
        return;
    }
    if ((p.flags & (MATMUL_BIAS | BEHIND_BIAS)) != 0u)
        coopMatPerElementNV(sum, sum, finish, place);
    coopMatStoreTensorNV(sum, p.c.at, split_at(), lay_c);
}
