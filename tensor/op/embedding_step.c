/* embedding_step.c - what generation feeds to a model (op.h: tensor_embedding_patches,
 * tensor_pad_patches, tensor_embedding_next). */
#include "tensor/op/embedding_step.h"
#include "tensor/contract.h"
#include <string.h>

#define AT(member) TENSOR_AT(embedding_patches_params, member)

#define SYMBOLS 256

static int patches_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct embedding_patches_params *p = params;
    const uint32_t *slot = u32_at(p->slot), *symbols = u32_at(p->symbols);
    const size_t columns = p->columns;
    for (uint32_t row = 0; row < p->rows; row++) {
        const uint32_t j = row % p->patch_size, s = row / p->patch_size % p->each;
        const uint64_t at = (uint64_t)slot[2 * (row / p->patch_size / p->each) + 1] + s;
        const size_t last = p->patches - p->own, k = at < last ? at : last;
        float *y = f32_at(p->y) + row * columns;
        memcpy(y, k ? f32_at(p->table) + (symbols[row] % SYMBOLS) * columns
                    : f32_at(p->pad) + j * columns, columns * sizeof *y);
        if (k + p->own == 0)
            continue;
        const float *position =
            f32_at(p->position) + ((k + p->own - 1) * p->patch_size + j) * columns;
        for (size_t c = 0; c < columns; c++)
            y[c] += position[c];
    }
    return 0;
}

static void patches_launch(const struct tensor_device_info *info, const void *params,
                           struct tensor_launch *launch)
{
    const struct embedding_patches_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->columns);
}

static const struct tensor_kernel embedding_patches = {
    .name = "embedding_patches",
    .params_size = sizeof(struct embedding_patches_params),
    .args = 6,
    .writes = TENSOR_ARG(embedding_patches_params, y),
    .cpu = patches_cpu,
    .launch = patches_launch,
    .variant = {"embedding_patches"},
};
const struct tensor_kernel *const tensor_kernel_embedding_patches = &embedding_patches;

static int pad_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct pad_patches_params *p = params;
    const size_t columns = p->columns;
    for (size_t row = 0; row < p->rows; row++) {
        const size_t group = row / p->patch_size, n = group / p->each;
        const bool first = u32_at(p->slot)[2 * n + 1] + group % p->each == 0;
        memcpy(f32_at(p->y) + row * columns,
               first ? f32_at(p->pad) + row % p->patch_size * columns
                     : f32_at(p->x) + row * columns, columns * sizeof(float));
    }
    return 0;
}

static void pad_launch(const struct tensor_device_info *info, const void *params,
                       struct tensor_launch *launch)
{
    const struct pad_patches_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->columns);
}

static const struct tensor_kernel pad_patches = {
    .name = "pad_patches",
    .params_size = sizeof(struct pad_patches_params),
    .args = 4,
    .writes = TENSOR_ARG(pad_patches_params, y),
    .cpu = pad_cpu,
    .launch = pad_launch,
    .variant = {"pad_patches"},
};
const struct tensor_kernel *const tensor_kernel_pad_patches = &pad_patches;

static int next_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct embedding_next_params *p = params;
    const size_t columns = p->columns;
    for (uint32_t n = 0; n < p->sequences; n++) {
        const size_t at = (size_t)n * p->patch_size + p->p;
        const size_t symbol = p->p ? u32_at(p->symbols)[at - 1] % SYMBOLS : 0;
        const float *x = f32_at(p->x) + ((size_t)n * p->step + p->p) * columns;
        const float *row = f32_at(p->table) + symbol * columns;
        float *y = f32_at(p->y) + n * columns;
        for (size_t c = 0; c < columns; c++)
            y[c] = x[c] + row[c];
    }
    return 0;
}

static void next_launch(const struct tensor_device_info *info, const void *params,
                        struct tensor_launch *launch)
{
    const struct embedding_next_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->sequences * p->columns);
}

static const struct tensor_kernel embedding_next = {
    .name = "embedding_next",
    .params_size = sizeof(struct embedding_next_params),
    .args = 4,
    .writes = TENSOR_ARG(embedding_next_params, y),
    .cpu = next_cpu,
    .launch = next_launch,
    .variant = {"embedding_next"},
};
const struct tensor_kernel *const tensor_kernel_embedding_next = &embedding_next;

