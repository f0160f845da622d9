/* attention_tiled.glsl - what the tiled kernels of attention share: tiles of queries and keys that
 * pass through shared memory, for GPUs.
 *
 * A workgroup of 128 owns 64 rows, the queries or the keys whose results it sums up in registers,
 * and lets rows of the other kind pass by, 32 at a time. Products of pairs are sums over sixteen
 * columns at a time, of which both tiles are staged: an invocation takes four owned by four passing
 * rows, 16 multiply-adds for two reads of shared memory. What becomes of the pairs is laid into
 * shared memory, and the sums over passing rows take 32 columns at a time, four of them an
 * invocation: 16 multiply-adds for two reads again.
 *
 * An invocation is the pair (own, pass): neighbours own neighbouring rows, so that they read
 * neighbouring fours of shared memory and write them without a conflict, and read global memory
 * along its rows. There is 14.5 KiB of shared memory whatever the head's width; registers hold
 * HEAD / 8 sums of each of four rows. No step depends on the size of subgroups, and every
 * sum has one order. */
layout(local_size_x_id = 0) in; /* 128 */
layout(constant_id = 1) const uint WIDE = 0;  /* whether rows begin at multiples of 16 bytes */
layout(constant_id = 2) const uint HEAD = 64; /* p.head_dim */

const bool wide = WIDE != 0u;
const uvec4 FOUR = uvec4(0u, 1u, 2u, 3u);
const uint OWNED = ATTENTION_TILED_OWNED, PASSING = 32u, GROUPS = OWNED / 4u;
const uint COLUMNS = 16u, SLICE = 32u, SLICES = (HEAD + SLICE - 1u) / SLICE;

/* A column after the other; a four behind each keeps the writes of a column apart. */
const uint PITCH_OWNED = OWNED / 4u + 1u, PITCH_PASSING = PASSING / 4u + 1u;
const uint STAGE_PASSING = COLUMNS * PITCH_OWNED;
shared vec4 stage[STAGE_PASSING + COLUMNS * PITCH_PASSING];
shared vec4 tile[PASSING * GROUPS]; /* of each passing row fours of owned ones */

/* Four columns of each of four owned rows, slice after slice; twice where there are two results. */
vec4 sum[ATTENTION_TILED_SUMS * 4u * SLICES];

uint own()
{
    return gl_LocalInvocationID.x % GROUPS;
}

uint pass()
{
    return gl_LocalInvocationID.x / GROUPS;
}

/* Columns c … c + 3 of the row that begins at `at`; zeros past the last. */
vec4 fetch(f32_ptr x, uint at, uint c)
{
    return c < HEAD ? load_four(x, at + c, HEAD - c, wide) : vec4(0.0);
}

/* Which rows of a tile an invocation stages for products: of the owned ones these two, of the
 * passing ones the first. */
uvec2 product_rows()
{
    return gl_LocalInvocationID.x / 4u + uvec2(0u, 32u);
}

/* block[i][u] = owned row 4 own + u · passing row 4 pass + i. The rows to stage begin at `at_a`
 * and `at_b`. */
void products(f32_ptr a, uvec2 at_a, f32_ptr b, uint at_b, out vec4 block[4])
{
    const uint four = gl_LocalInvocationID.x % 4u, line = gl_LocalInvocationID.x / 16u;
    const uint part = gl_LocalInvocationID.x / 4u % 4u;
    const uint to_a = 4u * four * PITCH_OWNED + line;
    const uint to_b = STAGE_PASSING + 4u * four * PITCH_PASSING + line;
    block = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    for (uint c = 0u; c < HEAD; c += COLUMNS) {
        const vec4 a0 = fetch(a, at_a.x, c + 4u * four), a1 = fetch(a, at_a.y, c + 4u * four);
        const vec4 b0 = fetch(b, at_b, c + 4u * four);
        barrier();
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            stage[to_a + i * PITCH_OWNED][part] = a0[i];
            stage[to_a + i * PITCH_OWNED + 8u][part] = a1[i];
            stage[to_b + i * PITCH_PASSING][part] = b0[i];
        }
        barrier();
        [[unroll]] for (uint i = 0u; i < COLUMNS; i++) {
            const vec4 owned = stage[i * PITCH_OWNED + own()];
            const vec4 passing = stage[STAGE_PASSING + i * PITCH_PASSING + pass()];
            [[unroll]] for (uint j = 0u; j < 4u; j++)
                block[j] += owned * passing[j];
        }
    }
}

