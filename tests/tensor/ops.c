/* ops.c - every operation of op.h in small sizes, and its result in double precision. */
#include "tensor/op/adamw.h"
#include "tensor/op/add.h"
#include "tensor/op/cross_entropy.h"
#include "tensor/op/embedding.h"
#include "tensor/op/gate.h"
#include "tensor/op/layer_norm.h"
#include "tensor/op/matmul.h"
#include "tensor/op/shift.h"
#include "tensor/op/slice.h"
#include "tensor/op/sum.h"
#include "tensor/op/unfold.h"
#include "tests/tensor/arguments.h"
#include "tests/tensor/attention.h"
#include "tests/tensor/generation.h"
#include "tests/tensor/reference.h"
#include "tests/tensor/rows.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tensor_linear: rows, inputs, outputs, bias, relu; a second one that reads it ---- */

/* Two layers, the first with TENSOR_LOW_PRECISION. In all precisions they are the same function of
 * these values, whose hidden activations are multiples of 1/8 of few bits, none of them 0, and with
 * one output so are their gradients multiples of the loss's: there is nothing to round. */
static bool build_two_linear(uint32_t i, struct check_op_case *c)
{
    enum { ROWS = 300, INPUTS = 5, HIDDEN = 12 };
    static float x[ROWS * INPUTS], weight[HIDDEN * INPUTS], bias[HIDDEN], second[HIDDEN];
    const uint32_t relu = i % 2, rows = i / 2 ? ROWS : 3, hidden = i / 2 ? HIDDEN : HIDDEN / 2;
    if (i >= 4)
        return false;
    for (uint32_t j = 0; j < ROWS * INPUTS; j++)
        x[j] = (float)(j * 7919 % 5) / 2 - 1;
    for (uint32_t j = 0; j < HIDDEN * INPUTS; j++)
        weight[j] = (float)(j * 6151 % 9) / 2 - 2;
    for (uint32_t j = 0; j < HIDDEN; j++) {
        bias[j] = (float)j / 4 - 1.125f;
        second[j] = (j % 2 ? -1.0f : 1.0f) / (float)(1u << j % 3);
    }
    check_start_op(c, rows, "(%u, %u) to %u%s, in 16 bits, to 1", rows, INPUTS, hidden,
                   relu ? ", relu" : "");
    memcpy(c->number, (uint32_t[]){rows, INPUTS, hidden, 1, relu, 1}, 6 * sizeof *c->number);
    parameter(c, SHAPE(rows, INPUTS))->values = x;
    parameter(c, SHAPE(hidden, INPUTS))->values = weight;
    parameter(c, SHAPE(hidden))->values = bias;
    parameter(c, SHAPE(1, hidden))->values = second;
    return true;
}

static bool build_linear(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][3] = {{1, 1, 1}, {5, 7, 3}, {70, 12, 9}, {300, 8, 68}};
    if (i / 4 >= COUNT(sizes))
        return build_two_linear(i - 4 * COUNT(sizes), c);
    const uint32_t *s = sizes[i / 4], bias = i % 2, relu = i / 2 % 2;
    check_start_op(c, (uint64_t)s[0] * s[2], "(%u, %u) to %u%s%s", s[0], s[1], s[2],
                   bias ? ", bias" : "", relu ? ", relu" : "");
    memcpy(c->number, (uint32_t[]){s[0], s[1], s[2], bias, relu}, 5 * sizeof *c->number);
    parameter(c, SHAPE(s[0], s[1]));
    parameter(c, SHAPE(s[2], s[1]));
    if (bias)
        parameter(c, SHAPE(s[2]));
    return true;
}

static struct tensor *record_linear(struct tensor_graph *g, const struct check_op_case *c,
                                    struct tensor **in)
{
    const uint32_t epilogue =
        (c->number[4] ? TENSOR_RELU : 0) | (c->number[5] ? TENSOR_LOW_PRECISION : 0);
    struct tensor *y = tensor_linear(g, in[0], in[1], c->number[3] ? in[2] : NULL, epilogue);
    return c->number[5] ? tensor_linear(g, y, in[3], NULL, 0) : y;
}

