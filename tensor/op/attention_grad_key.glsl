/* attention_grad_key.glsl - dk and dv, by tiles in registers (attention_direct.glsl). */
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/attention.h"
#include "tensor/random.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"
#include "tensor/op/attention_grad_direct.glsl"

/* An invocation is eight keys of one head of one sequence; dk and dv take sums as they grow. */
void main()
{
    const uint id = linear_id(), heads = p.sequences * p.heads;
    const uint h = id % heads % p.heads, n = id % heads / p.heads, j = id / heads * 8u;
    if (j >= p.keys)
        return;
    const uint before = first_position(), last = min(j + 7u, p.keys - 1u);
    const uint end = min(ATTENTION_END(last, p.span, p.reach), before + p.queries);
    const uint begin = max(j, before) - before;
    const eight key = load_keys(n, h, j);
    if (begin + before >= end)
        clear_keys(key, j, j, p.keys);
    for (uint i = begin; i + before < end; i += 8u) {
        queries a = load_queries(n, h, i);
        const uvec4 row0 = n * p.queries + a.i0, row1 = n * p.queries + a.i1;
        a.delta0 = load_stats(p.delta, row0, h);
        a.delta1 = load_stats(p.delta, row1, h);
        pairs dropped, ds;
        take_pairs(a, key, j, p.queries, dropped, ds);
        give_keys(key, j, j, p.keys, a, dropped, ds, i != begin);
    }
}
