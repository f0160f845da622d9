/* attention_grad_direct.glsl - what the direct kernels of attention's gradient share. */
#include "tensor/op/attention_grad_position.glsl"
#include "tensor/op/attention_direct.glsl"

/* Eight queries of one head of one sequence, from `first` on. */
struct queries {
    uvec4 i0, i1;         /* their rows within the sequence: past the last it is repeated */
    eight q, y;           /* in q, and in y and dy */
    vec4 lse0, lse1, delta0, delta1;
    uint number;          /* of query 0 over all sequences and heads */
    uint first;
};

/* dy·y of four queries. */
vec4 deltas(uvec4 at)
{
    vec4 delta = vec4(0.0);
    for (uint c = 0u; c < p.head_dim; c += 4u) {
        const mat4 y = load_rows(p.y, at, c), dy = load_rows(p.dy, at, c);
        delta += vec4(dot(y[0], dy[0]), dot(y[1], dy[1]), dot(y[2], dy[2]), dot(y[3], dy[3]));
    }
    return delta;
}

vec4 load_stats(f32_ptr x, uvec4 row, uint h)
{
    row = row * p.heads + h;
    return vec4(x.at[row.x], x.at[row.y], x.at[row.z], x.at[row.w]);
}

/* Without their deltas. */
queries load_queries(uint n, uint h, uint first)
{
    queries a;
    const uint column = h * p.head_dim, columns = p.heads * p.head_dim;
    a.first = first;
    a.i0 = min(first + FOUR, uvec4(p.queries - 1u));
    a.i1 = min(first + 4u + FOUR, uvec4(p.queries - 1u));
    const uvec4 row0 = n * p.queries + a.i0, row1 = n * p.queries + a.i1;
    a.q = eight(row0 * stride_q() + column, row1 * stride_q() + column);
    a.y = eight(row0 * columns + column, row1 * columns + column);
    a.lse0 = load_stats(p.lse, row0, h);
    a.lse1 = load_stats(p.lse, row1, h);
    a.number = (n * p.heads + h) * p.queries;
    return a;
}

eight load_keys(uint n, uint h, uint j)
{
    const uvec4 row0 = n * p.keys + min(j + FOUR, uvec4(p.keys - 1u));
    const uvec4 row1 = n * p.keys + min(j + 4u + FOUR, uvec4(p.keys - 1u));
    return eight(row0 * stride_k() + h * p.head_dim, row1 * stride_k() + h * p.head_dim);
}

/* One block of pairs: score and dy·v become P and dP. */
void weigh(inout mat4 score, inout mat4 dp, mat4 seen, mat4 keep, vec4 lse)
{
    for (uint i = 0u; i < 4u; i++) {
        score[i] = mix(vec4(0.0), exp(score[i] * p.scale - lse[i]), notEqual(seen[i], vec4(0.0)));
        dp[i] *= keep[i];
    }
}

/* Then D P and dS. */
void finish(inout mat4 weight, inout mat4 dp, mat4 keep, vec4 delta)
{
    for (uint i = 0u; i < 4u; i++) {
        dp[i] = p.scale * weight[i] * (dp[i] - delta[i]);
        weight[i] *= keep[i];
    }
}

/* Sums of P dP over the keys of two blocks: the delta of queries whose keys are all in them. */
vec4 sum_pairs(mat4 low, mat4 dp_low, mat4 high, mat4 dp_high)
{
    vec4 sum;
    for (uint i = 0u; i < 4u; i++)
        sum[i] = dot(low[i], dp_low[i]) + dot(high[i], dp_high[i]);
    return sum;
}

/* Blocks of what is seen, for the queries below `end` alone. */
mat4 seen_below(uvec4 j, uvec4 i, uint first, uint end)
{
    mat4 block = seen_block(j, first_position() + i);
    for (uint u = 0u; u < 4u; u++)
        if (first + u >= end)
            block[u] = vec4(0.0);
    return block;
}

/* The pairs of eight keys, from j on (a multiple of four), with eight queries: D P and dS. Queries
 * from `end` on count for nothing. Where dy is of 16 bits these keys are all that the queries see,
 * and the pairs give their deltas: y was rounded. */
