/* pipeline.c - kernels as pipelines: one layout, 128 bytes of push constants, no descriptors
 *
 * A pipeline is a kernel variant with its specialization constants, compiled when a program first
 * needs it. There are some dozens, so they are searched one by one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "tensor/op/matmul.h"
#include "tensor/vulkan/device.h"
#include "tensor/vulkan/specialize.h"

static const char *wrong_variant; /* hooks.h */

void tensor_vulkan_hook_wrong(const char *variant)
{
    wrong_variant = variant;
}

int tensor_vulkan_pipeline_init(struct vulkan_device *d)
{
    const VkPushConstantRange range = {
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        .size = TENSOR_PARAMS_MAX,
    };
    const VkPipelineLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    const int err = VK(d->vk.vkCreatePipelineLayout(d->device, &info, NULL, &d->layout));
    return err ? err : tensor_vulkan_cache_open(d);
}

void tensor_vulkan_pipeline_finish(struct vulkan_device *d)
{
    for (uint32_t i = 0; i < d->pipeline_count; i++)
        d->vk.vkDestroyPipeline(d->device, d->pipelines[i].pipeline, NULL);
    tensor_vulkan_cache_close(d);
    d->vk.vkDestroyPipelineLayout(d->device, d->layout, NULL);
    free(d->pipelines);
}

void tensor_vulkan_launch(const struct vulkan_device *d, const struct tensor_step *step,
                          struct tensor_launch *launch)
{
    *launch = (struct tensor_launch){.groups = {1, 1, 1}, .workgroup = 1};
    const struct tensor_kernel *kernel = step->pass->kernel;
    if (kernel->launch_tuned)
        kernel->launch_tuned(&d->base.info, step->autotune, step->params, launch);
    else
        kernel->launch(&d->base.info, step->params, launch);
}

const char *tensor_vulkan_step_kernel(struct tensor_device *device, const struct tensor_step *step)
{
    struct tensor_launch launch;
    tensor_vulkan_launch(vulkan_device(device), step, &launch);
    return step->pass->kernel->variant[launch.variant];
}

const struct vulkan_spirv *tensor_vulkan_find_spirv(const char *name)
{
    const struct vulkan_spirv *s = tensor_vulkan_spirv;
    while (s->name && strcmp(s->name, name) != 0)
        s++;
    return s->name ? s : NULL;
}

/* How subgroups are asked for, so that every subgroup is full and of one known size where the
 * device can promise that for the workgroup size. */
static void ask_subgroups(const struct vulkan_device *d, uint32_t workgroup,
                          VkPipelineShaderStageCreateInfo *stage,
                          VkPipelineShaderStageRequiredSubgroupSizeCreateInfo *size)
{
    const struct vulkan_found *f = &d->found;
    const VkPipelineShaderStageCreateFlags full =
        f->full_subgroups ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0;

    if (f->subgroup_pin && workgroup % f->subgroup_pin == 0 &&
        workgroup / f->subgroup_pin <= f->subgroups_max) {
        size->requiredSubgroupSize = f->subgroup_pin;
        stage->pNext = size;
        stage->flags = full;
    } else if (f->size_control && workgroup % f->subgroup_max == 0) {
        stage->flags = full | VK_PIPELINE_SHADER_STAGE_CREATE_ALLOW_VARYING_SUBGROUP_SIZE_BIT;
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compile(struct vulkan_device *d, const struct vulkan_spirv *spirv,
                   struct vulkan_pipeline *p)
{
    VkShaderModuleCreateInfo code = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
    };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = p->base ? VK_PIPELINE_CREATE_DISPATCH_BASE_BIT : 0,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .pName = "main"},
        .layout = d->layout,
    };
    ask_subgroups(d, p->constant[0], &info.stage, &size);
    VkPipelineCreationFeedback whole = {0}, stage = {0};
    const VkPipelineCreationFeedbackCreateInfo feedback = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CREATION_FEEDBACK_CREATE_INFO,
        .pPipelineCreationFeedback = &whole,
        .pipelineStageCreationFeedbackCount = 1,
        .pPipelineStageCreationFeedbacks = &stage,
    };
    if (d->found.tells_cache)
        info.pNext = &feedback;

    const double began = now();
    uint32_t *words = tensor_vulkan_specialize(spirv->words, spirv->size, p->constant,
                                               1 + TENSOR_CONSTANTS, &code.codeSize);
    if (!words)
        return tensor_fail(ENOMEM, "vulkan: out of memory");
    code.pCode = words;
    const int err = VK(d->vk.vkCreateShaderModule(d->device, &code, NULL, &info.stage.module));
    free(words);
    if (err)
        return err;
    const VkResult result =
        d->vk.vkCreateComputePipelines(d->device, d->cache, 1, &info, NULL, &p->pipeline);
    d->vk.vkDestroyShaderModule(d->device, info.stage.module, NULL);
    struct tensor_kernels_made *made = &d->base.kernels;
    made->seconds += now() - began;
    made->count += result == VK_SUCCESS;
    if (result == VK_SUCCESS && whole.flags & VK_PIPELINE_CREATION_FEEDBACK_VALID_BIT &&
        whole.flags & VK_PIPELINE_CREATION_FEEDBACK_APPLICATION_PIPELINE_CACHE_HIT_BIT)
        made->cached++;
    if (result == VK_SUCCESS)
        return 0;
    const bool memory =
        result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY;
    return tensor_fail(memory ? ENOMEM : EIO, "vulkan: %s did not compile the kernel %s: %s",
                       d->base.info.name, spirv->name, tensor_vulkan_result(result));
}

static int grow(struct vulkan_device *d)
{
    if (d->pipeline_count < d->pipeline_capacity)
        return 0;
    const uint32_t capacity = d->pipeline_capacity ? 2 * d->pipeline_capacity : 64;
    struct vulkan_pipeline *more = realloc(d->pipelines, capacity * sizeof(*more));
    if (!more)
        return tensor_fail(ENOMEM, "vulkan: out of memory");
    d->pipelines = more;
    d->pipeline_capacity = capacity;
    return 0;
}

int tensor_vulkan_pipeline(struct vulkan_device *d, const struct tensor_kernel *kernel,
                           const struct tensor_launch *launch, bool base, VkPipeline *pipeline)
{
    struct vulkan_pipeline want = {.variant = kernel->variant[launch->variant], .base = base};
    want.constant[0] = launch->workgroup;
    memcpy(want.constant + 1, launch->constant, sizeof(launch->constant));
    if (wrong_variant && strcmp(wrong_variant, want.variant) == 0)
        want.constant[1] ^= MATMUL_TRANSPOSE_A;

    for (uint32_t i = 0; i < d->pipeline_count; i++) {
        const struct vulkan_pipeline *p = &d->pipelines[i];
        if (strcmp(p->variant, want.variant) == 0 && p->base == base &&
            memcmp(p->constant, want.constant, sizeof(want.constant)) == 0) {
            *pipeline = p->pipeline;
            return 0;
        }
    }

    const struct vulkan_spirv *spirv = tensor_vulkan_find_spirv(want.variant);
    if (!spirv)
        return tensor_fail(ENOTSUP,
                           "vulkan: this build has no kernel %s (list it in tensor/meson.build)",
                           want.variant);
    int err = grow(d);
    if (!err)
        err = compile(d, spirv, &want);
    if (err)
        return err;
    want.variant = spirv->name;
    d->pipelines[d->pipeline_count++] = want;
    *pipeline = want.pipeline;
    return 0;
}
