/* matmul.c - matrix products: the linear layer with bias and ReLU (op.h: tensor_linear). */
#include "tensor/cpu/matmul.h"
#include "tensor/op/matmul_coop.h"

static void matmul_cpu(const void *params)
{
    tensor_cpu_matmul(params);
}

static uint64_t tiles(uint32_t size, uint32_t tile)
{
    return (size + tile - 1) / tile;
}

/* Kernels for matrix units follow after PAIRS, in the order of enum matmul_coop. */
enum { DIRECT, TILED, PAIRS };

/* Whether matmul_pairs can do it: all lines are whole steps of 8 bytes at multiples of that. */
static bool in_pairs(const struct matmul_params *p, uint32_t line_a, uint32_t line_b)
{
    const uint32_t step = p->flags & (MATMUL_BF16 | MATMUL_F16) ? 4 : 2;
    return (p->k | line_a | line_b) % step == 0 && (p->a | p->b) % 8 == 0;
}

static void launch_pairs(const struct tensor_device_info *info, const struct matmul_params *p,
                         struct tensor_launch *launch)
{
    uint32_t rows = MATMUL_PAIRS_ROWS, groups = MATMUL_PAIRS_GROUPS;
    const uint32_t width = 4 * (info->subgroup < 8 ? 8 : info->subgroup);
    while (rows > 2 && p->m <= rows / 2)
        rows /= 2;
    if (p->m == 1)
        rows = 1;
    while (groups > 1 && p->n <= groups / 2 * width)
        groups /= 2;
    launch->variant = PAIRS;
    launch->constant[1] = rows;
    launch->constant[2] = groups;
    launch->constant[3] = p->flags & (MATMUL_BF16 | MATMUL_F16);
    launch->workgroup = width / 4;
    launch->groups[0] = (uint32_t)tiles(p->n, groups * width);
    launch->groups[1] = (uint32_t)tiles(p->m, rows);
    launch->groups[2] = 1;
}

static void matmul_launch(const struct tensor_device_info *info, const void *params,
                          struct tensor_launch *launch)
{
    const struct matmul_params *p = params;
    const enum matmul_coop coop = tensor_matmul_coop(info, p, launch);
    if (coop != MATMUL_COOP_NONE) {
        launch->variant = PAIRS + coop;
        return;
    }
    const uint32_t line_a = p->flags & MATMUL_TRANSPOSE_A ? p->m : p->k;
    const uint32_t line_b = p->flags & MATMUL_TRANSPOSE_B ? p->k : p->n;
    launch->constant[0] = p->flags & (MATMUL_TRANSPOSE_A | MATMUL_TRANSPOSE_B);
    if (!(info->features & TENSOR_SHARED_TILES) && info->features & TENSOR_LONG_LOADS &&
        in_pairs(p, line_a, line_b)) {
        launch_pairs(info, p, launch);
        return;
    }
    /* Loads of four floats at once, where all lines allow it. */
    launch->constant[1] = (p->k | line_a | line_b) % 4 == 0 && (p->a | p->b) % 16 == 0;
    launch->constant[2] = p->flags & (MATMUL_BF16 | MATMUL_F16);
    if (!(info->features & TENSOR_SHARED_TILES)) {
        launch->variant = DIRECT;
        tensor_launch_items(launch, tiles(p->m, MATMUL_DIRECT_M) * tiles(p->n, MATMUL_DIRECT_N));
        return;
    }
    launch->variant = TILED;
    launch->workgroup = 256;
    launch->groups[0] = (uint32_t)tiles(p->n, MATMUL_TILED_N);
    launch->groups[1] = (uint32_t)tiles(p->m, MATMUL_TILED_M);
    launch->groups[2] = 1;
}

static uint64_t matmul_scratch(const void *params)
{
    return tensor_cpu_matmul_scratch(params);
}

static const struct tensor_kernel matmul = {
    .name = "matmul",
    .params_size = sizeof(struct matmul_params),
    .args = 4,
    .writes = 1u << 3,
    .cpu = matmul_cpu,
    .cpu_scratch = matmul_scratch,
    .launch = matmul_launch,
    .variant = {"matmul_direct", "matmul_tiled", "matmul_pairs", "matmul_coop_f16",
                "matmul_coop_bf16", "matmul_flexible_f16", "matmul_flexible_bf16",
                "matmul_coop2_f16", "matmul_coop2_bf16"},
};
const struct tensor_kernel *const tensor_kernel_matmul = &matmul;

