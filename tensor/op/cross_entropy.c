/* cross_entropy.c - the loss of each byte in nats (op.h: tensor_cross_entropy). */
#include "tensor/op/cross_entropy.h"
#include "tensor/contract.h"
#include "tensor/cpu/exp.h"
#include <math.h>
#include <string.h>

static int cross_entropy_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct cross_entropy_params *p = params;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        const float *x = f32_at(p->logits) + (size_t)r * p->symbols;
        float maximum = x[0], sum = 0;
        const bool counts = r % p->per_sequence < u32_at(p->lengths)[r / p->per_sequence];
        for (uint32_t v = 1; v < p->symbols; v++)
            maximum = x[v] > maximum ? x[v] : maximum;
#pragma omp simd reduction(+ : sum)
        for (uint32_t v = 0; v < p->symbols; v++)
            sum += tensor_cpu_exp(x[v] - maximum);
        const float lse = maximum + logf(sum);
        f32_at(p->lse)[r] = counts ? lse : 0;
        f32_at(p->loss)[r] = counts ? lse - x[u8_at(p->target)[r]] : 0;
    }
    return 0;
}

static void cross_entropy_launch(const struct tensor_device_info *info, const void *params,
                                 struct tensor_launch *launch)
{
    tensor_launch_rows(info, launch, ((const struct cross_entropy_params *)params)->rows);
}

static const struct tensor_kernel cross_entropy = {
    .name = "cross_entropy",
    .params_size = sizeof(struct cross_entropy_params),
    .args = 5,
    .writes = TENSOR_ARG(cross_entropy_params, loss) | TENSOR_ARG(cross_entropy_params, lse),
    .cpu = cross_entropy_cpu,
    .launch = cross_entropy_launch,
    .variant = {"cross_entropy"},
};
const struct tensor_kernel *const tensor_kernel_cross_entropy = &cross_entropy;

static int cross_entropy_grad_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct cross_entropy_grad_params *p = params;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        const float *x = f32_at(p->logits) + (size_t)r * p->symbols;
        float *dx = f32_at(p->dlogits) + (size_t)r * p->symbols;
        if (r % p->per_sequence >= u32_at(p->lengths)[r / p->per_sequence]) {
            memset(dx, 0, p->symbols * sizeof *dx);
            continue;
        }
        const float lse = f32_at(p->lse)[r], dloss = f32_at(p->dloss)[r];
#pragma omp simd
        for (uint32_t v = 0; v < p->symbols; v++)
            dx[v] = tensor_cpu_exp(x[v] - lse) * dloss;
        dx[u8_at(p->target)[r]] -= dloss;
    }
    return 0;
}

static void cross_entropy_grad_launch(const struct tensor_device_info *info, const void *params,
                                      struct tensor_launch *launch)
{
    const struct cross_entropy_grad_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->symbols);
}

static const struct tensor_kernel cross_entropy_grad = {
    .name = "cross_entropy_grad",
    .params_size = sizeof(struct cross_entropy_grad_params),
    .args = 6,
    .writes = TENSOR_ARG(cross_entropy_grad_params, dlogits),
    .cpu = cross_entropy_grad_cpu,
    .launch = cross_entropy_grad_launch,
    .variant = {"cross_entropy_grad"},
};
const struct tensor_kernel *const tensor_kernel_cross_entropy_grad = &cross_entropy_grad;

static void cross_entropy_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *logits = node->input[0], *target = node->input[1], *lengths = node->input[2];
    struct tensor *dloss = tensor_graph_output_gradient(g, node);
    struct tensor *dlogits = tensor_graph_like(g, logits);
    const struct cross_entropy_grad_params p = {
        .rows = tensor_rows(logits), .symbols = tensor_columns(logits),
        .per_sequence = node->number[0]};
    tensor_graph_pass(g, &cross_entropy_grad, &p,
                      (struct tensor *[]){logits, target, lengths, node->saved[0], dloss, dlogits},
                      0);
    tensor_graph_give(g, logits, dlogits);
}

struct tensor *tensor_cross_entropy(struct tensor_graph *g, struct tensor *logits,
                                    struct tensor *target, struct tensor *lengths)
{
    const uint32_t rows = tensor_rows(logits), symbols = tensor_columns(logits);
    if (!tensor_check(g, target->type == TENSOR_U8 && target->count == rows && symbols == 256,
                      "cross_entropy", "logits (R, 256), target (R) U8", logits, target) ||
        !tensor_check(g, lengths->type == TENSOR_U32 && rows % lengths->count == 0, "cross_entropy",
                      "logits (R, 256), lengths (N) U32", logits, lengths))
        return logits;
    struct tensor *loss = tensor_graph_new(g, TENSOR_F32, 1, (uint32_t[]){rows});
    struct tensor *lse = tensor_graph_like(g, loss);
    const struct cross_entropy_params p = {.rows = rows, .symbols = symbols,
                                           .per_sequence = rows / (uint32_t)lengths->count};
    tensor_graph_pass(g, &cross_entropy, &p,
                      (struct tensor *[]){logits, target, lengths, loss, lse}, 0);
    tensor_graph_node(g, &(struct tensor_node){cross_entropy_gradient, .output = loss,
                                               .input = {logits, target, lengths}, .saved = {lse},
                                               .number = {p.per_sequence}});
    return loss;
}
