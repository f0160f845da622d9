/* cases.c - every kernel, in sizes that are worth a try: 1, odd, beside multiples of workgroups. */
#include "tensor/op/adamw.h"
#include "tensor/op/add.h"
#include "tensor/op/cast.h"
#include "tensor/op/cross_entropy.h"
#include "tensor/op/dropout.h"
#include "tensor/op/embedding.h"
#include "tensor/op/fill.h"
#include "tensor/op/gate.h"
#include "tensor/op/layer_norm.h"
#include "tensor/op/loss_scale.h"
#include "tensor/op/matmul.h"
#include "tensor/op/row.h"
#include "tensor/op/shift.h"
#include "tensor/op/slice.h"
#include "tensor/op/sum.h"
#include "tensor/op/sum_rows.h"
#include "tensor/op/unfold.h"
#include "tests/tensor/attention.h"
#include "tests/tensor/generation.h"
#include "tests/tensor/reference.h"
#include <math.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- arguments, in the order of the parameters ---- */

static struct check_arg *argument(struct check_kernel_case *c, const struct check_arg *arg)
{
    c->arg[c->args] = *arg;
    return &c->arg[c->args++];
}

static struct check_arg *input(struct check_kernel_case *c, uint64_t count)
{
    return argument(c, &(struct check_arg){.count = count, .input = true, .low = -1, .high = 1});
}

static struct check_arg *input_between(struct check_kernel_case *c, uint64_t count, double low,
                                       double high)
{
    return argument(c, &(struct check_arg){.count = count, .input = true, .low = low,
                                           .high = high});
}

static struct check_arg *input_u32(struct check_kernel_case *c, uint64_t count, uint32_t low,
                                   uint32_t high)
{
    return argument(c, &(struct check_arg){.type = TENSOR_U32, .count = count, .input = true,
                                           .low = low, .high = high});
}

static struct check_arg *input_bytes(struct check_kernel_case *c, uint64_t count, uint32_t high)
{
    return argument(c, &(struct check_arg){.type = TENSOR_U8, .count = count, .input = true,
                                           .high = high});
}

static void random_input(struct check_kernel_case *c, bool given)
{
    input_u32(c, given ? 3 : 0, 0, UINT32_MAX);
}

static struct check_arg *output(struct check_kernel_case *c, uint64_t count)
{
    return argument(c, &(struct check_arg){.count = count, .output = true});
}

static struct check_arg *updated(struct check_kernel_case *c, uint64_t count)
{
    struct check_arg *arg = input(c, count);
    arg->output = true;
    return arg;
}

static struct check_arg *output_or_updated(struct check_kernel_case *c, uint64_t count,
                                           bool update)
{
    return update ? updated(c, count) : output(c, count);
}

/* The last argument is the same tensor as argument number `which`. */
static void in_place(struct check_kernel_case *c, uint32_t which)
{
    c->arg[c->args - 1] = c->arg[which];
    c->arg[c->args - 1].same_as = which + 1;
    c->arg[c->args - 1].output = true;
}

/* ---- sizes ---- */

static const uint32_t counts[] = {1, 3, 64, 65, 1000, 70001};

static const struct {
    uint32_t rows, columns;
} matrices[] = {{1, 1}, {3, 2}, {7, 5}, {1, 64}, {65, 3}, {33, 64}, {50, 127}, {130, 96},
              {5, 1030}};

static const uint32_t thresholds[] = {0x19999999u, 0x80000000u, 1u, 0xfffffff0u};

/* ---- kernels ---- */

static enum tensor_type factor_of(uint32_t flags)
{
    return flags & MATMUL_BF16 ? TENSOR_BF16 : flags & MATMUL_F16 ? TENSOR_F16 : TENSOR_F32;
}

/* What a product or a sum of split-K takes behind its factors, as flags say. */
static void epilogue_arguments(struct check_kernel_case *c, const struct matmul_params *p)
{
    const enum tensor_type type = p->flags & MATMUL_16BIT ? factor_of(p->flags) : TENSOR_F32;
    const uint64_t count = (uint64_t)p->m * p->n, splits = (p->k + p->split_k - 1) / p->split_k;
    const bool sum = !c->arg[1].count;
    input(c, p->flags & MATMUL_BIAS ? p->n : 0);
    input(c, p->flags & MATMUL_RESIDUAL ? count : 0)->type = type;
    random_input(c, p->flags & MATMUL_DROPOUT);
    output(c, sum ? count : splits * count)->type = type;
    if (p->flags & MATMUL_IN_PLACE)
        in_place(c, 3);
}

#define ADDED (MATMUL_RESIDUAL | MATMUL_IN_PLACE)
#define ORDERS 3 /* neither, MATMUL_TRANSPOSE_A, MATMUL_TRANSPOSE_B */

