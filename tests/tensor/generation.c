/* generation.c - the kernels and operations of generation: cases, and what they should compute. */
#include "tests/tensor/generation.h"
#include "tensor/op/attention.h"
#include "tensor/op/attention_step.h"
#include "tensor/op/concat_columns.h"
#include "tensor/op/embedding_step.h"
#include "tensor/op/gemv.h"
#include "tensor/op/sample.h"
#include "tensor/op/unfold_step.h"
#include "tensor/random.h"
#include "tests/tensor/reference.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define SYMBOLS      256

/* One more argument, (rows, columns) from [-1, 1] or whole numbers from [0, high]. */
static struct check_arg *put(struct check_arg *arg, uint32_t *args, enum tensor_type type,
                             uint32_t rows, uint32_t columns)
{
    struct check_arg *a = &arg[(*args)++];
    *a = (struct check_arg){.type = type, .count = (uint64_t)rows * columns, .input = true,
                            .low = type == TENSOR_F32 ? -1 : 0, .high = 1, .rank = 2,
                            .shape = {rows, columns}};
    return a;
}

static struct check_arg *put_output(struct check_kernel_case *c, uint32_t rows, uint32_t columns)
{
    struct check_arg *a = put(c->arg, &c->args, TENSOR_F32, rows, columns);
    a->input = false;
    a->output = true;
    return a;
}

#define INPUT(rows, columns)   put(c->arg, &c->args, TENSOR_F32, rows, columns)
#define NUMBERS(rows, columns) put(c->arg, &c->args, TENSOR_U32, rows, columns)

/* Of each sequence its number in the cache, the last being the first, and its position. */
static void put_places(struct check_arg *arg, uint32_t *args, uint32_t n, uint32_t most)
{
    static uint32_t slot[16][2];
    for (uint32_t i = 0; i < n; i++) {
        slot[i][0] = n - 1 - i;
        slot[i][1] = most > 2 * i ? most - 2 * i : 0;
    }
    put(arg, args, TENSOR_U32, n, 2)->values = slot;
}

/* ---- gemv ---- */

static const struct {
    uint32_t rows, inputs, outputs;
} products[] = {{1, 1, 1}, {1, 3, 5}, {2, 17, 3}, {3, 16, 4}, {1, 64, 256}, {5, 100, 9},
                {4, 130, 63}, {16, 48, 8}, {17, 36, 6}, {35, 20, 7}, {1, 1030, 40}, {1, 600, 700}};

/* Numbers that stay what they are when they are normalised and then rounded, which would otherwise
 * hang on the last bit: rows of 1 and -1 in turn, gains of few bits. */
static void take_exact(struct check_kernel_case *c)
{
    static float ones[35 * 1030], few[1030];
    for (uint32_t i = 0; i < COUNT(ones); i++)
        ones[i] = i % 2 ? -1 : 1;
    for (uint32_t i = 0; i < COUNT(few); i++)
        few[i] = (float)((int)(i * 7 % 31) - 15) / 16;
    c->arg[0].values = ones;
    c->arg[1].values = c->arg[2].values = few;
}

static enum tensor_type factor_type(uint32_t flags)
{
    return flags & GEMV_BF16 ? TENSOR_BF16 : flags & GEMV_F16 ? TENSOR_F16 : TENSOR_F32;
}

