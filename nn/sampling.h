/* sampling.h - how bytes are chosen from logits, as tensor_sample (tensor/op.h) reads it. */
#ifndef NN_SAMPLING_H
#define NN_SAMPLING_H

#include <stdint.h>

struct nn_sampling {
    double temperature; /* logits are divided by it; 0: always the likeliest */
    uint32_t top_k;     /* choose among the k likeliest only; 0: among all */
    double top_p;       /* … among the likeliest whose probabilities reach p; 1: among all */
    uint64_t seed;
};

/* Fills in the row of one sequence, TENSOR_SAMPLE_SETTINGS words: of its columns the first `given`
 * keep their symbols, and the choice in column c is number draw + c - given of this stream. */
void nn_sampling_row(const struct nn_sampling *sampling, uint32_t stream, uint64_t draw,
                     uint32_t given, uint32_t *row);

#endif