/* Ends of a product beside those that build_matmul() tries with every size and order. */
static const uint32_t epilogues[] = {
    MATMUL_RESIDUAL,
    MATMUL_BIAS | MATMUL_RESIDUAL,
    MATMUL_BIAS | ADDED,
    MATMUL_BIAS | MATMUL_RELU | MATMUL_RESIDUAL,
    MATMUL_DROPOUT,
    MATMUL_DROPOUT | ADDED,
    MATMUL_DROPOUT | MATMUL_BIAS | MATMUL_RESIDUAL,
    MATMUL_DROPOUT | MATMUL_BIAS | MATMUL_RELU | MATMUL_RESIDUAL,
    MATMUL_16BIT | MATMUL_BIAS | MATMUL_RESIDUAL,
    MATMUL_16BIT | ADDED,
    MATMUL_16BIT | MATMUL_DROPOUT | MATMUL_BIAS | MATMUL_RELU | MATMUL_RESIDUAL,
};

/* Products a · bᵀ with these epilogues, for factors of each type. */
static bool build_matmul_epilogue(uint32_t i, struct check_kernel_case *c)
{
    static const struct {
        uint32_t m, n, k;
    } sizes[] = {{3, 5, 7}, {130, 72, 36}, {128, 192, 64}};
    static const uint32_t factors[] = {0, MATMUL_BF16, MATMUL_F16};
    const uint32_t size = i / COUNT(epilogues) / COUNT(factors),
                   epilogue = epilogues[i % COUNT(epilogues)];
    const uint32_t factor = factors[i / COUNT(epilogues) % COUNT(factors)];
    if (size >= COUNT(sizes))
        return false;
    /* Nothing to round to in fp32. */
    const uint32_t flags =
        factor | MATMUL_TRANSPOSE_B | (factor ? epilogue : epilogue & ~MATMUL_16BIT);
    const uint32_t n = sizes[size].n;
    const struct matmul_params p = {
        .m = sizes[size].m, .n = flags & MATMUL_16BIT ? (n + 3) / 4 * 4 : n, .k = sizes[size].k,
        .flags = flags, .split_k = sizes[size].k, .stream = i, .threshold = thresholds[i % 2],
        .scale = 1.25f};
    check_start(c, &p, sizeof p, "%u x %u x %u with epilogue, flags %u, threshold %#x", p.m, p.n,
                p.k, flags, p.threshold);
    input(c, (uint64_t)p.m * p.k)->type = factor_of(flags);
    input(c, (uint64_t)p.k * p.n)->type = factor_of(flags);
    epilogue_arguments(c, &p);
    return true;
}

/* Products of split-K, each part by itself. */
static bool build_matmul_split_k(uint32_t i, struct check_kernel_case *c)
{
    static const struct {
        uint32_t m, n, k, split_k;
    } sizes[] = {{5, 3, 65, 64}, {70, 66, 200, 64}, {130, 70, 129, 128}, {128, 64, 256, 128}};
    static const uint32_t factors[] = {0, MATMUL_BF16, MATMUL_F16};
    const uint32_t size = i / ORDERS / COUNT(factors);
    if (size >= COUNT(sizes))
        return build_matmul_epilogue(i - ORDERS * COUNT(factors) * COUNT(sizes), c);
    const uint32_t flags = i % ORDERS | factors[i / ORDERS % COUNT(factors)];
    const struct matmul_params p = {.m = sizes[size].m, .n = sizes[size].n, .k = sizes[size].k,
                                    .flags = flags, .split_k = sizes[size].split_k};
    check_start(c, &p, sizeof p, "%u x %u x %u split-K of %u, flags %u", p.m, p.n, p.k, p.split_k,
                p.flags);
    input(c, (uint64_t)p.m * p.k)->type = factor_of(flags);
    input(c, (uint64_t)p.k * p.n)->type = factor_of(flags);
    epilogue_arguments(c, &p);
    return true;
}

static bool build_matmul_sum(uint32_t i, struct check_kernel_case *c)
{
    static const struct {
        uint32_t m, n, k;
    } sizes[] = {{1, 1, 65}, {3, 5, 200}, {70, 66, 129}, {16, 64, 2000}};
    static const uint32_t factors[] = {MATMUL_BF16, MATMUL_F16};
    const uint32_t size = i / (COUNT(epilogues) + 2);
    if (size >= COUNT(sizes))
        return false;
    const uint32_t epilogue = i % (COUNT(epilogues) + 2);
    const uint32_t flags = epilogue == 0   ? 0
                           : epilogue == 1 ? ADDED
                                           : epilogues[epilogue - 2] | factors[i / 2 % 2];
    const uint32_t n = flags & MATMUL_16BIT ? (sizes[size].n + 3) / 4 * 4 : sizes[size].n;
    const struct matmul_params p = {.m = sizes[size].m, .n = n, .k = sizes[size].k, .flags = flags,
                                    .split_k = 64, .stream = i, .threshold = thresholds[i % 2],
                                    .scale = 1.25f};
    check_start(c, &p, sizeof p, "%u x %u of k = %u, flags %u", p.m, n, p.k, flags);
    input(c, (uint64_t)((p.k + 63) / 64) * p.m * n);
    input(c, 0);
    epilogue_arguments(c, &p);
    return true;
}

