/* backend.h - what a kind of device implements (private to the library): cpu/ and vulkan/.
 *
 * The graph planner (graph.c) and the arenas are written on top of these few calls and know no more
 * of a device. All calls set tensor_error() when they fail.
 */
#ifndef TENSOR_BACKEND_H
#define TENSOR_BACKEND_H

#include "tensor/contract.h"

/* One allocation. */
struct tensor_block {
    uint64_t address; /* as kernels see it */
    void *host;       /* as the host sees it, or NULL */
    uint64_t size;    /* bytes */
    void *handle;     /* of the backend */
};

/* Ranges of memory that a pass touches, in the order of its arguments; what the backend needs to
 * put barriers between passes that depend on each other, and no others. */
struct tensor_range {
    uint64_t begin, end; /* addresses; begin = end: nothing */
    bool write;
};

/* A pass with memory: params hold real addresses. */
struct tensor_step {
    const struct tensor_pass *pass;
    const struct tensor_autotune *autotune; /* of the graph; NULL: none */
    struct tensor_range range[TENSOR_PASS_ARGS];
    _Alignas(8) unsigned char params[TENSOR_PARAMS_MAX];
};

struct tensor_program; /* steps made ready to run again and again; each backend defines its own */

struct tensor_backend {
    void (*close)(struct tensor_device *device);

    /* Zeroed memory with at least 256 bytes of slack behind it: some drivers read one element past
     * the end of an array. */
    int (*block_create)(struct tensor_device *device, enum tensor_memory memory, uint64_t size,
                        struct tensor_block *block);
    void (*block_destroy)(struct tensor_device *device, struct tensor_block *block);

    /* Copies between the host and a block; the device is idle when they are called. */
    int (*write)(struct tensor_device *device, struct tensor_block *block, uint64_t offset,
                 const void *from, uint64_t size);
    int (*read)(struct tensor_device *device, struct tensor_block *block, uint64_t offset, void *to,
                uint64_t size);

    /* `name` is the graph's; steps live as long as the program. With `timing`, each step is
     * measured. */
    int (*program_create)(struct tensor_device *device, const char *name,
                          const struct tensor_step *steps, uint32_t count, bool timing,
                          struct tensor_program **program);
    /* Waits for its runs, as block_destroy does for all. */
    void (*program_destroy)(struct tensor_device *device, struct tensor_program *program);
    /* Starts one run; runs execute in order. May wait for the previous run of the same program. */
    int (*program_run)(struct tensor_device *device, struct tensor_program *program);
    /* Adds to seconds[i] the time of step i, of all runs since the last call; the device is
     * idle. */
    int (*program_times)(struct tensor_device *device, struct tensor_program *program,
                         double *seconds);
    /* Makes a pass ready; returns the bytes of host memory that it takes beside its arguments while
     * it runs. NULL: devices of this kind take none. */
    uint64_t (*pass_scratch)(struct tensor_device *device, const struct tensor_pass *pass);
    /* What the step runs as, e.g. "matmul_tiled". */
    const char *(*step_kernel)(struct tensor_device *device, const struct tensor_step *step);

    /* Waits until all runs are done. -ETIMEDOUT names the graph and pass. */
    int (*wait)(struct tensor_device *device);
};

/* Every backend's device begins with this. */
struct tensor_device {
    const struct tensor_backend *backend;
    struct tensor_device_info info;
    struct tensor_device_params params; /* name is not kept */
    double busy; /* what tensor_device_busy() returns; kept by the backend */
    bool failed; /* likewise tensor_device_failed() */
    uint64_t allocated; /* bytes of its blocks, likewise */
    struct tensor_kernels_made kernels; /* likewise */
    struct tensor_autotune *autotune;   /* its own cache; NULL before tensor_device_open() ends */
};

int tensor_cpu_open(const struct tensor_device_params *params, struct tensor_device **device);

/* `which` is what stands behind "vulkan:" or "", "auto" for auto's choice of a GPU (-ENODEV without
 * a line where there is none). Without Vulkan in the build: -ENOTSUP. */
int tensor_vulkan_open(const struct tensor_device_params *params, const char *which,
                       struct tensor_device **device);
/* Calls `each` with info of every physical device that would do; returns their number. */
int tensor_vulkan_list(void (*each)(void *user, int index, const struct tensor_device_info *info),
                       void *user);
uint64_t tensor_vulkan_validation_messages(const struct tensor_device *device);

/* Tries the features in use against the plain kernels; those that fail are switched off, with a
 * line in the log. Errors: what a run can fail with. (selftest.c) */
int tensor_selftest(struct tensor_device *device);

/* Sets tensor_error() and returns -code. */
int tensor_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tensor_log(const struct tensor_device *device, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* All kernels by index from 0; NULL behind the last (kernels.c). */
const struct tensor_kernel *tensor_kernels(unsigned index);

#endif
