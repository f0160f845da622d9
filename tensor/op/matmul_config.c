/* matmul_config.c - which kernel configurations there are, and which is picked. */
#include "tensor/op/matmul_config.h"
#include "tensor/op/matmul_coop.h"
#include <string.h>

#define SPLIT_K_LEAST 512 /* elements of k that the rule leaves to a split, at least */

/* Kernels for matrix units follow, in the order of enum matmul_coop. */
enum { DIRECT, TILED, PAIRS, UNITS };

static uint32_t tiles(uint32_t size, uint32_t tile)
{
    return (uint32_t)(((uint64_t)size + tile - 1) / tile);
}

/* Lengths of a line of a and of b in memory, and k: all that a load may reach to the end of. */
static uint32_t lengths(const struct matmul_params *p)
{
    return p->k | (p->flags & MATMUL_TRANSPOSE_A ? p->m : p->k) |
           (p->flags & MATMUL_TRANSPOSE_B ? p->k : p->n);
}

/* ---- without shared memory ---- */

static struct matmul_config direct(const struct matmul_params *p)
{
    struct matmul_config w = {.m = MATMUL_DIRECT_M, .n = MATMUL_DIRECT_N};
    tensor_launch_items(&w.launch, (uint64_t)tiles(p->m, w.m) * tiles(p->n, w.n));
    w.launch.variant = DIRECT;
    w.launch.constant[0] = p->flags & MATMUL_CONSTANT;
    /* Loads of four floats at once, where all lines allow it. */
    w.launch.constant[1] = lengths(p) % 4 == 0 && (p->a | p->b) % 16 == 0;
    w.launch.constant[2] = p->flags & MATMUL_FACTORS;
    return w;
}

static struct matmul_config pairs(const struct tensor_device_info *info,
                               const struct matmul_params *p, uint32_t rows, uint32_t groups)
{
    const uint32_t width = 4 * (info->subgroup < 8 ? 8 : info->subgroup);
    struct matmul_config w = {.m = rows, .n = groups * width};
    w.launch.variant = PAIRS;
    w.launch.workgroup = width / 4;
    w.launch.constant[0] = p->flags & MATMUL_CONSTANT;
    w.launch.constant[1] = rows;
    w.launch.constant[2] = groups;
    w.launch.constant[3] = p->flags & MATMUL_FACTORS;
    w.launch.groups[0] = tiles(p->n, w.n);
    w.launch.groups[1] = tiles(p->m, w.m);
    return w;
}

/* Those of matmul_pairs, if all lines are whole loads of 8 bytes at multiples of that: the rule's,
 * the largest tile that a product fills, and smaller ones. */
static uint32_t add_pairs(const struct tensor_device_info *info, const struct matmul_params *p,
                          struct matmul_config *config, uint32_t count)
{
    const uint32_t step = p->flags & MATMUL_FACTORS ? 4 : 2;
    const uint32_t least = p->flags & MATMUL_TRANSPOSE_A ? step : 2;
    const uint32_t width = 4 * (info->subgroup < 8 ? 8 : info->subgroup);
    uint32_t rows = MATMUL_PAIRS_ROWS, groups = MATMUL_PAIRS_GROUPS;
    if (lengths(p) % step || (p->a | p->b) % 8)
        return count;
    while (rows > 2 && p->m <= rows / 2)
        rows /= 2;
    if (p->m == 1)
        rows = 1;
    while (groups > 1 && p->n <= groups / 2 * width)
        groups /= 2;
    for (uint32_t r = rows; r >= 1 && r >= rows / 4; r /= 2)
        for (uint32_t g = groups; g >= 1 && g >= groups / 2; g /= 2)
            if (r == rows || r >= least)
                config[count++] = pairs(info, p, r, g);
    return count;
}

/* ---- with it ---- */

static struct matmul_config tiled(const struct matmul_params *p)
{
    struct matmul_config w = {.m = MATMUL_TILED_M, .n = MATMUL_TILED_N};
    w.launch = direct(p).launch; /* the same constants */
    w.launch.variant = TILED;
    w.launch.workgroup = 256;
    w.launch.groups[0] = tiles(p->n, w.n);
    w.launch.groups[1] = tiles(p->m, w.m);
    return w;
}

/* ---- all ---- */