static void evaluate_linear(const struct check_op_case *c, void *const *in, const uint32_t *random,
                            double *result)
{
    const struct matmul_params p = {
        .m = c->number[0], .k = c->number[1], .n = c->number[2],
        .flags = MATMUL_TRANSPOSE_B | (c->number[3] ? MATMUL_BIAS : 0) |
                 (c->number[4] ? MATMUL_RELU : 0),
        .split_k = c->number[1]};
    const struct matmul_params second = {
        .m = p.m, .k = p.n, .n = 1, .flags = MATMUL_TRANSPOSE_B, .split_k = p.n};
    double *y = c->number[5] ? check_allocate((uint64_t)p.m * p.n * sizeof *y) : result;
    reference_matmul(&p, (void *const[]){in[0], in[1], c->number[3] ? in[2] : NULL, NULL, NULL, y});
    if (!c->number[5])
        return;
    reference_matmul(&second, (void *const[]){y, in[3], NULL, NULL, NULL, result});
    free(y);
}

/* ---- tensor_linear_residual: rows, inputs, outputs, bias, x is the residual, too ---- */

static bool build_linear_residual(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][3] = {{1, 1, 1}, {5, 7, 3}, {13, 10, 10}, {300, 8, 68}};
    static const float rates[] = {0, 0.5f, 0.75f, 0.875f}; /* 1 / (1 - p) is exact in 16 bits */
    if (i / 4 >= COUNT(sizes))
        return false;
    const uint32_t *s = sizes[i / 4], bias = i % 2, same = s[1] == s[2] && i % 2 == 0;
    check_start_op(c, (uint64_t)s[0] * s[2], "(%u, %u) to %u%s%s, dropout %g", s[0], s[1], s[2],
                   bias ? ", bias" : "", same ? ", to itself" : "", (double)rates[i % 4]);
    memcpy(c->number, (uint32_t[]){s[0], s[1], s[2], bias, same}, 5 * sizeof *c->number);
    c->real = rates[i % 4];
    parameter(c, SHAPE(s[0], s[1]));
    parameter(c, SHAPE(s[2], s[1]));
    parameter(c, SHAPE(s[2]));
    if (!same)
        parameter(c, SHAPE(s[0], s[2]));
    c->arg[2].gradient = bias;
    return true;
}

static struct tensor *record_linear_residual(struct tensor_graph *g, const struct check_op_case *c,
                                             struct tensor **in)
{
    /* Its own gradient joins the residual's, if both are one: so not of a parameter, which adds. */
    struct tensor *x = tensor_add(g, in[0], in[0]);
    return tensor_linear_residual(g, x, in[1], c->number[3] ? in[2] : NULL,
                                  c->number[4] ? x : in[3], c->real);
}

static uint32_t threshold_of(float rate)
{
    return (uint32_t)((double)rate * 4294967296.0);
}

