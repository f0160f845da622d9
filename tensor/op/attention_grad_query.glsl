/* attention_grad_query.glsl - dq and delta, by tiles in registers (attention_direct.glsl). */
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#include "tensor/op/attention.h"
#include "tensor/random.h"
#include "tensor/op/four.glsl"
#include "tensor/op/bits16.glsl"
#include "tensor/op/attention_grad_direct.glsl"

/* An invocation is eight queries, as in attention_direct.comp; dq takes sums as they grow. */
void main()
{
    const uint id = linear_id(), heads = p.sequences * p.heads;
    const uint h = id % heads % p.heads, n = id % heads / p.heads, i = id / heads * 8u;
    if (i >= p.queries)
        return;
    queries a = load_queries(n, h, i);
    a.delta0 = deltas(a.y.low);
    a.delta1 = deltas(a.y.high);
    for (uint u = 0u; u < 8u && i + u < p.queries; u++)
        p.delta.at[(n * p.queries + i + u) * p.heads + h] =
            u < 4u ? a.delta0[u] : a.delta1[u - 4u];

    const uint before = first_position(), last = before + a.i1.w;
    const uint begin = ATTENTION_BEGIN(before + i, p.span, p.reach) & ~3u;
    for (uint j = begin; j <= last; j += 8u) {
        const eight key = load_keys(n, h, j);
        pairs dropped, ds;
        take_pairs(a, key, j, p.queries, dropped, ds);
        give_queries(a, p.queries, key, ds, j != begin);
    }
}
