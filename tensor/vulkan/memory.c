/* memory.c - blocks, and copies through the staging buffer */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tensor/vulkan/device.h"

#define STAGING_SIZE (16u << 20)
#define GIB          (double)(1u << 30)

/* tensor_block.handle */
struct block {
    VkBuffer buffer;
    VkDeviceMemory memory;
};

/* ---- choosing a memory type ---- */

#define VISIBLE (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
#define LOCAL   VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define CACHED  VK_MEMORY_PROPERTY_HOST_CACHED_BIT

/* Whether host and device share one memory. */
static bool is_unified(const struct vulkan_device *d)
{
    return d->found.type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU ||
           d->found.type == VK_PHYSICAL_DEVICE_TYPE_CPU;
}

/* The higher the better, with the heap's size as tie-break; 0: not at all. Types with any property
 * not named here (protected, lazy, uncached by the device) have to be enabled or are slow. */
static uint32_t score(const struct vulkan_device *d, enum tensor_memory memory,
                      VkMemoryPropertyFlags flags)
{
    const bool visible = (flags & VISIBLE) == VISIBLE, local = flags & LOCAL;
    if (flags & ~(VISIBLE | LOCAL | CACHED))
        return 0;
    if (memory == TENSOR_HOST) /* read by the host now and then, and little of it */
        return visible ? 1 + 2 * !!(flags & CACHED) + (local == is_unified(d)) : 0;
    return local ? 2 : 1;
}

/* Whether the host had better work on device memory in place. Uncached, its reads would crawl. */
static bool is_direct(const struct vulkan_device *d, VkMemoryPropertyFlags flags)
{
    return is_unified(d) && (flags & (VISIBLE | CACHED)) == (VISIBLE | CACHED);
}

/* Between types of equal score on heaps of equal size. */
static uint32_t taste(const struct vulkan_device *d, VkMemoryPropertyFlags flags)
{
    return is_direct(d, flags) ? 2 : !(flags & VISIBLE);
}

static int choose_type(const struct vulkan_device *d, enum tensor_memory memory, uint32_t allowed)
{
    int best = -1;
    uint64_t best_key[3] = {0};
    for (uint32_t i = 0; i < d->memory.memoryTypeCount; i++) {
        const VkMemoryType *type = &d->memory.memoryTypes[i];
        const uint64_t key[3] = {score(d, memory, type->propertyFlags),
                                 d->memory.memoryHeaps[type->heapIndex].size,
                                 taste(d, type->propertyFlags)};
        if (!(allowed & 1u << i) || !key[0])
            continue;
        int k = 0;
        while (k < 2 && key[k] == best_key[k])
            k++;
        if (best < 0 || key[k] > best_key[k]) {
            best = (int)i;
            memcpy(best_key, key, sizeof(key));
        }
    }
    return best;
}

/* ---- blocks ---- */

static int memory_create(struct vulkan_device *d, enum tensor_memory memory, struct block *b,
                         VkMemoryPropertyFlags *flags)
{
    VkMemoryRequirements needs;
    d->vk.vkGetBufferMemoryRequirements(d->device, b->buffer, &needs);
    const int type = choose_type(d, memory, needs.memoryTypeBits);
    if (type < 0)
        return tensor_fail(ENOTSUP, "vulkan: %s has no memory that %s can use", d->base.info.name,
                           memory == TENSOR_HOST ? "host and device" : "a buffer");
    *flags = d->memory.memoryTypes[type].propertyFlags;

    const VkMemoryAllocateFlagsInfo address = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    const VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = &address,
        .allocationSize = needs.size,
        .memoryTypeIndex = (uint32_t)type,
    };
    const VkMemoryHeap *heap = &d->memory.memoryHeaps[d->memory.memoryTypes[type].heapIndex];
    /* Drivers that overcommit would say yes and fail later, in the middle of a run. */
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    if (needs.size <= heap->size)
        result = d->vk.vkAllocateMemory(d->device, &info, NULL, &b->memory);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY)
        return tensor_fail(
            ENOMEM,
            "vulkan: out of memory: wanted %.3f GiB more, and %s has %.3f GiB of that kind in all",
            (double)needs.size / GIB, d->base.info.name, (double)heap->size / GIB);
    int err = tensor_vulkan_check(result, "vkAllocateMemory");
    if (!err)
        err = VK(d->vk.vkBindBufferMemory(d->device, b->buffer, b->memory, 0));
    return err;
}

