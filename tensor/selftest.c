/* selftest.c - some drivers claim what they cannot do: variants of the matrix product are tried
 * once when a device opens, against the plain one, and switched off when they fail.
 *
 * The factors are small multiples of 1/8, so that every sum is exact in whatever order it is taken,
 * and results start out as numbers that are none, so that what is not written shows.
 */
#include "tensor/backend.h"
#include "tensor/cpu/convert.h"
#include "tensor/op/matmul.h"
#include "tensor/storage.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE    1e-4f
#define COUNT(array) (sizeof(array) / sizeof *(array))

extern const struct tensor_kernel *const tensor_kernel_matmul;

struct product {
    uint32_t m, n, k, flags;
    uint32_t split_k; /* of k; 0: all of it */
};

/* Twice odd, so that every variant can do them, and more than one tile each way. */
#define ALL_EPILOGUE (MATMUL_BIAS | MATMUL_RELU | MATMUL_DROPOUT | MATMUL_RESIDUAL)
#define ADDED    (MATMUL_RESIDUAL | MATMUL_IN_PLACE)
#define SMALL {78, 70, 94, MATMUL_TRANSPOSE_B | ALL_EPILOGUE}, {78, 94, 70, 0}, \
        {70, 94, 78, MATMUL_TRANSPOSE_A | ADDED}, \
        {70, 94, 142, MATMUL_TRANSPOSE_A, MATMUL_SPLIT_K_STEP}

static const struct product small[] = {SMALL};
/* Of 16-bit factors a load of 64 bits has four. */
static const struct product fours[] = {{76, 68, 92, MATMUL_TRANSPOSE_B | ALL_EPILOGUE},
                                       {76, 92, 68, MATMUL_16BIT},
                                       {68, 92, 76, MATMUL_TRANSPOSE_A | ADDED},
                                       {68, 92, 140, MATMUL_TRANSPOSE_A, MATMUL_SPLIT_K_STEP}};

/* Matrix units load lines of whole eights in another way, store whole tiles in another way, and
 * take larger tiles of larger products; those are for GPUs only. */
#define SOFTWARE_PRODUCTS 9
static const struct product matrices[] = {
    SMALL,
    {200, 136, 72, MATMUL_TRANSPOSE_B | MATMUL_BIAS | MATMUL_RESIDUAL},
    {200, 136, 72, MATMUL_16BIT | MATMUL_BIAS | MATMUL_RELU},
    {200, 136, 72, MATMUL_16BIT | MATMUL_TRANSPOSE_A | ADDED},
    {128, 128, 64, MATMUL_TRANSPOSE_B | MATMUL_BIAS | MATMUL_RELU | MATMUL_RESIDUAL},
    {128, 128, 64, MATMUL_TRANSPOSE_A | ADDED},
    {776, 840, 72, MATMUL_TRANSPOSE_B | ALL_EPILOGUE},
    {776, 840, 72, MATMUL_16BIT},
    {776, 840, 72, MATMUL_TRANSPOSE_A | ADDED},
    {1544, 1528, 72, MATMUL_TRANSPOSE_B | MATMUL_BIAS | MATMUL_RELU},
    {1544, 2312, 72, MATMUL_TRANSPOSE_B | MATMUL_BIAS | MATMUL_RELU},
    {1544, 2312, 72, 0},
    {1544, 2312, 72, MATMUL_TRANSPOSE_A | ADDED},
};

static const struct test {
    uint32_t bit;
    enum tensor_type factors;
    const struct product *products;
    uint32_t count, software; /* how many products, and on a software device */
} tests[] = {
    {TENSOR_SHARED_TILES, TENSOR_F32, small, COUNT(small), COUNT(small)},
    {TENSOR_LONG_LOADS, TENSOR_F32, small, COUNT(small), COUNT(small)},
    {TENSOR_LONG_LOADS, TENSOR_BF16, fours, COUNT(fours), COUNT(fours)},
    {TENSOR_LONG_LOADS, TENSOR_F16, fours, COUNT(fours), COUNT(fours)},
    {TENSOR_COOP_F16, TENSOR_F16, matrices, COUNT(matrices), SOFTWARE_PRODUCTS},
    {TENSOR_COOP_BF16, TENSOR_BF16, matrices, COUNT(matrices), SOFTWARE_PRODUCTS},
    {TENSOR_COOP2_F16, TENSOR_F16, matrices, COUNT(matrices), SOFTWARE_PRODUCTS},
    {TENSOR_COOP2_BF16, TENSOR_BF16, matrices, COUNT(matrices), SOFTWARE_PRODUCTS},
};

