/* sampling.c - temperature, top-k and top-p, in this order, in double precision. */
#include "nn/sampling.h"
#include "tensor/random.h"
#include <math.h>
#include <stdlib.h>

#define SYMBOLS 256
#define SAMPLING 0x73616d70u /* a word of the counter: keeps these numbers apart from others */

struct candidate {
    double weight;
    uint32_t symbol;
};

static int likeliest_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return x->symbol < y->symbol ? -1 : 1;
}

static double uniform(uint64_t seed, uint32_t sequence, uint64_t draw)
{
    const struct tensor_random r =
        tensor_random((uint32_t)draw, (uint32_t)(draw >> 32), sequence, SAMPLING, (uint32_t)seed,
                      (uint32_t)(seed >> 32));
    return (r.word[0] + 0.5) / 4294967296.0;
}

uint32_t nn_sample(const struct nn_sampling *s, const float *logits, uint32_t sequence,
                   uint64_t draw)
{
    struct candidate c[SYMBOLS];
    uint32_t best = 0;
    for (uint32_t v = 1; v < SYMBOLS; v++)
        best = logits[v] > logits[best] ? v : best;
    if (s->temperature <= 0)
        return best;
    double sum = 0;
    for (uint32_t v = 0; v < SYMBOLS; v++) {
        c[v] = (struct candidate){exp(((double)logits[v] - logits[best]) / s->temperature), v};
        sum += c[v].weight;
    }
    qsort(c, SYMBOLS, sizeof *c, likeliest_first);
    uint32_t count = s->top_k && s->top_k < SYMBOLS ? s->top_k : SYMBOLS;
    if (count < SYMBOLS) {
        sum = 0;
        for (uint32_t i = 0; i < count; i++)
            sum += c[i].weight;
    }
    if (s->top_p < 1) {
        double reached = 0;
        uint32_t i = 0;
        while (i < count && (i == 0 || reached < s->top_p * sum))
            reached += c[i++].weight;
        count = i;
        sum = reached;
    }
    double left = uniform(s->seed, sequence, draw) * sum;
    for (uint32_t i = 0; i + 1 < count; i++)
        if ((left -= c[i].weight) < 0)
            return c[i].symbol;
    return c[count - 1].symbol;
}