bool check_gemv(uint32_t i, struct check_kernel_case *c)
{
    static const uint32_t kinds[] = {
        0, GEMV_BIAS, GEMV_NORM | GEMV_BIAS, GEMV_NORM | GEMV_BIAS | GEMV_RELU,
        GEMV_BIAS | GEMV_RESIDUAL, GEMV_RELU | GEMV_RESIDUAL, GEMV_NORM, GEMV_BF16,
        GEMV_BF16 | GEMV_BIAS | GEMV_RELU | GEMV_RESIDUAL, GEMV_BF16 | GEMV_NORM | GEMV_BIAS,
        GEMV_F16, GEMV_F16 | GEMV_NORM | GEMV_BIAS | GEMV_RELU};
    const uint32_t types16 = GEMV_BF16 | GEMV_F16;
    if (i / COUNT(kinds) >= COUNT(products))
        return false;
    const uint32_t flags = kinds[i % COUNT(kinds)], rows = products[i / COUNT(kinds)].rows;
    const uint32_t inputs = products[i / COUNT(kinds)].inputs;
    const uint32_t outputs = products[i / COUNT(kinds)].outputs;
    const bool norm = flags & GEMV_NORM, exact = norm && flags & types16 && inputs % 2 == 0;
    const struct gemv_params p = {
        .rows = rows, .inputs = inputs, .outputs = outputs, .epsilon = exact ? 0 : 1e-5f,
        .flags = norm && !exact ? flags & ~types16 : flags};
    check_start(c, &p, sizeof p, "%u x %u -> %u, flags %u", rows, inputs, outputs, p.flags);
    INPUT(rows, inputs);
    INPUT(norm, inputs);
    INPUT(norm, inputs);
    INPUT(outputs, inputs)->type = factor_type(p.flags);
    INPUT(1, flags & GEMV_BIAS ? outputs : 0);
    INPUT(rows, flags & GEMV_RESIDUAL ? outputs : 0);
    struct check_arg *scratch = put_output(c, rows, inputs);
    scratch->output = false;
    scratch->scratch = true;
    put_output(c, rows, outputs);
    if (exact)
        take_exact(c);
    return true;
}

static void normalise(const struct gemv_params *p, void *const *arg, const double *x, double *y)
{
    const double *gain = arg[1], *shift = arg[2];
    double mean = 0, variance = 0;
    for (uint32_t i = 0; i < p->inputs; i++)
        mean += x[i] / p->inputs;
    for (uint32_t i = 0; i < p->inputs; i++)
        variance += (x[i] - mean) * (x[i] - mean) / p->inputs;
    for (uint32_t i = 0; i < p->inputs; i++)
        y[i] = (x[i] - mean) / sqrt(variance + (double)p->epsilon) * gain[i] + shift[i];
}

void reference_gemv(const void *params, void *const *arg)
{
    const struct gemv_params *p = params;
    const double *weight = arg[3], *bias = arg[4], *residual = arg[5];
    double *y = arg[7], *x = check_allocate(p->inputs * sizeof *x);
    for (size_t r = 0; r < p->rows; r++) {
        memcpy(x, (const double *)arg[0] + r * p->inputs, p->inputs * sizeof *x);
        if (p->flags & GEMV_NORM)
            normalise(p, arg, (const double *)arg[0] + r * p->inputs, x);
        for (size_t i = 0; p->flags & (GEMV_BF16 | GEMV_F16) && i < p->inputs; i++)
            x[i] = check_round(factor_type(p->flags), x[i]);
        for (size_t o = 0; o < p->outputs; o++) {
            double sum = p->flags & GEMV_BIAS ? bias[o] : 0;
            for (size_t i = 0; i < p->inputs; i++)
                sum += weight[o * p->inputs + i] * x[i];
            if (p->flags & GEMV_RELU)
                sum = fmax(sum, 0);
            y[r * p->outputs + o] =
                sum + (p->flags & GEMV_RESIDUAL ? residual[r * p->outputs + o] : 0);
        }
    }
    free(x);
}

static bool start_op(struct check_op_case *c, const uint32_t *sizes, uint32_t count,
                     const char *what)
{
    *c = (struct check_op_case){.count = count};
    memcpy(c->number, sizes, 6 * sizeof *sizes);
    snprintf(c->label, sizeof c->label, "%s %u %u %u %u %u %u", what, sizes[0], sizes[1], sizes[2],
             sizes[3], sizes[4], sizes[5]);
    return true;
}

/* rows, inputs, outputs, normalised, residual, relu */
bool check_op_gemv(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][6] = {{1, 12, 8, 1, 0, 0}, {3, 7, 5, 0, 1, 0},
                                        {20, 32, 16, 1, 1, 1}};
    if (i >= COUNT(sizes))
        return false;
    const uint32_t *s = sizes[i];
    start_op(c, s, s[0] * s[2], "linear");
    INPUT(s[0], s[1]);
    INPUT(1, s[1]);
    INPUT(1, s[1]);
    INPUT(s[2], s[1]);
    INPUT(1, s[2]);
    INPUT(s[0], s[2]);
    return true;
}