static int run_copy(struct vulkan_device *d, VkBuffer from, uint64_t from_offset, VkBuffer to,
                    uint64_t to_offset, uint64_t size);

static int zero(struct vulkan_device *d, struct tensor_block *block, uint64_t size)
{
    if (block->host) {
        memset(block->host, 0, size);
        return 0;
    }
    return run_copy(d, VK_NULL_HANDLE, 0, ((struct block *)block->handle)->buffer, 0, size);
}

static int block_fill_in(struct vulkan_device *d, enum tensor_memory memory, uint64_t size,
                         struct tensor_block *block)
{
    struct block *b = block->handle;
    VkMemoryPropertyFlags flags = 0;
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = size,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    int err = VK(d->vk.vkCreateBuffer(d->device, &info, NULL, &b->buffer));
    if (!err)
        err = memory_create(d, memory, b, &flags);
    if (err)
        return err;

    const bool map = memory == TENSOR_HOST || (is_direct(d, flags) && !d->staging_forced);
    if (map)
        err = VK(d->vk.vkMapMemory(d->device, b->memory, 0, VK_WHOLE_SIZE, 0, &block->host));
    if (err)
        return err;
    const VkBufferDeviceAddressInfo address = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
        .buffer = b->buffer,
    };
    block->address = d->vk.vkGetBufferDeviceAddress(d->device, &address);
    return zero(d, block, size);
}

int tensor_vulkan_block_create(struct tensor_device *device, enum tensor_memory memory,
                               uint64_t size, struct tensor_block *block)
{
    struct vulkan_device *d = vulkan_device(device);
    if (size > d->base.info.allocation_bytes)
        return tensor_fail(ENOMEM, "vulkan: %s allows %.3f GiB in one piece, and %.3f are wanted",
                           d->base.info.name, (double)d->base.info.allocation_bytes / GIB,
                           (double)size / GIB);

    struct tensor_block made = {.size = size, .handle = calloc(1, sizeof(struct block))};
    if (!made.handle)
        return tensor_fail(ENOMEM, "vulkan: out of memory");
    const uint64_t whole = (size + 2 * VULKAN_SLACK - 1) / VULKAN_SLACK * VULKAN_SLACK;
    const int err = block_fill_in(d, memory, whole, &made);
    if (err) {
        made.size = 0; /* does not count yet */
        tensor_vulkan_block_destroy(device, &made);
        return err;
    }
    *block = made;
    device->allocated += size;
    return 0;
}

void tensor_vulkan_block_destroy(struct tensor_device *device, struct tensor_block *block)
{
    struct vulkan_device *d = vulkan_device(device);
    struct block *b = block->handle;
    if (b && tensor_vulkan_settle(d)) {
        d->vk.vkDestroyBuffer(d->device, b->buffer, NULL);
        d->vk.vkFreeMemory(d->device, b->memory, NULL); /* unmaps */
    }
    free(b);
    device->allocated -= block->size;
    *block = (struct tensor_block){0};
}

/* ---- copies ---- */

int tensor_vulkan_memory_init(struct vulkan_device *d)
{
    d->staging_size = STAGING_SIZE;
    const int type = choose_type(d, TENSOR_DEVICE, UINT32_MAX);
    if (type < 0 || !is_direct(d, d->memory.memoryTypes[type].propertyFlags))
        d->base.info.copy_bytes = STAGING_SIZE;
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = d->found.family,
    };
    const int err = VK(d->vk.vkCreateCommandPool(d->device, &pool, NULL, &d->pool));
    if (err)
        return err;
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = d->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    return VK(d->vk.vkAllocateCommandBuffers(d->device, &info, &d->commands));
}

