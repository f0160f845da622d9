/* unfold.c - rows beside the rows before them: what makes a causal convolution a matrix product
 * (op.h: tensor_unfold). */
#include "tensor/op/unfold.h"
#include "tensor/contract.h"
#include <string.h>

static int unfold_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct unfold_params *p = params;
    const size_t columns = p->columns, before = p->taps - 1;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        float *to = f32_at(p->y) + (size_t)r * p->taps * columns;
        for (uint32_t j = 0; j < p->taps; j++, to += columns)
            if (r % p->n + j < before)
                memset(to, 0, columns * sizeof(float));
            else
                memcpy(to, f32_at(p->x) + (r + j - before) * columns, columns * sizeof(float));
    }
    return 0;
}

static void unfold_launch(const struct tensor_device_info *info, const void *params,
                          struct tensor_launch *launch)
{
    const struct unfold_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->taps * p->columns);
}

static const struct tensor_kernel unfold = {
    .name = "unfold",
    .params_size = sizeof(struct unfold_params),
    .args = 2,
    .writes = TENSOR_ARG(unfold_params, y),
    .cpu = unfold_cpu,
    .launch = unfold_launch,
    .variant = {"unfold"},
};
const struct tensor_kernel *const tensor_kernel_unfold = &unfold;

static int unfold_grad_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct unfold_grad_params *p = params;
    const size_t columns = p->columns, wide = columns * p->taps;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        float *to = f32_at(p->dx) + r * columns;
        memset(to, 0, columns * sizeof(float));
        for (uint32_t back = 0; back < p->taps && r % p->n + back < p->n; back++) {
            const float *from =
                f32_at(p->dy) + (r + back) * wide + (p->taps - 1 - back) * columns;
            for (uint32_t c = 0; c < p->columns; c++)
                to[c] += from[c];
        }
    }
    return 0;
}

static void unfold_grad_launch(const struct tensor_device_info *info, const void *params,
                               struct tensor_launch *launch)
{
    const struct unfold_grad_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->columns);
}

static const struct tensor_kernel unfold_grad = {
    .name = "unfold_grad",
    .params_size = sizeof(struct unfold_grad_params),
    .args = 2,
    .writes = TENSOR_ARG(unfold_grad_params, dx),
    .cpu = unfold_grad_cpu,
    .launch = unfold_grad_launch,
    .variant = {"unfold_grad"},
};
const struct tensor_kernel *const tensor_kernel_unfold_grad = &unfold_grad;

static void unfold_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *x = node->input[0];
    if (!tensor_graph_wants(g, x))
        return;
    struct tensor *dx = tensor_graph_like(g, x);
    const struct unfold_grad_params p = {.rows = tensor_rows(x), .columns = tensor_columns(x),
                                         .n = node->number[0], .taps = node->number[1]};
    tensor_graph_pass(g, &unfold_grad, &p,
                      (struct tensor *[]){tensor_graph_output_gradient(g, node), dx}, 0);
    tensor_graph_give(g, x, dx);
}

struct tensor *tensor_unfold(struct tensor_graph *g, struct tensor *x, uint32_t n, uint32_t taps)
{
    const uint32_t rows = tensor_rows(x), columns = tensor_columns(x);
    if (!tensor_check(g, n && rows % n == 0 && taps && (uint64_t)rows * taps * columns < INT32_MAX,
                      "unfold", "x (G·n, C), taps >= 1, fewer than 2^31 results", x, NULL))
        return x;
    struct tensor *y = tensor_graph_matrix(g, rows, taps * columns);
    const struct unfold_params p = {.rows = rows, .columns = columns, .n = n, .taps = taps};
    tensor_graph_pass(g, &unfold, &p, (struct tensor *[]){x, y}, 0);
    tensor_graph_node(g, &(struct tensor_node){unfold_gradient, .output = y, .input = {x},
                                               .number = {n, taps}});
    return y;
}
