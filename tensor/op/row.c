/* row.c - rows chosen at run time (op.h: tensor_take_row, tensor_append_row). */
#include "tensor/op/row.h"
#include "tensor/contract.h"
#include <string.h>

static int take_row_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct take_row_params *p = params;
    const size_t row = u32_at(p->row)[0] % p->rows, bytes = p->bytes;
    uint8_t *to = u8_at(p->to);
    memcpy(to, u8_at(p->from) + row * bytes, bytes);
    memset(to + bytes, 0, (4 - bytes % 4) % 4);
    return 0;
}

static void take_row_launch(const struct tensor_device_info *info, const void *params,
                            struct tensor_launch *launch)
{
    tensor_launch_items(launch, (((const struct take_row_params *)params)->bytes + 3u) / 4);
}

static const struct tensor_kernel take_row = {
    .name = "take_row",
    .params_size = sizeof(struct take_row_params),
    .args = 3,
    .writes = TENSOR_ARG(take_row_params, to),
    .cpu = take_row_cpu,
    .launch = take_row_launch,
    .variant = {"take_row"},
};
const struct tensor_kernel *const tensor_kernel_take_row = &take_row;

static int append_row_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct append_row_params *p = params;
    uint32_t *row = u32_at(p->row);
    memcpy(u32_at(p->to) + (size_t)(*row % p->rows) * p->count, u32_at(p->from), p->count * 4ull);
    ++*row;
    return 0;
}

static void append_row_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    tensor_launch_groups(launch, 1);
}

static const struct tensor_kernel append_row = {
    .name = "append_row",
    .params_size = sizeof(struct append_row_params),
    .args = 3,
    .writes = TENSOR_ARG(append_row_params, row) | TENSOR_ARG(append_row_params, to),
    .cpu = append_row_cpu,
    .launch = append_row_launch,
    .variant = {"append_row"},
};
const struct tensor_kernel *const tensor_kernel_append_row = &append_row;

static bool check_rows(struct tensor_graph *g, const char *op, const struct tensor *rows,
                       const struct tensor *row, const struct tensor *number)
{
    return tensor_check(g, rows->type == row->type && rows->count == row->count * rows->shape[0],
                        op, "n rows and one of them, of one type", rows, row) &&
           tensor_check(g, number->type == TENSOR_U32 && number->count == 1, op,
                        "the number of a row is (1) U32", number, NULL);
}

void tensor_take_row(struct tensor_graph *g, struct tensor *to, struct tensor *from,
                     struct tensor *row)
{
    if (!check_rows(g, "take_row", from, to, row) ||
        !tensor_check(g, tensor_size(from) <= INT32_MAX, "take_row", "rows of 2 GiB at most in all",
                      from, NULL))
        return;
    const struct take_row_params p = {.bytes = (uint32_t)tensor_size(to), .rows = from->shape[0]};
    tensor_graph_pass(g, &take_row, &p, (struct tensor *[]){from, row, to}, 0);
}

void tensor_append_row(struct tensor_graph *g, struct tensor *to, struct tensor *from,
                       struct tensor *row)
{
    if (!check_rows(g, "append_row", to, from, row) ||
        !tensor_check(g, to->type != TENSOR_U8, "append_row", "F32 or U32", to, from))
        return;
    const struct append_row_params p = {.count = (uint32_t)from->count, .rows = to->shape[0]};
    tensor_graph_pass(g, &append_row, &p, (struct tensor *[]){from, row, to}, 0);
}