static void evaluate_linear_residual(const struct check_op_case *c, void *const *in,
                                     const uint32_t *random, double *result)
{
    const struct matmul_params p = {
        .m = c->number[0], .k = c->number[1], .n = c->number[2], .split_k = c->number[1],
        .flags = MATMUL_TRANSPOSE_B | MATMUL_RESIDUAL | (c->number[3] ? MATMUL_BIAS : 0) |
                 (c->real > 0 ? MATMUL_DROPOUT : 0),
        .threshold = threshold_of(c->real), .scale = 1 / (1 - c->real)};
    const size_t count = (size_t)p.m * p.k;
    double *x = check_allocate(count * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = 2 * ((double *)in[0])[i];
    reference_matmul(&p, (void *const[]){x, in[1], in[2], c->number[4] ? x : in[3],
                                         (void *)random, result});
    free(x);
}

/* ---- tensor_embedding: rows, columns ---- */

static bool build_embedding(uint32_t i, struct check_op_case *c)
{
    const uint32_t rows = i ? 36 : 4, columns = i ? 5 : 1;
    check_start_op(c, (uint64_t)rows * columns, "%u x %u", rows, columns);
    memcpy(c->number, (uint32_t[]){rows, columns}, 2 * sizeof *c->number);
    argument(c, TENSOR_U8, SHAPE(rows))->high = i ? 255 : 3;
    parameter(c, SHAPE(256, columns));
    return i < 2;
}

static struct tensor *record_embedding(struct tensor_graph *g, const struct check_op_case *c,
                                       struct tensor **in)
{
    return tensor_embedding(g, in[0], in[1]);
}

static void evaluate_embedding(const struct check_op_case *c, void *const *in,
                               const uint32_t *random, double *result)
{
    const struct embedding_params p = {.rows = c->number[0], .columns = c->number[1]};
    reference_embedding(&p, (void *const[]){in[0], in[1], result});
}

/* ---- tensor_shift and tensor_add_rows: groups, n, columns, s ---- */

static const uint32_t groups[][4] = {{1, 1, 1, 1}, {3, 4, 5, 1}, {2, 7, 3, 4}, {300, 2, 3, 2}};

static bool build_groups(uint32_t i, struct check_op_case *c, bool shift)
{
    if (i >= COUNT(groups))
        return false;
    const uint32_t *s = groups[i], rows = s[0] * s[1];
    check_start_op(c, (uint64_t)rows * s[2], "%u groups of %u x %u%s", s[0], s[1], s[2],
          shift ? ", shift" : "");
    memcpy(c->number, s, sizeof groups[i]);
    parameter(c, SHAPE(rows, s[2]));
    parameter(c, SHAPE(shift ? s[3] : s[1], s[2]));
    return true;
}

static bool build_shift(uint32_t i, struct check_op_case *c)
{
    return build_groups(i, c, true);
}

static struct tensor *record_shift(struct tensor_graph *g, const struct check_op_case *c,
                                   struct tensor **in)
{
    return tensor_shift(g, in[0], in[1], c->number[1]);
}

static void evaluate_shift(const struct check_op_case *c, void *const *in, const uint32_t *random,
                           double *result)
{
    const struct shift_params p = {.rows = c->number[0] * c->number[1], .columns = c->number[2],
                                   .n = c->number[1], .s = c->number[3]};
    reference_shift(&p, (void *const[]){in[0], in[1], result});
}

static bool build_add_rows(uint32_t i, struct check_op_case *c)
{
    return build_groups(i, c, false);
}

static struct tensor *record_add_rows(struct tensor_graph *g, const struct check_op_case *c,
                                      struct tensor **in)
{
    return tensor_add_rows(g, in[0], in[1]);
}

static void evaluate_add_rows(const struct check_op_case *c, void *const *in,
                              const uint32_t *random, double *result)
{
    const struct add_rows_params p = {.rows = c->number[0] * c->number[1], .columns = c->number[2],
                                      .n = c->number[1]};
    reference_add_rows(&p, (void *const[]){in[0], in[1], result});
}

/* ---- tensor_add: rows, columns ---- */

static bool build_add(uint32_t i, struct check_op_case *c)
{
    const uint32_t rows = i ? 13 : 1, columns = i ? 10 : 1;
    check_start_op(c, (uint64_t)rows * columns, "%u x %u", rows, columns);
    parameter(c, SHAPE(rows, columns));
    parameter(c, SHAPE(rows, columns));
    return i < 2;
}

static struct tensor *record_add(struct tensor_graph *g, const struct check_op_case *c,
                                 struct tensor **in)
{
    return tensor_add(g, in[0], in[1]);
}

static void evaluate_add(const struct check_op_case *c, void *const *in, const uint32_t *random,
                         double *result)
{
    const struct add_params p = {.count = (uint32_t)c->count};
    reference_add(&p, (void *const[]){in[0], in[1], result});
}

/* ---- tensor_layer_norm: rows, columns ---- */

static bool build_layer_norm(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][2] = {{1, 2}, {5, 7}, {3, 130}, {300, 6}};
    if (i >= COUNT(sizes))
        return false;
    const uint32_t rows = sizes[i][0], columns = sizes[i][1];
    check_start_op(c, (uint64_t)rows * columns, "%u x %u", rows, columns);
    memcpy(c->number, sizes[i], sizeof sizes[i]);
    parameter(c, SHAPE(rows, columns));
    parameter(c, SHAPE(columns));
    parameter(c, SHAPE(columns));
    return true;
}