/* How many products of a test there are to do: none once its feature is off, and without matrix
 * units none of factors that this device will not be asked for. */
static uint32_t count_of(const struct tensor_device *device, const struct test *t)
{
    static const enum tensor_precision types[] = {[TENSOR_F32] = TENSOR_PRECISION_FP32,
                                                  [TENSOR_BF16] = TENSOR_PRECISION_BF16,
                                                  [TENSOR_F16] = TENSOR_PRECISION_FP16};
    const bool asked = t->factors == TENSOR_F32 || t->bit & TENSOR_MATRIX_UNITS ||
                       types[t->factors] == device->params.precision;
    if (!(device->info.features & t->bit) || !asked)
        return 0;
    return device->info.software ? t->software : t->count;
}

static uint32_t results_of(const struct product *p)
{
    return p->m * p->n * (p->split_k ? (p->k + p->split_k - 1) / p->split_k : 1);
}

static float value(uint32_t i, uint32_t factor, uint32_t modulus)
{
    return (float)((int)(i * factor % modulus) - (int)modulus / 2) / 8;
}

static void fill(struct tensor *t, uint32_t factor, uint32_t modulus)
{
    void *host = tensor_host(t);
    for (uint32_t i = 0; i < t->count; i++) {
        const float x = value(i, factor, modulus);
        if (t->type == TENSOR_F32)
            ((float *)host)[i] = x;
        else
            ((uint16_t *)host)[i] = tensor_to_16bit(x, tensor_element_type(t));
    }
}

/* A product's tensors, in the order of matmul_params. */
enum { A, B, BIAS, RESIDUAL, RANDOM, C, TENSORS };

/* What a product starts from. */
static void fill_product(const struct product *p, struct tensor **arg)
{
    fill(arg[A], 7919, 17);
    fill(arg[B], 6151, 15);
    fill(arg[BIAS], 31, 13);
    memset(tensor_host(arg[RANDOM]), 0x5a, tensor_size(arg[RANDOM]));
    memset(tensor_host(arg[C]), 0xff, tensor_size(arg[C]));
    fill(arg[RESIDUAL], 37, 11);
}

static void record(struct tensor_graph *graph, const struct product *p, enum tensor_type type,
                   struct tensor *const *arg)
{
    const uint32_t factors = type == TENSOR_F16    ? MATMUL_F16
                             : type == TENSOR_BF16 ? MATMUL_BF16
                                                   : 0;
    const struct matmul_params params = {
        .m = p->m, .n = p->n, .k = p->k, .flags = p->flags | factors,
        .split_k = p->split_k ? p->split_k : p->k, .threshold = 1u << 31, .scale = 2};
    tensor_graph_pass(graph, tensor_kernel_matmul, &params,
                      (struct tensor *[]){arg[A], arg[B], p->flags & MATMUL_BIAS ? arg[BIAS] : NULL,
                                          p->flags & MATMUL_RESIDUAL ? arg[RESIDUAL] : NULL,
                                          p->flags & MATMUL_DROPOUT ? arg[RANDOM] : NULL, arg[C]},
                      0);
}

/* Numbers as floats; returns where the next ones go. */
static float *take_result(const struct tensor *t, float *to)
{
    const void *host = tensor_host(t);
    for (uint64_t i = 0; i < t->count; i++)
        to[i] = t->type == TENSOR_F32
                    ? ((const float *)host)[i]
                    : tensor_from_16bit(((const uint16_t *)host)[i], tensor_element_type(t));
    return to + t->count;
}

