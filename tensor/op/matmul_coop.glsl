/* matmul_coop.glsl - the matrix product on matrices that a subgroup holds together
 * (GL_KHR_cooperative_matrix), for factors of 16 bits; sums are float32.
 *
 * Included by matmul_coop_f16.comp and its like, which define FACTOR, the type of the elements, and
 * maybe FLEXIBLE: then M, N and K are multiples of what the device asks for, and bias and ReLU
 * are computed where the sums are (GL_NV_cooperative_matrix2).
 *
 * A workgroup makes a tile of c, of TILE_M x TILE_N. Its SUB_M x SUB_N subgroups make FRAG_M x
 * FRAG_N fragments of M x N each, the device's shape, and step along k by K. The factors' tiles lie
 * in shared memory as they lie in the tensors, line after line, either along k or across it: a
 * fragment is loaded row by row or column by column, so nothing is transposed on the way. What
 * reaches beyond the ends of a tensor is zero there. While one tile is multiplied the next one's
 * loads are under way, into the other buffer where there are two.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_cooperative_matrix : require
#ifdef FLEXIBLE
#extension GL_NV_cooperative_matrix2 : require
#endif
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#include "tensor/op/matmul.h"
#include "tensor/op/bands.glsl"

layout(local_size_x_id = 0) in; /* SUB_M · SUB_N subgroups */
layout(constant_id = 1) const uint FLAGS = 0;     /* MATMUL_CONSTANT of p.flags */
layout(constant_id = 2) const uint LINES = 0;     /* MATMUL_COOP_* */
layout(constant_id = 3) const uint M = 16;
layout(constant_id = 4) const uint N = 16;
layout(constant_id = 5) const uint K = 16;
layout(constant_id = 6) const uint SUB_M = 2;
layout(constant_id = 7) const uint SUB_N = 2;
layout(constant_id = 8) const uint FRAG_M = 4;
layout(constant_id = 9) const uint FRAG_N = 4;
layout(constant_id = 10) const uint FRAG_K = 2;
layout(constant_id = 11) const uint BUFFERS = 2;
layout(constant_id = 12) const uint WORKGROUP = 128; /* as constant 0 */
layout(push_constant) uniform push { matmul_params p; };
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"
#define EPILOGUE_DROPOUT ((FLAGS & MATMUL_DROPOUT) != 0u)
#include "tensor/op/matmul_epilogue.glsl"

layout(buffer_reference, std430, buffer_reference_align = 16) buffer uvec4_ptr { uvec4 at[]; };

const uint TILE_M = SUB_M * FRAG_M * M, TILE_N = SUB_N * FRAG_N * N, TILE_K = FRAG_K * K;
const bool ACROSS_A = (FLAGS & MATMUL_TRANSPOSE_A) != 0u;
const bool ACROSS_B = (FLAGS & MATMUL_TRANSPOSE_B) == 0u;

/* A tile: lines of so many eights of elements (16 bytes), and one more that keeps the lines of a
 * fragment in different banks. */
const uint LINES_A = ACROSS_A ? TILE_K : TILE_M, EIGHTS_A = (ACROSS_A ? TILE_M : TILE_K) / 8u;
const uint LINES_B = ACROSS_B ? TILE_K : TILE_N, EIGHTS_B = (ACROSS_B ? TILE_N : TILE_K) / 8u;
const uint PITCH_A = EIGHTS_A + 1u, PITCH_B = EIGHTS_B + 1u;
const uint SIZE_A = LINES_A * PITCH_A, BUFFER = SIZE_A + LINES_B * PITCH_B;
/* What an invocation brings to a tile. */
const uint FETCH_A = (LINES_A * EIGHTS_A + WORKGROUP - 1u) / WORKGROUP;
const uint FETCH_B = (LINES_B * EIGHTS_B + WORKGROUP - 1u) / WORKGROUP;
/* At the end one row of fragments of each subgroup lies there, as fours of floats. */
const uint FOURS = FRAG_N * N / 4u, PITCH_C = FOURS + 1u;
const uint END = SUB_M * SUB_N * M * PITCH_C;
shared uvec4 tile[END > BUFFERS * BUFFER ? END : BUFFERS * BUFFER];

/* Elements i ... i + 7 of a factor, of which the first `count` exist; zeros for the others.
 * `aligned`: all or none exist, and they begin at a multiple of 16 bytes. */
uvec4 eight_factors(uvec2 x, bool aligned, uint i, uint count)
{
    uvec4 eight = uvec4(0u);

    if (count == 0u)
        return eight;
    if (aligned)
        return uvec4_ptr(x).at[i >> 3];
    [[unroll]] for (uint j = 0u; j < 8u; j++)
        if (j < count) {
            const uint one = u32_ptr(x).at[(i + j) >> 1] >> 16u * ((i + j) & 1u) & 0xffffu;
            eight[j / 2u] |= one << 16u * (j & 1u);
        }
    return eight;
}