struct tensor *record_gemv(struct tensor_graph *g, const struct check_op_case *c,
                           struct tensor **in)
{
    const bool norm = c->number[3], residual = c->number[4];
    return tensor_gemv(g, in[0], &(struct tensor_gemv){
        .gain = norm ? in[1] : NULL, .shift = norm ? in[2] : NULL, .epsilon = 1e-5f,
        .weight = in[3], .bias = in[4], .relu = c->number[5],
        .residual = residual ? in[5] : NULL});
}

void evaluate_gemv(const struct check_op_case *c, void *const *in, const uint32_t *random,
                   double *result)
{
    const struct gemv_params p = {
        .rows = c->number[0], .inputs = c->number[1], .outputs = c->number[2], .epsilon = 1e-5f,
        .flags = GEMV_BIAS | (c->number[3] ? GEMV_NORM : 0) | (c->number[4] ? GEMV_RESIDUAL : 0) |
                 (c->number[5] ? GEMV_RELU : 0)};
    reference_gemv(&p, (void *const[]){in[0], in[1], in[2], in[3], in[4], in[5], NULL, result});
}

/* ---- attention by one new position ---- */

/* Positions on both sides of a tile of keys (256 on the cpu, 512 on Vulkan). */
bool check_attention_step(uint32_t i, struct check_kernel_case *c)
{
    static const struct {
        uint32_t sequences, heads, head_dim, last, span, reach;
    } sizes[] = {{1, 1, 1, 0, 0, 0},   {3, 2, 5, 7, 0, 0},    {2, 2, 64, 3, 0, 0},
                 {1, 3, 96, 70, 0, 0}, {2, 1, 128, 256, 0, 0}, {1, 1, 255, 9, 0, 0},
                 {1, 2, 256, 33, 0, 0}, {1, 2, 8, 511, 0, 0}, {1, 1, 6, 1100, 0, 0},
                 {2, 2, 8, 3, 4, 4},   {3, 1, 16, 29, 8, 0},  {2, 2, 5, 40, 8, 3},
                 {1, 1, 4, 2000, 700, 100}};
    if (i >= COUNT(sizes))
        return false;
    const uint32_t n = sizes[i].sequences, dim = sizes[i].head_dim, last = sizes[i].last;
    const struct attention_step_params p = {
        .sequences = n, .heads = sizes[i].heads, .head_dim = dim,
        .capacity = sizes[i].span ? sizes[i].span + sizes[i].reach : last + 1 + i % 2,
        .span = sizes[i].span ? sizes[i].span : ATTENTION_WHOLE, .reach = sizes[i].reach,
        .scale = 3.0f / (float)dim};
    const uint32_t columns = p.heads * dim;
    check_start(c, &p, sizeof p, "%u x %u heads of %u at %u, patch %u, reach %u", n, p.heads, dim,
                last, sizes[i].span, p.reach);
    INPUT(n, 3 * columns)->low = -3;
    put_places(c->arg, &c->args, n, last);
    INPUT(n * p.capacity, 2 * columns)->output = true;
    put_output(c, n, columns);
    return true;
}

void reference_attention_step(const void *params, void *const *arg)
{
    const struct attention_step_params *p = params;
    const uint32_t columns = p->heads * p->head_dim;
    const struct attention_append_params a = {
        .sequences = p->sequences, .fresh = 1, .capacity = p->capacity, .columns = columns};
    const struct attention_params whole = {
        .sequences = p->sequences, .queries = 1, .key_rows = p->capacity, .heads = p->heads,
        .stride_q = 3 * columns, .stride_k = 2 * columns, .head_dim = p->head_dim,
        .span = p->span, .reach = p->reach, .flags = ATTENTION_SLOT, .scale = p->scale,
        .drop_scale = 1};
    double *cache = arg[2];
    reference_attention_append(&a, (void *const[]){arg[0], arg[1], cache});
    reference_attention(&whole, (void *const[]){arg[0], cache, NULL, arg[1], arg[3], NULL});
}

/* ---- lookups ---- */

static const uint32_t lookups[][6] = {/* sequences, each, patch, columns, patches, position */
                                      {1, 1, 1, 1, 1, 0}, {3, 1, 4, 5, 6, 4}, {1, 5, 3, 7, 4, 1},
                                      {2, 3, 2, 33, 5, 5}, {4, 1, 8, 16, 3, 2}};

