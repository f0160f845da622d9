/* queue.c - submissions on one timeline, waiting, what to say when one does not finish
 *
 * Every submission adds 1 to a timeline semaphore, and they finish in order, so the first value
 * that is missing tells which submission hangs.
 */
#include <errno.h>
#include <time.h>
#include "tensor/vulkan/device.h"

#define TIMEOUT_SECONDS 60
#define SOFTWARE_FACTOR 10   /* software devices take longer by much more, but have no watchdog */
#define LOOK_SECONDS    0.25 /* how often a wait looks for progress */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int tensor_vulkan_queue_init(struct vulkan_device *d)
{
    d->timeout = d->base.params.timeout;
    if (d->timeout <= 0)
        d->timeout = TIMEOUT_SECONDS * (d->base.info.software ? SOFTWARE_FACTOR : 1);
    d->settle_seconds = d->timeout > TIMEOUT_SECONDS ? d->timeout : TIMEOUT_SECONDS;

    const VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
    };
    const VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                        .pNext = &type};
    return VK(d->vk.vkCreateSemaphore(d->device, &info, NULL, &d->timeline));
}

void tensor_vulkan_queue_finish(struct vulkan_device *d)
{
    d->vk.vkDestroySemaphore(d->device, d->timeline, NULL);
}

void tensor_vulkan_barrier(struct vulkan_device *d, VkCommandBuffer commands, bool host)
{
    const VkPipelineStageFlags stages =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkAccessFlags writes = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT;
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = writes,
        .dstAccessMask = writes | VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                         (host ? VK_ACCESS_HOST_READ_BIT : 0),
    };
    d->vk.vkCmdPipelineBarrier(commands, stages, stages | (host ? VK_PIPELINE_STAGE_HOST_BIT : 0),
                               0, 1, &barrier, 0, NULL, 0, NULL);
}

/* The submission that did not finish. */
static const struct vulkan_submission *first_pending(const struct vulkan_device *d)
{
    return &d->pending[(d->completed + 1) % VULKAN_PENDING_MAX];
}

/* Of a submission that the driver refused, or of what is under way. */
static int failed(struct vulkan_device *d, VkResult result, const char *call,
                  const struct vulkan_submission *refused)
{
    if (result != VK_ERROR_DEVICE_LOST) {
        const int err = tensor_vulkan_check(result, call);
        return refused ? tensor_fail(-err, "%s in graph \"%s\", pass \"%s\" (%s)", tensor_error(),
                                     refused->graph, refused->label, refused->kernel)
                       : err;
    }

    uint64_t reached = 0;
    if (!d->lost &&
        d->vk.vkGetSemaphoreCounterValue(d->device, d->timeline, &reached) == VK_SUCCESS &&
        reached > d->completed && reached <= d->submitted)
        d->completed = reached;
    d->lost = d->base.failed = true;
    if (d->completed >= d->submitted)
        return tensor_fail(EIO, "vulkan: %s was lost (%s): the driver has reset it",
                           d->base.info.name, call);
    const struct vulkan_submission *s = first_pending(d);
    return tensor_fail(EIO,
                       "vulkan: %s was lost (the driver has reset it) in graph \"%s\", at or after "
                       "pass \"%s\" (%s)",
                       d->base.info.name, s->graph, s->label, s->kernel);
}

int tensor_vulkan_submit(struct vulkan_device *d, VkCommandBuffer commands,
                         const struct vulkan_submission *submission)
{
    if (d->lost)
        return failed(d, VK_ERROR_DEVICE_LOST, "vkQueueSubmit", NULL);
    if (d->submitted - d->completed >= VULKAN_PENDING_MAX) {
        const int err = tensor_vulkan_wait_for(d, d->submitted - VULKAN_PENDING_MAX / 2);
        if (err)
            return err;
    }

    const uint64_t value = d->submitted + 1;
    const VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value,
    };
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &d->timeline,
    };
    d->pending[value % VULKAN_PENDING_MAX] = *submission;
    const VkResult result = d->vk.vkQueueSubmit(d->queue, 1, &info, VK_NULL_HANDLE);
    if (d->submitted == d->completed)
        d->busy_since = now();
    if (result == VK_SUCCESS || result == VK_ERROR_DEVICE_LOST) /* lost: so that it can be named */
        d->submitted = value;
    return result == VK_SUCCESS ? 0 : failed(d, result, "vkQueueSubmit", submission);
}

/* Waits for a value as long as others are reached within `limit` seconds. VK_TIMEOUT: they are not.
 */
static VkResult wait_while_moving(struct vulkan_device *d, uint64_t value, double limit)
{
    double deadline = now() + limit;

    while (d->completed < value) {
        double left = deadline - now();
        left = left > LOOK_SECONDS ? LOOK_SECONDS : left < 0 ? 0 : left;
        const VkSemaphoreWaitInfo info = {
            .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
            .semaphoreCount = 1,
            .pSemaphores = &d->timeline,
            .pValues = &value,
        };
        const VkResult waited = d->vk.vkWaitSemaphores(d->device, &info, (uint64_t)(left * 1e9));
        if (waited != VK_SUCCESS && waited != VK_TIMEOUT)
            return waited;

        uint64_t reached = value;
        if (waited == VK_TIMEOUT) {
            const VkResult result =
                d->vk.vkGetSemaphoreCounterValue(d->device, d->timeline, &reached);
            if (result != VK_SUCCESS)
                return result;
        }
        if (reached > d->submitted) /* what some drivers say of a lost device */
            return VK_ERROR_DEVICE_LOST;
        if (reached > d->completed) {
            d->completed = reached;
            deadline = now() + limit;
        } else if (now() >= deadline) {
            return VK_TIMEOUT;
        }
    }
    return VK_SUCCESS;
}

int tensor_vulkan_wait_for(struct vulkan_device *d, uint64_t value)
{
    if (d->lost)
        return failed(d, VK_ERROR_DEVICE_LOST, "vkWaitSemaphores", NULL);

    const bool idle = d->completed == d->submitted;
    const VkResult result = wait_while_moving(d, value, d->timeout);
    if (!idle && d->completed == d->submitted)
        d->base.busy += now() - d->busy_since;
    if (result == VK_SUCCESS)
        return 0;
    if (result != VK_TIMEOUT)
        return failed(d, result, "vkWaitSemaphores", NULL);
    d->base.failed = true;
    const struct vulkan_submission *s = first_pending(d);
    return tensor_fail(
        ETIMEDOUT,
        "vulkan: %s has done nothing for %g s in graph \"%s\", at or after pass \"%s\" (%s)",
        d->base.info.name, d->timeout, s->graph, s->label, s->kernel);
}

bool tensor_vulkan_settle(struct vulkan_device *d)
{
    const double limit = d->stuck ? 0 : d->settle_seconds;
    d->stuck = !d->lost && wait_while_moving(d, d->submitted, limit) == VK_TIMEOUT;
    return !d->stuck;
}

int tensor_vulkan_wait(struct tensor_device *device)
{
    struct vulkan_device *d = vulkan_device(device);
    return tensor_vulkan_wait_for(d, d->submitted);
}