/* Eight number `v` of a tile whose first line and column are given, of a matrix of `lines` lines
 * of `length` elements. */
uvec4 fetch(uvec2 x, bool aligned, uint v, uint eights, uint line, uint lines, uint column,
            uint length)
{
    const uint y = line + v / eights, at = column + v % eights * 8u;
    const uint count = y < lines && at < length ? min(length - at, 8u) : 0u;
    return eight_factors(x, aligned, y * length + at, count);
}

uvec4 held_a[FETCH_A], held_b[FETCH_B];

void fetch_tiles(uint row, uint column, uint k)
{
    const bool aligned_a = (LINES & MATMUL_COOP_A_ALIGNED) != 0u;
    const bool aligned_b = (LINES & MATMUL_COOP_B_ALIGNED) != 0u;

    [[unroll]] for (uint i = 0u; i < FETCH_A; i++) {
        const uint v = gl_LocalInvocationID.x + i * WORKGROUP;
        held_a[i] = ACROSS_A ? fetch(uvec2(p.a), aligned_a, v, EIGHTS_A, k, p.k, row, p.m)
                             : fetch(uvec2(p.a), aligned_a, v, EIGHTS_A, row, p.m, k, p.k);
    }
    [[unroll]] for (uint i = 0u; i < FETCH_B; i++) {
        const uint v = gl_LocalInvocationID.x + i * WORKGROUP;
        held_b[i] = ACROSS_B ? fetch(uvec2(p.b), aligned_b, v, EIGHTS_B, k, p.k, column, p.n)
                             : fetch(uvec2(p.b), aligned_b, v, EIGHTS_B, column, p.n, k, p.k);
    }
}

void put_tiles(uint buffer_begin)
{
    [[unroll]] for (uint i = 0u; i < FETCH_A; i++) {
        const uint v = gl_LocalInvocationID.x + i * WORKGROUP;
        if (v < LINES_A * EIGHTS_A)
            tile[buffer_begin + v / EIGHTS_A * PITCH_A + v % EIGHTS_A] = held_a[i];
    }
    [[unroll]] for (uint i = 0u; i < FETCH_B; i++) {
        const uint v = gl_LocalInvocationID.x + i * WORKGROUP;
        if (v < LINES_B * EIGHTS_B)
            tile[buffer_begin + SIZE_A + v / EIGHTS_B * PITCH_B + v % EIGHTS_B] = held_b[i];
    }
}

#define MATRIX_A coopmat<FACTOR, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define MATRIX_B coopmat<FACTOR, gl_ScopeSubgroup, K, N, gl_MatrixUseB>
#define MATRIX_C coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define BY_ROWS    gl_CooperativeMatrixLayoutRowMajor
#define BY_COLUMNS gl_CooperativeMatrixLayoutColumnMajor

MATRIX_C sum[FRAG_M * FRAG_N];

/* Multiplies the tiles that begin there in shared memory. */
void multiply_shared(uint begin, uint row, uint column)
{
    MATRIX_A a;
    MATRIX_B b[FRAG_N];

    [[unroll]] for (uint k = 0u; k < TILE_K; k += K) {
        [[unroll]] for (uint j = 0u; j < FRAG_N; j++) {
            const uint at = column + j * N;
            if (ACROSS_B)
                coopMatLoad(b[j], tile, begin + SIZE_A + k * PITCH_B + at / 8u, PITCH_B, BY_ROWS);
            else
                coopMatLoad(b[j], tile, begin + SIZE_A + at * PITCH_B + k / 8u, PITCH_B,
                            BY_COLUMNS);
        }
        [[unroll]] for (uint i = 0u; i < FRAG_M; i++) {
            const uint at = row + i * M;
            if (ACROSS_A)
                coopMatLoad(a, tile, begin + k * PITCH_A + at / 8u, PITCH_A, BY_COLUMNS);
            else
                coopMatLoad(a, tile, begin + at * PITCH_A + k / 8u, PITCH_A, BY_ROWS);
            [[unroll]] for (uint j = 0u; j < FRAG_N; j++)
                sum[i * FRAG_N + j] = coopMatMulAdd(a, b[j], sum[i * FRAG_N + j]);
        }
    }
}

/* The same from the tensors themselves, where whole tiles of aligned lines are all there is. */
void multiply_direct(uint row, uint column, uint k)
{
    MATRIX_A a;
    MATRIX_B b[FRAG_N];
    uvec4_ptr from_a = uvec4_ptr(uvec2(p.a)), from_b = uvec4_ptr(uvec2(p.b));

    [[unroll]] for (uint j = 0u; j < FRAG_N; j++) {
        const uint at = column + j * N;
        if (ACROSS_B)
            coopMatLoad(b[j], from_b.at, (k * p.n + at) / 8u, p.n / 8u, BY_ROWS);
        else
            coopMatLoad(b[j], from_b.at, (at * p.k + k) / 8u, p.k / 8u, BY_COLUMNS);
    }
    [[unroll]] for (uint i = 0u; i < FRAG_M; i++) {
        const uint at = row + i * M;
        if (ACROSS_A)
            coopMatLoad(a, from_a.at, (k * p.m + at) / 8u, p.m / 8u, BY_COLUMNS);
        else
            coopMatLoad(a, from_a.at, (at * p.k + k) / 8u, p.k / 8u, BY_ROWS);
        [[unroll]] for (uint j = 0u; j < FRAG_N; j++)
            sum[i * FRAG_N + j] = coopMatMulAdd(a, b[j], sum[i * FRAG_N + j]);
    }
}

