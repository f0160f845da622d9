/* attention_grad_patch.glsl - the whole gradient in short patches, by tiles in registers
 * (attention_direct.glsl). */
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/attention.h"
#include "tensor/random.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"
#include "tensor/op/attention_grad_direct.glsl"

/* An invocation is a patch of one head of one sequence: its queries with all keys that they see,
 * and its keys with those of the next patch that see them. Each pair is computed once, except where
 * patches reach. */
void main()
{
    const uint patches = (p.keys + p.span - 1u) / p.span, id = linear_id();
    const uint h = id % p.heads, k = id / p.heads % patches, n = id / p.heads / patches;
    if (n >= p.sequences)
        return;
    const uint before = first_position(), behind = before + p.queries, start = k * p.span;
    const uint end = min(start + p.span, p.keys), begin = ATTENTION_BEGIN(start, p.span, p.reach);
    const uint own_end = min(end, behind); /* of the queries in the patch, and in the next one */
    const uint next_end = p.reach == 0u ? own_end : min(end + p.span, behind);

    for (uint j = begin & ~3u; j < end; j += 8u) {
        const eight key = load_keys(n, h, j);
        const bool own = j + 8u > start;
        bool added = false;
        for (uint t = max(start, before); t < (own ? next_end : own_end);) {
            const bool ours = t < end;
            const uint stop = ours ? own_end : next_end; /* of the patch that the queries are in */
            if (t + 7u >= j) {
                queries a = load_queries(n, h, t - before);
                if (ELEMENT == ELEMENT_F32) {
                    a.delta0 = deltas(a.y.low);
                    a.delta1 = deltas(a.y.high);
                }
                pairs dropped, ds;
                take_pairs(a, key, j, stop - before, dropped, ds);
                if (ours)
                    give_queries(a, stop - before, key, ds, j > begin);
                if (own)
                    give_keys(key, j, start, end, a, dropped, ds, added);
                added = true;
            }
            t = min(t + 8u, stop);
        }
        if (own && !added)
            clear_keys(key, j, start, end);
    }
}
