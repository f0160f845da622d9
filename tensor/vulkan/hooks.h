/* hooks.h - what only tests of the vulkan device call (private to the library).
 *
 * Each changes what is made afterwards. On a device that is not vulkan they do nothing.
 */
#ifndef TENSOR_VULKAN_HOOKS_H
#define TENSOR_VULKAN_HOOKS_H

#include "tensor/backend.h"

struct VolkDeviceTable;

/* If set, it may put its own functions into the entry points of each device that is opened. */
extern void (*tensor_vulkan_hook_table)(struct VolkDeviceTable *vk);

/* Cut programs into submissions of this estimated time, so that small programs are split too. */
void tensor_vulkan_hook_slice(struct tensor_device *device, double seconds);

/* Give TENSOR_DEVICE blocks no host address, so that copies go through the staging buffer even
 * where the host could see the memory; and make that buffer `size` bytes (a multiple of 4; 0: as
 * usual). */
void tensor_vulkan_hook_staging(struct tensor_device *device, uint64_t size);

/* Devices opened from now on compute wrong products with this kernel variant of the matrix product:
 * the first factor is taken for its transpose. NULL: as usual. */
void tensor_vulkan_hook_wrong(const char *variant);

/* Submissions that a program takes, and pipelines that the device has made. */
uint32_t tensor_vulkan_hook_slices(const struct tensor_device *device,
                                   const struct tensor_program *program);
uint32_t tensor_vulkan_hook_pipelines(const struct tensor_device *device);

/* Faults of the driver (fault.c), on one device at a time.
 *
 * refuse: on the next device that is opened, call number `at` of those that make something in the
 * driver finds no memory, once; 0 ends that. made: how many such calls there were. */
void tensor_vulkan_hook_refuse(uint64_t at);
uint64_t tensor_vulkan_hook_made(void);
/* What was submitted is done, and from now on the device is lost, or stands still, for which it is
 * given up soon. */
void tensor_vulkan_hook_lose(struct tensor_device *device);
void tensor_vulkan_hook_hang(struct tensor_device *device);

#endif
