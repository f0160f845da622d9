/* device.c - what an open device is and does. */
#include "tensor/backend.h"
#include "tensor/autotune.h"
#include <string.h>

const struct tensor_feature_name tensor_feature_names[] = {
    {"shared-tiles", TENSOR_SHARED_TILES},
    {"long-loads", TENSOR_LONG_LOADS},
    {"cooperative-matrix-fp16", TENSOR_COOP_F16},
    {"cooperative-matrix-bf16", TENSOR_COOP_BF16},
    {"cooperative-matrix-2-fp16", TENSOR_COOP2_F16},
    {"cooperative-matrix-2-bf16", TENSOR_COOP2_BF16},
    {"cooperative-matrix", TENSOR_COOPERATIVE_MATRIX},
    {"cooperative-matrix-2", TENSOR_COOPERATIVE_MATRIX_2},
    {NULL, 0},
};

const char *tensor_precision_name(enum tensor_precision precision)
{
    static const char *const names[] = {[TENSOR_PRECISION_FP32] = "fp32",
                                        [TENSOR_PRECISION_BF16] = "bf16",
                                        [TENSOR_PRECISION_FP16] = "fp16",
                                        [TENSOR_PRECISION_AUTO] = "auto"};
    return names[precision];
}

const struct tensor_device_info *tensor_device_info(const struct tensor_device *device)
{
    return &device->info;
}

struct tensor_kernels_made tensor_device_kernels(const struct tensor_device *device)
{
    return device->kernels;
}

struct tensor_autotune *tensor_device_autotune(const struct tensor_device *device)
{
    return device->autotune;
}

uint64_t tensor_device_allocated(const struct tensor_device *device)
{
    return device->allocated;
}

uint64_t tensor_device_validation_messages(const struct tensor_device *device)
{
    return strcmp(device->info.kind, "vulkan") ? 0 : tensor_vulkan_validation_messages(device);
}

int tensor_device_wait(struct tensor_device *device)
{
    return device->backend->wait(device);
}

bool tensor_device_failed(const struct tensor_device *device)
{
    return device->failed;
}

double tensor_device_busy(const struct tensor_device *device)
{
    return device->busy;
}
