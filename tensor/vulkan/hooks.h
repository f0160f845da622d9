/* hooks.h - what only tests of the vulkan device call (private to the library).
 *
 * Each changes what is made afterwards. On a device that is not vulkan they do nothing.
 */
#ifndef TENSOR_VULKAN_HOOKS_H
#define TENSOR_VULKAN_HOOKS_H

#include "tensor/backend.h"

/* Cut programs into submissions of this estimated time, so that small programs are split too. */
void tensor_vulkan_hook_slice(struct tensor_device *device, double seconds);

/* Give TENSOR_DEVICE blocks no host address, so that copies go through the staging buffer even
 * where the host could see the memory; and make that buffer `size` bytes (a multiple of 4; 0: as
 * usual). */
void tensor_vulkan_hook_staging(struct tensor_device *device, uint64_t size);

/* Submissions that a program takes, and pipelines that the device has made. */
uint32_t tensor_vulkan_hook_slices(const struct tensor_device *device,
                                   const struct tensor_program *program);
uint32_t tensor_vulkan_hook_pipelines(const struct tensor_device *device);

#endif
