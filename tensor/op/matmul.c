/* matmul.c - matrix products: the linear layer with bias and ReLU (op.h: tensor_linear). */
#include "tensor/cpu/matmul.h"
#include "tensor/cpu/convert.h"
#include "tensor/op/dropout.h"
#include "tensor/op/matmul_config.h"
#include "tensor/storage.h"
#include <string.h>

#define AT(member) TENSOR_AT(matmul_params, member)

extern const struct tensor_kernel *const tensor_kernel_dropout_grad;

static float factor_at(uint64_t x, size_t i, uint32_t flags)
{
    if (!(flags & MATMUL_FACTORS))
        return f32_at(x)[i];
    return tensor_from_16bit(u16_at(x)[i], flags & MATMUL_BF16 ? ELEMENT_BF16 : ELEMENT_F16);
}

/* Products of splits of k, each by itself: of tests only, as the cpu device never cuts k. */
static void splits_cpu(const struct matmul_params *p)
{
    const uint32_t splits = tensor_matmul_splits(p->k, p->split_k);
#pragma omp parallel for collapse(2) schedule(static)
    for (uint32_t split = 0; split < splits; split++)
        for (uint32_t i = 0; i < p->m; i++) {
            const uint32_t begin = split * p->split_k;
            const uint32_t end = p->k - begin < p->split_k ? p->k : begin + p->split_k;
            float *c = f32_at(p->c) + ((size_t)split * p->m + i) * p->n;
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

static int matmul_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct matmul_params *p = params;
    if (p->split_k == p->k)
        return tensor_cpu_matmul(cpu, p);
    splits_cpu(p);
    return 0;
}

static void matmul_launch(const struct tensor_device_info *info,
                          const struct tensor_autotune *autotune, const void *params,
                          struct tensor_launch *launch)
{
    struct matmul_config config;
    tensor_matmul_configure(info, autotune, params, &config, NULL);
    *launch = config.launch;
}

static uint64_t matmul_scratch(struct tensor_cpu *cpu, const void *params)
{
    return tensor_cpu_matmul_scratch(cpu, params);
}

static const struct tensor_kernel matmul = {
    .name = "matmul",
    .params_size = sizeof(struct matmul_params),
    .args = 6,
    .writes = TENSOR_ARG(matmul_params, c),
    .args16 = TENSOR_ARG(matmul_params, a) | TENSOR_ARG(matmul_params, b) |
              TENSOR_ARG(matmul_params, residual) | TENSOR_ARG(matmul_params, c),
    .cpu = matmul_cpu,
    .cpu_scratch = matmul_scratch,
    .launch_tuned = matmul_launch,
    .variant = {"matmul_direct", "matmul_tiled", "matmul_pairs", "matmul_coop_f16",
                "matmul_coop_bf16", "matmul_flexible_f16", "matmul_flexible_bf16",
                "matmul_coop2_f16", "matmul_coop2_bf16"},
};
const struct tensor_kernel *const tensor_kernel_matmul = &matmul;

/* ---- the sum of split-K, with the epilogue ---- */

static int matmul_sum_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct matmul_params *p = params;
    tensor_cpu_matmul_epilogue(p, p->flags, f32_at(p->a));
    return 0;
}

static void matmul_sum_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    const struct matmul_params *p = params;
    launch->constant[0] = p->flags & MATMUL_DROPOUT;
    tensor_launch_items(launch, (uint64_t)p->m * ((p->n + 3) / 4));
}

static const struct tensor_kernel matmul_sum = {
    .name = "matmul_sum",
    .params_size = sizeof(struct matmul_params),
    .args = 6,
    .writes = TENSOR_ARG(matmul_params, c),
    .args16 = TENSOR_ARG(matmul_params, residual) | TENSOR_ARG(matmul_params, c),
    .cpu = matmul_sum_cpu,
    .launch = matmul_sum_launch,
    .variant = {"matmul_sum"},
};
const struct tensor_kernel *const tensor_kernel_matmul_sum = &matmul_sum;

/* ---- the linear layer ---- */

static int relu_grad_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct relu_grad_params *p = params;
    const float *y = f32_at(p->y), *dy = f32_at(p->dy);
    const uint16_t *y16 = u16_at(p->y), *dy16 = u16_at(p->dy);
    float *dx = f32_at(p->dx);
    uint16_t *dx16 = u16_at(p->dx);
    if (p->type == ELEMENT_F32) {
#pragma omp parallel for simd schedule(static)
        for (uint32_t i = 0; i < p->count; i++)
            dx[i] = y[i] > 0 ? dy[i] : 0;
        return 0;
    }
    /* Above 0: neither its sign, nor nothing at all, nor beyond infinity. */
    const uint16_t infinite = p->type == ELEMENT_BF16 ? 0x7f80 : 0x7c00;
#pragma omp parallel for simd schedule(static)
    for (uint32_t i = 0; i < p->count; i++)
        dx16[i] = (uint16_t)(y16[i] - 1) < infinite ? dy16[i] : 0;
    if (p->count % 2)
        dx16[p->count] = 0;
    return 0;
}

