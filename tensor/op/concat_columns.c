/* concat_columns.c - the columns of two matrices in one (op.h: tensor_concat_columns). */
#include "tensor/op/concat_columns.h"
#include "tensor/contract.h"
#include <string.h>

static int concat_columns_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct concat_columns_params *p = params;
    const size_t left = p->left, right = p->right;
    float *y = f32_at(p->y);
    for (size_t r = 0; r < p->rows; r++, y += left + right) {
        memcpy(y, f32_at(p->a) + r * left, left * sizeof *y);
        memcpy(y + left, f32_at(p->b) + r * right, right * sizeof *y);
    }
    return 0;
}

static void concat_columns_launch(const struct tensor_device_info *info, const void *params,
                                  struct tensor_launch *launch)
{
    const struct concat_columns_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * (p->left + p->right));
}

static const struct tensor_kernel concat_columns = {
    .name = "concat_columns",
    .params_size = sizeof(struct concat_columns_params),
    .args = 3,
    .writes = TENSOR_ARG(concat_columns_params, y),
    .cpu = concat_columns_cpu,
    .launch = concat_columns_launch,
    .variant = {"concat_columns"},
};
const struct tensor_kernel *const tensor_kernel_concat_columns = &concat_columns;

struct tensor *tensor_concat_columns(struct tensor_graph *g, struct tensor *a, struct tensor *b)
{
    if (!tensor_check(g, tensor_rows(a) == tensor_rows(b), "concat_columns", "a (R, A), b (R, B)",
                      a, b))
        return a;
    const struct concat_columns_params p = {.rows = tensor_rows(a), .left = tensor_columns(a),
                                    .right = tensor_columns(b)};
    struct tensor *y = tensor_graph_matrix(g, p.rows, p.left + p.right);
    tensor_graph_pass(g, &concat_columns, &p, (struct tensor *[]){a, b, y}, 0);
    return y;
}