/* Computes a test's products, one after the other into `result`. */
static int run(struct tensor_device *device, const struct test *t, uint32_t count, float *result)
{
    struct tensor_arena *arena = NULL;
    struct tensor_graph *graph = NULL;
    struct tensor *arg[COUNT(matrices)][TENSORS];
    int status = tensor_arena_create(device, TENSOR_HOST, "self-test", &arena);
    if (status < 0)
        return status;
    for (uint32_t i = 0; i < count; i++) {
        const struct product *p = &t->products[i];
        const uint32_t counts[TENSORS] = {p->m * p->k, p->k * p->n, p->n, p->m * p->n, 3,
                                          results_of(p)};
        const enum tensor_type output = p->flags & MATMUL_16BIT ? t->factors : TENSOR_F32;
        const enum tensor_type types[TENSORS] = {t->factors, t->factors, TENSOR_F32,
                                                 output,     TENSOR_U32, output};
        for (int j = 0; j < TENSORS; j++)
            arg[i][j] = p->flags & MATMUL_IN_PLACE && j == C
                            ? arg[i][RESIDUAL]
                            : tensor_arena_take(arena, "self-test", types[j], 1, &counts[j]);
    }
    status = tensor_arena_commit(arena);
    if (status == 0)
        status = tensor_graph_create(
            device, &(struct tensor_graph_params){.name = "self-test"}, &graph);
    for (uint32_t i = 0; i < count && status == 0; i++) {
        fill_product(&t->products[i], arg[i]);
        record(graph, &t->products[i], t->factors, arg[i]);
    }
    if (status == 0)
        status = tensor_graph_finish(graph);
    if (status == 0)
        status = tensor_graph_run(graph);
    if (status == 0)
        status = tensor_device_wait(device);
    for (uint32_t i = 0; i < count && status == 0; i++)
        result = take_result(arg[i][C], result);
    tensor_graph_destroy(&graph);
    tensor_arena_destroy(&arena);
    return status;
}

/* The first product that two runs do not agree on; NULL: there is none. */
static const struct product *find_wrong(const struct test *t, uint32_t count, const float *a,
                                        const float *b)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = results_of(&t->products[i]); j; j--, a++, b++)
            if (!(fabsf(*a - *b) <= TOLERANCE * (1 + fabsf(*b))))
                return &t->products[i];
    return NULL;
}

/* Tries one feature and none; switches the feature off if that fails. The features in use are left
 * as they were otherwise. */
static int try(struct tensor_device *device, const struct test *t, uint32_t count, float *with,
               float *without)
{
    const uint32_t all = device->info.features;
    const struct tensor_feature_name *f = tensor_feature_names;
    const struct product *wrong = NULL;
    char why[400] = "";
    while (f->bits != t->bit)
        f++;
    device->info.features = 0;
    int status = run(device, t, count, without);
    device->info.features = t->bit;
    const int tried = status < 0 ? status : run(device, t, count, with);
    if (tried == -EIO) { /* a kernel that the driver does not compile, or a device that is lost? */
        snprintf(why, sizeof why, "%s", tensor_error());
        device->info.features = 0;
        status = run(device, t, count, without);
    } else {
        status = tried;
    }
    device->info.features = all;
    if (status < 0)
        return status;
    if (tried == 0 && !(wrong = find_wrong(t, count, with, without)))
        return 0;
    device->info.features &= ~t->bit;
    if (wrong)
        tensor_log(device, "%s computes wrong products with %s (%u x %u x %u, flags %u); that is "
                   "switched off", device->info.name, f->name, wrong->m, wrong->n, wrong->k,
                   wrong->flags);
    else
        tensor_log(device, "%s fails with %s (%s); that is switched off", device->info.name,
                   f->name, why);
    return 0;
}

int tensor_selftest(struct tensor_device *device)
{
    int status = 0;
    for (size_t i = 0; i < COUNT(tests) && status == 0; i++) {
        const uint32_t count = count_of(device, &tests[i]);
        uint64_t results = 0;
        for (uint32_t j = 0; j < count; j++)
            results += results_of(&tests[i].products[j]);
        if (!count)
            continue;
        float *with = malloc(results * sizeof *with), *without = malloc(results * sizeof *without);
        if (with && without)
            status = try(device, &tests[i], count, with, without);
        else
            status = tensor_fail(ENOMEM, "no memory for the self-test of %s", device->info.name);
        free(with);
        free(without);
    }
    return status;
}
