/* gate.c - lets a step through to the optimizer, or not (op.h: tensor_gate). */
#include "tensor/op/gate.h"
#include "tensor/contract.h"
#include <math.h>

static int gate_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct gate_params *p = params;
    float sum = 0;
    for (uint32_t i = 0; i < p->count; i++)
        sum += f32_at(p->x)[i];
    const bool through = isfinite(sum) && sum <= *f32_at(p->limit);
    *f32_at(p->y) = through ? *f32_at(p->value) : -1;
    return 0;
}

static void gate_launch(const struct tensor_device_info *info, const void *params,
                        struct tensor_launch *launch)
{
    tensor_launch_groups(launch, 1);
}

static const struct tensor_kernel gate = {
    .name = "gate",
    .params_size = sizeof(struct gate_params),
    .args = 4,
    .writes = TENSOR_ARG(gate_params, y),
    .cpu = gate_cpu,
    .launch = gate_launch,
    .variant = {"gate"},
};
const struct tensor_kernel *const tensor_kernel_gate = &gate;

struct tensor *tensor_gate(struct tensor_graph *g, struct tensor *value, struct tensor *x,
                           struct tensor *limit)
{
    if (!tensor_check(g, value->count == 1 && limit->count == 1, "gate", "value (1), limit (1)",
                      value, limit))
        return value;
    struct tensor *y = tensor_graph_new(g, TENSOR_F32, 1, (uint32_t[]){1});
    const struct gate_params p = {.count = (uint32_t)x->count};
    tensor_graph_pass(g, &gate, &p, (struct tensor *[]){value, x, limit, y}, 0);
    return y;
}
