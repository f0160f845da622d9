/* loss_scale.c - dynamic scaling of the loss, for gradients in half precision (op.h:
 * tensor_loss_scale). */
#include "tensor/op/loss_scale.h"
#include "tensor/contract.h"
#include <math.h>

_Static_assert((int)TENSOR_LOSS_SCALE_GOOD == LOSS_SCALE_GOOD &&
                   (int)TENSOR_LOSS_SCALE_USED == LOSS_SCALE_USED,
               "kernels know the state by these numbers");

static int loss_scale_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct loss_scale_params *p = params;
    const float squared = *f32_at(p->norm_squared), used = *f32_at(p->scale);
    float *state = f32_at(p->state);
    state[LOSS_SCALE_USED] = used;
    if (!isfinite(squared)) {
        *f32_at(p->scale) = fmaxf(used * 0.5f, p->least);
        state[LOSS_SCALE_GOOD] = 0;
    } else if (squared >= 0 && state[LOSS_SCALE_GOOD] + 1 >= (float)p->growth) {
        *f32_at(p->scale) = fminf(used * 2, p->most);
        state[LOSS_SCALE_GOOD] = 0;
    } else if (squared >= 0) {
        state[LOSS_SCALE_GOOD]++;
    }
    return 0;
}

static void loss_scale_launch(const struct tensor_device_info *info, const void *params,
                              struct tensor_launch *launch)
{
    tensor_launch_items(launch, 1);
}

static const struct tensor_kernel loss_scale = {
    .name = "loss_scale",
    .params_size = sizeof(struct loss_scale_params),
    .args = 3,
    .writes = TENSOR_ARG(loss_scale_params, scale) | TENSOR_ARG(loss_scale_params, state),
    .cpu = loss_scale_cpu,
    .launch = loss_scale_launch,
    .variant = {"loss_scale"},
};
const struct tensor_kernel *const tensor_kernel_loss_scale = &loss_scale;

void tensor_loss_scale(struct tensor_graph *g, struct tensor *scale, struct tensor *state,
                       struct tensor *norm_squared, uint32_t growth)
{
    if (!tensor_check(g, scale->count == 1 && state->count == TENSOR_LOSS_SCALE_STATES,
                      "loss_scale", "scale (1), state (2)", scale, state) ||
        !tensor_check(g, norm_squared->count == 1 && growth > 0 && growth <= 1u << 24, "loss_scale",
                      "norm_squared (1), growth from 1 to 2^24", norm_squared, NULL))
        return;
    const struct loss_scale_params p = {
        .growth = growth, .least = TENSOR_LOSS_SCALE_LEAST, .most = TENSOR_LOSS_SCALE_MOST};
    tensor_graph_pass(g, &loss_scale, &p, (struct tensor *[]){norm_squared, scale, state}, 0);
}