static bool build_matmul(uint32_t i, struct check_kernel_case *c)
{
    static const struct {
        uint32_t m, n, k;
    } sizes[] = {{1, 1, 1}, {3, 5, 7}, {4, 8, 4}, {1, 256, 64}, {64, 64, 16}, {65, 63, 17},
                 {66, 30, 100}, {130, 70, 33}, {128, 192, 64}, {72, 100, 132}, {20, 4, 1024},
                 {18, 134, 6}, {2, 258, 10}, {34, 6, 2}, {2049, 5, 3}, {3, 7, 515},
                 {9, 2, 514}};
    static const uint32_t kinds[] = {
        0,
        ADDED,
        MATMUL_BIAS,
        MATMUL_BIAS | MATMUL_RELU,
        MATMUL_RELU | ADDED,
        MATMUL_BF16,
        MATMUL_BF16 | ADDED,
        MATMUL_BF16 | MATMUL_BIAS | MATMUL_RELU | ADDED,
        MATMUL_F16,
        MATMUL_F16 | ADDED,
        MATMUL_F16 | MATMUL_BIAS | MATMUL_RELU | ADDED,
        MATMUL_BF16 | MATMUL_16BIT | MATMUL_BIAS | MATMUL_RELU | ADDED,
        MATMUL_F16 | MATMUL_16BIT | MATMUL_BIAS};
    const uint32_t size = i / ORDERS / COUNT(kinds);
    if (size >= COUNT(sizes))
        return build_matmul_split_k(i - ORDERS * COUNT(kinds) * COUNT(sizes), c);
    const uint32_t flags = i % ORDERS | kinds[i / ORDERS % COUNT(kinds)];
    const uint32_t m = sizes[size].m, k = sizes[size].k;
    const uint32_t n = flags & MATMUL_16BIT ? (sizes[size].n + 3) / 4 * 4 : sizes[size].n;
    const struct matmul_params p = {.m = m, .n = n, .k = k, .flags = flags, .split_k = k};
    check_start(c, &p, sizeof p, "%u x %u x %u, flags %u", m, n, k, flags);
    input(c, (uint64_t)m * k)->type = factor_of(flags);
    input(c, (uint64_t)k * n)->type = factor_of(flags);
    epilogue_arguments(c, &p);
    return true;
}

/* The tensors' type for ELEMENT_F32 … */
static const enum tensor_type types[] = {TENSOR_F32, TENSOR_BF16, TENSOR_F16};

static bool build_relu_grad(uint32_t i, struct check_kernel_case *c)
{
    const uint32_t size = i / 2 / COUNT(types);
    if (size >= COUNT(counts))
        return false;
    const struct relu_grad_params p = {.count = counts[size], .type = i / 2 % COUNT(types)};
    check_start(c, &p, sizeof p, "%u of type %u%s", p.count, p.type, i % 2 ? ", in place" : "");
    input(c, p.count)->type = types[p.type];
    input(c, p.count)->type = types[p.type];
    output(c, p.count)->type = types[p.type];
    if (i % 2)
        in_place(c, 1);
    return true;
}

static bool build_sum_rows(uint32_t i, struct check_kernel_case *c)
{
    static const uint32_t chunks[] = {1, 4, 64, 1000};
    const uint32_t matrix = i / 8 / COUNT(types), type = i / 8 % COUNT(types);
    if (matrix >= COUNT(matrices))
        return false;
    const uint32_t each = type == ELEMENT_F32 ? 1 : 2, rows = matrices[matrix].rows;
    const uint32_t columns = (matrices[matrix].columns + each - 1) / each * each;
    const uint32_t chunk = chunks[i / 2 % 4];
    const struct sum_rows_params p = {.rows = rows, .columns = columns, .accumulate = i % 2,
                                      .stride = columns + i % 3 * each, .chunk = chunk,
                                      .type = type};
    check_start(c, &p, sizeof p, "%u x %u of type %u, stride %u, chunk %u%s", rows, columns, type,
                p.stride, chunk, p.accumulate ? ", accumulate" : "");
    input(c, (uint64_t)rows * p.stride)->type = types[type];
    output_or_updated(c, (uint64_t)((rows + chunk - 1) / chunk) * columns, p.accumulate);
    return true;
}