bool check_embedding_patches(uint32_t i, struct check_kernel_case *c)
{
    if (i >= 2 * COUNT(lookups))
        return false;
    const uint32_t *s = lookups[i / 2], rows = s[0] * s[1] * s[2];
    const struct embedding_patches_params p = {.rows = rows, .columns = s[3], .each = s[1],
                                               .patch_size = s[2], .patches = s[4], .own = i % 2};
    check_start(c, &p, sizeof p, "%u x %u patches of %u x %u at %u%s", s[0], s[1], s[2], s[3],
                s[5], p.own ? ", own positions" : "");
    NUMBERS(1, rows)->high = 2 * SYMBOLS;
    INPUT(SYMBOLS, s[3]);
    INPUT(s[4] * s[2], s[3]);
    INPUT(s[2], s[3]);
    put_places(c->arg, &c->args, s[0], s[5]);
    put_output(c, rows, s[3]);
    return true;
}

void reference_embedding_patches(const void *params, void *const *arg)
{
    const struct embedding_patches_params *p = params;
    const uint32_t *symbols = arg[0], *slot = arg[4];
    const double *table = arg[1], *position = arg[2], *pad = arg[3];
    double *y = arg[5];
    for (size_t row = 0; row < p->rows; row++)
        for (size_t c = 0; c < p->columns; c++) {
            const size_t j = row % p->patch_size, s = row / p->patch_size % p->each;
            size_t k = slot[2 * (row / p->patch_size / p->each) + 1] + s, last = p->patches;
            if (p->own)
                last--;
            k = k < last ? k : last;
            double *to = &y[row * p->columns + c];
            *to = k ? table[symbols[row] % SYMBOLS * p->columns + c] : pad[j * p->columns + c];
            if (p->own)
                *to += position[(k * p->patch_size + j) * p->columns + c];
            else if (k)
                *to += position[((k - 1) * p->patch_size + j) * p->columns + c];
        }
}

bool check_op_embedding_patches(uint32_t i, struct check_op_case *c)
{
    if (i >= 2 * COUNT(lookups))
        return false;
    const uint32_t *s = lookups[i / 2], rows = s[0] * s[1] * s[2];
    start_op(c, s, rows * s[3], i % 2 ? "patches' own" : "patches");
    c->number[6] = i % 2;
    NUMBERS(1, rows)->high = 255;
    INPUT(SYMBOLS, s[3]);
    INPUT(s[4] * s[2], s[3]);
    INPUT(s[2], s[3]);
    put_places(c->arg, &c->args, s[0], s[5]);
    return true;
}

struct tensor *record_embedding_patches(struct tensor_graph *g, const struct check_op_case *c,
                                        struct tensor **in)
{
    return tensor_embedding_patches(g, in[0], in[1], in[2], in[3], in[4], c->number[6]);
}

void evaluate_embedding_patches(const struct check_op_case *c, void *const *in,
                                const uint32_t *random, double *result)
{
    const uint32_t *s = c->number;
    const struct embedding_patches_params p = {
        .rows = s[0] * s[1] * s[2], .columns = s[3], .each = s[1], .patch_size = s[2],
        .patches = s[4], .own = s[6]};
    reference_embedding_patches(&p, (void *const[]){in[0], in[1], in[2], in[3], in[4], result});
}

bool check_pad_patches(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(lookups))
        return false;
    const uint32_t *s = lookups[i], rows = s[0] * s[1] * s[2];
    const struct pad_patches_params p = {.rows = rows, .columns = s[3], .each = s[1],
                                         .patch_size = s[2]};
    check_start(c, &p, sizeof p, "%u x %u patches of %u x %u at %u", s[0], s[1], s[2], s[3], s[5]);
    INPUT(rows, s[3]);
    INPUT(s[2], s[3]);
    put_places(c->arg, &c->args, s[0], s[5]);
    put_output(c, rows, s[3]);
    return true;
}

