/* fault.h - faults on demand, for tests only (private to the library, not installed).
 *
 * A device that is opened here goes wrong once, at a chosen point, and counts the points on the
 * way, so that a test can try them all. It stands between the library and the real device: each
 * pass of a graph becomes a program of its own, which gives the same bits, and in front of each
 * there is a point at which all before it is done and nothing behind it ever will be.
 *
 * No program of the project opens a device this way, so none has this file in it.
 */
#ifndef TENSOR_FAULT_H
#define TENSOR_FAULT_H

#include "tensor/device.h"

enum tensor_fault_kind {
    TENSOR_FAULT_NONE,   /* points are counted, nothing goes wrong */
    TENSOR_FAULT_LOST,   /* the device is lost at point `at`: all that follows fails with -EIO */
    TENSOR_FAULT_HANG,   /* it does not come back from point `at`: -ETIMEDOUT */
    TENSOR_FAULT_MEMORY, /* allocation number `at` fails once: -ENOMEM */
    TENSOR_FAULT_VALUE,  /* NaN becomes the first element that the pass labelled `label` writes (the
                            first pass of that label in a graph), the `at`-th time it runs */
};

struct tensor_fault {
    enum tensor_fault_kind kind;
    uint64_t at;       /* from 1 */
    const char *label; /* outlives the device */
};

/* Points so far. */
struct tensor_fault_counts {
    uint64_t points;      /* passes run and waits */
    uint64_t allocations; /* blocks on the cpu; on vulkan every call that makes something in the
                             driver (memory, buffers, pipelines, command buffers ...), those of
                             opening the device included */
    uint64_t runs;        /* of the pass labelled `label` */
};

/* As tensor_device_open(), and the device will go wrong as `fault` says. Vulkan devices are played
 * on one at a time: the one before must be closed. */
int tensor_fault_open(const struct tensor_device_params *params, const struct tensor_fault *fault,
                      struct tensor_device **device);

/* The same for a device from which nothing was made yet, or that is of this kind already: what is
 * made from now on has the new fault ahead, and counting begins anew. Allocations cannot fail on
 * vulkan this way. */
int tensor_fault_arm(struct tensor_device *device, const struct tensor_fault *fault);

/* Of a device opened or armed so. */
struct tensor_fault_counts tensor_fault_counts(const struct tensor_device *device);

#endif
