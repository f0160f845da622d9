/* cast.c - rounding to 16 bits (op.h: tensor_cast). */
#include "tensor/op/cast.h"
#include "tensor/cpu/convert.h"
#include "tensor/recording.h"

void tensor_cpu_to_16bit(const float *from, uint16_t *to, uint64_t count, uint32_t type)
{
    if (type == ELEMENT_BF16) {
#pragma omp parallel for simd schedule(static)
        for (uint64_t i = 0; i < count; i++)
            to[i] = tensor_to_bf16(from[i]);
    } else {
#pragma omp parallel for simd schedule(static)
        for (uint64_t i = 0; i < count; i++)
            to[i] = tensor_to_f16(from[i]);
    }
}

void tensor_cpu_from_16bit(const uint16_t *from, float *to, uint64_t count, uint32_t type)
{
    if (type == ELEMENT_BF16) {
#pragma omp parallel for simd schedule(static)
        for (uint64_t i = 0; i < count; i++)
            to[i] = tensor_from_bf16(from[i]);
    } else {
#pragma omp parallel for simd schedule(static)
        for (uint64_t i = 0; i < count; i++)
            to[i] = tensor_from_f16(from[i]);
    }
}

static int cast_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct cast_params *p = params;
    tensor_cpu_to_16bit(f32_at(p->x), u16_at(p->y), p->count, p->type);
    if (p->count % 2)
        u16_at(p->y)[p->count] = 0;
    return 0;
}

static void cast_launch(const struct tensor_device_info *info, const void *params,
                        struct tensor_launch *launch)
{
    const struct cast_params *p = params;
    launch->constant[0] = p->type;
    launch->constant[1] = p->x % 16 == 0;
    tensor_launch_items(launch, ((uint64_t)p->count + 3) / 4);
}

static const struct tensor_kernel cast = {
    .name = "cast",
    .params_size = sizeof(struct cast_params),
    .args = 2,
    .writes = TENSOR_ARG(cast_params, y),
    .args16 = TENSOR_ARG(cast_params, y),
    .cpu = cast_cpu,
    .launch = cast_launch,
    .variant = {"cast"},
};
const struct tensor_kernel *const tensor_kernel_cast = &cast;

uint32_t tensor_element_type(const struct tensor *t)
{
    return t->type == TENSOR_BF16  ? ELEMENT_BF16
           : t->type == TENSOR_F16 ? ELEMENT_F16
                                   : ELEMENT_F32;
}

void tensor_cast(struct tensor_graph *g, struct tensor *to, struct tensor *from)
{
    if (!tensor_check(
            g, to->count == from->count && tensor_is_16bit(to->type) && from->type == TENSOR_F32,
            "cast", "equal counts, F32 to BF16 or F16", to, from))
        return;
    const struct cast_params p = {.count = (uint32_t)to->count, .type = tensor_element_type(to)};
    tensor_graph_pass(g, &cast, &p, (struct tensor *[]){from, to}, 0);
}

struct tensor *tensor_graph_cast16(struct tensor_graph *g, struct tensor *t)
{
    const enum tensor_type type = tensor_graph_factor_type(g);
    if (type == TENSOR_F32 || t->type == type || g->error)
        return t;
    if (t->copy16 && t->copy16->type == type)
        return t->copy16;
    /* Views of the same elements, under whatever shape, share a cast. */
    for (uint32_t i = g->cast_count; i--;) {
        const struct tensor_cast *c = &g->casts[i];
        if (c->storage == t->storage && c->offset == t->offset && c->count == t->count &&
            c->version == t->storage->version)
            return c->result;
    }
    if (!tensor_graph_grow(g, (void **)&g->casts, g->cast_count, &g->cast_capacity,
                           sizeof *g->casts))
        return &g->dummy;
    struct tensor *result = tensor_graph_new(g, type, t->rank, t->shape);
    tensor_cast(g, result, t);
    g->casts[g->cast_count++] =
        (struct tensor_cast){t->storage, t->offset, t->count, t->storage->version, result};
    return result;
}
