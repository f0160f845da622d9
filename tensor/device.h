/* device.h - opens the thing that computes.
 *
 *     cpu               plain C with OpenMP; matrix products through oneDNN where it was built in
 *     vulkan            any GPU with Vulkan 1.2, buffer device addresses and timeline semaphores
 *     vulkan:INDEX      the one with that number in tensor_device_list()
 *     vulkan:NAME       the first whose name contains NAME, letter case ignored; the only way to
 *                       get a software implementation (lavapipe: "llvmpipe", SwiftShader)
 *     auto              a discrete GPU, else an integrated one, else the cpu
 */
#ifndef TENSOR_DEVICE_H
#define TENSOR_DEVICE_H

#include "tensor/tensor.h"
#include <stdio.h>

struct tensor_device;

/* What a kernel variant may need of a device. A variant is used only if the device has all its
 * bits. A device has a bit if its driver reports the feature, this build has the kernels, and the
 * self-test found their results right. Tests and --disable clear bits with
 * tensor_device_params.disable. */
enum tensor_feature {
    TENSOR_SHARED_TILES = 1u << 0, /* matrix products and attention staged in shared memory:
                                      fast on GPUs; software devices are faster without */
    /* Matrix products on matrix units, by the factors' type. VK_KHR_cooperative_matrix: a subgroup
     * holds small matrices. VK_NV_cooperative_matrix2: a workgroup holds large ones, or a subgroup,
     * if that is all that the driver can do. */
    TENSOR_COOP_F16 = 1u << 1,
    TENSOR_COOP_BF16 = 1u << 2,
    TENSOR_COOP2_F16 = 1u << 3,
    TENSOR_COOP2_BF16 = 1u << 4,
    TENSOR_LONG_LOADS = 1u << 5, /* both without shared tiles, loading 64 bits at once: fast on
                                    lavapipe */
};
#define TENSOR_COOPERATIVE_MATRIX   (TENSOR_COOP_F16 | TENSOR_COOP_BF16)
#define TENSOR_COOPERATIVE_MATRIX_2 (TENSOR_COOP2_F16 | TENSOR_COOP2_BF16)

#define TENSOR_MATRIX_UNITS         (TENSOR_COOPERATIVE_MATRIX | TENSOR_COOPERATIVE_MATRIX_2)

/* Features by name, for options and messages: single ones, then names of several together. The list
 * ends with a NULL name. */
struct tensor_feature_name {
    const char *name;
    uint32_t bits; /* enum tensor_feature */
};
extern const struct tensor_feature_name tensor_feature_names[];

/* How matrix products of linear layers round their factors: to the nearest, ties to even. Sums,
 * results, all other operations, weights, gradients and moments are float32 in any case. */
enum tensor_precision {
    TENSOR_PRECISION_FP32, /* not at all */
    TENSOR_PRECISION_BF16, /* to bfloat16: 8 bits of fraction, the range of float32 */
    TENSOR_PRECISION_FP16, /* to half precision: 11 bits, up to 65504 */
    TENSOR_PRECISION_AUTO, /* only in tensor_device_params: the first of bf16 and fp16 that the
                              device's matrix units multiply, as the self-test found; fp32 without
                              such units, on software devices and on the cpu */
};
/* "fp32", "bf16", "fp16", "auto" */
const char *tensor_precision_name(enum tensor_precision precision);

/* What matrix units multiply at once: (m, k) · (k, n). */
struct tensor_matrix_shape {
    uint32_t feature;   /* the enum tensor_feature bit that it belongs to */
    uint32_t m, n, k;   /* of TENSOR_COOP2_*: any multiples of these */
    uint32_t workgroup; /* invocations of a workgroup that holds a matrix; 0: a subgroup does */
};
#define TENSOR_MATRIX_SHAPES 16

struct tensor_device_params {
    const char *name;     /* see above; NULL: "auto" */
    enum tensor_precision precision;
    uint32_t disable;     /* enum tensor_feature bits to leave unused */
    uint32_t enable;      /* bits to use although the device's own choice is not to (tests) */
    uint32_t matrix_shape; /* 1 + the index in info.matrix_shape of the only shape to use (tests);
                              0: all */
    bool validation; /* vulkan: load VK_LAYER_KHRONOS_validation; its messages count as errors */
    bool no_cache;        /* vulkan: neither read nor write the pipeline cache on disk */
    double timeout;       /* seconds that one submission may take before it is an error; 0: 60 */
    void (*log)(void *user, const char *line); /* notes worth a line to the user; NULL: none */
    void *log_user;
};

struct tensor_device_info {
    char kind[16];            /* "cpu" or "vulkan" */
    char name[256];           /* processor or GPU */
    char driver[256];         /* driver and version; of the cpu: the matrix library */
    bool software;            /* a Vulkan implementation that computes on the processor */
    uint32_t features;        /* enum tensor_feature bits in use */
    enum tensor_precision precision; /* in use: not AUTO */
    uint32_t cores;           /* that workgroups are spread over; 0: unknown */
    uint32_t subgroup;        /* largest subgroup a kernel may get; 1 on the cpu */
    uint32_t workgroup;       /* largest workgroup size */
    uint32_t shared_bytes;    /* shared memory of a workgroup */
    uint32_t matrix_shapes;   /* of its matrix units: how many follow */
    struct tensor_matrix_shape matrix_shape[TENSOR_MATRIX_SHAPES];
    uint32_t threads;         /* of the cpu device; 0 on vulkan */
    uint64_t memory_bytes;    /* device-local memory, or the machine's memory */
    uint64_t allocation_bytes;/* largest single allocation */
    uint64_t copy_bytes;      /* what it takes for copies between host and device, from the first
                                 on; 0 where the host sees all its memory */
};

/* Opens a device. On success the caller owns it and ends it with tensor_device_close() after all
 * arenas and graphs made from it. Errors: -ENODEV no such device (the line lists what there is),
 * -ENOTSUP it lacks something needed (named), -EIO the driver failed. */
int tensor_device_open(const struct tensor_device_params *params, struct tensor_device **device);
void tensor_device_close(struct tensor_device **device);

/* Returns whether the device was lost or did not answer in time. It can then only be closed, after
 * all that was made from it; open another one to go on. */
bool tensor_device_failed(const struct tensor_device *device);

const struct tensor_device_info *tensor_device_info(const struct tensor_device *device);

/* Calls `each` for every device that tensor_device_open() can open, the cpu first, Vulkan devices
 * with the index that "vulkan:INDEX" means. Returns how many there are. */
int tensor_device_list(void (*each)(void *user, int index, const struct tensor_device_info *info),
                       void *user);

/* Returns the bytes of the machine's memory that are available now; UINT64_MAX if the system does
 * not report it. */
uint64_t tensor_host_available(void);

/* Returns the bytes of device memory that arenas and graphs use now, copies included. */
uint64_t tensor_device_allocated(const struct tensor_device *device);

/* Kernels that the driver has compiled since the device was opened, its self-tests included. */
struct tensor_kernels_made {
    uint32_t count;  /* 0 on the cpu */
    uint32_t cached; /* of them, those that the driver reports to be from our cache on disk;
                        drivers with a cache of their own (Mesa) do not report it */
    double seconds;  /* that it took */
};
struct tensor_kernels_made tensor_device_kernels(const struct tensor_device *device);

/* Messages of the validation layer so far (0 unless params.validation). */
uint64_t tensor_device_validation_messages(const struct tensor_device *device);

#endif