static bool build_embedding(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(matrices))
        return false;
    const struct embedding_params p = {.rows = matrices[i].rows, .columns = matrices[i].columns};
    check_start(c, &p, sizeof p, "%u x %u", p.rows, p.columns);
    input_bytes(c, p.rows, 255);
    input(c, 256ull * p.columns);
    output(c, (uint64_t)p.rows * p.columns);
    return true;
}

static bool build_embedding_grad(uint32_t i, struct check_kernel_case *c)
{
    if (i >= 2 * COUNT(matrices))
        return false;
    const struct embedding_grad_params p = {.rows = matrices[i / 2].rows,
                                            .columns = matrices[i / 2].columns};
    check_start(c, &p, sizeof p, "%u x %u%s", p.rows, p.columns, i % 2 ? ", few symbols" : "");
    input_bytes(c, p.rows, i % 2 ? 1 : 255);
    input(c, (uint64_t)p.rows * p.columns);
    updated(c, 256ull * p.columns);
    return true;
}

static const struct {
    uint32_t groups, n, s, columns;
} shifts[] = {{1, 1, 1, 1}, {3, 4, 1, 5}, {2, 7, 3, 64}, {5, 3, 3, 2}, {4, 8, 2, 130}};

static bool build_shift(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(shifts))
        return false;
    const struct shift_params p = {.rows = shifts[i].groups * shifts[i].n, .n = shifts[i].n,
                                   .s = shifts[i].s, .columns = shifts[i].columns};
    check_start(c, &p, sizeof p, "%u groups of %u x %u by %u", shifts[i].groups, p.n, p.columns,
                p.s);
    input(c, (uint64_t)p.rows * p.columns);
    input(c, (uint64_t)p.s * p.columns);
    output(c, (uint64_t)p.rows * p.columns);
    return true;
}

static bool build_shift_grad(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(shifts))
        return false;
    const struct shift_grad_params p = {.rows = shifts[i].groups * shifts[i].n, .n = shifts[i].n,
                                        .s = shifts[i].s, .columns = shifts[i].columns};
    check_start(c, &p, sizeof p, "%u groups of %u x %u by %u", shifts[i].groups, p.n, p.columns,
                p.s);
    input(c, (uint64_t)p.rows * p.columns);
    output(c, (uint64_t)p.rows * p.columns);
    return true;
}

static bool build_add(uint32_t i, struct check_kernel_case *c)
{
    if (i / 2 >= COUNT(counts))
        return false;
    const struct add_params p = {.count = counts[i / 2]};
    check_start(c, &p, sizeof p, "%u%s", p.count, i % 2 ? ", in place" : "");
    input(c, p.count);
    input(c, p.count);
    output(c, p.count);
    if (i % 2)
        in_place(c, 0);
    return true;
}

static bool build_add_rows(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(shifts))
        return false;
    const struct add_rows_params p = {.rows = shifts[i].groups * shifts[i].n, .n = shifts[i].n,
                                      .columns = shifts[i].columns};
    check_start(c, &p, sizeof p, "%u groups of %u x %u", shifts[i].groups, p.n, p.columns);
    input(c, (uint64_t)p.rows * p.columns);
    input(c, (uint64_t)p.n * p.columns);
    output(c, (uint64_t)p.rows * p.columns);
    return true;
}

static bool build_dropout_grad(uint32_t i, struct check_kernel_case *c)
{
    if (i / 4 >= COUNT(matrices))
        return false;
    const struct dropout_grad_params p = {
        .rows = matrices[i / 4].rows, .columns = matrices[i / 4].columns, .stream = i + 7,
        .threshold = thresholds[i % 4], .scale = 1.25f};
    check_start(c, &p, sizeof p, "%u x %u, threshold %#x", p.rows, p.columns, p.threshold);
    input(c, (uint64_t)p.rows * p.columns);
    random_input(c, true);
    output(c, (uint64_t)p.rows * p.columns);
    return true;
}

/* Columns of a matrix whose lines of 16 bits are whole words. */
static uint32_t columns_of(uint32_t matrix, uint32_t type)
{
    const uint32_t columns = matrices[matrix].columns;
    return type == ELEMENT_F32 ? columns : (columns + 1) / 2 * 2;
}

static bool build_layer_norm(uint32_t i, struct check_kernel_case *c)
{
    const uint32_t matrix = i / 2 / COUNT(types), type = i / 2 % COUNT(types);
    if (matrix >= COUNT(matrices))
        return false;
    const struct layer_norm_params p = {.rows = matrices[matrix].rows, .epsilon = 1e-5f,
                                        .columns = columns_of(matrix, type), .type = type};
    /* Far from zero the variance must not be lost to rounding. */
    check_start(c, &p, sizeof p, "%u x %u of type %u%s", p.rows, p.columns, type,
                i % 2 ? ", mean 30" : "");
    input_between(c, (uint64_t)p.rows * p.columns, i % 2 ? 29 : -1, i % 2 ? 31 : 1);
    input(c, p.columns);
    input(c, p.columns);
    output(c, (uint64_t)p.rows * p.columns)->type = types[type];
    output(c, 2ull * p.rows);
    return true;
}

