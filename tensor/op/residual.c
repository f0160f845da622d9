/* residual.c - the residual sum with dropout on the branch (op.h: tensor_residual). */
#include "tensor/op/residual.h"
#include "tensor/contract.h"
#include "tensor/random.h"

/* The factors of four neighbouring columns. */
static inline void mask4(const uint32_t *random, uint32_t row, uint32_t four, uint32_t stream,
                         uint32_t threshold, float scale, float factor[4])
{
    const struct tensor_random r =
        tensor_random(four, row, stream, random[2], random[0], random[1]);
    for (int i = 0; i < 4; i++)
        factor[i] = r.word[i] < threshold ? 0 : scale;
}

static void residual_cpu(const void *params)
{
    const struct residual_params *p = params;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        const size_t at = (size_t)r * p->columns;
        const float *x = f32_at(p->x) + at, *z = f32_at(p->z) + at;
        float *y = f32_at(p->y) + at, factor[4];
        for (uint32_t c = 0; c < p->columns; c += 4) {
            mask4(u32_at(p->random), r, c / 4, p->stream, p->threshold, p->scale, factor);
            for (uint32_t i = 0; i < 4 && c + i < p->columns; i++)
                y[c + i] = x[c + i] + z[c + i] * factor[i];
        }
    }
}

static void residual_grad_cpu(const void *params)
{
    const struct residual_grad_params *p = params;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        const float *dy = f32_at(p->dy) + (size_t)r * p->columns;
        float *dz = f32_at(p->dz) + (size_t)r * p->columns, factor[4];
        for (uint32_t c = 0; c < p->columns; c += 4) {
            mask4(u32_at(p->random), r, c / 4, p->stream, p->threshold, p->scale, factor);
            for (uint32_t i = 0; i < 4 && c + i < p->columns; i++)
                dz[c + i] = dy[c + i] * factor[i];
        }
    }
}

static void residual_launch(const struct tensor_device_info *info, const void *params,
                            struct tensor_launch *launch)
{
    const struct residual_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * ((p->columns + 3) / 4));
}

static void residual_grad_launch(const struct tensor_device_info *info, const void *params,
                                 struct tensor_launch *launch)
{
    const struct residual_grad_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * ((p->columns + 3) / 4));
}

static const struct tensor_kernel residual = {
    .name = "residual",
    .params_size = sizeof(struct residual_params),
    .args = 4,
    .writes = 1u << 3,
    .cpu = residual_cpu,
    .launch = residual_launch,
    .variant = {"residual"},
};
const struct tensor_kernel *const tensor_kernel_residual = &residual;

static const struct tensor_kernel residual_grad = {
    .name = "residual_grad",
    .params_size = sizeof(struct residual_grad_params),
    .args = 3,
    .writes = 1u << 2,
    .cpu = residual_grad_cpu,
    .launch = residual_grad_launch,
    .variant = {"residual_grad"},
};
const struct tensor_kernel *const tensor_kernel_residual_grad = &residual_grad;

static void residual_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *x = node->input[0], *z = node->input[1];
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    if (tensor_graph_wants(g, z)) {
        struct tensor *dz = tensor_graph_like(g, z);
        const struct residual_grad_params p = {
            .rows = tensor_rows(z), .columns = tensor_columns(z), .stream = node->number[0],
            .threshold = node->number[1], .scale = node->real[0]};
        tensor_graph_pass(g, &residual_grad, &p,
                          (struct tensor *[]){dy, tensor_graph_random(g), dz}, 0);
        tensor_graph_give(g, z, dz);
    }
    if (tensor_graph_wants(g, x))
        tensor_graph_give(g, x, dy);
}

struct tensor *tensor_residual(struct tensor_graph *g, struct tensor *x, struct tensor *z,
                               float rate)
{
    const uint32_t threshold = tensor_dropout_threshold(g, rate);
    if (!threshold)
        return tensor_add(g, x, z);
    if (!tensor_check(g, x->count == z->count && tensor_columns(x) == tensor_columns(z), "residual",
                      "equal shapes", x, z))
        return x;
    struct tensor *y = tensor_graph_like(g, x);
    const struct residual_params p = {
        .rows = tensor_rows(x), .columns = tensor_columns(x), .stream = tensor_graph_stream(g),
        .threshold = threshold, .scale = 1 / (1 - rate)};
    tensor_graph_pass(g, &residual, &p, (struct tensor *[]){x, z, tensor_graph_random(g), y}, 0);
    tensor_graph_node(g, &(struct tensor_node){residual_gradient, .output = y, .input = {x, z},
                                               .number = {p.stream, threshold}, .real = {p.scale}});
    return y;
}