static void relu_grad_launch(const struct tensor_device_info *info, const void *params,
                             struct tensor_launch *launch)
{
    const struct relu_grad_params *p = params;
    launch->constant[0] = p->type;
    tensor_launch_items(launch, p->type == ELEMENT_F32 ? p->count : ((uint64_t)p->count + 1) / 2);
}

static const struct tensor_kernel relu_grad = {
    .name = "relu_grad",
    .params_size = sizeof(struct relu_grad_params),
    .args = 3,
    .writes = TENSOR_ARG(relu_grad_params, dx),
    .args16 = TENSOR_ARG(relu_grad_params, y) | TENSOR_ARG(relu_grad_params, dy) |
              TENSOR_ARG(relu_grad_params, dx),
    .cpu = relu_grad_cpu,
    .launch = relu_grad_launch,
    .variant = {"relu_grad"},
};
const struct tensor_kernel *const tensor_kernel_relu_grad = &relu_grad;

/* The parameters of a product, with k whole. */
static struct matmul_params params_of(const struct tensor_matmul *x)
{
    static const uint32_t factors[] = {[TENSOR_BF16] = MATMUL_BF16, [TENSOR_F16] = MATMUL_F16,
                                       [TENSOR_F32] = 0};
    return (struct matmul_params){
        .m = x->m, .n = x->n, .k = x->k, .split_k = x->k,
        .flags = x->flags | factors[x->a->type] | (x->bias ? MATMUL_BIAS : 0) |
                 (x->threshold ? MATMUL_DROPOUT : 0) | (x->residual ? MATMUL_RESIDUAL : 0) |
                 (x->residual == x->c ? MATMUL_IN_PLACE : 0) |
                 (tensor_is_16bit(x->c->type) ? MATMUL_16BIT : 0),
        .stream = x->stream, .threshold = x->threshold, .scale = x->scale};
}

void tensor_record_matmul(struct tensor_graph *g, const struct tensor_matmul *x)
{
    struct matmul_params p = params_of(x);
    if (!tensor_check(g, !(p.flags & MATMUL_16BIT) || (x->c->type == x->a->type && x->n % 4 == 0),
                      "linear", "16 bits want a multiple of 4 columns", x->c, x->a) ||
        !tensor_check(g, !x->residual || x->residual->type == x->c->type, "linear",
                      "a residual has the result's type", x->c, x->residual))
        return;
    const double flops = 2.0 * x->m * x->n * x->k;
    struct tensor *const random = x->threshold ? tensor_graph_random(g) : NULL;
    p.split_k = tensor_matmul_split_k_for(tensor_graph_device_info(g), tensor_graph_tuning(g), &p);
    const uint32_t splits = tensor_matmul_splits(x->k, p.split_k), flags = p.flags;
    if (splits == 1) {
        tensor_graph_pass(g, &matmul, &p, (struct tensor *[TENSOR_PASS_ARGS]){
            AT(a) = x->a, AT(b) = x->b, AT(bias) = x->bias, AT(residual) = x->residual,
            AT(random) = random, AT(c) = x->c},
            flops);
        return;
    }
    struct tensor *sums = tensor_graph_matrix(g, splits * x->m, x->n);
    p.flags = flags & (MATMUL_ORDER | MATMUL_FACTORS);
    tensor_graph_pass(g, &matmul, &p, (struct tensor *[TENSOR_PASS_ARGS]){
        AT(a) = x->a, AT(b) = x->b, AT(c) = sums}, flops);
    p.flags = flags & (MATMUL_EPILOGUE | MATMUL_FACTORS);
    tensor_graph_pass(g, &matmul_sum, &p, (struct tensor *[TENSOR_PASS_ARGS]){
        AT(a) = sums, AT(bias) = x->bias, AT(residual) = x->residual, AT(random) = random,
        AT(c) = x->c}, 0);
}

/* A product of tensors of any type, as the precision takes them. */
static void record(struct tensor_graph *g, struct tensor_matmul x)
{
    x.a = tensor_graph_cast16(g, x.a);
    x.b = tensor_graph_cast16(g, x.b);
    tensor_record_matmul(g, &x);
}

static struct tensor *through_relu(struct tensor_graph *g, struct tensor *y, struct tensor *dy)
{
    struct tensor *dx = tensor_graph_sole(dy) ? dy : tensor_graph_like(g, dy);
    if (!tensor_check(g, dy->type == y->type, "linear", "what reads y in 16 bits is linear", y, dy))
        return dx;
    const struct relu_grad_params p = {.count = (uint32_t)y->count, .type = tensor_element_type(y)};
    tensor_graph_pass(g, &relu_grad, &p, (struct tensor *[]){y, dy, dx}, 0);
    return dx;
}

