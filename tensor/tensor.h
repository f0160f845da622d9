/* tensor.h - what a tensor is, and how this library reports errors.
 *
 * The library computes on dense, row-major arrays ("tensors") on one device: `cpu` or `vulkan`.
 * Work is first recorded into a graph (tensor/graph.h, tensor/op.h), then replayed as often as
 * wanted. Nothing is allocated while a graph runs.
 *
 *     device.h   opens a device                   arena.h   memory that outlives a graph
 *     op.h       every operation, its formula      graph.h   records, differentiates, plans, runs
 *     random.h   counter-based random numbers      safetensors.h   tensors in files
 *     autotune.h  which kernels compute products
 *
 * Errors. Functions that can fail return 0 or a negative errno value and write their result through
 * the last argument, which stays untouched on failure. tensor_error() then holds one line for
 * people. While a graph is recorded, errors are sticky instead: an op that is given wrong shapes
 * returns a tensor all the same, and tensor_graph_finish() reports the first error with the op's
 * label.
 *
 * Threads. A device and all that was made from it belong to one thread at a time.
 */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tensor_type {
    TENSOR_F32,  /* IEEE single precision */
    TENSOR_U32,  /* unsigned 32-bit integers: counters, lengths, seeds */
    TENSOR_U8,   /* bytes; devices read them in whole 32-bit words, and memory is padded to that */
    TENSOR_BF16, /* bfloat16, the upper half of an F32: factors of matrix products */
    TENSOR_F16,  /* IEEE half precision, likewise; both are padded to whole words too */
    TENSOR_TYPES
};

#define TENSOR_RANK_MAX 4

struct tensor_storage;

/* A dense row-major array. Made by an arena (tensor_arena_take) or by recording an op; owned by
 * that arena or graph, never freed alone. All fields are read-only for callers. */
struct tensor {
    enum tensor_type type;
    uint32_t rank;                     /* 1 … TENSOR_RANK_MAX */
    uint32_t shape[TENSOR_RANK_MAX];   /* slowest dimension first */
    uint64_t count;                    /* elements: product of shape */
    bool needs_gradient;               /* parameters, and what was computed from them */
    const char *name;                  /* for messages; may be NULL */
    struct tensor_storage *storage;    /* the memory, shared between views of it */
    uint64_t offset;                   /* bytes from the start of the storage */
    struct tensor *gradient;           /* of a parameter: where its gradient is accumulated; the
                                          caller sets it together with needs_gradient */
    struct tensor *copy16;             /* of a parameter: the same values in 16 bits, for matrix
                                          products; the caller sets it, and keeps it up to date
                                          (tensor_adamw does). NULL: products cast for themselves */
};

/* Bytes that the elements take. */
uint64_t tensor_size(const struct tensor *t);

/* The last dimension, and the product of all others: a tensor seen as (rows, columns). */
uint32_t tensor_columns(const struct tensor *t);
uint32_t tensor_rows(const struct tensor *t);

/* Pointer to the elements as the host sees them, or NULL where it cannot: tensors of a host-visible
 * arena (any device) and every tensor of the cpu device. Write it only while no graph runs. */
void *tensor_host(const struct tensor *t);

/* Copies `size` bytes between the host and a tensor, from byte `at` of it on, through staging
 * memory where the host cannot see it. Waits until the device is idle first. Returns 0, -EINVAL
 * (beyond the tensor), -EIO (device). */
int tensor_write(struct tensor *t, uint64_t at, const void *from, uint64_t size);
int tensor_read(const struct tensor *t, uint64_t at, void *to, uint64_t size);

/* One line that says what failed, where, and what to do; of the last failure on this thread, and ""
 * before any. */
const char *tensor_error(void);

#endif