void tensor_vulkan_memory_finish(struct vulkan_device *d)
{
    if (d->staging.handle)
        tensor_vulkan_block_destroy(&d->base, &d->staging);
    d->vk.vkDestroyCommandPool(d->device, d->pool, NULL);
}

/* Copies, or fills with zeros when `from` is null, and waits. */
static int run_copy(struct vulkan_device *d, VkBuffer from, uint64_t from_offset, VkBuffer to,
                    uint64_t to_offset, uint64_t size)
{
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    const VkBufferCopy region = {from_offset, to_offset, size};
    /* Idle by contract, but for a copy that was given up. */
    int err = tensor_vulkan_wait_for(d, d->submitted);
    if (!err)
        err = VK(d->vk.vkBeginCommandBuffer(d->commands, &begin));
    if (err)
        return err;
    tensor_vulkan_barrier(d, d->commands, false);
    if (from)
        d->vk.vkCmdCopyBuffer(d->commands, from, to, 1, &region);
    else
        d->vk.vkCmdFillBuffer(d->commands, to, to_offset, size, 0);
    tensor_vulkan_barrier(d, d->commands, true);

    const struct vulkan_submission what = {"copies", from ? "copy" : "clear", "no kernel"};
    err = VK(d->vk.vkEndCommandBuffer(d->commands));
    if (!err)
        err = tensor_vulkan_submit(d, d->commands, &what);
    return err ? err : tensor_vulkan_wait_for(d, d->submitted);
}

static int staging(struct vulkan_device *d)
{
    if (d->staging.handle)
        return 0;
    return tensor_vulkan_block_create(&d->base, TENSOR_HOST, d->staging_size, &d->staging);
}

static bool is_inside(const struct tensor_block *block, uint64_t offset, uint64_t size)
{
    return offset <= block->size && size <= block->size - offset;
}

int tensor_vulkan_write(struct tensor_device *device, struct tensor_block *block, uint64_t offset,
                        const void *from, uint64_t size)
{
    struct vulkan_device *d = vulkan_device(device);
    if (!is_inside(block, offset, size))
        return tensor_fail(EINVAL, "vulkan: a copy goes beyond its block");
    if (block->host) {
        memcpy((char *)block->host + offset, from, size);
        return 0;
    }
    int err = staging(d);
    for (uint64_t done = 0; !err && done < size;) {
        const uint64_t left = size - done;
        const uint64_t piece = left < d->staging.size ? left : d->staging.size;
        memcpy(d->staging.host, (const char *)from + done, piece);
        err = run_copy(d, ((struct block *)d->staging.handle)->buffer, 0,
                       ((struct block *)block->handle)->buffer, offset + done, piece);
        done += piece;
    }
    return err;
}

int tensor_vulkan_read(struct tensor_device *device, struct tensor_block *block, uint64_t offset,
                       void *to, uint64_t size)
{
    struct vulkan_device *d = vulkan_device(device);
    if (!is_inside(block, offset, size))
        return tensor_fail(EINVAL, "vulkan: a copy goes beyond its block");
    if (block->host) {
        memcpy(to, (const char *)block->host + offset, size);
        return 0;
    }
    int err = staging(d);
    for (uint64_t done = 0; !err && done < size;) {
        const uint64_t left = size - done;
        const uint64_t piece = left < d->staging.size ? left : d->staging.size;
        err = run_copy(d, ((struct block *)block->handle)->buffer, offset + done,
                       ((struct block *)d->staging.handle)->buffer, 0, piece);
        if (!err)
            memcpy((char *)to + done, d->staging.host, piece);
        done += piece;
    }
    return err;
}
