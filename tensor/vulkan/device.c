/* device.c - which physical device; the logical device with its queue; the backend's table */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tensor/vulkan/matrix.h"

#define FOUND_MAX 32 /* physical devices looked at */

/* What tiled kernels may take: shared memory, and invocations of a workgroup. */
#define TILES_SHARED    (32u << 10)
#define TILES_WORKGROUP 256u

/* ---- what there is ---- */

/* A family for computing alone where there is one: it does not share a ring with the desktop. */
static bool find_family(struct vulkan_found *f)
{
    VkQueueFamilyProperties family[16];
    uint32_t count = 16;
    bool any = false;
    vkGetPhysicalDeviceQueueFamilyProperties(f->physical, &count, family);
    for (uint32_t i = 0; i < count; i++) {
        const bool alone = !(family[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);
        if (!(family[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || (any && !alone))
            continue;
        f->family = i;
        f->timestamp_bits = family[i].timestampValidBits;
        any = true;
        if (alone)
            break;
    }
    return any;
}

static void find_subgroups(struct vulkan_found *f, bool core)
{
    VkPhysicalDeviceSubgroupSizeControlProperties size = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES,
    };
    VkPhysicalDeviceVulkan11Properties eleven = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES,
    };
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &eleven};
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
    };
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &control};

    f->size_extension = !core && tensor_vulkan_has_extension(
                                     f->physical, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    if (core || f->size_extension) {
        eleven.pNext = &size;
        vkGetPhysicalDeviceFeatures2(f->physical, &features);
    }
    vkGetPhysicalDeviceProperties2(f->physical, &properties);

    f->size_control = control.subgroupSizeControl;
    f->full_subgroups = control.computeFullSubgroups;
    f->info.subgroup = f->subgroup_max = eleven.subgroupSize;
    if (f->size_control) {
        f->info.subgroup = f->subgroup_max = size.maxSubgroupSize;
        f->subgroups_max = size.maxComputeWorkgroupSubgroups;
        /* One size for all kernels, the driver's usual one: the same sums in the same order. */
        if (size.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT)
            f->info.subgroup = f->subgroup_pin = eleven.subgroupSize;
    }

    const VkSubgroupFeatureFlags needed =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
    if ((eleven.subgroupSupportedOperations & needed) != needed ||
        !(eleven.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT))
        snprintf(f->lacks, sizeof(f->lacks), "subgroup arithmetic");
}

static void find_features(struct vulkan_found *f)
{
    VkPhysicalDeviceVulkan12Features twelve = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
    };
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &twelve};
    vkGetPhysicalDeviceFeatures2(f->physical, &features);
    f->long_integers = features.features.shaderInt64;
    if (!twelve.bufferDeviceAddress)
        snprintf(f->lacks, sizeof(f->lacks), "bufferDeviceAddress");
    else if (!twelve.timelineSemaphore)
        snprintf(f->lacks, sizeof(f->lacks), "timelineSemaphore");
    else if (!find_family(f))
        snprintf(f->lacks, sizeof(f->lacks), "a compute queue");
}

/* The driver's name, and how much memory one allocation may take. */
static void find_limits(struct vulkan_found *f, bool core)
{
    VkPhysicalDeviceMaintenance4Properties four = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES,
        .maxBufferSize = UINT64_MAX,
    };
    const bool has_four =
        core || tensor_vulkan_has_extension(f->physical, VK_KHR_MAINTENANCE_4_EXTENSION_NAME);
    VkPhysicalDeviceVulkan12Properties twelve = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES,
        .pNext = has_four ? &four : NULL,
    };
    VkPhysicalDeviceVulkan11Properties eleven = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, .pNext = &twelve};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &eleven};
    vkGetPhysicalDeviceProperties2(f->physical, &properties);

    const uint64_t most = eleven.maxMemoryAllocationSize < four.maxBufferSize
                              ? eleven.maxMemoryAllocationSize
                              : four.maxBufferSize;
    f->info.allocation_bytes = most - VULKAN_SLACK - most % VULKAN_SLACK;
    memcpy(f->uuid, eleven.deviceUUID, sizeof(f->uuid));
    snprintf(f->info.driver, sizeof(f->info.driver), "%.100s%s%.100s", twelve.driverName,
             *twelve.driverInfo ? " " : "", twelve.driverInfo);

    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(f->physical, &memory);
    for (uint32_t i = 0; i < memory.memoryHeapCount; i++)
        if (memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT &&
            memory.memoryHeaps[i].size > f->info.memory_bytes)
            f->info.memory_bytes = memory.memoryHeaps[i].size;
}

