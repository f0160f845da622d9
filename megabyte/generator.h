/* generator.h - generates bytes, several sequences at once, with caches on both levels (section
 * 3.2, decision 35).
 *
 * Sequences advance together, a patch at a time: the global model runs once a patch and the local
 * model once a byte, and the device chooses the bytes (nn/sampling.h), so that the host waits once
 * a patch. A model without patches (a byte-level Transformer, a PerceiverAR) advances a byte at a
 * time, and what is said of patches below holds of single bytes. Each sequence has its own prompt,
 * of any length, and its own stream of random numbers; what it becomes does not depend, to the last
 * bit, on which others there are. Whole patches of a prompt are read by the global model many at a
 * time; the rest is replayed in the local one.
 *
 * When the window of T bytes is full, the later half of its patches is read again as the start of a
 * new window.
 *
 *     megabyte_generator_create → megabyte_generator_start for each sequence
 *         → megabyte_generator_advance, megabyte_generator_bytes of each → advance → …
 *
 * A sequence may be started again, with another prompt, at any time between two advances.
 */
#ifndef MEGABYTE_GENERATOR_H
#define MEGABYTE_GENERATOR_H

#include "megabyte/model.h"
#include "nn/sampling.h"

struct megabyte_generator;

struct megabyte_generator_params {
    uint32_t sequences; /* N: how many at once; 0: 1 */
    bool timing;        /* measure every pass (megabyte_generator_graph) */
};

/* What a generator of so many sequences takes beside the parameters, in bytes; known without
 * allocating any of the device. */
struct megabyte_generator_plan {
    uint64_t device;  /* of the device */
    uint64_t host;    /* of the host */
    uint64_t scratch; /* tensor_graph_scratch() */
};
int megabyte_generator_plan(const struct megabyte_model *model, uint32_t sequences,
                            struct megabyte_generator_plan *plan);

/* Records its two graphs and takes the caches' memory. The model's parameters are committed and
 * outlive it. `params` may be NULL. Errors: -ENOMEM, -EIO. */
int megabyte_generator_create(const struct megabyte_model *model,
                              const struct megabyte_generator_params *params,
                              struct megabyte_generator **generator);
void megabyte_generator_destroy(struct megabyte_generator **generator);

/* Sequence `n` begins with this prompt (NULL for none; of one that is longer than T the last T
 * bytes count), which is read at once. Its bytes are draws 0, 1, … of `stream` under the sampling's
 * seed. Errors: -EIO, -ETIMEDOUT. */
int megabyte_generator_start(struct megabyte_generator *generator, uint32_t n,
                             const uint8_t *prompt, size_t size,
                             const struct nn_sampling *sampling, uint32_t stream);

/* Sequence `n` rests until it is started again. So do all at first. */
void megabyte_generator_stop(struct megabyte_generator *generator, uint32_t n);

/* Generates one patch, or what the prompt left of one, of every sequence that does not rest.
 * Errors: -EIO, -ETIMEDOUT; -EDOM: logits are not finite (the line says of which sequence and
 * byte), and no sequence has new bytes. */
int megabyte_generator_advance(struct megabyte_generator *generator);

/* The bytes that the last advance gave sequence `n`: at most P, owned by the generator until the
 * next; none if it rests. */
const uint8_t *megabyte_generator_bytes(const struct megabyte_generator *generator, uint32_t n,
                                        uint32_t *count);

/* Copies the logits (V) of position p of sequence n in the patch that was advanced last, also where
 * the byte was given. Errors: -EINVAL before any advance or out of range, -EIO. */
int megabyte_generator_logits(struct megabyte_generator *generator, uint32_t n, uint32_t p,
                              float *logits);

/* For timings: graph 0 reads prompts (NULL where there is nothing to read: the window is a single
 * patch, or there is no global model), graph 1 advances. */
struct tensor_graph *megabyte_generator_graph(struct megabyte_generator *generator, unsigned which);

#endif
