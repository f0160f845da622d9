/* matmul_coop.c - how matrix products are spread over matrix units.
 *
 * The device lists the shapes that its units multiply (tensor_device_info.matrix_shape); a
 * workgroup takes a tile of c made of many of them. Large tiles read each factor fewer times from
 * memory; small ones give more workgroups, of which a GPU wants some for each of its cores.
 */
#include "tensor/op/matmul_coop.h"
#include <string.h>

#define DEPTH  32 /* elements along k of a tile in shared memory, where a shape allows it */
#define HEIGHT 16 /* rows of a matrix whose height may be chosen, likewise */

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static uint32_t multiple(uint32_t size, uint32_t of)
{
    return (size + of - 1) / of * of;
}

static uint64_t count_tiles(const struct matmul_params *p, uint32_t m, uint32_t n)
{
    return (uint64_t)((p->m + m - 1) / m) * ((p->n + n - 1) / n);
}

/* MATMUL_COOP_*_ALIGNED of this product. */
static uint32_t lines_of(const struct matmul_params *p)
{
    const uint32_t line_a = p->flags & MATMUL_TRANSPOSE_A ? p->m : p->k;
    const uint32_t line_b = p->flags & MATMUL_TRANSPOSE_B ? p->k : p->n;
    const uint64_t c = p->c | (p->flags & MATMUL_RESIDUAL ? p->residual : 0);
    return (line_a % 8 == 0 && p->a % 16 == 0 ? MATMUL_COOP_A_ALIGNED : 0) |
           (line_b % 8 == 0 && p->b % 16 == 0 ? MATMUL_COOP_B_ALIGNED : 0) |
           (p->n % 4 == 0 && c % 16 == 0 ? MATMUL_COOP_C_ALIGNED : 0);
}

/* Appends a configuration that is not there yet, with its grid. Returns how many there are then. */
static uint32_t add_config(struct matmul_config *config, uint32_t count, struct matmul_config *w,
                        const struct matmul_params *p)
{
    const uint32_t workgroup = w->launch.workgroup;
    for (uint32_t i = 0; i < count; i++)
        if (config[i].launch.variant == w->launch.variant && config[i].m == w->m &&
            config[i].n == w->n && !memcmp(config[i].unit, w->unit, sizeof w->unit))
            return count;
    if (count == MATMUL_CONFIGS)
        return count;
    tensor_launch_groups(&w->launch, count_tiles(p, w->m, w->n));
    w->launch.workgroup = workgroup;
    config[count] = *w;
    return count + 1;
}

/* ---- a subgroup's matrices ---- */

/* A tile of c: so many subgroups each config, which take so many rows and columns each. */
struct tile {
    uint32_t sub_m, sub_n, rows, columns;
};

/* Bytes of shared memory that the kernel takes; as in matmul_coop.glsl. */
static uint32_t shared_bytes(const struct matmul_params *p, const struct tensor_launch *launch)
{
    const uint32_t *c = launch->constant;
    const uint32_t tile_m = c[5] * c[7] * c[2], tile_n = c[6] * c[8] * c[3], tile_k = c[9] * c[4];
    const uint32_t a = p->flags & MATMUL_TRANSPOSE_A ? tile_k * (tile_m / 8 + 1)
                                                     : tile_m * (tile_k / 8 + 1);
    const uint32_t b = p->flags & MATMUL_TRANSPOSE_B ? tile_n * (tile_k / 8 + 1)
                                                     : tile_k * (tile_n / 8 + 1);
    const uint32_t end = c[5] * c[6] * c[2] * (c[8] * c[3] / 4 + 1);
    return 16 * larger(end, c[10] * (a + b));
}

static bool set_tile(const struct tensor_device_info *info, const struct matmul_params *p,
                     const struct tensor_matrix_shape *shape, const struct tile *tile,
                     struct tensor_launch *launch)
{
    uint32_t *c = launch->constant;
    /* Shapes that a multiple can be taken of: a tile's whole width and depth, but not its height,
     * of which a part at a time passes through shared memory at the end. */
    const bool flexible = shape->feature & TENSOR_COOPERATIVE_MATRIX_2;
    launch->workgroup = tile->sub_m * tile->sub_n * info->subgroup;
    c[0] = p->flags & MATMUL_CONSTANT;
    c[1] = lines_of(p);
    c[2] = flexible ? multiple(HEIGHT, shape->m) : shape->m;
    c[3] = flexible ? multiple(tile->columns, shape->n) : shape->n;
    c[4] = flexible ? multiple(DEPTH, shape->k) : shape->k;
    c[5] = tile->sub_m;
    c[6] = tile->sub_n;
    c[7] = larger(tile->rows / c[2], 1);
    c[8] = larger(tile->columns / c[3], 1);
    c[9] = larger(DEPTH / c[4], 1);
    c[11] = launch->workgroup;
    for (c[10] = 2; c[10]; c[10]--) /* two buffers where they fit */
        if (shared_bytes(p, launch) <= info->shared_bytes)
            break;
    return c[10] && launch->workgroup <= info->workgroup;
}

