/* add.c - sums of tensors (op.h: tensor_add, tensor_add_rows). */
#include "tensor/contract.h"
#include "tensor/op/add.h"

static int add_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct add_params *p = params;
    const float *x = f32_at(p->x), *z = f32_at(p->z);
    float *y = f32_at(p->y);
#pragma omp parallel for simd schedule(static)
    for (uint32_t i = 0; i < p->count; i++)
        y[i] = x[i] + z[i];
    return 0;
}

static void add_launch(const struct tensor_device_info *info, const void *params,
                       struct tensor_launch *launch)
{
    tensor_launch_items(launch, ((const struct add_params *)params)->count);
}

static const struct tensor_kernel add = {
    .name = "add",
    .params_size = sizeof(struct add_params),
    .args = 3,
    .writes = TENSOR_ARG(add_params, y),
    .cpu = add_cpu,
    .launch = add_launch,
    .variant = {"add"},
};
const struct tensor_kernel *const tensor_kernel_add = &add;

static int add_rows_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct add_rows_params *p = params;
    const size_t columns = p->columns;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        const float *x = f32_at(p->x) + r * columns;
        const float *table = f32_at(p->table) + (r % p->n) * columns;
        float *y = f32_at(p->y) + r * columns;
        for (uint32_t c = 0; c < p->columns; c++)
            y[c] = x[c] + table[c];
    }
    return 0;
}

static void add_rows_launch(const struct tensor_device_info *info, const void *params,
                            struct tensor_launch *launch)
{
    const struct add_rows_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->columns);
}

static const struct tensor_kernel add_rows = {
    .name = "add_rows",
    .params_size = sizeof(struct add_rows_params),
    .args = 3,
    .writes = TENSOR_ARG(add_rows_params, y),
    .cpu = add_rows_cpu,
    .launch = add_rows_launch,
    .variant = {"add_rows"},
};
const struct tensor_kernel *const tensor_kernel_add_rows = &add_rows;

void tensor_record_add(struct tensor_graph *g, struct tensor *x, struct tensor *z, struct tensor *y)
{
    const struct add_params p = {.count = (uint32_t)x->count};
    tensor_graph_pass(g, &add, &p, (struct tensor *[]){x, z, y}, 0);
}

static void add_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    for (int i = 0; i < 2; i++)
        if (tensor_graph_wants(g, node->input[i]))
            tensor_graph_give(g, node->input[i], tensor_graph_output_gradient(g, node));
}

struct tensor *tensor_add(struct tensor_graph *g, struct tensor *x, struct tensor *z)
{
    if (!tensor_check(g, x->count == z->count && tensor_columns(x) == tensor_columns(z), "add",
                      "equal shapes", x, z))
        return x;
    struct tensor *y = tensor_graph_like(g, x);
    tensor_record_add(g, x, z, y);
    tensor_graph_node(g, &(struct tensor_node){add_gradient, .output = y, .input = {x, z}});
    return y;
}

static void add_rows_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *x = node->input[0], *table = node->input[1];
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    if (tensor_graph_wants(g, table)) {
        uint32_t add_to;
        struct tensor *to = tensor_graph_target(g, table, &add_to);
        const uint32_t count = (uint32_t)table->count;
        tensor_record_sum_rows(g, dy, (uint32_t)(x->count / count), count, count, to, add_to);
    }
    if (tensor_graph_wants(g, x))
        tensor_graph_give(g, x, dy);
}

struct tensor *tensor_add_rows(struct tensor_graph *g, struct tensor *x, struct tensor *rows)
{
    const uint32_t n = tensor_rows(rows), columns = tensor_columns(x);
    if (!tensor_check(g, tensor_columns(rows) == columns && tensor_rows(x) % n == 0, "add_rows",
                      "x (G·n, C), rows (n, C)", x, rows))
        return x;
    struct tensor *y = tensor_graph_like(g, x);
    const struct add_rows_params p = {.rows = tensor_rows(x), .columns = columns, .n = n};
    tensor_graph_pass(g, &add_rows, &p, (struct tensor *[]){x, rows, y}, 0);
    tensor_graph_node(g, &(struct tensor_node){add_rows_gradient, .output = y, .input = {x, rows}});
    return y;
}