/* How many cores share out the workgroups (streaming multiprocessors, compute units), of drivers
 * that say so by an extension of their vendor. */
static void find_cores(struct vulkan_found *f)
{
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nvidia = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV};
    VkPhysicalDeviceShaderCoreProperties2AMD amd = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    if (tensor_vulkan_has_extension(f->physical, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME))
        properties.pNext = &nvidia;
    else if (tensor_vulkan_has_extension(f->physical,
                                         VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME))
        properties.pNext = &amd;
    else
        return;
    vkGetPhysicalDeviceProperties2(f->physical, &properties);
    f->info.cores = nvidia.shaderSMCount ? nvidia.shaderSMCount : amd.activeComputeUnitCount;
}

/* What its driver claims and this build has kernels for. */
static uint32_t possible_features(const struct vulkan_found *f)
{
    static const struct {
        uint32_t feature;
        const char *variant;
    } kernels[] = {{TENSOR_COOP_F16, "matmul_coop_f16"},
                   {TENSOR_COOP_BF16, "matmul_coop_bf16"},
                   {TENSOR_COOP2_F16, "matmul_coop2_f16"},
                   {TENSOR_COOP2_BF16, "matmul_coop2_bf16"}};
    const struct tensor_device_info *info = &f->info;
    const bool tiles = info->shared_bytes >= TILES_SHARED && info->workgroup >= TILES_WORKGROUP;
    uint32_t features = tiles ? TENSOR_SHARED_TILES : 0;
    if (f->long_integers)
        features |= TENSOR_LONG_LOADS;
    for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++)
        if (f->matrix_features & kernels[i].feature && tensor_vulkan_find_spirv(kernels[i].variant))
            features |= kernels[i].feature;
    return features;
}

static void look(VkInstance instance, VkPhysicalDevice physical, struct vulkan_found *f)
{
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(physical, &properties);
    const VkPhysicalDeviceLimits *limits = &properties.limits;

    *f = (struct vulkan_found){
        .physical = physical,
        .type = properties.deviceType,
        .limits = *limits,
        .vendor = properties.vendorID,
        .model = properties.deviceID,
        .driver = properties.driverVersion,
        .info = {.kind = "vulkan",
                 .software = properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU,
                 .shared_bytes = limits->maxComputeSharedMemorySize,
                 .workgroup = limits->maxComputeWorkGroupInvocations}};
    if (f->info.workgroup > limits->maxComputeWorkGroupSize[0])
        f->info.workgroup = limits->maxComputeWorkGroupSize[0];
    memcpy(f->cache_uuid, properties.pipelineCacheUUID, sizeof(f->cache_uuid));
    snprintf(f->info.name, sizeof(f->info.name), "%s", properties.deviceName);

    if (properties.apiVersion < VK_API_VERSION_1_2) {
        snprintf(f->lacks, sizeof(f->lacks), "Vulkan 1.2 (it has %u.%u)",
                 VK_API_VERSION_MAJOR(properties.apiVersion),
                 VK_API_VERSION_MINOR(properties.apiVersion));
        return;
    }
    const bool core = properties.apiVersion >= VK_API_VERSION_1_3;
    find_limits(f, core);
    find_subgroups(f, core);
    find_cores(f);
    f->tells_cache = core;
    find_features(f);
    if (core)
        tensor_vulkan_find_matrices(instance, f);
    f->info.features =
        possible_features(f) & (f->info.software ? TENSOR_LONG_LOADS : UINT32_MAX);
}