static bool build_layer_norm_grad(uint32_t i, struct check_kernel_case *c)
{
    static const char *const how[] = {"", ", accumulate", ", in place"};
    const uint32_t matrix = i / 3 / COUNT(types), type = i / 3 % COUNT(types);
    if (matrix >= COUNT(matrices))
        return false;
    const bool in_dy = i % 3 == 2 && type == ELEMENT_F32;
    const struct layer_norm_grad_params p = {.rows = matrices[matrix].rows,
                                             .accumulate = i % 3 == 1, .type = type,
                                             .columns = columns_of(matrix, type)};
    check_start(c, &p, sizeof p, "%u x %u of type %u%s", p.rows, p.columns, type, how[i % 3]);
    const uint64_t count = (uint64_t)p.rows * p.columns;
    input(c, count);
    input(c, p.columns);
    input_between(c, 2ull * p.rows, 0.5, 1.5); /* mean and 1 / deviation, whatever they are */
    input(c, count)->type = types[type];
    output_or_updated(c, count, p.accumulate);
    if (in_dy)
        in_place(c, 3);
    return true;
}

static bool build_layer_norm_grad_gain(uint32_t i, struct check_kernel_case *c)
{
    static const uint32_t chunks[] = {1, 3, 32, 500};
    const uint32_t matrix = i / 4 / COUNT(types), type = i / 4 % COUNT(types);
    if (matrix >= COUNT(matrices))
        return false;
    const struct layer_norm_grad_gain_params p = {.rows = matrices[matrix].rows, .type = type,
                                                  .columns = columns_of(matrix, type),
                                                  .chunk = chunks[i % 4]};
    check_start(c, &p, sizeof p, "%u x %u of type %u, chunk %u", p.rows, p.columns, type, p.chunk);
    input(c, (uint64_t)p.rows * p.columns);
    input_between(c, 2ull * p.rows, 0.5, 1.5);
    input(c, (uint64_t)p.rows * p.columns)->type = types[type];
    output(c, 2ull * p.columns * ((p.rows + p.chunk - 1) / p.chunk));
    return true;
}

static const struct {
    uint32_t sequences, per_sequence, symbols, shortest;
} losses[] = {{1, 1, 256, 1}, {3, 5, 256, 0}, {2, 70, 256, 30}, {4, 3, 100, 0}, {7, 9, 3, 0}};

static bool build_cross_entropy(uint32_t i, struct check_kernel_case *c)
{
    if (i >= 2 * COUNT(losses))
        return false;
    const uint32_t n = losses[i / 2].sequences, rows = n * losses[i / 2].per_sequence;
    const struct cross_entropy_params p = {.rows = rows, .symbols = losses[i / 2].symbols,
                                           .per_sequence = losses[i / 2].per_sequence};
    const double large = i % 2 ? 60 : 4; /* exp(60) squared is beyond a float */
    check_start(c, &p, sizeof p, "%u x %u x %u, logits to %g", n, p.per_sequence, p.symbols, large);
    input_between(c, (uint64_t)rows * p.symbols, -large, large);
    input_bytes(c, rows, p.symbols - 1);
    input_u32(c, n, losses[i / 2].shortest, p.per_sequence);
    output(c, rows);
    output(c, rows);
    return true;
}

static bool build_cross_entropy_grad(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(losses))
        return false;
    const uint32_t n = losses[i].sequences, rows = n * losses[i].per_sequence;
    const struct cross_entropy_grad_params p = {.rows = rows, .symbols = losses[i].symbols,
                                                .per_sequence = losses[i].per_sequence};
    check_start(c, &p, sizeof p, "%u x %u x %u", n, p.per_sequence, p.symbols);
    input_between(c, (uint64_t)rows * p.symbols, -4, 4);
    input_bytes(c, rows, p.symbols - 1);
    input_u32(c, n, losses[i].shortest, p.per_sequence);
    input_between(c, rows, 4, 6); /* log-sum-exp, whatever it is */
    input(c, rows);
    output(c, (uint64_t)rows * p.symbols);
    return true;
}

static bool build_sum(uint32_t i, struct check_kernel_case *c)
{
    static const uint32_t chunks[] = {1000, 16384};
    if (i / 8 >= COUNT(counts))
        return false;
    const struct sum_params p = {.count = counts[i / 8], .chunk = chunks[i / 4 % 2],
                                 .flags = i % 4};
    check_start(c, &p, sizeof p, "%u, chunk %u, flags %u", p.count, p.chunk, p.flags);
    /* Of one sign, so that the sum is no smaller than the rounding errors of its terms. */
    input_between(c, p.count, 0.5, 1);
    input(c, p.flags & SUM_FACTOR ? 1 : 0);
    output(c, (p.count + p.chunk - 1) / p.chunk);
    return true;
}