static struct tensor *through_dropout(struct tensor_graph *g, const struct tensor_node *node,
                                      struct tensor *dy)
{
    struct tensor *dx = tensor_graph_like(g, dy);
    const struct dropout_grad_params p = {
        .rows = tensor_rows(dy), .columns = tensor_columns(dy), .stream = node->number[1],
        .threshold = node->number[2], .scale = node->real[0]};
    tensor_graph_pass(g, tensor_kernel_dropout_grad, &p,
                      (struct tensor *[]){dy, tensor_graph_random(g), dx}, 0);
    return dx;
}

static void linear_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *x = node->input[0], *weight = node->input[1], *bias = node->input[2];
    struct tensor *residual = node->input[3], *dy = tensor_graph_output_gradient(g, node);
    struct tensor *dz = dy; /* of sums and bias */
    const uint32_t rows = tensor_rows(x), inputs = tensor_columns(x), outputs = weight->shape[0];
    uint32_t add;
    if (node->number[0])
        dz = through_relu(g, node->output, dy);
    if (node->number[2])
        dz = through_dropout(g, node, dy);
    if (tensor_graph_wants(g, bias)) {
        struct tensor *db = tensor_graph_target(g, bias, &add);
        tensor_record_sum_rows(g, dz, rows, outputs, outputs, db, add);
    }
    if (tensor_graph_wants(g, weight)) {
        struct tensor *dw = tensor_graph_target(g, weight, &add);
        record(g, (struct tensor_matmul){.a = dz, .b = x, .residual = add ? dw : NULL, .c = dw,
                                         .m = outputs, .n = inputs, .k = rows,
                                         .flags = MATMUL_TRANSPOSE_A});
    }
    if (tensor_graph_wants(g, x)) {
        struct tensor *dx = tensor_graph_target(g, x, &add);
        record(g, (struct tensor_matmul){.a = dz, .b = weight, .residual = add ? dx : NULL,
                                         .c = dx, .m = rows, .n = inputs, .k = outputs});
    }
    /* Last, so that d(x) does not join what is still d(y) if x is the residual. */
    if (tensor_graph_wants(g, residual))
        tensor_graph_give(g, residual, dy);
}

static bool fit(struct tensor_graph *g, const struct tensor *x, const struct tensor *weight,
                const struct tensor *bias)
{
    return tensor_check(g, weight->rank == 2 && weight->shape[1] == tensor_columns(x), "linear",
                        "x (R, I), weight (O, I)", x, weight) &&
           tensor_check(g, !bias || bias->count == weight->shape[0], "linear",
                        "weight (O, I), bias (O)", weight, bias);
}

struct tensor *tensor_linear(struct tensor_graph *g, struct tensor *x, struct tensor *weight,
                             struct tensor *bias, uint32_t epilogue)
{
    if (!fit(g, x, weight, bias))
        return x;
    const uint32_t rows = tensor_rows(x), outputs = weight->shape[0];
    const bool relu = epilogue & TENSOR_RELU;
    const bool low_precision = epilogue & TENSOR_LOW_PRECISION && outputs % 4 == 0;
    struct tensor *y = tensor_graph_new(g, low_precision ? tensor_graph_factor_type(g) : TENSOR_F32,
                                        2, (uint32_t[]){rows, outputs});
    record(g, (struct tensor_matmul){.a = x, .b = weight, .bias = bias, .c = y, .m = rows,
                                     .n = outputs, .k = weight->shape[1],
                                     .flags = MATMUL_TRANSPOSE_B | (relu ? MATMUL_RELU : 0)});
    tensor_graph_node(g, &(struct tensor_node){linear_gradient, .output = y,
                                               .input = {x, weight, bias}, .number = {relu}});
    return y;
}

struct tensor *tensor_linear_residual(struct tensor_graph *g, struct tensor *x,
                                      struct tensor *weight, struct tensor *bias,
                                      struct tensor *residual, float p)
{
    const uint32_t threshold = tensor_dropout_threshold(g, p);
    if (!fit(g, x, weight, bias))
        return x;
    const uint32_t rows = tensor_rows(x), outputs = weight->shape[0];
    if (!tensor_check(g, residual->count == (uint64_t)rows * outputs &&
                      tensor_columns(residual) == outputs, "linear_residual",
                      "weight (O, I), residual (R, O)", weight, residual))
        return x;
    struct tensor *y = tensor_graph_new(g, TENSOR_F32, residual->rank, residual->shape);
    const struct tensor_matmul product = {
        .a = x, .b = weight, .bias = bias, .residual = residual, .c = y, .m = rows, .n = outputs,
        .k = weight->shape[1], .flags = MATMUL_TRANSPOSE_B, .threshold = threshold,
        .stream = threshold ? tensor_graph_stream(g) : 0, .scale = 1 / (1 - p)};
    record(g, product);
    tensor_graph_node(g, &(struct tensor_node){
        linear_gradient, .output = y, .input = {x, weight, bias, residual},
        .number = {0, product.stream, threshold}, .real = {product.scale}});
    return y;
}
