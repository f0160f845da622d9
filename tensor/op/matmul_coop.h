/* matmul_coop.h - kernel configurations of a matrix product on matrix units (matmul_coop.c). */
#ifndef TENSOR_OP_MATMUL_COOP_H
#define TENSOR_OP_MATMUL_COOP_H

#include "tensor/op/matmul_config.h"

/* Which kernel to take, as variants follow one another. */
enum matmul_coop {
    MATMUL_COOP_F16,
    MATMUL_COOP_BF16,
    MATMUL_FLEXIBLE_F16,
    MATMUL_FLEXIBLE_BF16,
    MATMUL_COOP2_F16,
    MATMUL_COOP2_BF16,
};

/* Appends those that the features in use and the device's shapes allow, of variants from `first`
 * on; *usual becomes the rule's of them. Returns how many there are then. */
uint32_t tensor_matmul_coop_configs(const struct tensor_device_info *info,
                                 const struct matmul_params *p, uint32_t first,
                                 struct matmul_config *config, uint32_t count, uint32_t *usual);

#endif
