#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#include "tensor/op/sample.h"
#include "tensor/random.h"

layout(local_size_x_id = 0) in; /* 256: an invocation is a symbol, then a rank */
layout(push_constant) uniform push { sample_params p; };

shared float by_symbol[256], sorted[256], sums[2][256];
shared uint symbol_at[256];
shared uint flaw, kept, chosen;

uint setting(uint n, uint which)
{
    return p.settings.at[n * SAMPLE_SETTINGS + which];
}

/* Uniform in (0, 1), of this sequence and draw. */
float uniform_number(uint n)
{
    const uint low = setting(n, SAMPLE_DRAW_LOW) + p.column;
    const uint high = setting(n, SAMPLE_DRAW_HIGH) + (low < p.column ? 1u : 0u);
    const uvec4 word = tensor_random(uvec4(low, high, setting(n, SAMPLE_STREAM), SAMPLE_WORD),
                                     uvec2(setting(n, SAMPLE_SEED_LOW),
                                           setting(n, SAMPLE_SEED_HIGH)));
    return min((float(word.x) + 0.5) / 4294967296.0, 0.99999994);
}

/* Sorts the logits, the likeliest first and equal ones by symbol; flaw: one is not finite. */
void sort(uint n, uint v)
{
    const float x = p.logits.at[n * 256u + v];
    by_symbol[v] = x;
    if (v == 0u) {
        flaw = 0u;
        kept = chosen = 256u;
    }
    barrier();
    if ((floatBitsToUint(x) & 0x7f800000u) == 0x7f800000u)
        flaw = 1u;
    uint rank = 0u;
    for (uint w = 0u; w < 256u; w++)
        rank += by_symbol[w] > x || (by_symbol[w] == x && w < v) ? 1u : 0u;
    barrier();
    if (flaw == 0u) { /* else ranks need not be one of each */
        sorted[rank] = x;
        symbol_at[rank] = v;
    }
    barrier();
}

/* sums[0][i] = the weights of ranks 0 … i. */
void add_up(uint i, float weight)
{
    uint from = 0u;
    sums[0][i] = weight;
    barrier();
    for (uint span = 1u; span < 256u; span *= 2u) { /* eight times: ends where it began */
        sums[1u - from][i] = sums[from][i] + (i >= span ? sums[from][i - span] : 0.0);
        from = 1u - from;
        barrier();
    }
}

/* The rank that a draw chooses. */
uint choose(uint n, uint i)
{
    const float temperature = uintBitsToFloat(setting(n, SAMPLE_TEMPERATURE));
    const float top_p = uintBitsToFloat(setting(n, SAMPLE_TOP_P));
    const uint top_k = setting(n, SAMPLE_TOP_K);
    const uint most = top_k > 0u && top_k < 256u ? top_k : 256u;
    const bool greedy = temperature <= 0.0;

    const float weight = greedy ? 1.0 : exp((sorted[i] - sorted[0]) / temperature);
    add_up(i, weight);
    if (top_p < 1.0 && i < most && sums[0][i] >= top_p * sums[0][most - 1u])
        atomicMin(kept, i + 1u);
    barrier();
    const uint count = min(kept, most);
    const float left = uniform_number(n) * sums[0][count - 1u];
    if (i < count && weight > 0.0 && sums[0][i] > left)
        atomicMin(chosen, i);
    barrier();
    return greedy || chosen == 256u ? 0u : chosen;
}

void main()
{
    const uint n = linear_group(), i = gl_LocalInvocationID.x;
    if (n >= p.rows || p.column < setting(n, SAMPLE_GIVEN)) /* as one, before any barrier */
        return;
    sort(n, i);
    const uint rank = flaw == 0u ? choose(n, i) : 0u;
    if (i == 0u)
        p.symbols.at[n * p.columns + p.column] = flaw == 0u ? symbol_at[rank] : SAMPLE_NONE;
}