static struct tensor *record_layer_norm(struct tensor_graph *g, const struct check_op_case *c,
                                        struct tensor **in)
{
    return tensor_layer_norm(g, in[0], in[1], in[2], 1e-2f, false);
}

static void evaluate_layer_norm(const struct check_op_case *c, void *const *in,
                                const uint32_t *random, double *result)
{
    const struct layer_norm_params p = {.rows = c->number[0], .columns = c->number[1],
                                        .epsilon = 1e-2f};
    double *stat = check_allocate(2 * p.rows * sizeof *stat);
    reference_layer_norm(&p, (void *const[]){in[0], in[1], in[2], result, stat});
    free(stat);
}

/* ---- tensor_cross_entropy: sequences, per_sequence ---- */

static bool build_cross_entropy(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][2] = {{1, 4}, {4, 5}};
    if (i >= COUNT(sizes))
        return false;
    const uint32_t rows = sizes[i][0] * sizes[i][1];
    check_start_op(c, rows, "%u x %u", sizes[i][0], sizes[i][1]);
    memcpy(c->number, sizes[i], sizeof sizes[i]);
    parameter(c, SHAPE(rows, 256));
    argument(c, TENSOR_U8, SHAPE(rows))->high = 255;
    argument(c, TENSOR_U32, SHAPE(sizes[i][0]))->high = sizes[i][1];
    return true;
}

static struct tensor *record_cross_entropy(struct tensor_graph *g, const struct check_op_case *c,
                                           struct tensor **in)
{
    return tensor_cross_entropy(g, in[0], in[1], in[2]);
}

static void evaluate_cross_entropy(const struct check_op_case *c, void *const *in,
                                   const uint32_t *random, double *result)
{
    const struct cross_entropy_params p = {.rows = c->number[0] * c->number[1], .symbols = 256,
                                           .per_sequence = c->number[1]};
    double *lse = check_allocate(p.rows * sizeof *lse);
    reference_cross_entropy(&p, (void *const[]){in[0], in[1], in[2], result, lse});
    free(lse);
}

/* ---- tensor_sum and tensor_sum_squares: elements ---- */

static bool build_sum(uint32_t i, struct check_op_case *c)
{
    static const uint32_t counts[] = {1, 77, 20000};
    if (i >= COUNT(counts))
        return false;
    check_start_op(c, 1, "%u", counts[i]);
    c->number[0] = counts[i];
    parameter(c, SHAPE(counts[i]))->low = 0.5;
    constant(c, SHAPE(1));
    return true;
}

static struct tensor *record_sum(struct tensor_graph *g, const struct check_op_case *c,
                                 struct tensor **in)
{
    return tensor_sum(g, in[0], in[1]);
}

static void evaluate_sum(const struct check_op_case *c, void *const *in, const uint32_t *random,
                         double *result)
{
    const struct sum_params p = {.count = c->number[0], .chunk = c->number[0], .flags = SUM_FACTOR};
    reference_sum(&p, (void *const[]){in[0], in[1], result});
}

static bool build_sum_squares(uint32_t i, struct check_op_case *c)
{
    const uint32_t counts[3] = {i ? 40000 : 1, i ? 3 : 1, i ? 17 : 1};
    check_start_op(c, 1, "%u, %u and %u", counts[0], counts[1], counts[2]);
    for (uint32_t j = 0; j < 3; j++) {
        c->number[j] = counts[j];
        constant(c, SHAPE(counts[j]));
    }
    return i < 2;
}

static struct tensor *record_sum_squares(struct tensor_graph *g, const struct check_op_case *c,
                                         struct tensor **in)
{
    return tensor_sum_squares(g, in, 3);
}

