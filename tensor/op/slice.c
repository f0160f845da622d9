/* slice.c - some rows of each sequence, from a place that is read at run time (op.h:
 * tensor_slice). */
#include "tensor/op/slice.h"
#include "tensor/contract.h"
#include <string.h>

static int slice_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct slice_params *p = params;
    const size_t columns = p->columns, first = u32_at(p->first)[0];
    for (size_t n = 0; n < p->sequences; n++)
        memcpy(f32_at(p->y) + n * p->taken * columns,
               f32_at(p->x) + (n * p->positions + first) * columns,
               p->taken * columns * sizeof(float));
    return 0;
}

static void slice_launch(const struct tensor_device_info *info, const void *params,
                         struct tensor_launch *launch)
{
    const struct slice_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->sequences * p->taken * p->columns);
}

static const struct tensor_kernel slice = {
    .name = "slice",
    .params_size = sizeof(struct slice_params),
    .args = 3,
    .writes = TENSOR_ARG(slice_params, y),
    .cpu = slice_cpu,
    .launch = slice_launch,
    .variant = {"slice"},
};
const struct tensor_kernel *const tensor_kernel_slice = &slice;

static int slice_grad_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct slice_grad_params *p = params;
    const size_t columns = p->columns, first = u32_at(p->first)[0];
    for (size_t n = 0; n < p->sequences; n++) {
        float *to = f32_at(p->dx) + n * p->positions * columns;
        memset(to, 0, p->positions * columns * sizeof(float));
        memcpy(to + first * columns, f32_at(p->dy) + n * p->taken * columns,
               p->taken * columns * sizeof(float));
    }
    return 0;
}

static void slice_grad_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    const struct slice_grad_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->sequences * p->positions * p->columns);
}

static const struct tensor_kernel slice_grad = {
    .name = "slice_grad",
    .params_size = sizeof(struct slice_grad_params),
    .args = 3,
    .writes = TENSOR_ARG(slice_grad_params, dx),
    .cpu = slice_grad_cpu,
    .launch = slice_grad_launch,
    .variant = {"slice_grad"},
};
const struct tensor_kernel *const tensor_kernel_slice_grad = &slice_grad;

static void slice_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *x = node->input[0];
    if (!tensor_graph_wants(g, x))
        return;
    struct tensor *dx = tensor_graph_like(g, x);
    const struct slice_grad_params p = {
        .sequences = tensor_rows(x) / node->number[0], .positions = node->number[0],
        .taken = node->number[1], .columns = tensor_columns(x)};
    tensor_graph_pass(g, &slice_grad, &p,
                      (struct tensor *[]){tensor_graph_output_gradient(g, node), node->input[1],
                                          dx},
                      0);
    tensor_graph_give(g, x, dx);
}

struct tensor *tensor_slice(struct tensor_graph *g, struct tensor *x, uint32_t length,
                            struct tensor *first, uint32_t taken)
{
    const uint32_t rows = tensor_rows(x);
    if (!tensor_check(g, length && rows % length == 0 && taken && taken <= length, "slice",
                      "x (N·S, C), taken <= S", x, NULL) ||
        !tensor_check(g, first->type == TENSOR_U32, "slice", "first (1) U32", first, NULL))
        return x;
    const struct slice_params p = {.sequences = rows / length, .positions = length, .taken = taken,
                                   .columns = tensor_columns(x)};
    struct tensor *y = tensor_graph_matrix(g, p.sequences * taken, p.columns);
    tensor_graph_pass(g, &slice, &p, (struct tensor *[]){x, first, y}, 0);
    tensor_graph_node(g, &(struct tensor_node){slice_gradient, .output = y, .input = {x, first},
                                               .number = {length, taken}});
    return y;
}
