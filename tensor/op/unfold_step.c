/* unfold_step.c - rows beside the rows before them, of sequences that grow (op.h:
 * tensor_unfold_cached). */
#include "tensor/op/unfold_step.h"
#include "tensor/contract.h"
#include <string.h>

/* Row r of y; its own row joins the cache. */
static void unfold_row(const struct unfold_step_params *p, uint32_t r)
{
    const uint32_t n = r / p->fresh, i = r % p->fresh, *slot = u32_at(p->slot) + 2 * (size_t)n;
    const size_t columns = p->columns, size = columns * sizeof(float);
    const uint32_t t = slot[1] * p->unit + i; /* with `unit` added, so that none is below 0 */
    const float *x = f32_at(p->x) + r * columns;
    float *cache = f32_at(p->cache) + (size_t)slot[0] * p->capacity * columns;
    float *to = f32_at(p->y) + (size_t)r * p->taps * columns;
    for (uint32_t back = p->taps; back--; to += columns)
        if (t < p->unit + back)
            memset(to, 0, size);
        else if (i >= back)
            memcpy(to, x - back * columns, size);
        else
            memcpy(to, cache + (t - p->unit - back) % p->capacity * columns, size);
    if (t >= p->unit)
        memcpy(cache + (t - p->unit) % p->capacity * columns, x, size);
}

static int unfold_step_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct unfold_step_params *p = params;
    for (uint32_t r = 0; r < p->sequences * p->fresh; r++)
        unfold_row(p, r);
    return 0;
}

static void unfold_step_launch(const struct tensor_device_info *info, const void *params,
                               struct tensor_launch *launch)
{
    const struct unfold_step_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->sequences * p->fresh * p->taps * p->columns);
}

static const struct tensor_kernel unfold_step = {
    .name = "unfold_step",
    .params_size = sizeof(struct unfold_step_params),
    .args = 4,
    .writes = TENSOR_ARG(unfold_step_params, cache) | TENSOR_ARG(unfold_step_params, y),
    .cpu = unfold_step_cpu,
    .launch = unfold_step_launch,
    .variant = {"unfold_step"},
};
const struct tensor_kernel *const tensor_kernel_unfold_step = &unfold_step;

struct tensor *tensor_unfold_cached(struct tensor_graph *g, struct tensor *x, struct tensor *cache,
                                    struct tensor *slot, uint32_t unit, uint32_t taps)
{
    const uint32_t rows = tensor_rows(x), columns = tensor_columns(x);
    const uint32_t sequences = (uint32_t)(slot->count / 2);
    const uint32_t fresh = sequences ? rows / sequences : 0;
    if (!tensor_check(g, slot->type == TENSOR_U32 && fresh && rows % sequences == 0 && unit &&
                      taps, "unfold_cached", "x (N·n, C), slot (N, 2) U32", x, slot) ||
        !tensor_check(g, cache->rank == 3 && cache->shape[2] == columns &&
                      cache->shape[1] >= fresh + taps - 1, "unfold_cached",
                      "x (N·n, C), cache (M, L, C), L >= n + taps - 1", x, cache) ||
        !tensor_check(g, (uint64_t)rows * taps * columns < INT32_MAX, "unfold_cached",
                      "fewer than 2^31 results", x, NULL))
        return x;
    struct tensor *y = tensor_graph_matrix(g, rows, taps * columns);
    const struct unfold_step_params p = {.sequences = sequences, .fresh = fresh,
                                         .columns = columns, .taps = taps, .unit = unit,
                                         .capacity = cache->shape[1]};
    tensor_graph_pass(g, &unfold_step, &p, (struct tensor *[]){x, slot, cache, y}, 0);
    return y;
}