void reference_pad_patches(const void *params, void *const *arg)
{
    const struct pad_patches_params *p = params;
    const double *x = arg[0], *pad = arg[1];
    const uint32_t *slot = arg[2];
    double *y = arg[3];
    for (size_t row = 0; row < p->rows; row++)
        for (size_t c = 0; c < p->columns; c++) {
            const size_t j = row % p->patch_size, s = row / p->patch_size % p->each;
            const size_t n = row / p->patch_size / p->each;
            y[row * p->columns + c] = slot[2 * n + 1] + s == 0 ? pad[j * p->columns + c]
                                                                : x[row * p->columns + c];
        }
}

bool check_op_pad_patches(uint32_t i, struct check_op_case *c)
{
    if (i >= COUNT(lookups))
        return false;
    const uint32_t *s = lookups[i], rows = s[0] * s[1] * s[2];
    start_op(c, s, rows * s[3], "pad");
    INPUT(rows, s[3]);
    INPUT(s[2], s[3]);
    put_places(c->arg, &c->args, s[0], s[5]);
    return true;
}

struct tensor *record_pad_patches(struct tensor_graph *g, const struct check_op_case *c,
                                  struct tensor **in)
{
    return tensor_pad_patches(g, in[0], in[1], in[2]);
}

void evaluate_pad_patches(const struct check_op_case *c, void *const *in, const uint32_t *random,
                          double *result)
{
    const uint32_t *s = c->number;
    const struct pad_patches_params p = {.rows = s[0] * s[1] * s[2], .columns = s[3],
                                         .each = s[1], .patch_size = s[2]};
    reference_pad_patches(&p, (void *const[]){in[0], in[1], in[2], result});
}

bool check_embedding_next(uint32_t i, struct check_kernel_case *c)
{
    if (i >= 4 * COUNT(lookups))
        return false;
    const uint32_t *s = lookups[i / 4], step = i % 4 < 2 ? s[2] : 0;
    const struct embedding_next_params p = {.sequences = s[0], .columns = s[3], .patch_size = s[2],
                                            .step = step, .p = i % 2 ? s[2] - 1 : 0};
    check_start(c, &p, sizeof p, "%u x %u of %u, column %u%s", s[0], s[3], s[2], p.p,
                step ? "" : ", the same for all");
    INPUT(step ? s[0] * s[2] : s[2], s[3]);
    NUMBERS(p.p ? s[0] : 0, s[2])->high = 2 * SYMBOLS;
    INPUT(p.p ? SYMBOLS : 1, s[3]);
    put_output(c, s[0], s[3]);
    return true;
}

void reference_embedding_next(const void *params, void *const *arg)
{
    const struct embedding_next_params *p = params;
    const uint32_t *symbols = arg[1];
    const double *x = arg[0], *table = arg[2];
    for (size_t n = 0; n < p->sequences; n++)
        for (size_t c = 0; c < p->columns; c++) {
            const size_t at = n * p->patch_size + p->p, row = n * p->step + p->p;
            const size_t symbol = p->p ? symbols[at - 1] % SYMBOLS : 0;
            ((double *)arg[3])[n * p->columns + c] =
                x[row * p->columns + c] + table[symbol * p->columns + c];
        }
}

bool check_op_embedding_next(uint32_t i, struct check_op_case *c)
{
    if (i >= 2 * COUNT(lookups))
        return false;
    const uint32_t *s = lookups[i / 2];
    start_op(c, s, s[0] * s[3], i % 2 ? "next, the same for all" : "next");
    c->number[6] = i % 2 && s[0] > 1 ? 0 : s[2];
    INPUT(c->number[6] ? s[0] * s[2] : s[2], s[3]);
    NUMBERS(s[0], s[2])->high = 255;
    INPUT(s[2] > 1 ? SYMBOLS : 1, s[3]);
    return true;
}

struct tensor *record_embedding_next(struct tensor_graph *g, const struct check_op_case *c,
                                     struct tensor **in)
{
    return tensor_embedding_next(g, in[0], in[1], in[2], c->number[2] - 1);
}

void evaluate_embedding_next(const struct check_op_case *c, void *const *in,
                             const uint32_t *random, double *result)
{
    const uint32_t *s = c->number;
    const struct embedding_next_params p = {.sequences = s[0], .columns = s[3], .patch_size = s[2],
                                            .step = s[6], .p = s[2] - 1};
    reference_embedding_next(&p, (void *const[]){in[0], in[1], in[2], result});
}

/* ---- rows of sequences that grow ---- */