/* The configurations of one shape, from the largest tile on. Returns how many there are then. */
static uint32_t add_subgroups(const struct tensor_device_info *info, const struct matmul_params *p,
                              const struct tensor_matrix_shape *shape, uint32_t variant,
                              struct matmul_config *config, uint32_t count)
{
    /* Sums of 64 x 64 a subgroup are 128 registers on each of 32 lanes: as many as fit, and what a
     * subgroup reads from shared memory then stays below what its matrix units take. A software
     * device has few registers, and compiles each product of two matrices by itself. */
    static const struct tile gpu[] = {{2, 2, 64, 64}, {2, 2, 32, 32}, {1, 1, 32, 32}};
    static const struct tile software[] = {{2, 2, 16, 16}};
    const struct tile *tiles = info->software ? software : gpu;
    const uint32_t tile_count = info->software ? 1 : sizeof gpu / sizeof *gpu;
    for (uint32_t i = 0; i < tile_count; i++) {
        struct matmul_config w = {.unit = {shape->m, shape->n, shape->k}};
        if (!set_tile(info, p, shape, &tiles[i], &w.launch))
            continue;
        uint32_t *c = w.launch.constant;
        if (MATMUL_SPLIT_K_STEP % (c[9] * c[4])) /* a step might reach into the next part */
            continue;
        w.m = c[5] * c[7] * c[2];
        w.n = c[6] * c[8] * c[3];
        const uint32_t lines = MATMUL_COOP_A_ALIGNED | MATMUL_COOP_B_ALIGNED;
        if (info->software && (c[1] & lines) == lines && p->m % w.m == 0 && p->n % w.n == 0 &&
            p->k % c[4] == 0)
            c[1] |= MATMUL_COOP_DIRECT;
        w.launch.variant = variant;
        count = add_config(config, count, &w, p);
    }
    return count;
}

/* Those of all shapes of subgroups of a feature, the largest first: it loads least. */
static uint32_t add_shapes(const struct tensor_device_info *info, const struct matmul_params *p,
                           uint32_t feature, uint32_t variant, struct matmul_config *config,
                           uint32_t count)
{
    uint32_t done = 0, largest = 1;
    for (uint32_t round = 0; round < info->matrix_shapes && largest; round++) {
        uint32_t next = 0;
        largest = 0;
        for (uint32_t i = 0; i < info->matrix_shapes; i++) {
            const struct tensor_matrix_shape *s = &info->matrix_shape[i];
            if (s->feature == feature && !s->workgroup && !(done >> i & 1) &&
                s->m * s->n * s->k > largest) {
                largest = s->m * s->n * s->k;
                next = i;
            }
        }
        if (largest)
            count = add_subgroups(info, p, &info->matrix_shape[next], variant, config, count);
        done |= 1u << next;
    }
    return count;
}

/* ---- a workgroup's matrices ---- */

static uint32_t add_workgroups(const struct tensor_device_info *info,
                               const struct matmul_params *p, uint32_t feature, uint32_t variant,
                               struct matmul_config *config, uint32_t count)
{
    static const struct {
        uint32_t m, n, k, workgroup;
    } tiles[] = {{256, 128, 64, 256}, {128, 128, 64, 256}, {64, 64, 64, 128}, {64, 64, 64, 256}};
    for (uint32_t i = 0; i < sizeof tiles / sizeof *tiles; i++)
        for (uint32_t j = 0; j < info->matrix_shapes; j++) {
            const uint32_t m = tiles[i].m, n = tiles[i].n, k = tiles[i].k;
            const struct tensor_matrix_shape *s = &info->matrix_shape[j];
            if (s->feature != feature || s->workgroup != tiles[i].workgroup || m % s->m ||
                n % s->n || k % s->k)
                continue;
            struct matmul_config w = {.m = m, .n = n}; /* units are the driver's affair */
            w.launch.variant = variant;
            w.launch.workgroup = tiles[i].workgroup;
            w.launch.constant[0] = p->flags & MATMUL_CONSTANT;
            w.launch.constant[1] = lines_of(p);
            w.launch.constant[2] = m;
            w.launch.constant[3] = n;
            w.launch.constant[4] = k;
            count = add_config(config, count, &w, p);
        }
    return count;
}

/* Of the configurations from `from` on, which differ by shape first and by tile second: of the
 * first shape the largest tile that gives each core of the GPU something to do. */
static uint32_t rule(const struct tensor_device_info *info, const struct matmul_params *p,
                     const struct matmul_config *config, uint32_t from, uint32_t count)
{
    const uint32_t wanted = tensor_matmul_groups_wanted(info);
    uint32_t i = from;
    while (i + 1 < count && count_tiles(p, config[i].m, config[i].n) < wanted &&
           (config[i + 1].launch.variant == config[from].launch.variant &&
            !memcmp(config[i + 1].unit, config[from].unit, sizeof config->unit)))
        i++;
    return i;
}

uint32_t tensor_matmul_coop_configs(const struct tensor_device_info *info,
                                 const struct matmul_params *p, uint32_t first,
                                 struct matmul_config *config, uint32_t count, uint32_t *usual)
{
    const bool half = p->flags & MATMUL_F16;
    const uint32_t one = half ? TENSOR_COOP_F16 : TENSOR_COOP_BF16;
    const uint32_t two = half ? TENSOR_COOP2_F16 : TENSOR_COOP2_BF16;
    const uint32_t from = count;
    if (!(p->flags & MATMUL_FACTORS))
        return count;
    if (info->features & two) {
        count = add_workgroups(info, p, two, first + (half ? MATMUL_COOP2_F16 : MATMUL_COOP2_BF16),
                               config, count);
        count = add_shapes(info, p, two,
                           first + (half ? MATMUL_FLEXIBLE_F16 : MATMUL_FLEXIBLE_BF16), config,
                           count);
    }
    if (info->features & one)
        count = add_shapes(info, p, one, first + (half ? MATMUL_COOP_F16 : MATMUL_COOP_BF16),
                           config, count);
    if (count > from)
        *usual = rule(info, p, config, from, count);
    return count;
}