static bool build_sum_grad(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(counts))
        return false;
    const struct sum_grad_params p = {.count = counts[i]};
    check_start(c, &p, sizeof p, "%u", p.count);
    input(c, 1);
    input(c, 1);
    output(c, p.count);
    return true;
}

static bool build_fill(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(counts))
        return false;
    const struct fill_params p = {.count = counts[i], .value = i % 2 ? 0 : -1.5f};
    check_start(c, &p, sizeof p, "%u, %g", p.count, (double)p.value);
    output(c, p.count);
    return true;
}

static bool build_copy(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(counts))
        return false;
    const struct copy_params p = {.count = counts[i]};
    check_start(c, &p, sizeof p, "%u", p.count);
    input(c, p.count);
    output(c, p.count);
    return true;
}

/* Ties, the epilogues of both ranges, and what lies beyond them; then numbers of all sizes. */
static bool build_cast(uint32_t i, struct check_kernel_case *c)
{
    static const float edges[] = {0,
                                  1,
                                  -1,
                                  0x1.01p0f,
                                  0x1.03p0f,
                                  0x1.010002p0f,
                                  0x1.002p0f,
                                  0x1.006p0f,
                                  -0x1.002002p0f,
                                  0x1.fffp0f,
                                  65504,
                                  65519.996f,
                                  65520,
                                  -65520,
                                  1e6f,
                                  3.3e38f,
                                  0x1.feffffp127f,
                                  0x1.ffp127f,
                                  __builtin_inff(),
                                  -__builtin_inff(),
                                  __builtin_nanf(""),
                                  0x1p-14f,
                                  0x1.ffcp-15f,
                                  0x1.ffep-15f,
                                  0x1p-24f,
                                  0x1.8p-24f,
                                  0x1p-25f,
                                  0x1.000002p-25f,
                                  -0x1.8p-25f,
                                  1e-9f,
                                  0x1.0002p-20f,
                                  0x1p-126f,
                                  0x1.5554p-17f};
    static const double spans[] = {1, 1e-4, 3e-7, 1e5};
    const uint32_t type = i % 2 ? ELEMENT_F16 : ELEMENT_BF16, size = i / 2;
    if (size > COUNT(counts) * COUNT(spans))
        return false;
    const double span = size ? spans[(size - 1) % COUNT(spans)] : 0;
    const struct cast_params p = {.count = size ? counts[(size - 1) / COUNT(spans)] : COUNT(edges),
                                  .type = type};
    check_start(c, &p, sizeof p, "%u to type %u, up to %g", p.count, type, span);
    input_between(c, p.count, -span, span)->values = size ? NULL : edges;
    output(c, p.count)->type = type == ELEMENT_BF16 ? TENSOR_BF16 : TENSOR_F16;
    return true;
}

static bool build_loss_scale(uint32_t i, struct check_kernel_case *c)
{
    static const float squares[] = {
        4, 0, -1, __builtin_inff(), -__builtin_inff(), __builtin_nanf("")};
    static const float scales[] = {1, 65536, 16777216};
    static const float states[][2] = {{0, 1}, {5, 8}, {6, 8}};
    if (i >= COUNT(squares) * COUNT(scales) * COUNT(states))
        return false;
    const uint32_t scale = i / COUNT(squares) % 3, state = i / COUNT(squares) / 3;
    const struct loss_scale_params p = {.growth = 7, .least = 1, .most = 16777216};
    check_start(c, &p, sizeof p, "norm² %g, scale %g, %g good", (double)squares[i % COUNT(squares)],
          (double)scales[scale], (double)states[state][0]);
    input(c, 1)->values = &squares[i % COUNT(squares)];
    updated(c, 1)->values = &scales[scale];
    updated(c, 2)->values = states[state];
    return true;
}

