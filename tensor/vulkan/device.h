/* device.h - what the files of the vulkan device share.
 *
 *     instance.c   the loader, the instance, the validation layer, names of results
 *     device.c     which physical device; the logical device with its queue; the backend's table
 *     matrix.c     what it has of matrix units (matrix.h)
 *     memory.c     blocks, and copies through the staging buffer
 *     pipeline.c   kernels as pipelines: one layout, 128 bytes of push constants, no descriptors
 *     specialize.c their code with plain constants (specialize.h)
 *     cache.c      compiled pipelines on disk, and the autotune cache (autotune.h)
 *     queue.c      submissions on one timeline, waiting, what to say when one does not finish
 *     program.c    steps recorded once into command buffers, with barriers, slices and timestamps
 *     volk.c       Vulkan's entry points, found at run time
 *     stubs.c      instead of all these, in a build without Vulkan
 *
 * (No header here is called vulkan.h: the folder above is searched first, and volk would get it.)
 *
 * Kernels get addresses, not descriptors: every block has a device address, and the push constants
 * of a dispatch are a step's params as they are.
 */
#ifndef TENSOR_VULKAN_DEVICE_H
#define TENSOR_VULKAN_DEVICE_H

#include <volk.h>
#include "tensor/vulkan/hooks.h"

/* A kernel variant in SPIR-V; the table is made by the build (spirv.c.in). */
struct vulkan_spirv {
    const char *name;
    const uint32_t *words;
    size_t size; /* bytes */
};
extern const struct vulkan_spirv tensor_vulkan_spirv[]; /* ends with a NULL name */

/* A physical device as found. */
struct vulkan_found {
    VkPhysicalDevice physical;
    VkPhysicalDeviceType type;
    struct tensor_device_info info;
    char lacks[64]; /* what it would need; "" if it will do */
    VkPhysicalDeviceLimits limits;
    uint32_t vendor, model, driver;   /* numbers that name the driver's compiled pipelines */
    uint8_t uuid[VK_UUID_SIZE];       /* of the device */
    uint8_t cache_uuid[VK_UUID_SIZE]; /* of its pipeline cache */
    uint32_t family;                  /* the queue family to use */
    uint32_t timestamp_bits;          /* of that family; 0: it has no timestamps */
    bool size_control;                /* subgroup sizes can be asked for */
    bool size_extension;              /* through an extension that must be enabled */
    bool full_subgroups;
    bool tells_cache;       /* which pipelines the cache on disk had */
    bool long_integers;     /* of 64 bits, in kernels */
    uint32_t subgroup_pin;  /* the size to ask for; 0: it cannot be asked for */
    uint32_t subgroup_max;  /* largest size of the device */
    uint32_t subgroups_max; /* most subgroups of a workgroup when the size is asked for */
    uint32_t matrix_features; /* enum tensor_feature bits that its matrix units make possible */
    bool matrix_workgroup;    /* matrices that a workgroup holds */
};

struct vulkan_pipeline {
    const char *variant;
    uint32_t constant[1 + TENSOR_CONSTANTS]; /* workgroup size, then tensor_launch.constant */
    bool base;            /* may be dispatched in parts */
    VkPipeline pipeline;
};

/* What a submission is, for messages. */
struct vulkan_submission {
    const char *graph, *label, *kernel;
};

#define VULKAN_PENDING_MAX 1024 /* submissions that may be under way */

struct vulkan_device {
    struct tensor_device base;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    _Atomic uint64_t messages; /* of the validation layer, which has threads of its own */
    PFN_vkCmdBeginDebugUtilsLabelEXT label_begin; /* names passes; NULL without validation */
    PFN_vkCmdEndDebugUtilsLabelEXT label_end;

    struct vulkan_found found;
    VkPhysicalDeviceMemoryProperties memory;
    VkDevice device;
    struct VolkDeviceTable vk; /* the device's own entry points */
    VkQueue queue;

    /* queue.c */
    VkSemaphore timeline;
    uint64_t submitted, completed; /* values of the timeline */
    double timeout;                /* seconds without progress */
    double settle_seconds;         /* the same, before objects are destroyed */
    double busy_since;             /* since when something is under way */
    bool lost;
    bool stuck;                    /* stood still even so long: not waited for again */
    struct vulkan_submission pending[VULKAN_PENDING_MAX]; /* by value modulo the size */

    /* memory.c */
    VkCommandPool pool;
    VkCommandBuffer commands; /* of copies, recorded anew for each */
    struct tensor_block staging;
    uint64_t staging_size;
    bool staging_forced;