#ifdef FLEXIBLE
float finish(const in uint row, const in uint column, const in float value, const in uint first)
{
    return epilogue_one(value, 0u, first + column); /* without dropout, which needs the row */
}
const uint FINISHED_ELSEWHERE = MATMUL_DROPOUT | MATMUL_16BIT;
#else
const uint FINISHED_ELSEWHERE = MATMUL_DROPOUT | MATMUL_16BIT | MATMUL_BIAS | MATMUL_RELU;
#endif

/* Sums go where they belong from where they are: whole fragments, to lines that begin at multiples
 * of 16 bytes. */
void store_fragments(uint row, uint column)
{
    MATRIX_C residual;

    [[unroll]] for (uint i = 0u; i < FRAG_M; i++)
        [[unroll]] for (uint j = 0u; j < FRAG_N; j++) {
            const uint at = split_at() + (row + i * M) * p.n + column + j * N;
#ifdef FLEXIBLE
            if ((p.flags & (MATMUL_BIAS | MATMUL_RELU)) != 0u)
                coopMatPerElementNV(sum[i * FRAG_N + j], sum[i * FRAG_N + j], finish,
                                    column + j * N);
#endif
            if ((p.flags & MATMUL_RESIDUAL) != 0u) {
                coopMatLoad(residual, p.residual.at, at, p.n, BY_ROWS);
                sum[i * FRAG_N + j] += residual;
            }
            coopMatStore(sum[i * FRAG_N + j], p.c.at, at, p.n, BY_ROWS);
        }
}

/* Sums go through shared memory, a row of fragments of each subgroup at a time. */
void store_finished(uint row, uint column)
{
    const uint each = M * FOURS; /* fours of a subgroup */
    const bool wide = epilogue_aligned();

    [[unroll]] for (uint i = 0u; i < FRAG_M; i++) {
        barrier();
        [[unroll]] for (uint j = 0u; j < FRAG_N; j++)
            coopMatStore(sum[i * FRAG_N + j], tile,
                         gl_SubgroupID * M * PITCH_C + j * N / 4u, PITCH_C, BY_ROWS);
        barrier();
        for (uint v = gl_LocalInvocationID.x; v < SUB_M * SUB_N * each; v += WORKGROUP) {
            const uint sub = v / each, y = v % each / FOURS, x = v % FOURS;
            epilogue_four(uintBitsToFloat(tile[(sub * M + y) * PITCH_C + x]),
                     row + (sub / SUB_N * FRAG_M + i) * M + y,
                     column + sub % SUB_N * FRAG_N * N + x * 4u, wide);
        }
    }
}

void main()
{
    const uvec2 tiles = uvec2((p.m + TILE_M - 1u) / TILE_M, (p.n + TILE_N - 1u) / TILE_N);
    if (linear_group() >= tiles.x * tiles.y)
        return;
    const uvec2 place = tile_in_bands(linear_group(), tiles);
    const uint row = place.x * TILE_M, column = place.y * TILE_N;
    const uint sub_row = gl_SubgroupID / SUB_N * FRAG_M * M;
    const uint sub_column = gl_SubgroupID % SUB_N * FRAG_N * N;
    const uint begin = split_begin(), end = split_end();

    [[unroll]] for (uint i = 0u; i < FRAG_M * FRAG_N; i++)
        sum[i] = MATRIX_C(0.0);

    if ((LINES & MATMUL_COOP_DIRECT) != 0u) {
        for (uint k = begin; k < end; k += K)
            multiply_direct(row + sub_row, column + sub_column, k);
    } else {
        uint now = 0u;
        fetch_tiles(row, column, begin);
        put_tiles(0u);
        for (uint k = begin; k < end; k += TILE_K) {
            barrier();
            fetch_tiles(row, column, k + TILE_K);
            multiply_shared(now, sub_row, sub_column);
            if (BUFFERS == 1u)
                barrier();
            else
                now = BUFFER - now;
            put_tiles(now);
        }
    }

    const bool whole = row + TILE_M <= p.m && column + TILE_N <= p.n;
    if (whole && (LINES & MATMUL_COOP_C_ALIGNED) != 0u &&
        (p.flags & FINISHED_ELSEWHERE) == 0u)
        store_fragments(row + sub_row, column + sub_column);
    else
        store_finished(row, column);
}
