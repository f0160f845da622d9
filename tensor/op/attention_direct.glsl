/* attention_direct.glsl - what the direct kernels of attention share: tiles of eight queries and
 * eight keys, one an invocation, whose scores stay in its registers while the columns of the head
 * pass by. As in matmul_direct.comp blocks of 4 x 4 are spelt out.
 *
 * A block of four rows is a matrix with a row in each column; a block of pairs has a query in each
 * column and a key in each row: its products are transpose(keys) * queries. */
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint WIDE = 0; /* whether rows begin at multiples of 16 bytes */
/* The type of y and dy, dq and dkv (bits16.glsl). Of 16 bits they are written once, for which a
 * patch has to be a tile. */
layout(constant_id = 2) const uint ELEMENT = 0;

const bool wide = WIDE != 0u;
const uvec4 FOUR = uvec4(0u, 1u, 2u, 3u);

/* Where eight rows begin, in elements. */
struct eight {
    uvec4 low, high;
};

/* Pairs of eight keys and eight queries: block (keys, queries). */
struct pairs {
    mat4 at00, at01, at10, at11;
};

/* Columns c … c + 3 of the rows at `at`; zeros past the last. */
mat4 load_rows(f32_ptr x, uvec4 at, uint c)
{
    const uint count = p.head_dim - c;
    at += c;
    return mat4(load_four(x, at.x, count, wide), load_four(x, at.y, count, wide),
                load_four(x, at.z, count, wide), load_four(x, at.w, count, wide));
}

/* The same of dy. */
mat4 load_dy_rows(f32_ptr x, uvec4 at, uint c)
{
    if (ELEMENT == ELEMENT_F32)
        return load_rows(x, at, c);
    u32_ptr from = u32_ptr(uvec2(x));
    const uint count = p.head_dim - c;
    at += c;
    return mat4(load_four_16bit(from, at.x, count, wide, ELEMENT),
                load_four_16bit(from, at.y, count, wide, ELEMENT),
                load_four_16bit(from, at.z, count, wide, ELEMENT),
                load_four_16bit(from, at.w, count, wide, ELEMENT));
}

/* Of the rows at `at`, which count from `first` on, those in [from, end); with `add`, to what is
 * there. */
void store_rows(f32_ptr x, uvec4 at, uint c, uint first, uint from, uint end, mat4 rows, bool add)
{
    const uint count = p.head_dim - c;
    if (add)
        rows += load_rows(x, at, c);
    for (uint u = 0u; u < 4u; u++)
        if (first + u >= from && first + u < end) {
            if (ELEMENT == ELEMENT_F32)
                store_four(x, at[u] + c, count, wide, rows[u]);
            else
                store_four_16bit(u32_ptr(uvec2(x)), at[u] + c, count, rows[u], ELEMENT);
        }
}

/* key·query of all pairs; `dy`: the queries are rows of dy. */
pairs products(f32_ptr keys, eight key, f32_ptr queries, eight query, bool dy)
{
    pairs s = pairs(mat4(0.0), mat4(0.0), mat4(0.0), mat4(0.0));
    for (uint c = 0u; c < p.head_dim; c += 4u) {
        const mat4 k0 = transpose(load_rows(keys, key.low, c));
        const mat4 k1 = transpose(load_rows(keys, key.high, c));
        const mat4 q0 = dy ? load_dy_rows(queries, query.low, c) : load_rows(queries, query.low, c);
        const mat4 q1 =
            dy ? load_dy_rows(queries, query.high, c) : load_rows(queries, query.high, c);
        s.at00 += k0 * q0;
        s.at01 += k0 * q1;
        s.at10 += k1 * q0;
        s.at11 += k1 * q1;
    }
    return s;
}

/* Rows j … j + 3 of a block whose query stands at t, in each column its own: 1 where it sees the
 * key. */
mat4 seen_block(uvec4 j, uvec4 t)
{
    mat4 block;
    for (uint i = 0u; i < 4u; i++) {
        const uint begin = ATTENTION_BEGIN(t[i], p.span, p.reach);
        block[i] = vec4(greaterThanEqual(j, uvec4(begin))) * vec4(lessThanEqual(j, uvec4(t[i])));
    }
    return block;
}

/* What probabilities are multiplied by: of key `j`, a multiple of four, and the three behind it, of
 * queries that count as `query` over all sequences and heads. */
mat4 keep_block(uint j, uvec4 query)
{
    mat4 block = mat4(vec4(1.0), vec4(1.0), vec4(1.0), vec4(1.0));
    if (p.threshold == 0u)
        return block;
    const uvec2 seed = uvec2(p.random.at[0], p.random.at[1]);
    for (uint i = 0u; i < 4u; i++) {
        const uvec4 word = tensor_random(uvec4(j >> 2, query[i], p.stream, p.random.at[2]), seed);
        block[i] = mix(vec4(p.drop_scale), vec4(0.0), lessThan(word, uvec4(p.threshold)));
    }
    return block;
}