static void evaluate_sum_squares(const struct check_op_case *c, void *const *in,
                                 const uint32_t *random, double *result)
{
    *result = 0;
    for (uint32_t j = 0; j < 3; j++)
        for (uint32_t i = 0; i < c->number[j]; i++)
            *result += ((double *)in[j])[i] * ((double *)in[j])[i];
}

/* ---- tensor_fill, tensor_copy and tensor_adamw, in place ---- */

static bool build_fill(uint32_t i, struct check_op_case *c)
{
    check_start_op(c, 15, "(3, 5)");
    constant(c, SHAPE(3, 5));
    c->result = 1;
    return i == 0;
}

static struct tensor *record_fill(struct tensor_graph *g, const struct check_op_case *c,
                                  struct tensor **in)
{
    tensor_fill(g, in[0], 2.5f);
    return in[0];
}

static void evaluate_fill(const struct check_op_case *c, void *const *in, const uint32_t *random,
                          double *result)
{
    for (uint64_t i = 0; i < c->count; i++)
        result[i] = 2.5;
}

static bool build_copy(uint32_t i, struct check_op_case *c)
{
    check_start_op(c, 15, "(3, 5) to (15)");
    constant(c, SHAPE(15));
    constant(c, SHAPE(3, 5));
    c->result = 1;
    return i == 0;
}

static struct tensor *record_copy(struct tensor_graph *g, const struct check_op_case *c,
                                  struct tensor **in)
{
    tensor_copy(g, in[0], in[1]);
    return in[0];
}

static void evaluate_copy(const struct check_op_case *c, void *const *in, const uint32_t *random,
                          double *result)
{
    memcpy(result, in[1], c->count * sizeof *result);
}

static bool build_cast(uint32_t i, struct check_op_case *c)
{
    check_start_op(c, 15, "(3, 5) to (15) of type %u", i);
    constant(c, SHAPE(15))->type = i ? TENSOR_F16 : TENSOR_BF16;
    constant(c, SHAPE(3, 5));
    c->number[0] = i;
    c->result = 1;
    return i < 2;
}

static struct tensor *record_cast(struct tensor_graph *g, const struct check_op_case *c,
                                  struct tensor **in)
{
    tensor_cast(g, in[0], in[1]);
    return in[0];
}

static void evaluate_cast(const struct check_op_case *c, void *const *in, const uint32_t *random,
                          double *result)
{
    for (uint64_t i = 0; i < c->count; i++)
        result[i] =
            check_round(c->number[0] ? TENSOR_F16 : TENSOR_BF16, ((const double *)in[1])[i]);
}

static bool build_loss_scale(uint32_t i, struct check_op_case *c)
{
    static const float scale[] = {1024}, state[] = {6, 512}, squared[] = {4};
    check_start_op(c, 1, "the seventh good step");
    constant(c, SHAPE(1))->values = scale;
    constant(c, SHAPE(TENSOR_LOSS_SCALE_STATES))->values = state;
    constant(c, SHAPE(1))->values = squared;
    c->result = 1;
    return i == 0;
}

static struct tensor *record_loss_scale(struct tensor_graph *g, const struct check_op_case *c,
                                        struct tensor **in)
{
    tensor_loss_scale(g, in[0], in[1], in[2], 7);
    return in[0];
}

static void evaluate_loss_scale(const struct check_op_case *c, void *const *in,
                                const uint32_t *random, double *result)
{
    *result = 2048;
}

static bool build_adamw(uint32_t i, struct check_op_case *c)
{
    static const float settings[] = {1e-2f, 0.9f, 0.98f, 1e-8f, 0.1f, 10.0f, 50.0f, 0.5f};
    static const float squared[] = {4};
    check_start_op(c, 100, "100, 60 decayed");
    for (uint32_t j = 0; j < 4; j++)
        constant(c, SHAPE(100));
    c->arg[3].low = 0;
    constant(c, SHAPE(TENSOR_ADAMW_SETTINGS))->values = settings;
    constant(c, SHAPE(1))->values = squared;
    c->result = 1;
    return i == 0;
}