/* All physical devices; returns their number, or -errno. */
static int look_around(VkInstance instance, struct vulkan_found found[FOUND_MAX])
{
    VkPhysicalDevice physical[FOUND_MAX];
    uint32_t count = FOUND_MAX;
    const VkResult result = vkEnumeratePhysicalDevices(instance, &count, physical);
    if (result == VK_ERROR_INITIALIZATION_FAILED) /* what the loader says when no driver works */
        return 0;
    const int err =
        result == VK_INCOMPLETE ? 0 : tensor_vulkan_check(result, "vkEnumeratePhysicalDevices");
    if (err)
        return err;
    for (uint32_t i = 0; i < count; i++)
        look(instance, physical[i], &found[i]);
    return (int)count;
}

int tensor_vulkan_list(void (*each)(void *user, int index, const struct tensor_device_info *info),
                       void *user)
{
    VkInstance instance = VK_NULL_HANDLE;
    if (tensor_vulkan_instance_create(NULL, &instance))
        return 0;

    struct vulkan_found *found = calloc(FOUND_MAX, sizeof(*found));
    const int count = found ? look_around(instance, found) : 0;
    int index = 0;
    for (int i = 0; i < count; i++)
        if (!found[i].lacks[0])
            each(user, index++, &found[i].info);
    free(found);
    vkDestroyInstance(instance, NULL);
    return index;
}

/* ---- which one ---- */

/* Text of what there is, for errors. */
static const char *listed(const struct vulkan_found *found, int count, char *text, size_t capacity)
{
    size_t at = (size_t)snprintf(text, capacity, count ? "there is" : "there is no Vulkan device");
    int index = 0;
    for (int i = 0; i < count && at < capacity; i++) {
        const struct vulkan_found *f = &found[i];
        const char *comma = i ? "," : "";
        at += (size_t)(f->lacks[0]
                           ? snprintf(text + at, capacity - at, "%s %s (lacks %s)", comma,
                                      f->info.name, f->lacks)
                           : snprintf(text + at, capacity - at, "%s vulkan:%d %s%s", comma, index++,
                                      f->info.name, f->info.software ? " (software)" : ""));
    }
    return text;
}

/* Lower is better; 0: only by name. */
static int rank(const struct vulkan_found *f, bool automatic)
{
    switch (f->type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return 1;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return 2;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return automatic ? 0 : 3;
    default:
        return 0;
    }
}

/* The best by rank, the one with the number, or the first with the name; NULL: none. */
static const struct vulkan_found *find(const struct vulkan_found *found, int count,
                                       const char *which, bool lacking)
{
    const bool automatic = strcmp(which, "auto") == 0;
    const bool number = which[0] && strspn(which, "0123456789") == strlen(which);
    const long wanted = number ? strtol(which, NULL, 10) : -1;
    const struct vulkan_found *best = NULL;
    int index = 0;

    for (int i = 0; i < count; i++) {
        const struct vulkan_found *f = &found[i];
        if ((f->lacks[0] != '\0') != lacking)
            continue;
        if (number) {
            if (!lacking && index++ == wanted)
                return f;
        } else if (automatic || !which[0]) {
            const int r = rank(f, automatic);
            if (r && (!best || r < rank(best, automatic)))
                best = f;
        } else if (strcasestr(f->info.name, which)) {
            return f;
        }
    }
    return best;
}