/* Puts a block where all see it once they have met; `tile` is free before. */
void share(vec4 block[4])
{
    [[unroll]] for (uint i = 0u; i < 4u; i++)
        tile[(4u * pass() + i) * GROUPS + own()] = block[i];
}

/* Which rows of a passing tile an invocation stages for sums. */
uvec2 sum_rows()
{
    return gl_LocalInvocationID.x / 8u + uvec2(0u, 16u);
}

/* Sums from number `first` on += over all passing rows the shared pair times the row's columns; the
 * rows to stage begin at `at`. */
void add_rows(f32_ptr x, uvec2 at, uint first)
{
    const uint local = gl_LocalInvocationID.x;
    [[unroll]] for (uint s = 0u; s < SLICES; s++) {
        const uint c = s * SLICE + local % 8u * 4u;
        const vec4 x0 = fetch(x, at.x, c), x1 = fetch(x, at.y, c);
        barrier();
        stage[local] = x0;
        stage[local + 128u] = x1;
        barrier();
        for (uint i = 0u; i < PASSING; i++) {
            const vec4 pairs = tile[i * GROUPS + own()], row = stage[i * 8u + pass()];
            [[unroll]] for (uint u = 0u; u < 4u; u++)
                sum[first + 4u * s + u] += pairs[u] * row;
        }
    }
}

void clear_sums()
{
    [[unroll]] for (uint i = 0u; i < ATTENTION_TILED_SUMS * 4u * SLICES; i++)
        sum[i] = vec4(0.0);
}

/* Stores the sums from number `first` on, times factor, as the rows that begin at `at`, of which
 * the first `count` exist. */
void store_sums(f32_ptr x, uvec4 at, uint count, uint first, vec4 factor)
{
    [[unroll]] for (uint s = 0u; s < SLICES; s++) {
        const uint c = s * SLICE + pass() * 4u;
        [[unroll]] for (uint u = 0u; u < 4u; u++)
            if (c < HEAD && 4u * own() + u < count)
                store_four(x, at[u] + c, HEAD - c, wide, sum[first + 4u * s + u] * factor[u]);
    }
}

/* The invocations of one `own` lay down x; all see what those have laid. */
void meet(vec4 x)
{
    barrier();
    stage[pass() * GROUPS + own()] = x;
    barrier();
}

/* Their sum. */
vec4 sum_met()
{
    vec4 x = vec4(0.0);
    [[unroll]] for (uint i = 0u; i < PASSING / 4u; i++)
        x += stage[i * GROUPS + own()];
    return x;
}

/* What the probabilities of four keys, from j on, a multiple of four, are multiplied by; `query`
 * counts over all sequences and heads. */
vec4 keep_four(uint j, uint query)
{
    if (p.threshold == 0u)
        return vec4(1.0);
    const uvec4 word =
        tensor_random(uvec4(j >> 2, query, p.stream, p.random.at[2]),
                      uvec2(p.random.at[0], p.random.at[1]));
    return mix(vec4(p.drop_scale), vec4(0.0), lessThan(word, uvec4(p.threshold)));
}

/* Of four queries that begin to see at `begin` and stand at t, which see key j: 1 or 0. */
bvec4 sees(uvec4 begin, uvec4 t, uint j)
{
    return bvec4(uvec4(lessThanEqual(begin, uvec4(j))) * uvec4(lessThanEqual(uvec4(j), t)));
}

uvec4 begins(uvec4 t)
{
    return uvec4(ATTENTION_BEGIN(t.x, p.span, p.reach), ATTENTION_BEGIN(t.y, p.span, p.reach),
                 ATTENTION_BEGIN(t.z, p.span, p.reach), ATTENTION_BEGIN(t.w, p.span, p.reach));
}
