/* attention_patch.h - attention within short patches on the processor (private to attention*.c).
 *
 * A few positions and a huge batch: registers run along the columns of a head, and all pairs of a
 * patch fit the first-level cache.
 */
#ifndef TENSOR_OP_ATTENTION_PATCH_H
#define TENSOR_OP_ATTENTION_PATCH_H

#include "tensor/op/attention.h"

/* All queries of head h of sequence n in patch number `patch`; of a pass without a place. */
void tensor_attention_patch(const struct attention_params *p, uint32_t n, uint32_t h,
                            uint32_t patch);

/* dq, dk and dv of head h of sequence n. */
void tensor_attention_patch_grad(const struct attention_grad_params *p, uint32_t n, uint32_t h);

#endif
