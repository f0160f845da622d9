/* context.h - what a cpu device keeps from one pass to the next (private to the library).
 *
 * C twins get it; passes of a device run one after the other, so none of it is locked.
 */
#ifndef TENSOR_CPU_CONTEXT_H
#define TENSOR_CPU_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

struct tensor_device;
struct tensor_cpu_library;

struct tensor_cpu {
    const struct tensor_device *device; /* for its log */
    void *scratch;                      /* memory of the pass that runs, of the largest so far */
    size_t size;                        /* of it, bytes */
    struct tensor_cpu_library *library; /* of products; NULL: nothing was asked of it yet */
    bool refused;                       /* it refused a product, and the log has a line */
};

/* Scratch memory of `size` bytes, which lasts until the next call. NULL: there is none, and
 * tensor_error() says so; or none was asked for. */
void *tensor_cpu_take(struct tensor_cpu *cpu, size_t size);

/* Appends a part to what is laid out in it up to *end; returns where the part begins. */
static inline size_t tensor_cpu_place(size_t *end, size_t size)
{
    const size_t at = (*end + 63) / 64 * 64;
    *end = at + size;
    return at;
}

#endif
