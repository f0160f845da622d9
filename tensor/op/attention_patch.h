/* attention_patch.h - attention within short patches, on the processor (private to attention*.c).
 *
 * A patch of at most ATTENTION_PATCH_MAX positions that sees nothing but itself is a handful of
 * rows: its pairs are dot products in registers, without tiles to turn, and patches follow one
 * another in memory, all heads of one before the next. What linear layers alone read can be written
 * in 16 bits here.
 */
#ifndef TENSOR_OP_ATTENTION_PATCH_H
#define TENSOR_OP_ATTENTION_PATCH_H

#include "tensor/op/attention.h"
#include <stdbool.h>

/* Whether these are such patches, with heads of whole vectors. */
bool tensor_attention_in_patches(const struct attention_params *p);
bool tensor_attention_grad_in_patches(const struct attention_grad_params *p);

/* All that the parameters say; of the gradient what attention_grad_patch does. */
void tensor_attention_patches(const struct attention_params *p);
void tensor_attention_grad_patches(const struct attention_grad_params *p);

#endif
