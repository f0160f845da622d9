/* autotune.h - the file of a device's autotune cache, beside the compiled pipelines (private to the
 * library; the rest is in tensor/autotune.h).
 */
#ifndef TENSOR_VULKAN_AUTOTUNE_H
#define TENSOR_VULKAN_AUTOTUNE_H

#include "tensor/backend.h"

/* A digest of all kernels of this build. */
uint64_t tensor_vulkan_kernels_digest(void);

/* Returns the text of the device's file, which the caller frees, and its path; NULL if there is no
 * file or no cache folder. */
char *tensor_vulkan_autotune_read(const struct tensor_device *device, char path[512], size_t *size);
/* Replaces the file at once as a whole. Returns false if that failed; true without a cache
 * folder. */
bool tensor_vulkan_autotune_write(const struct tensor_device *device, const char *text);

#endif