static bool build_adamw(uint32_t i, struct check_kernel_case *c)
{
    static const float clips[][TENSOR_ADAMW_SETTINGS] = {
        {1e-2f, 0.9f, 0.98f, 1e-8f, 0.1f, 10.0f, 50.0f, 0.0f},
        {1e-2f, 0.9f, 0.98f, 1e-8f, 0.1f, 10.0f, 50.0f, 0.5f}};
    static const float squares[] = {4.0f, 0.01f, __builtin_inff(), __builtin_nanf(""), -1.0f};
    if (i / 10 >= COUNT(counts))
        return false;
    const uint32_t count = counts[i / 10], type = i % 3; /* ELEMENT_F32 … */
    const struct adamw_params p = {
        .count = count, .decayed = i / 2 % 3 * count / 2, .type = type, .scaled = i / 4 % 2};
    static const float scales[] = {1024, 0.25f};
    const float *squared = &squares[i / 2 % 5];
    check_start(c, &p, sizeof p, "%u, %u decayed, clip %g, norm² %g, type %u%s", count, p.decayed,
          (double)clips[i % 2][7], (double)*squared, type, p.scaled ? ", scaled" : "");
    updated(c, count);
    input(c, count);
    updated(c, count);
    struct check_arg *second = updated(c, count);
    second->low = 0.1;
    input(c, TENSOR_ADAMW_SETTINGS)->values = clips[i % 2];
    input(c, 1)->values = squared;
    input(c, p.scaled)->values = &scales[i % 2];
    updated(c, type == ELEMENT_F32 ? 0 : count)->type =
        type == ELEMENT_BF16 ? TENSOR_BF16 : TENSOR_F16;
    return true;
}

/* One value that is not finite, anywhere, or a limit that is just reached, or not a number. */
static bool build_gate(uint32_t i, struct check_kernel_case *c)
{
    static const uint32_t sizes[] = {1, 67, 300};
    static const float odd[] = {0.5f, -0.5f, __builtin_inff(), -__builtin_inff(),
                                __builtin_nanf("")};
    static const float limits[] = {__builtin_inff(), 0.5f, 0.25f, -1.0f, __builtin_nanf("")};
    static float x[300];
    if (i / 25 >= COUNT(sizes))
        return false;
    const struct gate_params p = {.count = sizes[i / 25]};
    const float *limit = &limits[i % 5], value = odd[i / 5 % 5];
    check_start(c, &p, sizeof p, "%u, one of them %g, at most %g", p.count, (double)value,
          (double)*limit);
    memset(x, 0, sizeof x);
    x[i * 89 % p.count] = value;
    input(c, 1);
    input(c, p.count)->values = x;
    input(c, 1)->values = limit;
    output(c, 1);
    return true;
}

/* Rows that begin anywhere in a word, numbers beyond the rows. */
static bool build_take_row(uint32_t i, struct check_kernel_case *c)
{
    static const uint32_t bytes[] = {1, 3, 4, 7, 64, 1001, 70002};
    static const uint32_t numbers[] = {0, 1, 2, 3, 5, 4294967295u};
    if (i / COUNT(numbers) >= COUNT(bytes))
        return false;
    const struct take_row_params p = {.bytes = bytes[i / COUNT(numbers)], .rows = 4};
    const uint32_t row = numbers[i % COUNT(numbers)];
    check_start(c, &p, sizeof p, "row %u of %u x %u bytes", row, p.rows, p.bytes);
    input_bytes(c, (uint64_t)p.rows * p.bytes, 255);
    input_u32(c, 1, row, row);
    argument(c, &(struct check_arg){.type = TENSOR_U8, .count = p.bytes, .output = true});
    return true;
}

static bool build_append_row(uint32_t i, struct check_kernel_case *c)
{
    static const uint32_t numbers[] = {0, 2, 7, 4294967295u};
    static const uint32_t words[] = {1, 5};
    if (i / COUNT(numbers) >= COUNT(words))
        return false;
    const struct append_row_params p = {.count = words[i / COUNT(numbers)], .rows = 3};
    const uint32_t row = numbers[i % COUNT(numbers)];
    check_start(c, &p, sizeof p, "row %u of %u x %u", row, p.rows, p.count);
    input(c, p.count);
    input_u32(c, 1, row, row)->output = true;
    updated(c, (uint64_t)p.rows * p.count);
    return true;
}

/* Groups as for the shift; its s is the number of taps, from 1 on and beyond the group. */
static bool build_unfold_case(uint32_t i, struct check_kernel_case *c, bool gradient)
{
    if (i / 2 >= COUNT(shifts))
        return false;
    const uint32_t taps = i % 2 ? 2 * shifts[i / 2].s + 1 : shifts[i / 2].s;
    const struct unfold_params p = {.rows = shifts[i / 2].groups * shifts[i / 2].n,
                                    .n = shifts[i / 2].n, .columns = shifts[i / 2].columns,
                                    .taps = taps};
    check_start(c, &p, sizeof p, "%u groups of %u x %u, %u taps", shifts[i / 2].groups, p.n,
                p.columns, taps);
    const uint64_t count = (uint64_t)p.rows * p.columns;
    input(c, gradient ? count * taps : count);
    output(c, gradient ? count : count * taps);
    return true;
}

static bool build_unfold(uint32_t i, struct check_kernel_case *c)
{
    return build_unfold_case(i, c, false);
}

static bool build_unfold_grad(uint32_t i, struct check_kernel_case *c)
{
    return build_unfold_case(i, c, true);
}

