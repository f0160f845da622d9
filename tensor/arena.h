/* arena.h - memory that outlives a graph: weights, optimizer state, inputs, results.
 *
 * An arena is filled in two passes so that it is one allocation (or a few, where a device limits
 * their size): take every tensor, then commit. Tensors of one arena lie one behind the other in the
 * order they were taken, each start aligned to TENSOR_ALIGNMENT bytes, or to half of that behind
 * one of a 16-bit type: two arenas that were filled with the same shapes have the same layout,
 * counted in elements, also if one is of 16 bits and the other of 32. That lets the optimizer walk
 * weights, their 16-bit copies, gradients and moments as flat arrays (tensor_arena_flat).
 */
#ifndef TENSOR_ARENA_H
#define TENSOR_ARENA_H

#include "tensor/device.h"

#define TENSOR_ALIGNMENT 256 /* bytes */

enum tensor_memory {
    TENSOR_DEVICE, /* fast memory of the device */
    TENSOR_HOST,   /* memory that host and device both see: small inputs and results */
};

struct tensor_arena;

/* An empty arena. `name` goes into messages and memory plans. */
int tensor_arena_create(struct tensor_device *device, enum tensor_memory memory, const char *name,
                        struct tensor_arena **arena);
/* Frees the memory and every tensor taken from it. NULL is fine. */
void tensor_arena_destroy(struct tensor_arena **arena);

/* A tensor of the given shape, owned by the arena; usable in recordings at once, in memory after
 * tensor_arena_commit(). `name` is copied and may be NULL. Never fails: a bad shape or lack of host
 * memory is reported by tensor_arena_commit(). */
struct tensor *tensor_arena_take(struct tensor_arena *arena, const char *name,
                                 enum tensor_type type, uint32_t rank, const uint32_t *shape);

/* Allocates and zeroes. Errors: -ENOMEM (the line says how much was wanted), -EINVAL. */
int tensor_arena_commit(struct tensor_arena *arena);

/* Bytes the arena takes, known before commit. */
uint64_t tensor_arena_size(const struct tensor_arena *arena);

/* The arena as flat rank-1 tensors, one for each allocation, of the 16-bit type of its first tensor
 * or else F32; parts of no tensor are zero. Owned by the arena. `index` from 0; NULL when there are
 * no more. Call when everything is taken; like other tensors they have memory after commit. */
struct tensor *tensor_arena_flat(struct tensor_arena *arena, uint32_t index);

/* Where a tensor begins in its flat tensor: element number, and the flat tensor's index. */
void tensor_arena_place(const struct tensor *t, uint32_t *index, uint64_t *element);

#endif