static const uint32_t unfoldings[][6] = {/* sequences, fresh, columns, taps, unit, patch */
                                         {1, 1, 1, 1, 1, 0},  {1, 1, 3, 3, 1, 1},
                                         {3, 4, 5, 3, 4, 3},  {2, 6, 7, 5, 2, 2},
                                         {2, 4, 33, 7, 4, 1}, {3, 2, 4, 7, 1, 90}};

static uint32_t unfolding_capacity(const uint32_t *s)
{
    return s[1] + s[3] - 1 + s[2] % 2; /* without and with a row to spare */
}

bool check_unfold_step(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(unfoldings))
        return false;
    const uint32_t *s = unfoldings[i], rows = s[0] * s[1];
    const struct unfold_step_params p = {.sequences = s[0], .fresh = s[1], .columns = s[2],
                                         .taps = s[3], .unit = s[4],
                                         .capacity = unfolding_capacity(s)};
    check_start(c, &p, sizeof p, "%u x %u rows of %u, %u taps, patches of %u at %u", s[0], s[1],
                s[2], s[3], s[4], s[5]);
    INPUT(rows, s[2]);
    put_places(c->arg, &c->args, s[0], s[5]);
    INPUT(s[0] * p.capacity, s[2])->output = true;
    put_output(c, rows, s[3] * s[2]);
    return true;
}

/* Writes the rows to the cache first, and then finds all of them there. */
void reference_unfold_step(const void *params, void *const *arg)
{
    const struct unfold_step_params *p = params;
    const uint32_t *slot = arg[1];
    for (size_t r = 0; r < p->sequences * p->fresh; r++) {
        const uint32_t *at = slot + r / p->fresh * 2;
        const long t = (long)at[1] * p->unit - p->unit + (long)(r % p->fresh);
        double *cache = (double *)arg[2] + (size_t)at[0] * p->capacity * p->columns;
        for (size_t c = 0; t >= 0 && c < p->columns; c++)
            cache[(size_t)t % p->capacity * p->columns + c] =
                ((const double *)arg[0])[r * p->columns + c];
    }
    for (size_t r = 0; r < p->sequences * p->fresh; r++)
        for (size_t j = 0; j < p->taps; j++) {
            const uint32_t *at = slot + r / p->fresh * 2;
            const long t = (long)at[1] * p->unit - p->unit + (long)(r % p->fresh + j + 1) -
                           (long)p->taps;
            const double *row = (double *)arg[2] +
                ((size_t)at[0] * p->capacity + (size_t)(t < 0 ? 0 : t) % p->capacity) * p->columns;
            for (size_t c = 0; c < p->columns; c++)
                ((double *)arg[3])[(r * p->taps + j) * p->columns + c] = t < 0 ? 0 : row[c];
        }
}

bool check_op_unfold_cached(uint32_t i, struct check_op_case *c)
{
    if (i >= COUNT(unfoldings))
        return false;
    const uint32_t *s = unfoldings[i];
    start_op(c, s, s[0] * s[1] * s[2] * s[3], "unfold");
    INPUT(s[0] * s[1], s[2]);
    struct check_arg *cache = INPUT(s[0] * unfolding_capacity(s), s[2]);
    cache->rank = 3;
    cache->shape[0] = s[0];
    cache->shape[1] = unfolding_capacity(s);
    cache->shape[2] = s[2];
    put_places(c->arg, &c->args, s[0], s[5]);
    return true;
}

struct tensor *record_unfold_cached(struct tensor_graph *g, const struct check_op_case *c,
                                    struct tensor **in)
{
    return tensor_unfold_cached(g, in[0], in[1], in[2], c->number[4], c->number[3]);
}

void evaluate_unfold_cached(const struct check_op_case *c, void *const *in, const uint32_t *random,
                            double *result)
{
    const uint32_t *s = c->number;
    const struct unfold_step_params p = {.sequences = s[0], .fresh = s[1], .columns = s[2],
                                         .taps = s[3], .unit = s[4],
                                         .capacity = unfolding_capacity(s)};
    reference_unfold_step(&p, (void *const[]){in[0], in[2], in[1], result});
}

static const uint32_t besides[][6] = {/* rows, left, right */
                                      {1, 1, 1}, {3, 5, 2}, {7, 16, 32}};

