/* matmul_way.h - the ways in which a Vulkan device can compute a matrix product (private to the
 * library).
 *
 * A way is a variant of the kernel with its tile. Which ways there are is a matter of the device's
 * features and of the product; which one is taken, of a rule, or of what was found by trying
 * (choices.h). In how many parts k is summed is settled with it, but earlier: when the product is
 * recorded, since parts want memory that the graph plans.
 */
#ifndef TENSOR_OP_MATMUL_WAY_H
#define TENSOR_OP_MATMUL_WAY_H

#include "tensor/contract.h"
#include "tensor/op/matmul.h"

/* Workgroups that keep a GPU busy whose driver does not say how many cores it has: a large one. */
#define MATMUL_GROUPS_WANTED 128

static inline uint32_t tensor_matmul_groups_wanted(const struct tensor_device_info *info)
{
    return info->cores ? info->cores : MATMUL_GROUPS_WANTED;
}

struct matmul_way {
    struct tensor_launch launch; /* with all parts of the product */
    uint32_t m, n;    /* of c, that a workgroup takes; of matmul_direct, an invocation */
    uint32_t unit[3]; /* what its matrix units multiply: m, n, k; else 0 */
};
#define MATMUL_WAYS 48 /* at most */

/* All that the device has for a product; the rule's first. Returns how many, at least one. */
uint32_t tensor_matmul_ways(const struct tensor_device_info *info, const struct matmul_params *p,
                            struct matmul_way way[MATMUL_WAYS]);

/* matmul_params.part for about so many parts of k, 1 … MATMUL_PARTS_MAX; and how many parts that
 * makes. */
uint32_t tensor_matmul_part(uint32_t k, uint32_t parts);
uint32_t tensor_matmul_parts(uint32_t k, uint32_t part);

/* The way that is taken of those; `chosen` (or NULL): not by the rule. */
void tensor_matmul_way(const struct tensor_device_info *info, const struct matmul_params *p,
                       struct matmul_way *way, bool *chosen);

/* What p->part is where the device's choices and the rule have their way. The rule cuts k on GPUs
 * alone, and only of weight gradients: a long sum over all rows, whose few tiles leave most of a
 * GPU idle. */
uint32_t tensor_matmul_part_taken(const struct tensor_device_info *info,
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

/* Records one pass, or two with memory for the parts between them. */
void tensor_record_matmul(struct tensor_graph *g, const struct tensor_matmul *product);

extern const struct tensor_kernel *const tensor_kernel_matmul;

#endif