struct tensor *tensor_embedding_patches(struct tensor_graph *g, struct tensor *symbols,
                                        struct tensor *table, struct tensor *position,
                                        struct tensor *pad, struct tensor *slot, bool own)
{
    const uint32_t columns = tensor_columns(table), patch = tensor_rows(pad);
    const uint32_t rows = (uint32_t)symbols->count, sequences = (uint32_t)(slot->count / 2);
    if (!tensor_check(g, symbols->type == TENSOR_U32 && slot->type == TENSOR_U32 &&
                             rows % (sequences * patch) == 0, "embedding_patches",
                      "symbols (N·S·P) U32, slot (N, 2) U32", symbols, slot) ||
        !tensor_check(g, tensor_rows(table) == SYMBOLS && tensor_columns(position) == columns &&
                             tensor_rows(position) % patch == 0, "embedding_patches",
                      "table (256, C), position (K·P, C)", table, position) ||
        !tensor_check(g, tensor_columns(pad) == columns, "embedding_patches",
                      "table (256, C), pad (P, C)", table, pad))
        return table;
    struct tensor *y = tensor_graph_matrix(g, rows, columns);
    const struct embedding_patches_params p = {
        .rows = rows, .columns = columns, .each = rows / sequences / patch, .patch_size = patch,
        .patches = tensor_rows(position) / patch, .own = own};
    tensor_graph_pass(g, &embedding_patches, &p, (struct tensor *[TENSOR_PASS_ARGS]){
        AT(symbols) = symbols, AT(table) = table, AT(position) = position, AT(pad) = pad,
        AT(slot) = slot, AT(y) = y}, 0);
    return y;
}

struct tensor *tensor_pad_patches(struct tensor_graph *g, struct tensor *x, struct tensor *pad,
                                  struct tensor *slot)
{
    const uint32_t rows = tensor_rows(x), patch = tensor_rows(pad);
    const uint32_t sequences = (uint32_t)(slot->count / 2);
    if (!tensor_check(g, tensor_columns(x) == tensor_columns(pad), "pad_patches",
                      "x (N·S·P, C), pad (P, C)", x, pad) ||
        !tensor_check(g, slot->type == TENSOR_U32 && rows % (sequences * patch) == 0,
                      "pad_patches", "x (N·S·P, C), slot (N, 2) U32", x, slot))
        return x;
    const struct pad_patches_params p = {.rows = rows, .columns = tensor_columns(x),
                                         .each = rows / sequences / patch, .patch_size = patch};
    struct tensor *y = tensor_graph_matrix(g, rows, p.columns);
    tensor_graph_pass(g, &pad_patches, &p, (struct tensor *[]){x, pad, slot, y}, 0);
    return y;
}

struct tensor *tensor_embedding_next(struct tensor_graph *g, struct tensor *x,
                                     struct tensor *symbols, struct tensor *table, uint32_t p)
{
    const uint32_t columns = tensor_columns(table), patch = tensor_columns(symbols);
    const bool each = tensor_rows(x) == symbols->count;
    if (!tensor_check(g, symbols->type == TENSOR_U32 && symbols->rank == 2 && p < patch &&
                             (each || tensor_rows(x) == patch), "embedding_next",
                      "x (N·P, C) or (P, C), symbols (N, P) U32, p < P", x, symbols) ||
        !tensor_check(g, tensor_columns(x) == columns && tensor_rows(table) == (p ? SYMBOLS : 1u),
                      "embedding_next", "x (N·P, C), table (256, C), for p = 0 (1, C)", x, table))
        return x;
    struct tensor *y = tensor_graph_matrix(g, tensor_rows(symbols), columns);
    const struct embedding_next_params params = {
        .sequences = tensor_rows(symbols), .columns = columns, .patch_size = patch,
        .step = each ? patch : 0, .p = p};
    tensor_graph_pass(g, &embedding_next, &params,
                      (struct tensor *[]){x, p ? symbols : NULL, table, y}, 0);
    return y;
}