static int choose(const struct vulkan_found *found, int count, const char *which,
                  const struct vulkan_found **chosen)
{
    char text[1024];
    *chosen = find(found, count, which, false);
    if (*chosen)
        return 0;
    if (strcmp(which, "auto") == 0)
        return -ENODEV;

    const struct vulkan_found *lacking = find(found, count, which, true);
    if (lacking)
        return tensor_fail(ENOTSUP,
                           "vulkan: %s lacks %s; a newer driver may have it, or use --device cpu",
                           lacking->info.name, lacking->lacks);
    listed(found, count, text, sizeof(text));
    if (which[0])
        return tensor_fail(ENODEV, "vulkan: no device is called \"%s\"; %s", which, text);
    for (int i = 0; i < count; i++)
        if (found[i].info.software && !found[i].lacks[0])
            return tensor_fail(ENODEV,
                               "vulkan: there is no GPU, and software devices are taken "
                               "only by name or number; %s",
                               text);
    return tensor_fail(ENODEV, "vulkan: there is no GPU that Vulkan knows of; %s", text);
}

/* ---- the logical device ---- */

static int device_create(struct vulkan_device *d)
{
    const struct vulkan_found *f = &d->found;
    VkPhysicalDeviceSubgroupSizeControlFeatures size = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .subgroupSizeControl = f->size_control,
        .computeFullSubgroups = f->full_subgroups,
    };
    struct vulkan_matrix_request matrices;
    const void *chain = tensor_vulkan_request_matrices(
        f, d->base.info.features, &matrices, f->size_control || f->full_subgroups ? &size : NULL);
    const VkPhysicalDeviceVulkan12Features twelve = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = (void *)chain,
        .bufferDeviceAddress = VK_TRUE,
        .timelineSemaphore = VK_TRUE,
        .shaderFloat16 = matrices.half_arithmetic,
        .vulkanMemoryModel = matrices.extensions > 0,
    };
    const char *extensions[1 + sizeof(matrices.extension) / sizeof(matrices.extension[0])];
    uint32_t extension_count = 0;
    if (f->size_extension)
        extensions[extension_count++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    for (uint32_t i = 0; i < matrices.extensions; i++)
        extensions[extension_count++] = matrices.extension[i];
    const VkPhysicalDeviceFeatures one = {.shaderInt64 = f->long_integers};
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = f->family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &twelve,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .pEnabledFeatures = &one,
        .enabledExtensionCount = extension_count,
        .ppEnabledExtensionNames = extensions,
    };
    const int err = VK(vkCreateDevice(f->physical, &info, NULL, &d->device));
    if (err)
        return err;
    volkLoadDeviceTable(&d->vk, d->device);
    if (tensor_vulkan_hook_table)
        tensor_vulkan_hook_table(&d->vk);
    if (d->messenger) {
        d->label_begin = (PFN_vkCmdBeginDebugUtilsLabelEXT)vkGetInstanceProcAddr(
            d->instance, "vkCmdBeginDebugUtilsLabelEXT");
        d->label_end = (PFN_vkCmdEndDebugUtilsLabelEXT)vkGetInstanceProcAddr(
            d->instance, "vkCmdEndDebugUtilsLabelEXT");
    }
    d->vk.vkGetDeviceQueue(d->device, f->family, 0, &d->queue);
    vkGetPhysicalDeviceMemoryProperties(f->physical, &d->memory);
    return 0;
}

static void device_close(struct tensor_device *device)
{
    struct vulkan_device *d = vulkan_device(device);

    if (d->device && !tensor_vulkan_settle(d)) {
        /* Freeing what the GPU still works on may take the process or the desktop down. */
        tensor_log(&d->base, "vulkan: %s still works on something; it is left as it is",
                   d->base.info.name);
        free(d);
        return;
    }
    if (d->device) {
        tensor_vulkan_memory_finish(d);
        tensor_vulkan_pipeline_finish(d);
        tensor_vulkan_queue_finish(d);
        d->vk.vkDestroyDevice(d->device, NULL);
    }
    tensor_vulkan_instance_destroy(d);
    free(d);
}

