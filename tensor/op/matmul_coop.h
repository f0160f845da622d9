/* matmul_coop.h - how matrix products are spread over matrix units (matmul_coop.c). */
#ifndef TENSOR_OP_MATMUL_COOP_H
#define TENSOR_OP_MATMUL_COOP_H

#include "tensor/contract.h"
#include "tensor/op/matmul.h"

/* Which kernel to take. */
enum matmul_coop {
    MATMUL_COOP_NONE, /* the device has no matrix units for these factors */
    MATMUL_COOP_F16,
    MATMUL_COOP_BF16,
    MATMUL_FLEXIBLE_F16,
    MATMUL_FLEXIBLE_BF16,
    MATMUL_COOP2_F16,
    MATMUL_COOP2_BF16,
};

/* Fills in the launch but for its variant, by the features in use and the device's shapes. */
enum matmul_coop tensor_matmul_coop(const struct tensor_device_info *info,
                                    const struct matmul_params *p, struct tensor_launch *launch);

#endif
