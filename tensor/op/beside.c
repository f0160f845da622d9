/* beside.c - two matrices side by side (op.h: tensor_beside). */
#include "tensor/op/beside.h"
#include "tensor/contract.h"
#include <string.h>

static void beside_cpu(const void *params)
{
    const struct beside_params *p = params;
    const size_t left = p->left, right = p->right;
    float *y = f32_at(p->y);
    for (size_t r = 0; r < p->rows; r++, y += left + right) {
        memcpy(y, f32_at(p->a) + r * left, left * sizeof *y);
        memcpy(y + left, f32_at(p->b) + r * right, right * sizeof *y);
    }
}

static void beside_launch(const struct tensor_device_info *info, const void *params,
                          struct tensor_launch *launch)
{
    const struct beside_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * (p->left + p->right));
}

static const struct tensor_kernel beside = {
    .name = "beside",
    .params_size = sizeof(struct beside_params),
    .args = 3,
    .writes = 1u << 2,
    .cpu = beside_cpu,
    .launch = beside_launch,
    .variant = {"beside"},
};
const struct tensor_kernel *const tensor_kernel_beside = &beside;

struct tensor *tensor_beside(struct tensor_graph *g, struct tensor *a, struct tensor *b)
{
    if (!tensor_check(g, tensor_rows(a) == tensor_rows(b), "beside", "a (R, A), b (R, B)", a, b))
        return a;
    const struct beside_params p = {.rows = tensor_rows(a), .left = tensor_columns(a),
                                    .right = tensor_columns(b)};
    struct tensor *y = tensor_graph_matrix(g, p.rows, p.left + p.right);
    tensor_graph_pass(g, &beside, &p, (struct tensor *[]){a, b, y}, 0);
    return y;
}