static const struct tensor_backend backend = {
    .close = device_close,
    .block_create = tensor_vulkan_block_create,
    .block_destroy = tensor_vulkan_block_destroy,
    .write = tensor_vulkan_write,
    .read = tensor_vulkan_read,
    .program_create = tensor_vulkan_program_create,
    .program_destroy = tensor_vulkan_program_destroy,
    .program_run = tensor_vulkan_program_run,
    .program_times = tensor_vulkan_program_times,
    .step_kernel = tensor_vulkan_step_kernel,
    .wait = tensor_vulkan_wait,
};

/* Leaves the shapes of features in use, or one of them alone, and the features that have shapes. */
static void choose_shapes(struct tensor_device_info *info, uint32_t only)
{
    uint32_t count = 0, kept = 0, features = 0;
    for (uint32_t i = 0; i < info->matrix_shapes; i++) {
        const struct tensor_matrix_shape shape = info->matrix_shape[i];
        if (!(info->features & shape.feature) || (++count != only && only))
            continue;
        info->matrix_shape[kept++] = shape;
        features |= shape.feature;
    }
    info->matrix_shapes = kept;
    info->features = (info->features & ~TENSOR_MATRIX_UNITS) | features;
}

static int open_chosen(struct vulkan_device *d)
{
    struct tensor_device_info *info = &d->base.info;
    *info = d->found.info;
    info->features |= d->base.params.enable & possible_features(&d->found);
    info->features &= ~d->base.params.disable;
    choose_shapes(info, d->base.params.matrix_shape);

    int err = device_create(d);
    if (!err)
        err = tensor_vulkan_queue_init(d);
    if (!err)
        err = tensor_vulkan_memory_init(d);
    if (!err)
        err = tensor_vulkan_pipeline_init(d);
    return err;
}

int tensor_vulkan_open(const struct tensor_device_params *params, const char *which,
                       struct tensor_device **device)
{
    struct vulkan_device *d = calloc(1, sizeof(*d));
    struct vulkan_found *found = calloc(FOUND_MAX, sizeof(*found));
    const struct vulkan_found *chosen = NULL;
    if (!d || !found) {
        free(d);
        free(found);
        return tensor_fail(ENOMEM, "vulkan: out of memory");
    }
    d->base.backend = &backend;
    d->base.params = *params;
    d->base.params.name = NULL;
    d->slice_seconds = 0.1;

    int err = tensor_vulkan_instance_create(d, &d->instance);
    const int count = err ? 0 : look_around(d->instance, found);
    if (count < 0)
        err = count;
    if (!err)
        err = choose(found, count, which, &chosen);
    if (!err) {
        d->found = *chosen;
        err = open_chosen(d);
    }
    free(found);
    if (err) {
        device_close(&d->base);
        return err;
    }
    *device = &d->base;
    return 0;
}

/* Its table may be another one that calls ours (tensor/fault.h). */
static bool is_ours(const struct tensor_device *device)
{
    return strcmp(device->info.kind, "vulkan") == 0;
}

uint64_t tensor_vulkan_validation_messages(const struct tensor_device *device)
{
    const bool ours = is_ours(device);
    return ours ? ((const struct vulkan_device *)device)->messages : 0;
}

/* ---- hooks.h ---- */

void (*tensor_vulkan_hook_table)(struct VolkDeviceTable *vk);

void tensor_vulkan_hook_slice(struct tensor_device *device, double seconds)
{
    if (is_ours(device))
        vulkan_device(device)->slice_seconds = seconds;
}

void tensor_vulkan_hook_staging(struct tensor_device *device, uint64_t size)
{
    struct vulkan_device *d = vulkan_device(device);
    if (!is_ours(device))
        return;
    d->staging_forced = true;
    if (d->staging.handle)
        tensor_vulkan_block_destroy(device, &d->staging);
    if (size)
        d->staging_size = size;
}

uint32_t tensor_vulkan_hook_pipelines(const struct tensor_device *device)
{
    const bool ours = is_ours(device);
    return ours ? ((const struct vulkan_device *)device)->pipeline_count : 0;
}
