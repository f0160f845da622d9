/* sampling.h - chooses a byte from logits. */
#ifndef NN_SAMPLING_H
#define NN_SAMPLING_H

#include <stdint.h>

struct nn_sampling {
    double temperature; /* logits are divided by it; 0: always the likeliest */
    uint32_t top_k;     /* choose among the k likeliest only; 0: among all */
    double top_p;       /* … among the likeliest whose probabilities reach p; 1: among all */
    uint64_t seed;
};

/* logits (V = 256) → a symbol. Draw number `draw` of sequence `sequence` under the seed: the same
 * arguments give the same byte. Ties go to the smaller symbol. */
uint32_t nn_sample(const struct nn_sampling *sampling, const float *logits, uint32_t sequence,
                   uint64_t draw);

#endif