uint32_t tensor_matmul_configs(const struct tensor_device_info *info, const struct matmul_params *p,
                            struct matmul_config config[MATMUL_CONFIGS])
{
    uint32_t count = 0, usual = 0;
    config[count++] = direct(p);
    if (info->features & TENSOR_LONG_LOADS) {
        const uint32_t from = count;
        count = add_pairs(info, p, config, count);
        usual = count > from ? from : usual;
    }
    if (info->features & TENSOR_SHARED_TILES) {
        usual = count;
        config[count++] = tiled(p);
    }
    count = tensor_matmul_coop_configs(info, p, UNITS, config, count, &usual);
    const struct matmul_config first = config[usual];
    for (; usual; usual--)
        config[usual] = config[usual - 1];
    config[0] = first;
    for (uint32_t i = 0; i < count; i++)
        config[i].launch.groups[2] = tensor_matmul_splits(p->k, p->split_k);
    return count;
}

uint32_t tensor_matmul_split_k(uint32_t k, uint32_t splits)
{
    const uint32_t split_k = tiles(tiles(k, splits), MATMUL_SPLIT_K_STEP) * MATMUL_SPLIT_K_STEP;
    return split_k < k ? split_k : k;
}

uint32_t tensor_matmul_splits(uint32_t k, uint32_t split_k)
{
    return tiles(k, split_k);
}

struct tensor_autotune_entry tensor_matmul_entry(const struct matmul_params *p,
                                                 const struct matmul_config *config,
                                                 uint32_t splits)
{
    return (struct tensor_autotune_entry){
        .m = p->m, .n = p->n, .k = p->k, .flags = p->flags & (MATMUL_ORDER | MATMUL_FACTORS),
        .variant = config->launch.variant, .tile = {config->m, config->n},
        .unit = {config->unit[0], config->unit[1], config->unit[2]}, .splits = splits};
}

static bool is_entry(const struct matmul_config *c, const struct tensor_autotune_entry *e)
{
    return e->variant == c->launch.variant && e->tile[0] == c->m && e->tile[1] == c->n &&
           !memcmp(e->unit, c->unit, sizeof e->unit);
}

void tensor_matmul_configure(const struct tensor_device_info *info,
                             const struct tensor_autotune *autotune, const struct matmul_params *p,
                             struct matmul_config *config, bool *tuned)
{
    struct matmul_config all[MATMUL_CONFIGS];
    const uint32_t count = tensor_matmul_configs(info, p, all);
    const struct tensor_autotune_entry *entry = tensor_autotune_find(autotune, p);
    uint32_t i = 0;
    while (entry && i < count && !is_entry(&all[i], entry))
        i++;
    const bool found = entry && i < count;
    *config = all[found ? i : 0];
    if (tuned)
        *tuned = found;
}

/* The rule's number of splits. */
static uint32_t splits_wanted(const struct tensor_device_info *info, const struct matmul_params *p)
{
    struct matmul_config all[MATMUL_CONFIGS];
    if (info->software || !(p->flags & MATMUL_TRANSPOSE_A) || p->k < 2 * SPLIT_K_LEAST)
        return 1;
    tensor_matmul_configs(info, p, all);
    const uint32_t *groups = all[0].launch.groups;
    const uint64_t count = (uint64_t)groups[0] * groups[1];
    const uint64_t wanted = 2 * (uint64_t)tensor_matmul_groups_wanted(info) / count;
    const uint64_t most = p->k / SPLIT_K_LEAST;
    const uint64_t splits = wanted < most ? wanted : most;
    return splits < 1 ? 1 : splits < MATMUL_SPLITS_MAX ? (uint32_t)splits : MATMUL_SPLITS_MAX;
}

uint32_t tensor_matmul_split_k_for(const struct tensor_device_info *info,
                                   const struct tensor_autotune *autotune,
                                   const struct matmul_params *p)
{
    struct matmul_params whole = *p;
    whole.split_k = p->k;
    if (strcmp(info->kind, "vulkan"))
        return p->k;
    const struct tensor_autotune_entry *entry = tensor_autotune_find(autotune, &whole);
    uint32_t splits = entry ? entry->splits : splits_wanted(info, &whole);
    while (splits > 1 && (uint64_t)splits * p->m * p->n > INT32_MAX)
        splits /= 2;
    return tensor_matmul_split_k(p->k, splits);
}
