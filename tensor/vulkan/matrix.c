/* matrix.c - matrix units: their extensions and shapes that a device has, and asking for them */
#include <stdlib.h>
#include <string.h>
#include "tensor/vulkan/matrix.h"

#define LIST_MAX 256 /* rows of a driver's list that are looked at */

/* What the extensions promise. */
struct promises {
    bool matrix, half, bfloat;
    bool flexible;  /* matrices of any multiple of a size */
    bool workgroup; /* and such that a workgroup holds */
};

static void add_shape(struct vulkan_found *f, const struct tensor_matrix_shape *shape)
{
    struct tensor_device_info *info = &f->info;
    if (info->matrix_shapes == TENSOR_MATRIX_SHAPES)
        return;
    info->matrix_shape[info->matrix_shapes++] = *shape;
    f->matrix_features |= shape->feature;
}

/* The feature of factors of this type: one of the two, or 0. */
static uint32_t feature_of(const struct promises *has, VkComponentTypeKHR type, uint32_t half,
                           uint32_t bfloat)
{
    if (type == VK_COMPONENT_TYPE_FLOAT16_KHR)
        return has->half ? half : 0;
    if (type == VK_COMPONENT_TYPE_BFLOAT16_KHR)
        return has->bfloat ? bfloat : 0;
    return 0;
}

static void find_subgroup_shapes(VkInstance instance, struct vulkan_found *f,
                                 const struct promises *has)
{
    const PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vkGetInstanceProcAddr(
            instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    VkCooperativeMatrixPropertiesKHR *list = calloc(LIST_MAX, sizeof(*list));
    uint32_t count = LIST_MAX;
    for (uint32_t i = 0; list && i < LIST_MAX; i++)
        list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (!get || !list || get(f->physical, &count, list) < 0)
        count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *p = &list[i];
        const struct tensor_matrix_shape shape = {
            .feature = feature_of(has, p->AType, TENSOR_COOP_F16, TENSOR_COOP_BF16),
            .m = p->MSize, .n = p->NSize, .k = p->KSize};
        /* The kernel stages lines in eights. */
        if (shape.feature && p->BType == p->AType && p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && !p->saturatingAccumulation &&
            p->scope == VK_SCOPE_SUBGROUP_KHR && shape.m && shape.n && shape.k &&
            (shape.m | shape.n | shape.k) % 8 == 0)
            add_shape(f, &shape);
    }
    free(list);
}

static void find_flexible_shapes(VkInstance instance, struct vulkan_found *f,
                                  const struct promises *has)
{
    const PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV)
            vkGetInstanceProcAddr(
                instance, "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV");
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list = calloc(LIST_MAX, sizeof(*list));
    uint32_t count = LIST_MAX;
    for (uint32_t i = 0; list && i < LIST_MAX; i++)
        list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV;
    if (!get || !list || get(f->physical, &count, list) < 0)
        count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *p = &list[i];
        const struct tensor_matrix_shape shape = {
            .feature = feature_of(has, p->AType, TENSOR_COOP2_F16, TENSOR_COOP2_BF16),
            .m = p->MGranularity, .n = p->NGranularity, .k = p->KGranularity,
            .workgroup = p->scope == VK_SCOPE_WORKGROUP_KHR ? p->workgroupInvocations : 0};
        const bool wanted = p->scope == VK_SCOPE_WORKGROUP_KHR
                                ? has->workgroup && shape.workgroup &&
                                      shape.workgroup <= f->info.workgroup
                                : p->scope == VK_SCOPE_SUBGROUP_KHR;
        if (shape.feature && p->BType == p->AType && p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && !p->saturatingAccumulation &&
            wanted && shape.m && shape.n && shape.k)
            add_shape(f, &shape);
    }
    free(list);
}