bool check_concat_columns(uint32_t i, struct check_kernel_case *c)
{
    if (i >= COUNT(besides))
        return false;
    const uint32_t *s = besides[i];
    const struct concat_columns_params p = {.rows = s[0], .left = s[1], .right = s[2]};
    check_start(c, &p, sizeof p, "%u rows of %u and %u", s[0], s[1], s[2]);
    INPUT(s[0], s[1]);
    INPUT(s[0], s[2]);
    put_output(c, s[0], s[1] + s[2]);
    return true;
}

void reference_concat_columns(const void *params, void *const *arg)
{
    const struct concat_columns_params *p = params;
    const double *a = arg[0], *b = arg[1];
    double *y = arg[2];
    for (size_t r = 0; r < p->rows; r++) {
        for (size_t c = 0; c < p->left; c++)
            *y++ = a[r * p->left + c];
        for (size_t c = 0; c < p->right; c++)
            *y++ = b[r * p->right + c];
    }
}

bool check_op_concat_columns(uint32_t i, struct check_op_case *c)
{
    if (i >= COUNT(besides))
        return false;
    const uint32_t *s = besides[i];
    start_op(c, s, s[0] * (s[1] + s[2]), "concat_columns");
    INPUT(s[0], s[1]);
    INPUT(s[0], s[2]);
    return true;
}

struct tensor *record_concat_columns(struct tensor_graph *g, const struct check_op_case *c,
                                     struct tensor **in)
{
    return tensor_concat_columns(g, in[0], in[1]);
}

void evaluate_concat_columns(const struct check_op_case *c, void *const *in, const uint32_t *random,
                             double *result)
{
    const struct concat_columns_params p = {.rows = c->number[0], .left = c->number[1],
                                    .right = c->number[2]};
    reference_concat_columns(&p, (void *const[]){in[0], in[1], result});
}

/* ---- sampling ---- */

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Settings of `rows` sequences: kinds of choice in turn, from number i on. */
static const uint32_t *settings_of(uint32_t i, uint32_t rows)
{
    static const struct {
        float temperature, top_p;
        uint32_t top_k, given;
    } kinds[] = {{1, 1, 0, 0},    {0, 1, 0, 0},       {0.7f, 1, 40, 0},   {1, 0.9f, 0, 0},
                 {2, 0.3f, 9, 2}, {1, 0, 0, 0},       {1, 1, 1, 0},       {1e-20f, 1, 0, 0},
                 {1, 1, 300, 0},  {1.3f, 0.99f, 2, 0}, {0.5f, 0.5f, 0, 0}, {1, 1, 0, 1}};
    static uint32_t settings[64][SAMPLE_SETTINGS];
    for (uint32_t n = 0; n < rows; n++) {
        const uint32_t k = (i + n) % COUNT(kinds);
        const uint32_t one[SAMPLE_SETTINGS] = {
            kinds[k].given, bits_of(kinds[k].temperature), kinds[k].top_k,
            bits_of(kinds[k].top_p), 17 + i, n, n * 3, UINT32_MAX - n, i};
        memcpy(settings[n], one, sizeof one);
    }
    return settings[0];
}

/* Logits with ties, with what cannot happen, and with what is no number. */
static const float *logits_of(uint32_t kind, uint32_t rows)
{
    static float logits[64][SYMBOLS];
    for (uint32_t n = 0; n < rows; n++)
        for (uint32_t v = 0; v < SYMBOLS; v++)
            logits[n][v] = kind == 0   ? (float)(v * 7 % 5)
                           : kind == 1 ? (v % 37 == n ? 3.0f + (float)v / 100 : -1e30f)
                           : v != 200  ? (float)(v % 19) / 4
                           : n % 3 == 0 ? __builtin_nanf("")
                                        : n % 3 == 1 ? __builtin_inff() : -__builtin_inff();
    return logits[0];
}

