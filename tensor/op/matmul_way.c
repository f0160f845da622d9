/* matmul_way.c - which ways there are, and which is taken. */
#include "tensor/op/matmul_way.h"
#include "tensor/choice.h"
#include "tensor/op/matmul_coop.h"
#include <string.h>

#define SPLIT_DEPTH 512 /* elements of k that the rule leaves to a part, at least */

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

static struct matmul_way direct(const struct matmul_params *p)
{
    struct matmul_way w = {.m = MATMUL_DIRECT_M, .n = MATMUL_DIRECT_N};
    tensor_launch_items(&w.launch, (uint64_t)tiles(p->m, w.m) * tiles(p->n, w.n));
    w.launch.variant = DIRECT;
    w.launch.constant[0] = p->flags & MATMUL_CONSTANT;
    /* Loads of four floats at once, where all lines allow it. */
    w.launch.constant[1] = lengths(p) % 4 == 0 && (p->a | p->b) % 16 == 0;
    w.launch.constant[2] = p->flags & MATMUL_FACTORS;
    return w;
}

static struct matmul_way pairs(const struct tensor_device_info *info,
                               const struct matmul_params *p, uint32_t rows, uint32_t groups)
{
    const uint32_t width = 4 * (info->subgroup < 8 ? 8 : info->subgroup);
    struct matmul_way w = {.m = rows, .n = groups * width};
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
                          struct matmul_way *way, uint32_t count)
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
                way[count++] = pairs(info, p, r, g);
    return count;
}

/* ---- with it ---- */

static struct matmul_way tiled(const struct matmul_params *p)
{
    struct matmul_way w = {.m = MATMUL_TILED_M, .n = MATMUL_TILED_N};
    w.launch = direct(p).launch; /* the same constants */
    w.launch.variant = TILED;
    w.launch.workgroup = 256;
    w.launch.groups[0] = tiles(p->n, w.n);
    w.launch.groups[1] = tiles(p->m, w.m);
    return w;
}

/* ---- all ---- */

uint32_t tensor_matmul_ways(const struct tensor_device_info *info, const struct matmul_params *p,
                            struct matmul_way way[MATMUL_WAYS])
{
    uint32_t count = 0, usual = 0;
    way[count++] = direct(p);
    if (info->features & TENSOR_LONG_LOADS) {
        const uint32_t from = count;
        count = add_pairs(info, p, way, count);
        usual = count > from ? from : usual;
    }
    if (info->features & TENSOR_SHARED_TILES) {
        usual = count;
        way[count++] = tiled(p);
    }
    count = tensor_matmul_coop_ways(info, p, UNITS, way, count, &usual);
    const struct matmul_way first = way[usual];
    for (; usual; usual--)
        way[usual] = way[usual - 1];
    way[0] = first;
    for (uint32_t i = 0; i < count; i++)
        way[i].launch.groups[2] = tensor_matmul_parts(p->k, p->part);
    return count;
}

uint32_t tensor_matmul_part(uint32_t k, uint32_t parts)
{
    const uint32_t part = tiles(tiles(k, parts), MATMUL_PART) * MATMUL_PART;
    return part < k ? part : k;
}

uint32_t tensor_matmul_parts(uint32_t k, uint32_t part)
{
    return tiles(k, part);
}

void tensor_matmul_way(const struct tensor_device_info *info, const struct matmul_params *p,
                       struct matmul_way *way, bool *chosen)
{
    struct matmul_way all[MATMUL_WAYS];
    const uint32_t count = tensor_matmul_ways(info, p, all);
    const struct tensor_choice *choice = tensor_choices_find(info->choices, p);
    uint32_t i = 0;
    while (choice && i < count && !tensor_choice_is(choice, &all[i]))
        i++;
    const bool found = choice && i < count;
    *way = all[found ? i : 0];
    if (chosen)
        *chosen = found;
}

/* The rule's number of parts. */
static uint32_t parts_wanted(const struct tensor_device_info *info, const struct matmul_params *p)
{
    struct matmul_way all[MATMUL_WAYS];
    if (info->software || !(p->flags & MATMUL_TRANSPOSE_A) || p->k < 2 * SPLIT_DEPTH)
        return 1;
    tensor_matmul_ways(info, p, all);
    const uint32_t *groups = all[0].launch.groups;
    const uint64_t count = (uint64_t)groups[0] * groups[1];
    const uint64_t wanted = 2 * (uint64_t)tensor_matmul_groups_wanted(info) / count;
    const uint64_t most = p->k / SPLIT_DEPTH;
    const uint64_t parts = wanted < most ? wanted : most;
    return parts < 1 ? 1 : parts < MATMUL_PARTS_MAX ? (uint32_t)parts : MATMUL_PARTS_MAX;
}

uint32_t tensor_matmul_part_taken(const struct tensor_device_info *info,
                                  const struct matmul_params *p)
{
    struct matmul_params whole = *p;
    whole.part = p->k;
    if (strcmp(info->kind, "vulkan"))
        return p->k;
    const struct tensor_choice *choice = tensor_choices_find(info->choices, &whole);
    uint32_t parts = choice ? choice->parts : parts_wanted(info, &whole);
    while (parts > 1 && (uint64_t)parts * p->m * p->n > INT32_MAX)
        parts /= 2;
    return tensor_matmul_part(p->k, parts);
}
