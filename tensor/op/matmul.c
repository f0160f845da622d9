/* matmul.c - matrix products: the linear layer with bias and ReLU (op.h: tensor_linear). */
#include "tensor/cpu/matmul.h"
#include "tensor/cpu/narrow.h"
#include "tensor/op/matmul_way.h"
#include "tensor/storage.h"

static float factor_at(uint64_t x, size_t i, uint32_t flags)
{
    if (!(flags & MATMUL_FACTORS))
        return f32_at(x)[i];
    return tensor_from_narrow(u16_at(x)[i], flags & MATMUL_BF16 ? NARROW_BF16 : NARROW_F16);
}

/* Products of parts of k, each by itself: of tests only, as the cpu device never cuts k. */
static void parts_cpu(const struct matmul_params *p)
{
    const uint32_t parts = tensor_matmul_parts(p->k, p->part);
#pragma omp parallel for collapse(2) schedule(static)
    for (uint32_t part = 0; part < parts; part++)
        for (uint32_t i = 0; i < p->m; i++) {
            const uint32_t begin = part * p->part;
            const uint32_t end = p->k - begin < p->part ? p->k : begin + p->part;
            float *c = f32_at(p->c) + ((size_t)part * p->m + i) * p->n;
            for (uint32_t j = 0; j < p->n; j++) {
                float sum = 0;
                for (size_t k = begin; k < end; k++)
                    sum += factor_at(p->a, p->flags & MATMUL_TRANSPOSE_A ? k * p->m + i
                                                                         : (size_t)i * p->k + k,
                                     p->flags) *
                           factor_at(p->b, p->flags & MATMUL_TRANSPOSE_B ? (size_t)j * p->k + k
                                                                         : k * p->n + j,
                                     p->flags);
                c[j] = sum;
            }
        }
}

static void matmul_cpu(const void *params)
{
    const struct matmul_params *p = params;
    if (p->part < p->k)
        parts_cpu(p);
    else
        tensor_cpu_matmul(p);
}

static void matmul_launch(const struct tensor_device_info *info, const void *params,
                          struct tensor_launch *launch)
{
    struct matmul_way way;
    tensor_matmul_way(info, params, &way, NULL);
    *launch = way.launch;
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
    .narrow = 1u << 0 | 1u << 1 | 1u << 3,
    .cpu = matmul_cpu,
    .cpu_scratch = matmul_scratch,
    .launch = matmul_launch,
    .variant = {"matmul_direct", "matmul_tiled", "matmul_pairs", "matmul_coop_f16",
                "matmul_coop_bf16", "matmul_flexible_f16", "matmul_flexible_bf16",
                "matmul_coop2_f16", "matmul_coop2_bf16"},
};
const struct tensor_kernel *const tensor_kernel_matmul = &matmul;

/* ---- parts of k ---- */

static void matmul_sum_cpu(const void *params)
{
    const struct matmul_params *p = params;
    const uint32_t parts = tensor_matmul_parts(p->k, p->part);
    const size_t count = (size_t)p->m * p->n;
    const float *a = f32_at(p->a), *bias = f32_at(p->bias);
    const bool narrow = p->flags & MATMUL_NARROW;
    const uint32_t type = p->flags & MATMUL_BF16 ? NARROW_BF16 : NARROW_F16;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; i++) {
        float sum = a[i];
        for (uint32_t part = 1; part < parts; part++)
            sum += a[part * count + i];
        if (p->flags & MATMUL_ACCUMULATE)
            sum += narrow ? tensor_from_narrow(u16_at(p->c)[i], type) : f32_at(p->c)[i];
        if (p->flags & MATMUL_BIAS)
            sum += bias[i % p->n];
        sum = p->flags & MATMUL_RELU && sum < 0 ? 0 : sum;
        if (narrow)
            u16_at(p->c)[i] = tensor_to_narrow(sum, type);
        else
            f32_at(p->c)[i] = sum;
    }
}

static void matmul_sum_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    const struct matmul_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->m * ((p->n + 3) / 4));
}

static const struct tensor_kernel matmul_sum = {
    .name = "matmul_sum",
    .params_size = sizeof(struct matmul_params),
    .args = 4,
    .writes = 1u << 3,
    .narrow = 1u << 3,
    .cpu = matmul_sum_cpu,
    .launch = matmul_sum_launch,
    .variant = {"matmul_sum"},
};
const struct tensor_kernel *const tensor_kernel_matmul_sum = &matmul_sum;

/* ---- the linear layer ---- */

static void relu_grad_cpu(const void *params)
{
    const struct relu_grad_params *p = params;
    const float *y = f32_at(p->y), *dy = f32_at(p->dy);
    const uint16_t *narrow_y = u16_at(p->y), *narrow_dy = u16_at(p->dy);
    float *dx = f32_at(p->dx);
    uint16_t *narrow_dx = u16_at(p->dx);
    if (p->type == NARROW_NONE) {
#pragma omp parallel for simd schedule(static)
        for (uint32_t i = 0; i < p->count; i++)
            dx[i] = y[i] > 0 ? dy[i] : 0;
        return;
    }
    /* Above 0: neither its sign, nor nothing at all, nor beyond infinity. */
    const uint16_t infinite = p->type == NARROW_BF16 ? 0x7f80 : 0x7c00;
#pragma omp parallel for simd schedule(static)
    for (uint32_t i = 0; i < p->count; i++)
        narrow_dx[i] = (uint16_t)(narrow_y[i] - 1) < infinite ? narrow_dy[i] : 0;
    if (p->count % 2)
        narrow_dx[p->count] = 0;
}

