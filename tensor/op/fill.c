/* fill.c - sets and copies tensors (op.h: tensor_fill, tensor_copy). */
#include "tensor/op/fill.h"
#include "tensor/contract.h"
#include <string.h>

static int fill_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct fill_params *p = params;
    float *x = f32_at(p->x);
#pragma omp parallel for simd schedule(static)
    for (uint32_t i = 0; i < p->count; i++)
        x[i] = p->value;
    return 0;
}

static void fill_launch(const struct tensor_device_info *info, const void *params,
                        struct tensor_launch *launch)
{
    tensor_launch_items(launch, ((const struct fill_params *)params)->count);
}

static const struct tensor_kernel fill = {
    .name = "fill",
    .params_size = sizeof(struct fill_params),
    .args = 1,
    .writes = TENSOR_ARG(fill_params, x),
    .cpu = fill_cpu,
    .launch = fill_launch,
    .variant = {"fill"},
};
const struct tensor_kernel *const tensor_kernel_fill = &fill;

static int copy_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct copy_params *p = params;
    memcpy(u32_at(p->to), u32_at(p->from), (size_t)p->count * 4);
    return 0;
}

static void copy_launch(const struct tensor_device_info *info, const void *params,
                        struct tensor_launch *launch)
{
    tensor_launch_items(launch, ((const struct copy_params *)params)->count);
}

static const struct tensor_kernel copy = {
    .name = "copy",
    .params_size = sizeof(struct copy_params),
    .args = 2,
    .writes = TENSOR_ARG(copy_params, to),
    .args16 = TENSOR_ARG(copy_params, from) | TENSOR_ARG(copy_params, to),
    .cpu = copy_cpu,
    .launch = copy_launch,
    .variant = {"copy"},
};
const struct tensor_kernel *const tensor_kernel_copy = &copy;

void tensor_fill(struct tensor_graph *g, struct tensor *x, float value)
{
    if (!tensor_check(g, x->type == TENSOR_F32, "fill", "F32", x, NULL))
        return;
    const struct fill_params p = {.count = (uint32_t)x->count, .value = value};
    tensor_graph_pass(g, &fill, &p, (struct tensor *[]){x}, 0);
}

void tensor_copy(struct tensor_graph *g, struct tensor *to, struct tensor *from)
{
    if (!tensor_check(g,
                      to->count == from->count && to->type == from->type && to->type != TENSOR_U8,
                      "copy", "equal counts of one type, but U8", to, from))
        return;
    const struct copy_params p = {.count = (uint32_t)((tensor_size(to) + 3) / 4)};
    tensor_graph_pass(g, &copy, &p, (struct tensor *[]){from, to}, 0);
}
