/* shift.c - rows moved down within their group, a pad on top (op.h: tensor_shift). */
#include "tensor/contract.h"
#include "tensor/op/shift.h"
#include <string.h>

static int shift_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct shift_params *p = params;
    const size_t columns = p->columns;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        const uint32_t j = r % p->n;
        const float *from = j < p->s ? f32_at(p->pad) + j * columns
                                     : f32_at(p->x) + (size_t)(r - p->s) * columns;
        memcpy(f32_at(p->y) + r * columns, from, columns * sizeof(float));
    }
    return 0;
}

static void shift_launch(const struct tensor_device_info *info, const void *params,
                         struct tensor_launch *launch)
{
    const struct shift_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->columns);
}

static const struct tensor_kernel shift = {
    .name = "shift",
    .params_size = sizeof(struct shift_params),
    .args = 3,
    .writes = TENSOR_ARG(shift_params, y),
    .cpu = shift_cpu,
    .launch = shift_launch,
    .variant = {"shift"},
};
const struct tensor_kernel *const tensor_kernel_shift = &shift;

static int shift_grad_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct shift_grad_params *p = params;
    const size_t columns = p->columns;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        float *to = f32_at(p->dx) + r * columns;
        if (r % p->n + p->s < p->n)
            memcpy(to, f32_at(p->dy) + (size_t)(r + p->s) * columns, columns * sizeof(float));
        else
            memset(to, 0, columns * sizeof(float));
    }
    return 0;
}

static void shift_grad_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    const struct shift_grad_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->columns);
}

static const struct tensor_kernel shift_grad = {
    .name = "shift_grad",
    .params_size = sizeof(struct shift_grad_params),
    .args = 2,
    .writes = TENSOR_ARG(shift_grad_params, dx),
    .cpu = shift_grad_cpu,
    .launch = shift_grad_launch,
    .variant = {"shift_grad"},
};
const struct tensor_kernel *const tensor_kernel_shift_grad = &shift_grad;

static void shift_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *x = node->input[0], *pad = node->input[1];
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    const uint32_t n = node->number[0], s = pad->shape[0], columns = tensor_columns(x);
    const uint32_t rows = tensor_rows(x);
    if (tensor_graph_wants(g, pad)) { /* the first s rows of each group, summed over groups */
        uint32_t add;
        struct tensor *dpad = tensor_graph_target(g, pad, &add);
        tensor_record_sum_rows(g, dy, rows / n, s * columns, n * columns, dpad, add);
    }
    if (tensor_graph_wants(g, x)) {
        struct tensor *dx = tensor_graph_like(g, x);
        const struct shift_grad_params p = {.rows = rows, .columns = columns, .n = n, .s = s};
        tensor_graph_pass(g, &shift_grad, &p, (struct tensor *[]){dy, dx}, 0);
        tensor_graph_give(g, x, dx);
    }
}

struct tensor *tensor_shift(struct tensor_graph *g, struct tensor *x, struct tensor *pad,
                            uint32_t n)
{
    const uint32_t rows = tensor_rows(x), columns = tensor_columns(x);
    if (!tensor_check(g, n && rows % n == 0 && pad->rank == 2 && pad->shape[0] <= n &&
                      pad->shape[1] == columns, "shift", "x (G·n, C), pad (s, C), s <= n", x, pad))
        return x;
    struct tensor *y = tensor_graph_matrix(g, rows, columns);
    const struct shift_params p = {.rows = rows, .columns = columns, .n = n, .s = pad->shape[0]};
    tensor_graph_pass(g, &shift, &p, (struct tensor *[]){x, pad, y}, 0);
    tensor_graph_node(g, &(struct tensor_node){shift_gradient, .output = y, .input = {x, pad},
                                               .number = {n}});
    return y;
}