/* The parts of Vulkan 1.3 that the kernels' SPIR-V is written with. */
static bool has_core(const struct vulkan_found *f, struct promises *has)
{
    VkPhysicalDevice16BitStorageFeatures storage = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES};
    VkPhysicalDeviceMaintenance4Features maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES, .pNext = &storage};
    VkPhysicalDeviceVulkan12Features twelve = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, .pNext = &maintenance};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &twelve};
    vkGetPhysicalDeviceFeatures2(f->physical, &features);
    has->half = twelve.shaderFloat16;
    return maintenance.maintenance4 && twelve.vulkanMemoryModel && storage.storageBuffer16BitAccess;
}

void tensor_vulkan_find_matrices(VkInstance instance, struct vulkan_found *f)
{
    struct promises has = {0};
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV matrix2 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV};
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bfloat = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &matrix};
    VkPhysicalDeviceCooperativeMatrixPropertiesKHR stages = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &stages};

    if (!tensor_vulkan_has_extension(f->physical, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) ||
        !has_core(f, &has))
        return;
    if (tensor_vulkan_has_extension(f->physical, VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME)) {
        bfloat.pNext = features.pNext;
        features.pNext = &bfloat;
    }
    if (tensor_vulkan_has_extension(f->physical, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME)) {
        matrix2.pNext = features.pNext;
        features.pNext = &matrix2;
    }
    vkGetPhysicalDeviceFeatures2(f->physical, &features);
    vkGetPhysicalDeviceProperties2(f->physical, &properties);
    has.matrix = matrix.cooperativeMatrix &&
                 stages.cooperativeMatrixSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
    has.flexible = has.matrix && matrix2.cooperativeMatrixFlexibleDimensions &&
                   matrix2.cooperativeMatrixPerElementOperations;
    has.workgroup = has.flexible && matrix2.cooperativeMatrixWorkgroupScope &&
                    matrix2.cooperativeMatrixTensorAddressing;
    f->matrix_workgroup = has.workgroup;
    has.bfloat = bfloat.shaderBFloat16Type && bfloat.shaderBFloat16CooperativeMatrix;
    if (has.matrix)
        find_subgroup_shapes(instance, f, &has);
    if (has.flexible)
        find_flexible_shapes(instance, f, &has);
}

const void *tensor_vulkan_request_matrices(const struct vulkan_found *f, uint32_t features,
                                           struct vulkan_matrix_request *request, const void *next)
{
    const bool bfloat = features & (TENSOR_COOP_BF16 | TENSOR_COOP2_BF16);
    const bool matrix2 = features & TENSOR_COOPERATIVE_MATRIX_2;
    *request = (struct vulkan_matrix_request){0};
    if (!(features & TENSOR_MATRIX_UNITS))
        return next;

    request->half_arithmetic = features & (TENSOR_COOP_F16 | TENSOR_COOP2_F16);
    request->extension[request->extensions++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    request->storage = (VkPhysicalDevice16BitStorageFeatures){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
        .pNext = (void *)next, .storageBuffer16BitAccess = VK_TRUE};
    request->maintenance = (VkPhysicalDeviceMaintenance4Features){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES,
        .pNext = &request->storage, .maintenance4 = VK_TRUE};
    request->matrix = (VkPhysicalDeviceCooperativeMatrixFeaturesKHR){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .pNext = &request->maintenance, .cooperativeMatrix = VK_TRUE};
    next = &request->matrix;
    if (matrix2) {
        request->extension[request->extensions++] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME;
        request->matrix2 = (VkPhysicalDeviceCooperativeMatrix2FeaturesNV){
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV,
            .pNext = (void *)next,
            .cooperativeMatrixWorkgroupScope = f->matrix_workgroup,
            .cooperativeMatrixFlexibleDimensions = VK_TRUE,
            .cooperativeMatrixPerElementOperations = VK_TRUE,
            .cooperativeMatrixTensorAddressing = f->matrix_workgroup};
        next = &request->matrix2;
    }
    if (bfloat) {
        request->extension[request->extensions++] = VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME;
        request->bfloat = (VkPhysicalDeviceShaderBfloat16FeaturesKHR){
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR,
            .pNext = (void *)next, .shaderBFloat16Type = VK_TRUE,
            .shaderBFloat16CooperativeMatrix = VK_TRUE};
        next = &request->bfloat;
    }
    return next;
}