static struct tensor *record_adamw(struct tensor_graph *g, const struct check_op_case *c,
                                   struct tensor **in)
{
    tensor_adamw(g, in[0], in[1], in[2], in[3], in[4], in[5], NULL, NULL, 60);
    return in[0];
}

static void evaluate_adamw(const struct check_op_case *c, void *const *in, const uint32_t *random,
                           double *result)
{
    const struct adamw_params p = {.count = 100, .decayed = 60};
    reference_adamw(&p, (void *const[]){in[0], in[1], in[2], in[3], in[4], in[5], NULL, NULL});
    memcpy(result, in[0], c->count * sizeof *result);
}

/* ---- tensor_unfold: groups as for the shift, s + 1 taps ---- */

static bool build_unfold(uint32_t i, struct check_op_case *c)
{
    if (i >= COUNT(groups))
        return false;
    const uint32_t *s = groups[i], rows = s[0] * s[1], taps = s[3] + 1;
    check_start_op(c, (uint64_t)rows * taps * s[2], "%u groups of %u x %u, %u taps", s[0], s[1],
                   s[2], taps);
    memcpy(c->number, (uint32_t[]){s[0], s[1], s[2], taps}, 4 * sizeof *c->number);
    parameter(c, SHAPE(rows, s[2]));
    return true;
}

static struct tensor *record_unfold(struct tensor_graph *g, const struct check_op_case *c,
                                    struct tensor **in)
{
    return tensor_unfold(g, in[0], c->number[1], c->number[3]);
}

static void evaluate_unfold(const struct check_op_case *c, void *const *in, const uint32_t *random,
                            double *result)
{
    const struct unfold_params p = {.rows = c->number[0] * c->number[1], .n = c->number[1],
                                    .columns = c->number[2], .taps = c->number[3]};
    reference_unfold(&p, (void *const[]){in[0], result});
}

/* ---- tensor_gate: elements ---- */

static bool build_gate(uint32_t i, struct check_op_case *c)
{
    static const uint32_t counts[] = {1, 33};
    if (i >= 2 * COUNT(counts))
        return false;
    check_start_op(c, 1, "%u elements, %s", counts[i / 2], i % 2 ? "too large" : "small");
    argument(c, TENSOR_F32, SHAPE(1));
    struct check_arg *x = argument(c, TENSOR_F32, SHAPE(counts[i / 2]));
    struct check_arg *limit = argument(c, TENSOR_F32, SHAPE(1));
    memcpy(c->number, &counts[i / 2], sizeof *counts);
    x->low = 1;
    x->high = 2;
    limit->low = limit->high = i % 2 ? 0.5 : 100;
    return true;
}

static struct tensor *record_gate(struct tensor_graph *g, const struct check_op_case *c,
                                  struct tensor **in)
{
    return tensor_gate(g, in[0], in[1], in[2]);
}

static void evaluate_gate(const struct check_op_case *c, void *const *in, const uint32_t *random,
                          double *result)
{
    const struct gate_params p = {.count = c->number[0]};
    reference_gate(&p, (void *const[]){in[0], in[1], in[2], result});
}

/* ---- tensor_slice: sequences, length, columns, taken, first ---- */

static bool build_slice(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][5] = {{1, 1, 1, 1, 0}, {3, 6, 2, 2, 3}, {2, 5, 3, 5, 0}};
    if (i >= COUNT(sizes))
        return false;
    const uint32_t *s = sizes[i];
    check_start_op(c, (uint64_t)s[0] * s[3] * s[2], "%u rows from %u on of %u x %u x %u", s[3],
                   s[4], s[0], s[1], s[2]);
    memcpy(c->number, s, sizeof sizes[i]);
    parameter(c, SHAPE(s[0] * s[1], s[2]));
    struct check_arg *first = argument(c, TENSOR_U32, SHAPE(1));
    first->low = first->high = s[4];
    return true;
}

static struct tensor *record_slice(struct tensor_graph *g, const struct check_op_case *c,
                                   struct tensor **in)
{
    return tensor_slice(g, in[0], c->number[1], in[1], c->number[3]);
}