static bool build_slice_case(uint32_t i, struct check_kernel_case *c, bool gradient)
{
    static const struct slice_params sizes[] = {
        {.sequences = 1, .positions = 1, .taken = 1, .columns = 1},
        {.sequences = 3, .positions = 7, .taken = 2, .columns = 5},
        {.sequences = 2, .positions = 9, .taken = 9, .columns = 64},
        {.sequences = 5, .positions = 130, .taken = 33, .columns = 3}};
    static const uint32_t first[] = {0, 5, 0, 97};
    if (i >= COUNT(sizes))
        return false;
    const struct slice_params *p = &sizes[i];
    check_start(c, p, sizeof *p, "%u rows from %u on of %u x %u x %u", p->taken, first[i],
                p->sequences, p->positions, p->columns);
    const uint64_t whole = (uint64_t)p->sequences * p->positions * p->columns;
    const uint64_t part = (uint64_t)p->sequences * p->taken * p->columns;
    input(c, gradient ? part : whole);
    input_u32(c, 1, first[i], first[i]);
    output(c, gradient ? whole : part);
    return true;
}

static bool build_slice(uint32_t i, struct check_kernel_case *c)
{
    return build_slice_case(i, c, false);
}

static bool build_slice_grad(uint32_t i, struct check_kernel_case *c)
{
    return build_slice_case(i, c, true);
}

const struct check_kernel check_kernels[] = {
    {"matmul", reference_matmul, build_matmul, 5e-6},
    {"matmul_sum", reference_matmul_sum, build_matmul_sum, 5e-6},
    {"relu_grad", reference_relu_grad, build_relu_grad, 0},
    {"sum_rows", reference_sum_rows, build_sum_rows, 5e-6},
    {"embedding", reference_embedding, build_embedding, 0},
    {"embedding_grad", reference_embedding_grad, build_embedding_grad, 5e-6},
    {"shift", reference_shift, build_shift, 0},
    {"shift_grad", reference_shift_grad, build_shift_grad, 0},
    {"add", reference_add, build_add, 1e-7},
    {"add_rows", reference_add_rows, build_add_rows, 1e-7},
    {"dropout_grad", reference_dropout_grad, build_dropout_grad, 1e-7},
    {"layer_norm", reference_layer_norm, build_layer_norm, 1e-4},
    {"layer_norm_grad", reference_layer_norm_grad, build_layer_norm_grad, 5e-6},
    {"layer_norm_grad_gain", reference_layer_norm_grad_gain, build_layer_norm_grad_gain, 5e-6},
    {"attention", reference_attention, check_attention, 1e-5},
    {"attention_append", reference_attention_append, check_attention_append, 0},
    {"attention_grad_query", reference_attention_grad_query, check_attention_grad_query, 1e-5},
    {"attention_grad_key", reference_attention_grad_key, check_attention_grad_key, 1e-5},
    {"attention_grad_patch", reference_attention_grad_patch, check_attention_grad_patch, 1e-5},
    {"rope", reference_rope, check_rope, 1e-6},
    {"cross_entropy", reference_cross_entropy, build_cross_entropy, 5e-6},
    {"cross_entropy_grad", reference_cross_entropy_grad, build_cross_entropy_grad, 2e-5},
    {"sum", reference_sum, build_sum, 5e-6},
    {"sum_grad", reference_sum_grad, build_sum_grad, 1e-7},
    {"fill", reference_fill, build_fill, 0},
    {"copy", reference_copy, build_copy, 0},
    {"cast", reference_cast, build_cast, 0},
    {"loss_scale", reference_loss_scale, build_loss_scale, 0},
    {"adamw", reference_adamw, build_adamw, 2e-6},
    {"gemv", reference_gemv, check_gemv, 5e-6},
    {"attention_step", reference_attention_step, check_attention_step, 1e-5},
    {"embedding_patches", reference_embedding_patches, check_embedding_patches, 1e-7},
    {"pad_patches", reference_pad_patches, check_pad_patches, 0},
    {"embedding_next", reference_embedding_next, check_embedding_next, 1e-7},
    {"unfold_step", reference_unfold_step, check_unfold_step, 0},
    {"concat_columns", reference_concat_columns, check_concat_columns, 0},
    {"sample", reference_sample, check_sample, 0},
    {"gate", reference_gate, build_gate, 0},
    {"take_row", reference_take_row, build_take_row, 0},
    {"append_row", reference_append_row, build_append_row, 0},
    {"unfold", reference_unfold, build_unfold, 0},
    {"unfold_grad", reference_unfold_grad, build_unfold_grad, 1e-6},
    {"slice", reference_slice, build_slice, 0},
    {"slice_grad", reference_slice_grad, build_slice_grad, 0},
    {0},
};
