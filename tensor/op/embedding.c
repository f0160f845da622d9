/* embedding.c - a row of a table for each byte (op.h: tensor_embedding). */
#include "tensor/contract.h"
#include "tensor/op/embedding.h"
#include <string.h>

#define SYMBOLS 256

static int embedding_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct embedding_params *p = params;
    const uint8_t *bytes = u8_at(p->bytes);
    const size_t columns = p->columns;
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++)
        memcpy(f32_at(p->y) + r * columns, f32_at(p->table) + bytes[r] * columns,
               columns * sizeof(float));
    return 0;
}

static void embedding_launch(const struct tensor_device_info *info, const void *params,
                             struct tensor_launch *launch)
{
    const struct embedding_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->columns);
}

static const struct tensor_kernel embedding = {
    .name = "embedding",
    .params_size = sizeof(struct embedding_params),
    .args = 3,
    .writes = TENSOR_ARG(embedding_params, y),
    .cpu = embedding_cpu,
    .launch = embedding_launch,
    .variant = {"embedding"},
};
const struct tensor_kernel *const tensor_kernel_embedding = &embedding;

/* Each thread owns some columns, so that a row of the table is summed in the order of r however
 * many threads there are. */
static int embedding_grad_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct embedding_grad_params *p = params;
    const uint8_t *bytes = u8_at(p->bytes);
    const float *dy = f32_at(p->dy);
    float *dtable = f32_at(p->dtable);
#pragma omp parallel for schedule(static)
    for (uint32_t first = 0; first < p->columns; first += 32) {
        const uint32_t width = p->columns - first < 32 ? p->columns - first : 32;
        for (uint32_t r = 0; r < p->rows; r++) {
            float *to = dtable + (size_t)bytes[r] * p->columns + first;
            const float *from = dy + (size_t)r * p->columns + first;
            for (uint32_t c = 0; c < width; c++)
                to[c] += from[c];
        }
    }
    return 0;
}

static void embedding_grad_launch(const struct tensor_device_info *info, const void *params,
                                  struct tensor_launch *launch)
{
    const struct embedding_grad_params *p = params;
    launch->constant[0] = p->columns % 4 == 0 && (p->dy | p->dtable) % 16 == 0;
    tensor_launch_items(launch, (uint64_t)SYMBOLS * ((p->columns + 3) / 4));
}

static const struct tensor_kernel embedding_grad = {
    .name = "embedding_grad",
    .params_size = sizeof(struct embedding_grad_params),
    .args = 3,
    .writes = TENSOR_ARG(embedding_grad_params, dtable),
    .cpu = embedding_grad_cpu,
    .launch = embedding_grad_launch,
    .variant = {"embedding_grad"},
};
const struct tensor_kernel *const tensor_kernel_embedding_grad = &embedding_grad;

static void embedding_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *bytes = node->input[0], *table = node->input[1];
    uint32_t add;
    struct tensor *dtable = tensor_graph_target(g, table, &add);
    if (!add) /* the kernel adds */
        tensor_fill(g, dtable, 0);
    const struct embedding_grad_params p = {.rows = (uint32_t)bytes->count,
                                            .columns = tensor_columns(table)};
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    tensor_graph_pass(g, &embedding_grad, &p, (struct tensor *[]){bytes, dy, dtable}, 0);
}

struct tensor *tensor_embedding(struct tensor_graph *g, struct tensor *bytes, struct tensor *table)
{
    if (!tensor_check(g, bytes->type == TENSOR_U8 && table->rank == 2 && table->shape[0] == SYMBOLS,
                      "embedding", "bytes (R) U8, table (256, C)", bytes, table))
        return table;
    struct tensor *y = tensor_graph_matrix(g, (uint32_t)bytes->count, tensor_columns(table));
    const struct embedding_params p = {.rows = (uint32_t)bytes->count,
                                       .columns = tensor_columns(table)};
    tensor_graph_pass(g, &embedding, &p, (struct tensor *[]){bytes, table, y}, 0);
    tensor_graph_node(g, &(struct tensor_node){embedding_gradient, .output = y,
                                               .input = {bytes, table}});
    return y;
}
