/* fault.c - faults of the driver, played by functions in the device's table of entry points
 *
 * For tests (hooks.h); of one device at a time.
 */
#include "tensor/vulkan/device.h"

#define HUNG_SECONDS 0.02

static struct VolkDeviceTable real; /* the entry points that are played with */
static uint64_t refuse_at, made;

/* Whether the call at hand is the one that finds no memory. */
static bool refused(void)
{
    return ++made == refuse_at;
}

#define REFUSING(name, params, args)                                                               \
    static VKAPI_ATTR VkResult VKAPI_CALL refusing_##name params                                   \
    {                                                                                              \
        return refused() ? VK_ERROR_OUT_OF_DEVICE_MEMORY : real.name args;                         \
    }
#define MAKING(name, info, object)                                                                 \
    REFUSING(name,                                                                                 \
             (VkDevice device, const info *what, const VkAllocationCallbacks *callbacks,           \
              object *made_object),                                                                \
             (device, what, callbacks, made_object))

MAKING(vkAllocateMemory, VkMemoryAllocateInfo, VkDeviceMemory)
MAKING(vkCreateBuffer, VkBufferCreateInfo, VkBuffer)
MAKING(vkCreateCommandPool, VkCommandPoolCreateInfo, VkCommandPool)
MAKING(vkCreatePipelineCache, VkPipelineCacheCreateInfo, VkPipelineCache)
MAKING(vkCreatePipelineLayout, VkPipelineLayoutCreateInfo, VkPipelineLayout)
MAKING(vkCreateQueryPool, VkQueryPoolCreateInfo, VkQueryPool)
MAKING(vkCreateSemaphore, VkSemaphoreCreateInfo, VkSemaphore)
MAKING(vkCreateShaderModule, VkShaderModuleCreateInfo, VkShaderModule)
REFUSING(vkAllocateCommandBuffers,
         (VkDevice device, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *commands),
         (device, info, commands))
REFUSING(vkBeginCommandBuffer, (VkCommandBuffer commands, const VkCommandBufferBeginInfo *info),
         (commands, info))
REFUSING(vkEndCommandBuffer, (VkCommandBuffer commands), (commands))
REFUSING(vkBindBufferMemory,
         (VkDevice device, VkBuffer buffer, VkDeviceMemory memory, VkDeviceSize offset),
         (device, buffer, memory, offset))
REFUSING(vkMapMemory,
         (VkDevice device, VkDeviceMemory memory, VkDeviceSize offset, VkDeviceSize size,
          VkMemoryMapFlags flags, void **data),
         (device, memory, offset, size, flags, data))
REFUSING(vkQueueSubmit,
         (VkQueue queue, uint32_t count, const VkSubmitInfo *submits, VkFence fence),
         (queue, count, submits, fence))

static VKAPI_ATTR VkResult VKAPI_CALL refusing_vkCreateComputePipelines(
    VkDevice device, VkPipelineCache cache, uint32_t count,
    const VkComputePipelineCreateInfo *infos, const VkAllocationCallbacks *callbacks,
    VkPipeline *pipelines)
{
    if (refused()) {
        *pipelines = VK_NULL_HANDLE;
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    return real.vkCreateComputePipelines(device, cache, count, infos, callbacks, pipelines);
}

static void play_refusals(struct VolkDeviceTable *vk)
{
    real = *vk;
    made = 0;
#define PLAY(name) vk->name = refusing_##name
    PLAY(vkAllocateMemory);
    PLAY(vkCreateBuffer);
    PLAY(vkCreateCommandPool);
    PLAY(vkCreatePipelineCache);
    PLAY(vkCreatePipelineLayout);
    PLAY(vkCreateQueryPool);
    PLAY(vkCreateSemaphore);
    PLAY(vkCreateShaderModule);
    PLAY(vkCreateComputePipelines);
    PLAY(vkAllocateCommandBuffers);
    PLAY(vkBeginCommandBuffer);
    PLAY(vkEndCommandBuffer);
    PLAY(vkBindBufferMemory);
    PLAY(vkMapMemory);
    PLAY(vkQueueSubmit);
#undef PLAY
}

void tensor_vulkan_hook_refuse(uint64_t at)
{
    refuse_at = at;
    tensor_vulkan_hook_table = at ? play_refusals : NULL;
}

uint64_t tensor_vulkan_hook_made(void)
{
    return made;
}

/* ---- lost, and stuck ---- */

static VKAPI_ATTR VkResult VKAPI_CALL lost_submit(VkQueue queue, uint32_t count,
                                                  const VkSubmitInfo *submits, VkFence fence)
{
    return VK_ERROR_DEVICE_LOST;
}

static VKAPI_ATTR VkResult VKAPI_CALL lost_wait(VkDevice device, const VkSemaphoreWaitInfo *info,
                                                uint64_t timeout)
{
    return VK_ERROR_DEVICE_LOST;
}

/* What it is given stays undone. */
static VKAPI_ATTR VkResult VKAPI_CALL hung_submit(VkQueue queue, uint32_t count,
                                                  const VkSubmitInfo *submits, VkFence fence)
{
    return VK_SUCCESS;
}

void tensor_vulkan_hook_lose(struct tensor_device *device)
{
    struct vulkan_device *d = vulkan_device(device);
    d->vk.vkDeviceWaitIdle(d->device);
    d->vk.vkQueueSubmit = lost_submit;
    d->vk.vkWaitSemaphores = lost_wait;
}

void tensor_vulkan_hook_hang(struct tensor_device *device)
{
    struct vulkan_device *d = vulkan_device(device);
    d->vk.vkDeviceWaitIdle(d->device);
    d->vk.vkQueueSubmit = hung_submit;
    d->timeout = d->settle_seconds = HUNG_SECONDS;
}
