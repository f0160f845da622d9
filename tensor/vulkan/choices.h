/* choices.h - where choices of kernels are kept: beside the compiled pipelines (private to the
 * library; the rest is in tensor/choices.h).
 */
#ifndef TENSOR_VULKAN_CHOICES_H
#define TENSOR_VULKAN_CHOICES_H

#include "tensor/backend.h"

/* Of all kernels of this build. */
uint64_t tensor_vulkan_kernels_digest(void);

/* The text of the device's file, to be freed, and its path. NULL: there is none, or no cache. */
char *tensor_vulkan_choices_read(const struct tensor_device *device, char path[512], size_t *size);
/* Puts this text into its place, at once as a whole. False: that failed. True without a cache. */
bool tensor_vulkan_choices_write(const struct tensor_device *device, const char *text);

#endif
