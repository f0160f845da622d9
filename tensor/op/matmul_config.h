/* matmul_config.h - the kernel configurations of a matrix product on a Vulkan device (private to
 * the library).
 *
 * A configuration is a variant of the kernel with its tile. The device's features and the product
 * decide which exist; the graph's autotune cache (autotune.h) or else a rule picks one. The number
 * of splits of split-K belongs to it, but is settled earlier, when the product is recorded: partial
 * sums need memory that the graph plans.
 */
#ifndef TENSOR_OP_MATMUL_CONFIG_H
#define TENSOR_OP_MATMUL_CONFIG_H

#include "tensor/autotune_cache.h"
#include "tensor/contract.h"
#include "tensor/op/matmul.h"

/* Workgroups that keep a GPU busy whose driver does not say how many cores it has: a large one. */
#define MATMUL_GROUPS_WANTED 128

static inline uint32_t tensor_matmul_groups_wanted(const struct tensor_device_info *info)
{
    return info->cores ? info->cores : MATMUL_GROUPS_WANTED;
}

struct matmul_config {
    struct tensor_launch launch; /* with all splits of the product */
    uint32_t m, n;    /* of c, that a workgroup takes; of matmul_direct, an invocation */
    uint32_t unit[3]; /* what its matrix units multiply: m, n, k; else 0 */
};
#define MATMUL_CONFIGS 48 /* at most */

/* Lists all that the device has for a product; the rule's first. Returns how many, at least one. */
uint32_t tensor_matmul_configs(const struct tensor_device_info *info, const struct matmul_params *p,
                            struct matmul_config config[MATMUL_CONFIGS]);

/* matmul_params.split_k for about so many splits of k, 1 … MATMUL_SPLITS_MAX; and how many splits
 * that makes. */
uint32_t tensor_matmul_split_k(uint32_t k, uint32_t splits);
uint32_t tensor_matmul_splits(uint32_t k, uint32_t split_k);

/* The configuration for this product as an entry of an autotune cache. */
struct tensor_autotune_entry tensor_matmul_entry(const struct matmul_params *p,
                                                 const struct matmul_config *config,
                                                 uint32_t splits);

/* Picks one of those: the cache's, else the rule's. `autotune` may be NULL. `tuned` (may be NULL):
 * it is the cache's. */
void tensor_matmul_configure(const struct tensor_device_info *info,
                             const struct tensor_autotune *autotune, const struct matmul_params *p,
                             struct matmul_config *config, bool *tuned);

/* Picks matmul_params.split_k: the cache's, else the rule's. The rule splits k only on GPUs, and
 * only of weight gradients: they are long sums over all rows, whose few tiles leave most of a GPU
 * idle. */
uint32_t tensor_matmul_split_k_for(const struct tensor_device_info *info,
                                   const struct tensor_autotune *autotune,
                                   const struct matmul_params *p);

/* A product to record. Flags of types, and of the tensors that are there, follow from these. */
struct tensor_matmul {
    struct tensor *a, *b;     /* of one type */
    struct tensor *bias;      /* NULL: none */
    struct tensor *residual;  /* of c's type; NULL: none; c: the product is added to c */
    struct tensor *c;
    uint32_t m, n, k;
    uint32_t flags;           /* MATMUL_ORDER, MATMUL_RELU */
    uint32_t threshold;       /* of dropout; 0: none */
    uint32_t stream;
    float scale;
};

/* Records one pass, or two with memory for the splits between them. */
void tensor_record_matmul(struct tensor_graph *g, const struct tensor_matmul *product);

extern const struct tensor_kernel *const tensor_kernel_matmul;

#endif