bool check_sample(uint32_t i, struct check_kernel_case *c)
{
    static const uint32_t rows[] = {1, 12, 36, 12, 24, 12};
    if (i >= 2 * COUNT(rows))
        return false;
    const struct sample_params p = {.rows = rows[i / 2], .columns = 4, .column = i % 2 ? 3 : 1};
    check_start(c, &p, sizeof p, "%u rows, column %u, kind %u", p.rows, p.column, i / 2);
    struct check_arg *logits = INPUT(p.rows, SYMBOLS);
    logits->low = -8;
    logits->high = 4;
    if (i / 2 >= 3)
        logits->values = logits_of(i / 2 - 3, p.rows);
    NUMBERS(p.rows, SAMPLE_SETTINGS)->values = settings_of(i, p.rows);
    struct check_arg *symbols = NUMBERS(p.rows, p.columns);
    symbols->high = 255;
    symbols->output = true;
    return true;
}

struct candidate {
    double logit;
    uint32_t symbol;
};

static int likeliest_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->symbol < y->symbol ? -1 : 1;
}

static uint32_t choose(const double *logits, const uint32_t *s, uint32_t column)
{
    const double temperature = float_of(s[SAMPLE_TEMPERATURE]);
    const double top_p = float_of(s[SAMPLE_TOP_P]);
    const uint64_t draw = ((uint64_t)s[SAMPLE_DRAW_HIGH] << 32 | s[SAMPLE_DRAW_LOW]) + column;
    struct candidate c[SYMBOLS];
    double weight[SYMBOLS], sum = 0, reached = 0;
    for (uint32_t v = 0; v < SYMBOLS; v++) {
        if (!isfinite(logits[v]))
            return SAMPLE_NONE;
        c[v] = (struct candidate){logits[v], v};
    }
    qsort(c, SYMBOLS, sizeof *c, likeliest_first);
    if (temperature == 0)
        return c[0].symbol;
    uint32_t count = s[SAMPLE_TOP_K] && s[SAMPLE_TOP_K] < SYMBOLS ? s[SAMPLE_TOP_K] : SYMBOLS;
    for (uint32_t i = 0; i < count; i++)
        sum += weight[i] = exp((c[i].logit - c[0].logit) / temperature);
    for (uint32_t i = 0; i < count && top_p < 1; i++)
        if ((reached += weight[i]) >= top_p * sum) {
            count = i + 1;
            sum = reached;
        }
    const struct tensor_random r =
        tensor_random((uint32_t)draw, (uint32_t)(draw >> 32), s[SAMPLE_STREAM], SAMPLE_WORD,
                      s[SAMPLE_SEED_LOW], s[SAMPLE_SEED_HIGH]);
    double left = (r.word[0] + 0.5) / 4294967296.0 * sum;
    for (uint32_t i = 0; i + 1 < count; i++)
        if ((left -= weight[i]) < 0)
            return c[i].symbol;
    return c[count - 1].symbol;
}

void reference_sample(const void *params, void *const *arg)
{
    const struct sample_params *p = params;
    for (size_t n = 0; n < p->rows; n++) {
        const uint32_t *settings = (const uint32_t *)arg[1] + n * SAMPLE_SETTINGS;
        if (p->column >= settings[SAMPLE_GIVEN])
            ((uint32_t *)arg[2])[n * p->columns + p->column] =
                choose((const double *)arg[0] + n * SYMBOLS, settings, p->column);
    }
}

/* rows, columns, column */
bool check_op_sample(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][6] = {{1, 1, 0}, {12, 3, 2}};
    if (i >= COUNT(sizes))
        return false;
    const uint32_t *s = sizes[i];
    start_op(c, s, s[0] * s[1], "sample");
    INPUT(s[0], SYMBOLS)->high = 3;
    NUMBERS(s[0], SAMPLE_SETTINGS)->values = settings_of(i, s[0]);
    NUMBERS(s[0], s[1])->high = 255;
    c->result = 3;
    return true;
}

struct tensor *record_sample(struct tensor_graph *g, const struct check_op_case *c,
                             struct tensor **in)
{
    tensor_sample(g, in[0], in[1], in[2], c->number[2]);
    return in[2];
}

/* The result is read as floats, whatever it is: so are the numbers wanted. */
void evaluate_sample(const struct check_op_case *c, void *const *in, const uint32_t *random,
                     double *result)
{
    const struct sample_params p = {.rows = c->number[0], .columns = c->number[1],
                                    .column = c->number[2]};
    reference_sample(&p, in);
    for (uint64_t i = 0; i < c->count; i++)
        result[i] = (double)float_of(((const uint32_t *)in[2])[i]);
}
