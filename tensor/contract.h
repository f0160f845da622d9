/* contract.h - how an operation is written (private to the library).
 *
 * An op is one stem in tensor/op/:
 *
 *     stem.h      the parameters of its kernels, one struct each, included by C and GLSL (share.h)
 *     stem.c      shape rule and recording, the gradient rule beneath it, the CPU twins of its
 *                 kernels, and how a kernel is spread over a Vulkan device
 *     kernel.comp one GLSL file a kernel, named as the kernel; variants are kernel_variant.comp
 *
 * To add one: write these files, list the .c and the .comp in tensor/meson.build, declare the op in
 * op.h, and give it a case in tests/tensor/cases.c (a test fails while an op has none).
 *
 * Every parameter struct begins with the addresses of the tensors, in the order of the pass's
 * arguments; the planner fills them in when it knows where tensors lie. On the cpu device an
 * address is a host pointer, so the same struct serves both twins.
 */
#ifndef TENSOR_CONTRACT_H
#define TENSOR_CONTRACT_H

#include "tensor/op.h"

#define TENSOR_PASS_ARGS   10
#define TENSOR_PARAMS_MAX  128 /* bytes: the push constants that every device has */
#define TENSOR_CONSTANTS   12  /* specialization constants of a kernel besides its workgroup */
#define TENSOR_VARIANTS    12
#define TENSOR_GROUPS_X    32768u /* width of a linear grid; share.h has the other end */

struct tensor_cpu; /* what a cpu device keeps (cpu/context.h) */

/* How a kernel is spread over a Vulkan device. */
struct tensor_launch {
    uint32_t variant;     /* index into tensor_kernel.variant */
    uint32_t groups[3];   /* workgroups */
    uint32_t workgroup;   /* invocations in x: specialization constant 0 */
    uint32_t constant[TENSOR_CONSTANTS]; /* specialization constants 1 … TENSOR_CONSTANTS */
};

struct tensor_autotune; /* autotune.h */

/* The bit of an argument in the masks of struct tensor_kernel: TENSOR_ARG(gemv_params, y). The
 * arguments are the addresses that lead a parameter struct, 8 bytes each. */
#define TENSOR_ARG(params, member) (1u << offsetof(struct params, member) / 8)
/* Its element of the list that tensor_graph_pass() takes: {TENSOR_AT(gemv_params, y) = y, …}. */
#define TENSOR_AT(params, member) [offsetof(struct params, member) / 8]

struct tensor_kernel {
    const char *name;
    uint32_t params_size;
    uint32_t args;                    /* how many addresses lead the parameters */
    uint32_t writes;                  /* TENSOR_ARG bits: is written (and may be read) */
    uint32_t args16;                  /* TENSOR_ARG bits: may be of 16 bits; others must not */
    /* The C twin: does the whole grid, with OpenMP. Returns 0, or an error with tensor_error(). */
    int (*cpu)(struct tensor_cpu *cpu, const void *params);
    /* Bytes that it takes beside its arguments; NULL: none. Addresses are not asked. */
    uint64_t (*cpu_scratch)(struct tensor_cpu *cpu, const void *params);
    /* One of the two spreads it over a Vulkan device. A kernel that has several configurations
     * looks in the graph's autotune cache (NULL: there is none). */
    void (*launch)(const struct tensor_device_info *info, const void *params,
                   struct tensor_launch *launch);
    void (*launch_tuned)(const struct tensor_device_info *info,
                         const struct tensor_autotune *autotune, const void *params,
                         struct tensor_launch *launch);
    const char *variant[TENSOR_VARIANTS]; /* names of .comp files; [0] runs on every device */
};

/* One kernel with its parameters, recorded. */
struct tensor_pass {
    const struct tensor_kernel *kernel;
    const char *label;
    struct tensor *arg[TENSOR_PASS_ARGS]; /* NULL: a flag keeps the kernel from using it */
    double flops, bytes;
    _Alignas(8) unsigned char params[TENSOR_PARAMS_MAX];
};

/* ---- launch helpers ---- */

/* One invocation an item, along a linear grid (share.h: linear_id()). */
void tensor_launch_items(struct tensor_launch *launch, uint64_t items);
/* One subgroup a row (share.h: subgroup_row()): right for every subgroup size up to
 * info->subgroup. */
void tensor_launch_rows(const struct tensor_device_info *info, struct tensor_launch *launch,
                        uint64_t rows);
/* One workgroup an item (share.h: linear_group()). */
void tensor_launch_groups(struct tensor_launch *launch, uint64_t groups);

/* ---- recording ---- */

struct tensor_node;
typedef void tensor_gradient_rule(struct tensor_graph *g, const struct tensor_node *node);

#define TENSOR_NODE_INPUTS 4
#define TENSOR_NODE_SAVED  2

