/* stubs.c - the vulkan device of a build without Vulkan */
#include <errno.h>
#include "tensor/vulkan/autotune.h"
#include "tensor/vulkan/hooks.h"

int tensor_vulkan_open(const struct tensor_device_params *params, const char *which,
                       struct tensor_device **device)
{
    return tensor_fail(ENOTSUP, "vulkan: this build has no Vulkan; build again with "
                                "-Dvulkan=enabled, which says what is missing");
}

int tensor_vulkan_list(void (*each)(void *user, int index, const struct tensor_device_info *info),
                       void *user)
{
    return 0;
}

uint64_t tensor_vulkan_validation_messages(const struct tensor_device *device)
{
    return 0;
}

uint64_t tensor_vulkan_kernels_digest(void)
{
    return 0;
}

char *tensor_vulkan_autotune_read(const struct tensor_device *device, char path[512], size_t *size)
{
    return NULL;
}

bool tensor_vulkan_autotune_write(const struct tensor_device *device, const char *text)
{
    return true;
}

void tensor_vulkan_hook_slice(struct tensor_device *device, double seconds)
{
}

void tensor_vulkan_hook_staging(struct tensor_device *device, uint64_t size)
{
}

void tensor_vulkan_hook_wrong(const char *variant)
{
}

uint32_t tensor_vulkan_hook_slices(const struct tensor_device *device,
                                   const struct tensor_program *program)
{
    return 0;
}

uint32_t tensor_vulkan_hook_pipelines(const struct tensor_device *device)
{
    return 0;
}

void tensor_vulkan_hook_refuse(uint64_t at)
{
}

uint64_t tensor_vulkan_hook_made(void)
{
    return 0;
}

void tensor_vulkan_hook_lose(struct tensor_device *device)
{
}

void tensor_vulkan_hook_hang(struct tensor_device *device)
{
}