static void relu_grad_launch(const struct tensor_device_info *info, const void *params,
                             struct tensor_launch *launch)
{
    const struct relu_grad_params *p = params;
    launch->constant[0] = p->type;
    tensor_launch_items(launch, p->type == NARROW_NONE ? p->count : ((uint64_t)p->count + 1) / 2);
}

static const struct tensor_kernel relu_grad = {
    .name = "relu_grad",
    .params_size = sizeof(struct relu_grad_params),
    .args = 3,
    .writes = 1u << 2,
    .narrow = 1u << 0 | 1u << 1 | 1u << 2,
    .cpu = relu_grad_cpu,
    .launch = relu_grad_launch,
    .variant = {"relu_grad"},
};
const struct tensor_kernel *const tensor_kernel_relu_grad = &relu_grad;

void tensor_record_matmul(struct tensor_graph *g, struct tensor *a, struct tensor *b,
                          struct tensor *bias, struct tensor *c, uint32_t m, uint32_t n, uint32_t k,
                          uint32_t flags)
{
    static const uint32_t factors[] = {[TENSOR_BF16] = MATMUL_BF16, [TENSOR_F16] = MATMUL_F16,
                                       [TENSOR_F32] = 0};
    struct matmul_params p = {.m = m, .n = n, .k = k, .flags = flags | factors[a->type]};
    if (tensor_is_narrow(c->type)) {
        p.flags |= MATMUL_NARROW;
        if (!tensor_check(g, c->type == a->type && n % 4 == 0, "linear",
                          "16 bits want a multiple of 4 columns", c, a))
            return;
    }
    const double flops = 2.0 * m * n * k;
    p.part = tensor_matmul_part_taken(tensor_graph_device_info(g), &p);
    const uint32_t parts = tensor_matmul_parts(k, p.part);
    if (parts == 1) {
        tensor_graph_pass(g, &matmul, &p, (struct tensor *[]){a, b, bias, c}, flops);
        return;
    }
    struct tensor *sums = tensor_graph_matrix(g, parts * m, n);
    const uint32_t ends = MATMUL_ACCUMULATE | MATMUL_BIAS | MATMUL_RELU | MATMUL_NARROW;
    const uint32_t end = p.flags & (ends | MATMUL_FACTORS);
    p.flags &= ~ends;
    tensor_graph_pass(g, &matmul, &p, (struct tensor *[]){a, b, NULL, sums}, flops);
    p.flags = end;
    tensor_graph_pass(g, &matmul_sum, &p, (struct tensor *[]){sums, NULL, bias, c}, 0);
}

static void record(struct tensor_graph *g, struct tensor *a, struct tensor *b, struct tensor *bias,
                   struct tensor *c, uint32_t m, uint32_t n, uint32_t k, uint32_t flags)
{
    a = tensor_graph_narrow(g, a);
    b = tensor_graph_narrow(g, b);
    tensor_record_matmul(g, a, b, bias, c, m, n, k, flags);
}

static struct tensor *through_relu(struct tensor_graph *g, struct tensor *y, struct tensor *dy)
{
    struct tensor *dx = tensor_graph_sole(dy) ? dy : tensor_graph_like(g, dy);
    if (!tensor_check(g, dy->type == y->type, "linear", "what reads y in 16 bits is linear", y, dy))
        return dx;
    const struct relu_grad_params p = {.count = (uint32_t)y->count, .type = tensor_narrow_type(y)};
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
        record(g, dy, x, NULL, dw, outputs, inputs, rows,
               MATMUL_TRANSPOSE_A | (add ? MATMUL_ACCUMULATE : 0));
    }
    if (tensor_graph_wants(g, x)) {
        struct tensor *dx = tensor_graph_target(g, x, &add);
        record(g, dy, weight, NULL, dx, rows, inputs, outputs, add ? MATMUL_ACCUMULATE : 0);
    }
}

struct tensor *tensor_linear(struct tensor_graph *g, struct tensor *x, struct tensor *weight,
                             struct tensor *bias, uint32_t ends)
{
    const uint32_t rows = tensor_rows(x), inputs = tensor_columns(x), outputs = weight->shape[0];
    if (!tensor_check(g, weight->rank == 2 && weight->shape[1] == inputs, "linear",
                      "x (R, I), weight (O, I)", x, weight) ||
        !tensor_check(g, !bias || bias->count == outputs, "linear", "weight (O, I), bias (O)",
                      weight, bias))
        return x;
    const bool relu = ends & TENSOR_RELU;
    const bool narrow = ends & TENSOR_NARROW && outputs % 4 == 0;
    struct tensor *y = tensor_graph_new(g, narrow ? tensor_graph_factor_type(g) : TENSOR_F32, 2,
                                        (uint32_t[]){rows, outputs});
    record(g, x, weight, bias, y, rows, outputs, inputs,
           MATMUL_TRANSPOSE_B | (bias ? MATMUL_BIAS : 0) | (relu ? MATMUL_RELU : 0));
    tensor_graph_node(g, &(struct tensor_node){linear_gradient, .output = y,
                                               .input = {x, weight, bias}, .number = {relu}});
    return y;
}
