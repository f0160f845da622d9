/* generator.h - generates bytes with caches on both levels (section 3.2, decision 35).
 *
 * The global model runs once a patch, the local model once a byte; each keeps keys and values of
 * what it has seen. A prompt may have any length: whole patches go through the global model, the
 * rest is replayed in the local one. When the window of T bytes is full, the later half of its
 * patches is read again as the start of a new window.
 */
#ifndef MEGABYTE_GENERATOR_H
#define MEGABYTE_GENERATOR_H

#include "megabyte/model.h"

struct megabyte_generator;

/* Records its graphs: two for the global model, one for each position in a patch. The model's
 * parameters are committed and outlive it. Errors: -ENOMEM, -EIO. */
int megabyte_generator_create(const struct megabyte_model *model,
                              struct megabyte_generator **generator);
void megabyte_generator_destroy(struct megabyte_generator **generator);

/* Forgets everything: the next byte is the first of a window. */
void megabyte_generator_reset(struct megabyte_generator *generator);

/* Logits (V) of the next byte; the same until a byte is fed. Owned by the generator. */
int megabyte_generator_logits(struct megabyte_generator *generator, const float **logits);

/* Appends a byte: of the prompt, or the one that was chosen. */
int megabyte_generator_feed(struct megabyte_generator *generator, uint8_t byte);

#endif