void take_pairs(queries a, eight key, uint j, uint end, out pairs dropped, out pairs ds)
{
    const uint columns = p.heads * p.head_dim;
    dropped = products(p.kv, key, p.q, a.q, false);
    ds = products(p.kv, eight(key.low + columns, key.high + columns), p.dy, a.y, true);
    const uvec4 j0 = j + FOUR, j1 = j + 4u + FOUR;
    const mat4 keep00 = keep_block(j, a.number + a.i0), keep01 = keep_block(j, a.number + a.i1);
    const mat4 keep10 = keep_block(j + 4u, a.number + a.i0);
    const mat4 keep11 = keep_block(j + 4u, a.number + a.i1);
    weigh(dropped.at00, ds.at00, seen_below(j0, a.i0, a.first, end), keep00, a.lse0);
    weigh(dropped.at01, ds.at01, seen_below(j0, a.i1, a.first + 4u, end), keep01, a.lse1);
    weigh(dropped.at10, ds.at10, seen_below(j1, a.i0, a.first, end), keep10, a.lse0);
    weigh(dropped.at11, ds.at11, seen_below(j1, a.i1, a.first + 4u, end), keep11, a.lse1);
    if (ELEMENT != ELEMENT_F32) {
        a.delta0 = sum_pairs(dropped.at00, ds.at00, dropped.at10, ds.at10);
        a.delta1 = sum_pairs(dropped.at01, ds.at01, dropped.at11, ds.at11);
    }
    finish(dropped.at00, ds.at00, keep00, a.delta0);
    finish(dropped.at01, ds.at01, keep01, a.delta1);
    finish(dropped.at10, ds.at10, keep10, a.delta0);
    finish(dropped.at11, ds.at11, keep11, a.delta1);
}

/* dq of the queries below `end`. */
void give_queries(queries a, uint end, eight key, pairs ds, bool add)
{
    for (uint c = 0u; c < p.head_dim; c += 4u) {
        const mat4 k0 = load_rows(p.kv, key.low, c), k1 = load_rows(p.kv, key.high, c);
        store_rows(p.dq, a.q.low, c, a.first, 0u, end, k0 * ds.at00 + k1 * ds.at10, add);
        store_rows(p.dq, a.q.high, c, a.first + 4u, 0u, end, k0 * ds.at01 + k1 * ds.at11, add);
    }
}

/* dk and dv of the keys in [from, end). */
void give_keys(eight key, uint j, uint from, uint end, queries a, pairs dropped, pairs ds, bool add)
{
    const uint columns = p.heads * p.head_dim;
    for (uint c = 0u; c < p.head_dim; c += 4u) {
        mat4 x0 = load_rows(p.q, a.q.low, c), x1 = load_rows(p.q, a.q.high, c);
        store_rows(p.dkv, key.low, c, j, from, end,
                   x0 * transpose(ds.at00) + x1 * transpose(ds.at01), add);
        store_rows(p.dkv, key.high, c, j + 4u, from, end,
                   x0 * transpose(ds.at10) + x1 * transpose(ds.at11), add);
        x0 = load_dy_rows(p.dy, a.y.low, c);
        x1 = load_dy_rows(p.dy, a.y.high, c);
        store_rows(p.dkv, key.low + columns, c, j, from, end,
                   x0 * transpose(dropped.at00) + x1 * transpose(dropped.at01), add);
        store_rows(p.dkv, key.high + columns, c, j + 4u, from, end,
                   x0 * transpose(dropped.at10) + x1 * transpose(dropped.at11), add);
    }
}

/* dk and dv of keys that no query sees. */
void clear_keys(eight key, uint j, uint from, uint end)
{
    const uint columns = p.heads * p.head_dim;
    const mat4 nothing = mat4(0.0);
    for (uint c = 0u; c < p.head_dim; c += 4u) {
        store_rows(p.dkv, key.low, c, j, from, end, nothing, false);
        store_rows(p.dkv, key.high, c, j + 4u, from, end, nothing, false);
        store_rows(p.dkv, key.low + columns, c, j, from, end, nothing, false);
        store_rows(p.dkv, key.high + columns, c, j + 4u, from, end, nothing, false);
    }
}