/* What an op leaves for its gradient. */
struct tensor_node {
    tensor_gradient_rule *rule;
    const char *label;
    struct tensor *output;
    struct tensor *input[TENSOR_NODE_INPUTS];
    struct tensor *saved[TENSOR_NODE_SAVED]; /* made by the forward passes for the gradient */
    uint32_t number[4];                      /* settings of the op */
    float real[2];
    const void *params; /* more of them, from tensor_graph_memory_take(); or NULL */
};

/* Fails the recording, once, with a line "label: …"; later calls are ignored. */
void tensor_graph_fail(struct tensor_graph *g, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Zeroed memory that lives as long as the graph; NULL (and a failed recording) without memory. */
void *tensor_graph_memory_take(struct tensor_graph *g, size_t size);

/* A new intermediate tensor. */
struct tensor *tensor_graph_new(struct tensor_graph *g, enum tensor_type type, uint32_t rank,
                                const uint32_t *shape);
/* The F32 intermediate tensor (rows, columns), and one like another. */
struct tensor *tensor_graph_matrix(struct tensor_graph *g, uint32_t rows, uint32_t columns);
struct tensor *tensor_graph_like(struct tensor_graph *g, const struct tensor *t);

/* A window on another tensor's storage, `element` elements in; nothing is recorded. */
struct tensor *tensor_graph_view(struct tensor_graph *g, struct tensor *t, uint64_t element,
                                 uint32_t rank, const uint32_t *shape);

/* Appends a pass. `params` is copied; its leading addresses are ignored and filled in by the
 * planner from `args` (kernel->args of them, NULL for none). `flops` counts 2 for a
 * multiply-add. */
void tensor_graph_pass(struct tensor_graph *g, const struct tensor_kernel *kernel,
                       const void *params, struct tensor *const *args, double flops);

/* Leaves a node, if the graph is for training and an input needs a gradient; marks the output
 * so. */
void tensor_graph_node(struct tensor_graph *g, const struct tensor_node *node);

const struct tensor_device_info *tensor_graph_device_info(const struct tensor_graph *g);
const struct tensor_autotune *tensor_graph_tuning(const struct tensor_graph *g);
bool tensor_graph_training(const struct tensor_graph *g);
struct tensor *tensor_graph_random(const struct tensor_graph *g);
/* A number that no other call on this graph got: the random stream of one dropout. */
uint32_t tensor_graph_stream(struct tensor_graph *g);

/* Probability p of dropout as a threshold for 32 random bits: 0 outside training or for p = 0.
 * Fails the recording if p is not in [0, 1) or the graph has no random tensor. */
uint32_t tensor_dropout_threshold(struct tensor_graph *g, float p);

/* t as matrix products take it: t itself where the precision is fp32, else its values in 16 bits:
 * t->copy16, or a cast that is recorded when it is first asked for and again only after a pass
 * wrote to t, or to another tensor of its arena. */
struct tensor *tensor_graph_cast16(struct tensor_graph *g, struct tensor *t);
/* The type that products take: F32, or that of the precision. */
enum tensor_type tensor_graph_factor_type(const struct tensor_graph *g);
/* The type of a tensor as kernels get it: ELEMENT_F32, ELEMENT_BF16 … (share.h). */
uint32_t tensor_element_type(const struct tensor *t);

/* ---- gradients, for use in rules ---- */

/* d(output) of the node at hand; never NULL within a rule. */
struct tensor *tensor_graph_output_gradient(struct tensor_graph *g, const struct tensor_node *node);
/* Whether d(t) is wanted. */
bool tensor_graph_wants(const struct tensor_graph *g, const struct tensor *t);
/* Whether a gradient belongs to one tensor only, so that a rule may overwrite its d(output). */
bool tensor_graph_sole(const struct tensor *gradient);
/* Where to put d(t): a kernel must add to it if *accumulate, else overwrite all of it. */
struct tensor *tensor_graph_target(struct tensor_graph *g, struct tensor *t, uint32_t *accumulate);
/* Hands over d(t) as a whole: a tensor just computed, or d(output) itself where the op passes its
 * gradient through. Adds when there is one already. */
void tensor_graph_give(struct tensor_graph *g, struct tensor *t, struct tensor *gradient);

/* Shared by several ops: to (+)= sum over rows of x seen as (rows, columns) at `stride` elements a
 * row. */
void tensor_record_sum_rows(struct tensor_graph *g, struct tensor *x, uint32_t rows,
                            uint32_t columns, uint32_t stride, struct tensor *to,
                            uint32_t accumulate);
/* y = x + z elementwise; y may be x. */
void tensor_record_add(struct tensor_graph *g, struct tensor *x, struct tensor *z,
                       struct tensor *y);

/* Checks for ops: fails the recording and returns false. */
bool tensor_check(struct tensor_graph *g, bool holds, const char *op, const char *rule,
                  const struct tensor *a, const struct tensor *b);

#endif
