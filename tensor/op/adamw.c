/* adamw.c - the optimizer's update of a flat array (op.h: tensor_adamw). */
#include "tensor/op/adamw.h"
#include "tensor/contract.h"
#include "tensor/cpu/convert.h"
#include "tensor/storage.h"
#include <math.h>

#define AT(member) TENSOR_AT(adamw_params, member)

/* `type` is p->type, known when this is compiled into its callers. */
static inline __attribute__((always_inline)) void update(const struct adamw_params *p,
                                                         uint32_t type)
{
    const float *s = f32_at(p->settings);
    const float squared = *f32_at(p->norm_squared);
    if (!isfinite(squared) || squared < 0)
        return;
    const float rate = s[TENSOR_ADAMW_RATE], beta1 = s[TENSOR_ADAMW_BETA1];
    const float beta2 = s[TENSOR_ADAMW_BETA2], epsilon = s[TENSOR_ADAMW_EPSILON];
    const float decay = rate * s[TENSOR_ADAMW_DECAY], clip = s[TENSOR_ADAMW_CLIP];
    const float correct1 = s[TENSOR_ADAMW_CORRECT1], correct2 = s[TENSOR_ADAMW_CORRECT2];
    const float unscale = p->scaled ? 1 / *f32_at(p->scale) : 1; /* a power of two */
    const float ratio = clip / (sqrtf(squared) * unscale + 1e-6f);
    const float factor = clip > 0 && ratio < 1 ? ratio : 1;
    float *w = f32_at(p->weight), *m = f32_at(p->moment1), *v = f32_at(p->moment2);
    const float *gradient = f32_at(p->gradient);
    uint16_t *copy16 = u16_at(p->copy16);
#pragma omp parallel for simd schedule(static)
    for (uint32_t i = 0; i < p->count; i++) {
        const float g = gradient[i] * unscale * factor;
        m[i] = beta1 * m[i] + (1 - beta1) * g;
        v[i] = beta2 * v[i] + (1 - beta2) * g * g;
        const float kept = i < p->decayed ? w[i] - decay * w[i] : w[i];
        w[i] = kept - rate * (m[i] * correct1) / (sqrtf(v[i] * correct2) + epsilon);
        if (type != ELEMENT_F32)
            copy16[i] = tensor_to_16bit(w[i], type);
    }
}

static int adamw_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct adamw_params *p = params;
    switch (p->type) {
    case ELEMENT_BF16:
        update(p, ELEMENT_BF16);
        break;
    case ELEMENT_F16:
        update(p, ELEMENT_F16);
        break;
    default:
        update(p, ELEMENT_F32);
        break;
    }
    return 0;
}

static void adamw_launch(const struct tensor_device_info *info, const void *params,
                         struct tensor_launch *launch)
{
    const struct adamw_params *p = params;
    launch->constant[0] = p->type;
    launch->constant[1] = (p->weight | p->gradient | p->moment1 | p->moment2) % 16 == 0;
    tensor_launch_items(launch, ((uint64_t)p->count + 3) / 4);
}

static const struct tensor_kernel adamw = {
    .name = "adamw",
    .params_size = sizeof(struct adamw_params),
    .args = 8,
    .writes = TENSOR_ARG(adamw_params, weight) | TENSOR_ARG(adamw_params, moment1) |
              TENSOR_ARG(adamw_params, moment2) | TENSOR_ARG(adamw_params, copy16),
    .args16 = TENSOR_ARG(adamw_params, copy16),
    .cpu = adamw_cpu,
    .launch = adamw_launch,
    .variant = {"adamw"},
};
const struct tensor_kernel *const tensor_kernel_adamw = &adamw;

void tensor_adamw(struct tensor_graph *g, struct tensor *weight, struct tensor *gradient,
                  struct tensor *moment1, struct tensor *moment2, struct tensor *settings,
                  struct tensor *norm_squared, struct tensor *scale, struct tensor *copy16,
                  uint64_t decayed)
{
    if (!tensor_check(g,
                      weight->count == gradient->count && weight->count == moment1->count &&
                          weight->count == moment2->count,
                      "adamw", "equal counts", weight, gradient) ||
        !tensor_check(g,
                      settings->count == TENSOR_ADAMW_SETTINGS && norm_squared->count == 1 &&
                          (!scale || scale->count == 1),
                      "adamw", "settings (8), norm_squared (1)", settings, norm_squared) ||
        !tensor_check(
            g, !copy16 || (copy16->count == weight->count && tensor_is_16bit(copy16->type)),
            "adamw", "weight and copy16 of equal counts, copy16 BF16 or F16", weight, copy16))
        return;
    const struct adamw_params p = {
        .count = (uint32_t)weight->count,
        .decayed = (uint32_t)(decayed < weight->count ? decayed : weight->count),
        .type = copy16 ? tensor_element_type(copy16) : ELEMENT_F32,
        .scaled = scale != NULL};
    tensor_graph_pass(g, &adamw, &p, (struct tensor *[TENSOR_PASS_ARGS]){
        AT(weight) = weight, AT(gradient) = gradient, AT(moment1) = moment1, AT(moment2) = moment2,
        AT(settings) = settings, AT(norm_squared) = norm_squared, AT(scale) = scale,
        AT(copy16) = copy16}, 0);
}
