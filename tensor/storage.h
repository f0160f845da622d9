/* storage.h - the memory behind tensors (private to the library).
 *
 * A storage is a stretch of one allocation: a whole block of an arena, or the place that the
 * planner gave to an intermediate tensor of a graph. Tensors that share a storage are views of it.
 */
#ifndef TENSOR_STORAGE_H
#define TENSOR_STORAGE_H

#include "tensor/backend.h"

struct tensor_storage {
    struct tensor_device *device;
    struct tensor_block *block; /* NULL until there is memory */
    uint64_t begin;             /* offset in the block */
    uint64_t size;              /* bytes */
    uint32_t index;             /* of an arena: which block */

    /* Of a graph's intermediate tensor: */
    bool temporary;
    bool keep;
    uint32_t first, last;   /* the passes between which it is alive; first > last: untouched */
    uint32_t segment;       /* number of the one that it was made in, from 1; 0: none */
    bool shared;            /* of a segment: others use it too */
    bool wanted;            /* a pass reads what others write here (plan.c) */
    struct tensor_storage *again; /* of a segment: where it is computed again */
    uint32_t gradient_uses; /* how many tensors have this as their gradient */

    uint64_t version; /* counts the passes that write here, as they are recorded */
};

static inline uint64_t tensor_align(uint64_t size)
{
    return (size + TENSOR_ALIGNMENT - 1) / TENSOR_ALIGNMENT * TENSOR_ALIGNMENT;
}

static inline bool tensor_is_16bit(enum tensor_type type)
{
    return type == TENSOR_BF16 || type == TENSOR_F16;
}

/* The address that kernels use; 0 for NULL. */
uint64_t tensor_address(const struct tensor *t);

/* Fills in type, rank, shape and count. Returns false for a bad rank, a zero, or too many
 * elements. */
bool tensor_describe(struct tensor *t, enum tensor_type type, uint32_t rank, const uint32_t *shape);

/* "(8, 64)" for messages; a few results stay valid at a time. */
const char *tensor_shape_text(const struct tensor *t);

#endif