static void evaluate_slice(const struct check_op_case *c, void *const *in, const uint32_t *random,
                           double *result)
{
    const struct slice_params p = {.sequences = c->number[0], .positions = c->number[1],
                                   .columns = c->number[2], .taken = c->number[3]};
    reference_slice(&p, (void *const[]){in[0], in[1], result});
}

const struct check_op check_ops[] = {
    {"tensor_reshape", check_op_reshape, record_reshape, evaluate_reshape, 0},
    {"tensor_slice_rows", check_op_slice_rows, record_slice_rows, evaluate_slice_rows, 1e-6},
    {"tensor_concat_rows", check_op_concat_rows, record_concat_rows, evaluate_concat_rows, 1e-6},
    {"tensor_take_row", check_op_take_row, record_take_row, evaluate_take_row, 0},
    {"tensor_append_row", check_op_append_row, record_append_row, evaluate_append_row, 0},
    {"tensor_linear", build_linear, record_linear, evaluate_linear, 1e-5},
    {"tensor_linear_residual", build_linear_residual, record_linear_residual,
     evaluate_linear_residual, 1e-5},
    {"tensor_embedding", build_embedding, record_embedding, evaluate_embedding, 1e-6},
    {"tensor_shift", build_shift, record_shift, evaluate_shift, 1e-5},
    {"tensor_add_rows", build_add_rows, record_add_rows, evaluate_add_rows, 1e-5},
    {"tensor_add", build_add, record_add, evaluate_add, 1e-6},
    {"tensor_layer_norm", build_layer_norm, record_layer_norm, evaluate_layer_norm, 2e-5},
    {"tensor_attention", check_op_attention, record_attention, evaluate_attention, 2e-5},
    {"tensor_attention_cross", check_op_attention_cross, record_attention_cross,
     evaluate_attention_cross, 2e-5},
    {"tensor_attention_cached", check_op_attention_cached, record_attention_cached,
     evaluate_attention_cached, 1e-5},
    {"tensor_rope", check_op_rope, record_rope, evaluate_rope, 1e-6},
    {"tensor_gemv", check_op_gemv, record_gemv, evaluate_gemv, 1e-5},
    {"tensor_embedding_patches", check_op_embedding_patches, record_embedding_patches,
     evaluate_embedding_patches, 1e-6},
    {"tensor_pad_patches", check_op_pad_patches, record_pad_patches, evaluate_pad_patches, 0},
    {"tensor_unfold_cached", check_op_unfold_cached, record_unfold_cached, evaluate_unfold_cached,
     0},
    {"tensor_concat_columns", check_op_concat_columns, record_concat_columns,
     evaluate_concat_columns, 0},
    {"tensor_embedding_next", check_op_embedding_next, record_embedding_next,
     evaluate_embedding_next, 1e-6},
    {"tensor_sample", check_op_sample, record_sample, evaluate_sample, 0},
    {"tensor_cross_entropy", build_cross_entropy, record_cross_entropy, evaluate_cross_entropy,
     1e-5},
    {"tensor_sum", build_sum, record_sum, evaluate_sum, 1e-5},
    {"tensor_sum_squares", build_sum_squares, record_sum_squares, evaluate_sum_squares, 1e-5},
    {"tensor_fill", build_fill, record_fill, evaluate_fill, 0},
    {"tensor_copy", build_copy, record_copy, evaluate_copy, 0},
    {"tensor_cast", build_cast, record_cast, evaluate_cast, 0},
    {"tensor_loss_scale", build_loss_scale, record_loss_scale, evaluate_loss_scale, 0},
    {"tensor_adamw", build_adamw, record_adamw, evaluate_adamw, 2e-6},
    {"tensor_gate", build_gate, record_gate, evaluate_gate, 0},
    {"tensor_unfold", build_unfold, record_unfold, evaluate_unfold, 1e-5},
    {"tensor_slice", build_slice, record_slice, evaluate_slice, 1e-5},
    {0},
};