    /* pipeline.c, cache.c */
    VkPipelineLayout layout;
    VkPipelineCache cache;
    struct vulkan_pipeline *pipelines;
    uint32_t pipeline_count, pipeline_capacity;
    uint64_t cached_digest; /* of what the cache on disk held at the start */
    char cache_path[512];   /* "": no cache on disk */

    /* program.c */
    double slice_seconds;
};

static inline struct vulkan_device *vulkan_device(struct tensor_device *device)
{
    return (struct vulkan_device *)device;
}

/* ---- instance.c ---- */

/* 0 for VK_SUCCESS, else sets tensor_error() from the call's text and the result's name. */
int tensor_vulkan_check(VkResult result, const char *call);
#define VK(call) tensor_vulkan_check((call), #call)
const char *tensor_vulkan_result(VkResult result);

/* Finds the loader and makes an instance. Needs d->base.params, for validation; d = NULL: none. */
int tensor_vulkan_instance_create(struct vulkan_device *d, VkInstance *instance);
void tensor_vulkan_instance_destroy(struct vulkan_device *d);
bool tensor_vulkan_has_extension(VkPhysicalDevice physical, const char *name);

/* ---- memory.c ---- */

int tensor_vulkan_block_create(struct tensor_device *device, enum tensor_memory memory,
                               uint64_t size, struct tensor_block *block);
void tensor_vulkan_block_destroy(struct tensor_device *device, struct tensor_block *block);
int tensor_vulkan_write(struct tensor_device *device, struct tensor_block *block, uint64_t offset,
                        const void *from, uint64_t size);
int tensor_vulkan_read(struct tensor_device *device, struct tensor_block *block, uint64_t offset,
                       void *to, uint64_t size);
int tensor_vulkan_memory_init(struct vulkan_device *d);
void tensor_vulkan_memory_finish(struct vulkan_device *d);

#define VULKAN_SLACK 256 /* bytes behind each block */

/* ---- pipeline.c ---- */

int tensor_vulkan_pipeline_init(struct vulkan_device *d);
void tensor_vulkan_pipeline_finish(struct vulkan_device *d);
/* The pipeline of a launch; with `base` it may be dispatched in parts. */
int tensor_vulkan_pipeline(struct vulkan_device *d, const struct tensor_kernel *kernel,
                           const struct tensor_launch *launch, bool base, VkPipeline *pipeline);
/* A launch from the step's kernel; variant and constants that it does not set are 0. */
void tensor_vulkan_launch(const struct vulkan_device *d, const struct tensor_step *step,
                          struct tensor_launch *launch);

/* A kernel variant of this build, or NULL. */
const struct vulkan_spirv *tensor_vulkan_find_spirv(const char *name);

/* ---- cache.c ---- */

/* Makes d->cache, with what was found on disk if that fits the driver. */
int tensor_vulkan_cache_open(struct vulkan_device *d);
/* Writes it to disk if there are new pipelines, and destroys it. */
void tensor_vulkan_cache_close(struct vulkan_device *d);

/* ---- queue.c ---- */

int tensor_vulkan_queue_init(struct vulkan_device *d);
void tensor_vulkan_queue_finish(struct vulkan_device *d);
/* Submits; d->submitted is then the value that the timeline gets. */
int tensor_vulkan_submit(struct vulkan_device *d, VkCommandBuffer commands,
                         const struct vulkan_submission *submission);
/* Waits until the timeline has the value. */
int tensor_vulkan_wait_for(struct vulkan_device *d, uint64_t value);
/* Before objects are destroyed that submissions use: waits longer than usual, once. False: the
 * device still works, so leave them as they are. */
bool tensor_vulkan_settle(struct vulkan_device *d);
int tensor_vulkan_wait(struct tensor_device *device);
/* What was written before is seen after, by kernels and copies, and by the host if `host`. */
void tensor_vulkan_barrier(struct vulkan_device *d, VkCommandBuffer commands, bool host);

/* ---- program.c ---- */

int tensor_vulkan_program_create(struct tensor_device *device, const char *name,
                                 const struct tensor_step *steps, uint32_t count, bool timing,
                                 struct tensor_program **program);
void tensor_vulkan_program_destroy(struct tensor_device *device, struct tensor_program *program);
int tensor_vulkan_program_run(struct tensor_device *device, struct tensor_program *program);
int tensor_vulkan_program_times(struct tensor_device *device, struct tensor_program *program,
                                double *seconds);
const char *tensor_vulkan_step_kernel(struct tensor_device *device, const struct tensor_step *step);

#endif
