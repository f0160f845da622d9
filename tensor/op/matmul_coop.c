/* matmul_coop.c - how matrix products are spread over matrix units.
 *
 * The device lists the shapes that its units multiply (tensor_device_info.matrix_shape); a
 * workgroup takes a tile of c made of many of them. Large tiles read each factor fewer times from
 * memory; small ones give more workgroups, of which a GPU wants some for each of its cores.
 */
#include "tensor/op/matmul_coop.h"

#define GROUPS_WANTED 128 /* workgroups that keep a large GPU busy */
#define DEPTH         32  /* elements along k of a tile in shared memory, where a shape allows it */
#define HEIGHT        16  /* rows of a matrix whose height may be chosen, likewise */

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
    return (line_a % 8 == 0 && p->a % 16 == 0 ? MATMUL_COOP_A_ALIGNED : 0) |
           (line_b % 8 == 0 && p->b % 16 == 0 ? MATMUL_COOP_B_ALIGNED : 0) |
           (p->n % 4 == 0 && p->c % 16 == 0 ? MATMUL_COOP_C_ALIGNED : 0);
}

/* ---- a subgroup's matrices ---- */

/* A tile of c: so many subgroups each way, which take so many rows and columns each. */
struct tile {
    uint32_t sub_m, sub_n, rows, columns;
};

/* Of the device's shapes of subgroups for this feature the largest: it loads least. */
static const struct tensor_matrix_shape *find_shape(const struct tensor_device_info *info,
                                                    uint32_t feature)
{
    const struct tensor_matrix_shape *best = NULL;
    for (uint32_t i = 0; i < info->matrix_shapes; i++) {
        const struct tensor_matrix_shape *s = &info->matrix_shape[i];
        if (s->feature == feature && !s->workgroup &&
            (!best || s->m * s->n * s->k > best->m * best->n * best->k))
            best = s;
    }
    return best;
}

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
    c[0] = p->flags & (MATMUL_TRANSPOSE_A | MATMUL_TRANSPOSE_B);
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

static bool launch_subgroups(const struct tensor_device_info *info, const struct matmul_params *p,
                             const struct tensor_matrix_shape *shape, struct tensor_launch *launch)
{
    /* Sums of 64 x 64 a subgroup are 128 registers on each of 32 lanes: as many as fit, and what a
     * subgroup reads from shared memory then stays below what its matrix units take. A software
     * device has few registers, and compiles each product of two matrices by itself. */
    static const struct tile gpu[] = {{2, 2, 64, 64}, {2, 2, 32, 32}, {1, 1, 32, 32}};
    static const struct tile software[] = {{2, 2, 16, 16}};
    const struct tile *tiles = info->software ? software : gpu;
    const uint32_t count = info->software ? 1 : sizeof gpu / sizeof *gpu;
    for (uint32_t i = 0; i < count; i++) {
        if (!set_tile(info, p, shape, &tiles[i], launch))
            continue;
        uint32_t *c = launch->constant;
        const uint32_t tile_m = c[5] * c[7] * c[2], tile_n = c[6] * c[8] * c[3];
        const uint64_t groups = count_tiles(p, tile_m, tile_n);
        if (groups < GROUPS_WANTED && i + 1 < count)
            continue;
        const uint32_t workgroup = launch->workgroup;
        const uint32_t lines = MATMUL_COOP_A_ALIGNED | MATMUL_COOP_B_ALIGNED;
        if (info->software && (c[1] & lines) == lines && p->m % tile_m == 0 &&
            p->n % tile_n == 0 && p->k % c[4] == 0)
            c[1] |= MATMUL_COOP_DIRECT;
        tensor_launch_groups(launch, groups);
        launch->workgroup = workgroup;
        return true;
    }
    return false;
}

/* ---- a workgroup's matrices ---- */

static bool launch_workgroup(const struct tensor_device_info *info, const struct matmul_params *p,
                             uint32_t feature, struct tensor_launch *launch)
{
    static const struct {
        uint32_t m, n, k, workgroup;
    } tiles[] = {{256, 128, 64, 256}, {128, 128, 64, 256}, {64, 64, 64, 128}, {64, 64, 64, 256}};
    bool found = false;
    for (uint32_t i = 0; i < sizeof tiles / sizeof *tiles; i++)
        for (uint32_t j = 0; j < info->matrix_shapes; j++) {
            const uint32_t m = tiles[i].m, n = tiles[i].n, k = tiles[i].k;
            const struct tensor_matrix_shape *s = &info->matrix_shape[j];
            if (s->feature != feature || s->workgroup != tiles[i].workgroup || m % s->m ||
                n % s->n || k % s->k)
                continue;
            tensor_launch_groups(launch, count_tiles(p, m, n));
            launch->workgroup = tiles[i].workgroup;
            launch->constant[0] = p->flags & (MATMUL_TRANSPOSE_A | MATMUL_TRANSPOSE_B);
            launch->constant[1] = lines_of(p);
            launch->constant[2] = m;
            launch->constant[3] = n;
            launch->constant[4] = k;
            found = true;
            if (count_tiles(p, m, n) >= GROUPS_WANTED)
                return true;
        }
    return found;
}

enum matmul_coop tensor_matmul_coop(const struct tensor_device_info *info,
                                    const struct matmul_params *p, struct tensor_launch *launch)
{
    const bool half = p->flags & MATMUL_F16;
    const uint32_t one = half ? TENSOR_COOP_F16 : TENSOR_COOP_BF16;
    const uint32_t two = half ? TENSOR_COOP2_F16 : TENSOR_COOP2_BF16;
    const struct tensor_matrix_shape *shape;
    if (!(p->flags & (MATMUL_F16 | MATMUL_BF16)))
        return MATMUL_COOP_NONE;
    if (info->features & two && launch_workgroup(info, p, two, launch))
        return half ? MATMUL_COOP2_F16 : MATMUL_COOP2_BF16;
    if (info->features & two && (shape = find_shape(info, two)) &&
        launch_subgroups(info, p, shape, launch))
        return half ? MATMUL_FLEXIBLE_F16 : MATMUL_FLEXIBLE_BF16;
    if (info->features & one && (shape = find_shape(info, one)) &&
        launch_subgroups(info, p, shape, launch))
        return half ? MATMUL_COOP_F16 : MATMUL_COOP_BF16;
    return MATMUL_COOP_NONE;
}