static void relu_grad_cpu(const void *params)
{
    const struct relu_grad_params *p = params;
    const float *y = f32_at(p->y), *dy = f32_at(p->dy);
    float *dx = f32_at(p->dx);
#pragma omp parallel for simd schedule(static)
    for (uint32_t i = 0; i < p->count; i++)
        dx[i] = y[i] > 0 ? dy[i] : 0;
}

static void relu_grad_launch(const struct tensor_device_info *info, const void *params,
                             struct tensor_launch *launch)
{
    tensor_launch_items(launch, ((const struct relu_grad_params *)params)->count);
}

static const struct tensor_kernel relu_grad = {
    .name = "relu_grad",
    .params_size = sizeof(struct relu_grad_params),
    .args = 3,
    .writes = 1u << 2,
    .cpu = relu_grad_cpu,
    .launch = relu_grad_launch,
    .variant = {"relu_grad"},
};
const struct tensor_kernel *const tensor_kernel_relu_grad = &relu_grad;

static void record_matmul(struct tensor_graph *g, struct tensor *a, struct tensor *b,
                          struct tensor *bias, struct tensor *c, uint32_t m, uint32_t n, uint32_t k,
                          uint32_t flags)
{
    a = tensor_graph_narrow(g, a);
    b = tensor_graph_narrow(g, b);
    if (a->type == TENSOR_BF16)
        flags |= MATMUL_BF16;
    if (a->type == TENSOR_F16)
        flags |= MATMUL_F16;
    const struct matmul_params p = {.m = m, .n = n, .k = k, .flags = flags};
    tensor_graph_pass(g, &matmul, &p, (struct tensor *[]){a, b, bias, c}, 2.0 * m * n * k);
}

static struct tensor *through_relu(struct tensor_graph *g, struct tensor *y, struct tensor *dy)
{
    struct tensor *dx = tensor_graph_sole(dy) ? dy : tensor_graph_like(g, dy);
    const struct relu_grad_params p = {.count = (uint32_t)y->count};
    tensor_graph_pass(g, &relu_grad, &p, (struct tensor *[]){y, dy, dx}, 0);
    return dx;
}

static void linear_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *x = node->input[0], *weight = node->input[1], *bias = node->input[2];
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    const uint32_t rows = tensor_rows(x), inputs = tensor_columns(x), outputs = weight->shape[0];
    uint32_t add;
    if (node->number[0])
        dy = through_relu(g, node->output, dy);
    if (tensor_graph_wants(g, bias)) {
        struct tensor *db = tensor_graph_target(g, bias, &add);
        tensor_record_sum_rows(g, dy, rows, outputs, outputs, db, add);
    }
    if (tensor_graph_wants(g, weight)) {
        struct tensor *dw = tensor_graph_target(g, weight, &add);
        record_matmul(g, dy, x, NULL, dw, outputs, inputs, rows,
                      MATMUL_TRANSPOSE_A | (add ? MATMUL_ACCUMULATE : 0));
    }
    if (tensor_graph_wants(g, x)) {
        struct tensor *dx = tensor_graph_target(g, x, &add);
        record_matmul(g, dy, weight, NULL, dx, rows, inputs, outputs, add ? MATMUL_ACCUMULATE : 0);
    }
}

struct tensor *tensor_linear(struct tensor_graph *g, struct tensor *x, struct tensor *weight,
                             struct tensor *bias, bool relu)
{
    const uint32_t rows = tensor_rows(x), inputs = tensor_columns(x), outputs = weight->shape[0];
    if (!tensor_check(g, weight->rank == 2 && weight->shape[1] == inputs, "linear",
                      "x (R, I), weight (O, I)", x, weight) ||
        !tensor_check(g, !bias || bias->count == outputs, "linear", "weight (O, I), bias (O)",
                      weight, bias))
        return x;
    struct tensor *y = tensor_graph_matrix(g, rows, outputs);
    record_matmul(g, x, weight, bias, y, rows, outputs, inputs,
                  MATMUL_TRANSPOSE_B | (bias ? MATMUL_BIAS : 0) | (relu ? MATMUL_RELU : 0));
    tensor_graph_node(g, &(struct tensor_node){linear_gradient, .output = y,
                                               .input = {x, weight, bias}, .number = {relu}});
    return y;
}
