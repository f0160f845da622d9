/* attention.c - attention and the rotary embedding: cases, and what they should compute. */
#include "tests/tensor/attention.h"
#include "tensor/op/attention.h"
#include "tensor/op/rope.h"
#include "tests/tensor/reference.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define SHAPE(...)   sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (uint32_t[]){__VA_ARGS__}

/* ---- kernels ---- */

static struct check_arg *argument(struct check_kernel_case *c, enum tensor_type type,
                                  uint64_t count, double low, double high)
{
    c->arg[c->args] = (struct check_arg){.type = type, .count = count, .low = low, .high = high};
    return &c->arg[c->args++];
}

static struct check_arg *input_between(struct check_kernel_case *c, uint64_t count, double low,
                                       double high)
{
    struct check_arg *arg = argument(c, TENSOR_F32, count, low, high);
    arg->input = true;
    return arg;
}

static void input(struct check_kernel_case *c, uint64_t count)
{
    input_between(c, count, -1, 1);
}

static struct check_arg *input_u32(struct check_kernel_case *c, uint64_t count, uint32_t low,
                                   uint32_t high)
{
    struct check_arg *arg = argument(c, TENSOR_U32, count, low, high);
    arg->input = true;
    return arg;
}

static void random_input(struct check_kernel_case *c, bool given)
{
    input_u32(c, given ? 3 : 0, 0, UINT32_MAX);
}

static void output(struct check_kernel_case *c, uint64_t count)
{
    argument(c, TENSOR_F32, count, 0, 0)->output = true;
}

static void updated(struct check_kernel_case *c, uint64_t count)
{
    input_between(c, count, -1, 1)->output = true;
}

/* For each of n sequences which of n it is in the cache, the last being the first, and how many
 * positions it has: at most `most`. */
static void slots(struct check_kernel_case *c, uint32_t n, uint32_t most)
{
    static uint32_t slot[8][2];
    for (uint32_t i = 0; i < n; i++) {
        slot[i][0] = n - 1 - i;
        slot[i][1] = most > i ? most - i : 0;
    }
    input_u32(c, 2ull * n, 0, 0)->values = slot;
}

/* Where the first query stands; nothing where it is not given. */
static void first_position(struct check_kernel_case *c, bool given, uint32_t position)
{
    static uint32_t first;
    first = position;
    input_u32(c, given, 0, 0)->values = &first;
}

/* Sequences of `keys` positions, queries at the last of them (all where 0) or, as read at run time,
 * from position first - 1 on, in patches of `span` (0: none) that reach back. Some kernels are
 * compiled for each head_dim, which takes long, so there are few. */
static const struct {
    uint32_t sequences, keys, queries, heads, head_dim, span, reach, first;
} heads[] = {{1, 1, 0, 1, 1, 0, 0},    {2, 9, 0, 3, 5, 0, 0},     {3, 8, 0, 2, 6, 0, 0},
             {1, 70, 0, 2, 64, 0, 0},  {2, 17, 0, 1, 80, 0, 0},   {1, 33, 0, 2, 128, 0, 0},
             {2, 5, 0, 1, 255, 0, 0},  {1, 12, 0, 1, 256, 0, 0},  {5, 4, 0, 2, 4, 0, 0},
             {2, 9, 4, 2, 8, 0, 0},    {1, 150, 70, 1, 32, 0, 0}, {3, 7, 1, 2, 5, 0, 0},
             {2, 24, 0, 2, 8, 8, 0},   {2, 24, 0, 2, 8, 8, 3},    {1, 40, 0, 3, 5, 4, 4},
             {2, 48, 0, 1, 64, 16, 16}, {1, 6, 0, 2, 4, 1, 1},    {1, 200, 0, 1, 32, 50, 7},
             {2, 13, 0, 1, 8, 6, 2},   {1, 30, 17, 1, 12, 8, 5},  {1, 130, 0, 1, 80, 0, 0},
             {2, 9, 3, 2, 8, 0, 0, 1}, {2, 14, 5, 2, 5, 0, 0, 5}, {1, 230, 70, 1, 32, 0, 0, 68},
             {2, 30, 7, 2, 8, 8, 5, 12}, {1, 150, 9, 2, 32, 40, 7, 36}, {2, 15, 9, 1, 4, 5, 5, 4},
             {3, 24, 0, 2, 64, 8, 0},  {2, 21, 0, 3, 16, 8, 0},   {1, 37, 0, 1, 80, 16, 0},
             {3, 20, 0, 2, 16, 4, 0},  {2, 14, 0, 2, 32, 3, 0},  {2, 6, 0, 1, 48, 2, 0}};

static float scale_of(uint32_t head_dim)
{
    return 3.0f / (float)head_dim; /* scores that differ by a good deal, whatever the dimension */
}

/* Settings of all cases of attention, by the number of the case among those of one size. */
static uint32_t threshold_number(uint32_t number)
{
    return number == 1 ? 0x40000000u : number == 2 ? 0x19999999u : 0;
}

static float drop_scale_number(uint32_t number)
{
    return number == 1 ? 4.0f / 3 : number == 2 ? 1 / 0.9f : 1;
}

/* The sizes of short patches whose results can be of 16 bits, with dropout or without. */
#define PATCHES      4
#define FIRST_PATCHES (COUNT(heads) - 6)

/* Makes the arguments in `which` be of 16 bits. */
static void case_16bit(struct check_kernel_case *c, uint32_t *flags, bool half, uint32_t which,
                       bool only_cpu)
{
    const size_t length = strlen(c->label);
    snprintf(c->label + length, sizeof c->label - length, ", %s", half ? "fp16" : "bf16");
    *flags |= half ? ATTENTION_F16 : ATTENTION_BF16;
    c->cpu_only = only_cpu;
    for (uint32_t k = 0; k < c->args; k++)
        if (which >> k & 1)
            c->arg[k].type = half ? TENSOR_F16 : TENSOR_BF16;
}

/* Rows that lie apart as in packed ones or alone, then a cache that goes around; with and without
 * dropout and log-sum-exp. */
static bool attention_case(uint32_t i, struct check_kernel_case *c)
{
    const uint32_t size = i / 4;
    const bool cached = i % 4 == 3;
    const uint32_t n = heads[size].sequences, keys = heads[size].keys, span = heads[size].span;
    const uint32_t queries = heads[size].queries ? heads[size].queries : keys;
    const uint32_t dim = heads[size].head_dim, columns = heads[size].heads * dim;
    const uint32_t first = cached ? keys - queries + (span ? 5 * span : 6) : 0;
    /* Without patches the cache keeps all; with them what is seen. */
    const uint32_t key_rows = !cached ? keys
                              : span  ? queries + span + heads[size].reach
                                      : first + queries;
    const struct attention_params p = {
        .sequences = n, .queries = queries, .keys = cached ? 0 : keys, .key_rows = key_rows,
        .stride_q = columns * (i % 4 == 2 ? 1 : 3), .stride_k = columns * (i % 4 < 2 ? 3 : 2),
        .heads = heads[size].heads, .head_dim = dim, .span = span ? span : ATTENTION_WHOLE,
        .reach = heads[size].reach, .stream = i, .threshold = threshold_number(i % 4),
        .flags = (i % 4 < 2 ? ATTENTION_LSE : 0) |
                 (cached ? ATTENTION_SLOT : heads[size].first ? ATTENTION_FIRST : 0),
        .scale = scale_of(dim), .drop_scale = drop_scale_number(i % 4)};
    check_start(c, &p, sizeof p, "%u x %u of %u x %u heads of %u, patch %u, reach %u%s%s", n,
                queries, keys, p.heads, dim, span, p.reach, p.threshold ? ", dropout" : "",
          cached ? ", cached" : p.flags & ATTENTION_FIRST ? ", placed" : "");
    input_between(c, (uint64_t)n * queries * p.stride_q, -3, 3);
    input(c, (uint64_t)n * key_rows * p.stride_k);
    random_input(c, p.threshold);
    if (cached)
        slots(c, n, first);
    else
        first_position(c, heads[size].first, heads[size].first - 1);
    output(c, (uint64_t)n * queries * columns);
    output(c, p.flags & ATTENTION_LSE ? (uint64_t)n * queries * p.heads : 0);
    return true;
}

bool check_attention(uint32_t i, struct check_kernel_case *c)
{
    if (i < 4 * COUNT(heads))
        return attention_case(i, c);
    i -= 4 * COUNT(heads);
    if (i / 6 >= PATCHES || !attention_case(4 * (FIRST_PATCHES + i / 6) + i % 3, c))
        return false;
    case_16bit(c, &((struct attention_params *)c->params)->flags, i / 3 % 2, 1u << 4,
               heads[FIRST_PATCHES + i / 6].span > ATTENTION_DIRECT_ROWS);
    return true;
}

/* Which gradients a kernel makes. */
enum { OF_QUERY = 1, OF_KEY = 2 };

/* What a kernel does not use is not given. Where rows are packed, the result keeps what it had in
 * the other columns. */
static bool grad_case(uint32_t i, struct check_kernel_case *c, unsigned parts)
{
    const uint32_t size = i / 3;
    if (size >= COUNT(heads))
        return false;
    const uint32_t n = heads[size].sequences, keys = heads[size].keys;
    const uint32_t queries = heads[size].queries ? heads[size].queries : keys;
    const uint32_t dim = heads[size].head_dim, columns = heads[size].heads * dim;
    const bool packed = i % 3 == 0;
    const struct attention_grad_params p = {
        .sequences = n, .queries = queries, .keys = keys,
        .flags = (packed ? ATTENTION_PACKED : 0) | (heads[size].first ? ATTENTION_FIRST : 0),
        .heads = heads[size].heads, .head_dim = dim,
        .span = heads[size].span ? heads[size].span : ATTENTION_WHOLE, .reach = heads[size].reach,
        .stream = i, .threshold = threshold_number(i % 3), .scale = scale_of(dim),
        .drop_scale = drop_scale_number(i % 3)};
    const uint64_t rows = (uint64_t)n * queries;
    const uint64_t size_q = rows * ATTENTION_STRIDE_Q(p);
    const uint64_t size_k = (uint64_t)n * keys * ATTENTION_STRIDE_K(p);
    check_start(c, &p, sizeof p, "%u x %u of %u x %u heads of %u, patch %u, reach %u%s%s", n,
                queries, keys, p.heads, dim, heads[size].span, p.reach,
                p.threshold ? ", dropout" : "", heads[size].first ? ", placed" : "");
    input(c, size_q);
    input(c, size_k);
    input(c, parts & OF_QUERY ? rows * columns : 0);
    input(c, rows * columns);
    input_between(c, rows * p.heads, 1, 3); /* log-sum-exp, whatever it is */
    random_input(c, p.threshold);
    first_position(c, heads[size].first, heads[size].first - 1);
    if (parts == OF_QUERY)
        output(c, rows * p.heads);
    else
        input(c, parts == OF_KEY ? rows * p.heads : 0);
    updated(c, parts & OF_QUERY ? size_q : 0);
    if (parts & OF_KEY)
        updated(c, size_k);
    return true;
}

bool check_attention_grad_query(uint32_t i, struct check_kernel_case *c)
{
    return grad_case(i, c, OF_QUERY);
}

bool check_attention_grad_key(uint32_t i, struct check_kernel_case *c)
{
    return grad_case(i, c, OF_KEY);
}

/* Draws the values of an argument now, into memory that the next case takes over. */
static void *drawn(struct check_kernel_case *c, uint32_t i)
{
    static void *memory[TENSOR_PASS_ARGS];
    free(memory[i]);
    memory[i] = check_allocate(4 * c->arg[i].count);
    check_draw(&c->arg[i], memory[i]);
    c->arg[i].values = memory[i];
    return memory[i];
}

/* What attention gives for the case's q and kv: a kernel may take dy·y from the probabilities. */
static void attend_beforehand(struct check_kernel_case *c)
{
    const struct attention_grad_params *p = (const void *)c->params;
    const struct attention_params forward = {
        .sequences = p->sequences, .queries = p->queries, .keys = p->keys, .key_rows = p->keys,
        .stride_q = ATTENTION_STRIDE_Q(*p), .stride_k = ATTENTION_STRIDE_K(*p),
        .heads = p->heads, .head_dim = p->head_dim, .span = p->span, .reach = p->reach,
        .stream = p->stream, .threshold = p->threshold,
        .flags = ATTENTION_LSE | (p->flags & ATTENTION_FIRST), .scale = p->scale,
        .drop_scale = p->drop_scale};
    static const uint32_t of[] = {0, 1, 5, 2, 4}; /* q, kv, random, y, lse */
    void *from[COUNT(of)], *wide[COUNT(of)];
    check_seed(c->arg[0].count, c->label);
    for (uint32_t i = 0; i < COUNT(of); i++) {
        const struct check_arg *arg = &c->arg[of[i]];
        from[i] = arg->count ? drawn(c, of[i]) : NULL;
        wide[i] = arg->count ? check_widen(arg->type, from[i], arg->count) : NULL;
    }
    reference_attention(&forward, (void *[]){wide[0], wide[1], wide[2], (void *)c->arg[6].values,
                                             wide[3], wide[4]});
    for (uint32_t i = 3; i < COUNT(of); i++)
        for (uint64_t j = 0; j < c->arg[of[i]].count; j++)
            ((float *)from[i])[j] = (float)((double *)wide[i])[j];
    for (uint32_t i = 0; i < COUNT(of); i++)
        free(wide[i]);
}

/* Of the cases those in short patches, and a few without a key before them. Not that of a single
 * key, whose gradient to q is 0 but for rounding. */
static bool patch_case(uint32_t i, struct check_kernel_case *c)
{
    uint32_t size = 0;
    for (uint32_t left = i / 3; size < COUNT(heads); size++) {
        const uint32_t span = heads[size].span ? heads[size].span : heads[size].keys;
        if (heads[size].keys > 1 && span <= ATTENTION_PATCH_MAX && left-- == 0)
            break;
    }
    if (size == COUNT(heads) || !grad_case(3 * size + i % 3, c, OF_QUERY | OF_KEY))
        return false;
    if (!heads[size].span)
        ((struct attention_grad_params *)c->params)->span = heads[size].keys;
    attend_beforehand(c);
    return true;
}

bool check_attention_grad_patch(uint32_t i, struct check_kernel_case *c)
{
    static uint32_t whole; /* how many there are of 32 bits */
    if (!whole || i < whole) {
        if (patch_case(i, c))
            return true;
        whole = i;
    }
    i -= whole;
    if (i / 6 >= PATCHES ||
        !grad_case(3 * (FIRST_PATCHES + i / 6) + i % 3, c, OF_QUERY | OF_KEY))
        return false;
    attend_beforehand(c);
    case_16bit(c, &((struct attention_grad_params *)c->params)->flags, i / 3 % 2,
               1u << 3 | 1u << 8 | 1u << 9, /* y is not read */
               heads[FIRST_PATCHES + i / 6].span > ATTENTION_DIRECT_ROWS);
    return true;
}

bool check_rope(uint32_t i, struct check_kernel_case *c)
{
    static const struct {
        uint32_t rows, positions, slot, half, heads, turned; /* slot: at least so much */
    } sizes[] = {{1, 1, 0, 1, 1, 1},     {6, 3, 0, 2, 3, 2},   {10, 5, 7, 3, 2, 2},
                 {64, 32, 0, 32, 6, 4},  {9, 9, 100, 128, 3, 1}, {4, 1, 1048575, 40, 2, 2},
                 {3, 3, 4000000000u, 16, 2, 0}};
    static const char *const how[] = {"", ", back", ", in place", ", at slots"};
    static const uint32_t flags[] = {0, ROPE_BACK, ROPE_IN_PLACE, ROPE_SLOT};
    const uint32_t size = i / COUNT(how), kind = i % COUNT(how);
    if (size >= COUNT(sizes))
        return false;
    const uint32_t half = sizes[size].half, slot = sizes[size].slot;
    struct rope_params p = {
        .rows = sizes[size].rows, .columns = 2 * half * sizes[size].heads,
        .turned = sizes[size].turned, .pairs = half, .positions = sizes[size].positions,
        .first = size % 2 ? 70000 * size : 0, .flags = flags[kind]};
    for (uint32_t j = 0; j < ROPE_POWERS + 1; j++) {
        const uint64_t fraction =
            j ? (uint64_t)ldexpl(powl(10000, -(long double)(1u << (j - 1)) / half), 64)
              : (uint64_t)ldexpl(0.5L / acosl(-1), 64);
        uint32_t *word = j ? p.power + 2 * (j - 1) : p.unit;
        word[0] = (uint32_t)fraction;
        word[1] = (uint32_t)(fraction >> 32);
    }
    check_start(c, &p, sizeof p, "%u rows, %u of %u heads of %u, %u positions from %u%s", p.rows,
                p.turned, sizes[size].heads, 2 * half, p.positions, p.first, how[kind]);
    input(c, (uint64_t)p.rows * p.columns);
    input_u32(c, p.flags & ROPE_SLOT ? 2 * (p.rows / p.positions) : 0, slot, slot + 3000);
    output(c, (uint64_t)p.rows * p.columns);
    if (p.flags & ROPE_IN_PLACE) { /* y is x */
        c->arg[2] = c->arg[0];
        c->arg[2].same_as = 1;
        c->arg[2].output = true;
    }
    return true;
}

bool check_attention_append(uint32_t i, struct check_kernel_case *c)
{
    static const struct attention_append_params sizes[] = {
        {.sequences = 1, .fresh = 1, .capacity = 1, .columns = 1},
        {.sequences = 3, .fresh = 1, .capacity = 9, .columns = 7},
        {.sequences = 2, .fresh = 5, .capacity = 12, .columns = 64}};
    if (i >= 3 * COUNT(sizes))
        return false;
    const struct attention_append_params p = sizes[i / 3];
    /* At the front, at the end, and around it. */
    const uint32_t first = i % 3 == 1 ? p.capacity - p.fresh : i % 3 == 2 ? 3 * p.capacity - 1 : 0;
    check_start(c, &p, sizeof p, "%u x %u rows of %u at %u of %u",
          p.sequences, p.fresh, p.columns, first, p.capacity);
    input(c, 3ull * p.sequences * p.fresh * p.columns);
    slots(c, p.sequences, first);
    updated(c, 2ull * p.sequences * p.capacity * p.columns);
    return true;
}

/* ---- operations ---- */

static struct check_arg *op_argument(struct check_op_case *c, enum tensor_type type, uint32_t rank,
                                     const uint32_t *shape)
{
    struct check_arg *arg = &c->arg[c->args++];
    *arg = (struct check_arg){.type = type, .count = 1, .input = true, .rank = rank,
                              .low = type == TENSOR_F32 ? -1 : 0, .high = 1};
    for (uint32_t i = 0; i < rank; i++)
        arg->count *= arg->shape[i] = shape[i];
    return arg;
}

static struct check_arg *parameter(struct check_op_case *c, uint32_t rank, const uint32_t *shape)
{
    struct check_arg *arg = op_argument(c, TENSOR_F32, rank, shape);
    arg->gradient = true;
    return arg;
}

/* ---- tensor_attention, tensor_attention_cross: sequences, positions, heads, head_dim, patch,
 * reach, queries, of which the first is read to stand at position … - 1 (0: they are the last)
 * ---- */

static const uint32_t attentions[][8] = {
    {1, 1, 1, 1, 0, 0, 1},  {2, 6, 3, 5, 0, 0, 6},  {2, 9, 2, 4, 0, 0, 2},  {1, 7, 1, 64, 0, 0, 1},
    {3, 12, 2, 4, 4, 0, 12}, {2, 12, 1, 6, 4, 3, 5}, {1, 16, 2, 8, 8, 8, 16}, {2, 4, 2, 3, 1, 1, 4},
    {1, 70, 1, 8, 0, 0, 66}, {2, 9, 2, 4, 0, 0, 3, 4},  {1, 14, 1, 6, 4, 3, 6, 4},
    {1, 40, 1, 8, 0, 0, 5, 1}};

/* Sequences of which not all positions have queries. */
static const uint32_t contexts[][7] = {
    {1, 9, 2, 4, 0, 0, 5}, {1, 12, 1, 6, 4, 3, 8}, {1, 16, 2, 8, 8, 8, 8}, {1, 7, 2, 4, 1, 1, 6},
    {1, 60, 2, 8, 20, 17, 40}, {1, 80, 1, 16, 32, 32, 48}};

bool check_op_attention(uint32_t i, struct check_op_case *c)
{
    const bool all = i / 2 < COUNT(attentions);
    if (i / 2 >= COUNT(attentions) + COUNT(contexts))
        return false;
    const uint32_t *s = all ? attentions[i / 2] : contexts[i / 2 - COUNT(attentions)];
    const uint32_t queries = all ? s[1] : s[6], columns = s[2] * s[3];
    check_start_op(c, (uint64_t)s[0] * queries * columns,
                   "%u x %u of %u x %u heads of %u, patch %u, reach %u, dropout %g", s[0], queries,
                   s[1], s[2], s[3], s[4], s[5], i % 2 ? 0.2 : 0.0);
    memcpy(c->number, s, sizeof contexts[0]);
    c->number[6] = queries;
    c->real = i % 2 ? 0.2f : 0;
    struct check_arg *qkv = parameter(c, SHAPE(s[0] * s[1], 3 * columns));
    qkv->low = -2;
    qkv->high = 2;
    return true;
}

static struct tensor_attention_params attention_of(const struct check_op_case *c)
{
    return (struct tensor_attention_params){.positions = c->number[1], .heads = c->number[2],
                                            .patch = c->number[4], .reach = c->number[5],
                                            .dropout = c->real};
}

struct tensor *record_attention(struct tensor_graph *g, const struct check_op_case *c,
                                struct tensor **in)
{
    struct tensor_attention_params a = attention_of(c);
    a.context_rows = c->number[1] - c->number[6];
    return tensor_attention(g, in[0], &a);
}

/* The kernel's parameters where q and kv are apart. */
static struct attention_params kernel_of(const struct check_op_case *c)
{
    const uint32_t columns = c->number[2] * c->number[3];
    return (struct attention_params){
        .sequences = c->number[0], .queries = c->number[6], .keys = c->number[1],
        .key_rows = c->number[1], .stride_q = columns, .stride_k = 2 * columns,
        .heads = c->number[2], .head_dim = c->number[3],
        .span = c->number[4] ? c->number[4] : ATTENTION_WHOLE, .reach = c->number[5],
        .threshold = (uint32_t)((double)c->real * 4294967296.0),
        .scale = 1 / sqrtf((float)c->number[3]),
        .drop_scale = 1 / (1 - c->real)};
}

void evaluate_attention(const struct check_op_case *c, void *const *in,
                        const uint32_t *random, double *result)
{
    struct attention_params p = kernel_of(c);
    p.stride_q = p.stride_k = 3 * p.heads * p.head_dim;
    double *qkv = in[0], *q = qkv + (size_t)(p.keys - p.queries) * p.stride_q;
    reference_attention(&p, (void *const[]){q, qkv + p.heads * p.head_dim, (void *)random, NULL,
                                            result, NULL});
}

bool check_op_attention_cross(uint32_t i, struct check_op_case *c)
{
    /* Not the first: one key alone has no gradient to q but what rounding leaves. */
    if (i / 2 + 1 >= COUNT(attentions))
        return false;
    const uint32_t *s = attentions[i / 2 + 1], columns = s[2] * s[3];
    check_start_op(c, (uint64_t)s[0] * s[6] * columns,
          "%u x %u of %u x %u heads of %u, patch %u, reach %u, placed %u, dropout %g", s[0], s[6],
          s[1], s[2], s[3], s[4], s[5], s[7], i % 2 ? 0.2 : 0.0);
    memcpy(c->number, s, sizeof attentions[0]);
    c->real = i % 2 ? 0.2f : 0;
    struct check_arg *q = parameter(c, SHAPE(s[0] * s[6], columns));
    q->low = -2;
    q->high = 2;
    parameter(c, SHAPE(s[0] * s[1], 2 * columns));
    struct check_arg *first = op_argument(c, TENSOR_U32, SHAPE(1));
    first->low = first->high = s[7] ? s[7] - 1 : 0;
    return true;
}

struct tensor *record_attention_cross(struct tensor_graph *g, const struct check_op_case *c,
                                      struct tensor **in)
{
    const struct tensor_attention_params a = attention_of(c);
    return tensor_attention_cross(g, in[0], in[1], c->number[7] ? in[2] : NULL, &a);
}

void evaluate_attention_cross(const struct check_op_case *c, void *const *in,
                              const uint32_t *random, double *result)
{
    struct attention_params p = kernel_of(c);
    p.flags = c->number[7] ? ATTENTION_FIRST : 0;
    reference_attention(&p, (void *const[]){in[0], in[1], (void *)random, in[2], result, NULL});
}

/* ---- tensor_attention_cached: sequences, capacity, heads, head_dim, patch, reach, fresh,
 * position ---- */

bool check_op_attention_cached(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][8] = {
        {1, 1, 1, 1, 0, 0, 1, 0}, {3, 9, 2, 5, 0, 0, 1, 4},   {2, 4, 2, 8, 0, 0, 4, 0},
        {2, 8, 1, 64, 0, 0, 3, 5}, {2, 7, 2, 4, 4, 3, 1, 22}, {1, 8, 2, 4, 4, 4, 4, 40},
        {2, 4, 1, 8, 4, 0, 2, 13}, {2, 12, 1, 8, 4, 2, 7, 8}, {1, 11, 1, 4, 8, 3, 3, 1}};
    if (i >= COUNT(sizes))
        return false;
    const uint32_t *s = sizes[i], columns = s[2] * s[3];
    check_start_op(c, (uint64_t)s[0] * s[6] * columns,
                   "%u x %u x %u heads of %u at %u of %u, patch %u, "
          "reach %u", s[0], s[6], s[2], s[3], s[7], s[1], s[4], s[5]);
    memcpy(c->number, s, sizeof sizes[0]);
    op_argument(c, TENSOR_F32, SHAPE(s[0] * s[6], 3 * columns));
    op_argument(c, TENSOR_F32, SHAPE(s[0], s[1], 2 * columns));
    /* As in the cache, and each with as many positions. */
    static uint32_t slot[4][2];
    for (uint32_t n = 0; n < s[0]; n++)
        memcpy(slot[n], (const uint32_t[]){n, s[7]}, sizeof slot[n]);
    op_argument(c, TENSOR_U32, SHAPE(s[0], 2))->values = slot;
    return true;
}

struct tensor *record_attention_cached(struct tensor_graph *g, const struct check_op_case *c,
                                       struct tensor **in)
{
    const struct tensor_attention_params a = attention_of(c);
    return tensor_attention_cached(g, in[0], in[1], in[2], &a);
}

void evaluate_attention_cached(const struct check_op_case *c, void *const *in,
                               const uint32_t *random, double *result)
{
    struct attention_params p = kernel_of(c);
    const struct attention_append_params a = {.sequences = p.sequences, .fresh = p.queries,
                                              .capacity = c->number[1],
                                              .columns = p.heads * p.head_dim};
    p.stride_q = 3 * a.columns;
    p.flags = ATTENTION_SLOT;
    reference_attention_append(&a, (void *const[]){in[0], in[2], in[1]});
    reference_attention(&p, (void *const[]){in[0], in[1], NULL, in[2], result, NULL});
}

/* ---- tensor_rope: rows, columns, turned columns, head_dim, positions, whether at slots, the
 * first ---- */

bool check_op_rope(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][7] = {{1, 2, 2, 2, 1, 0, 0}, {6, 24, 16, 4, 3, 0, 0},
                                        {4, 36, 12, 6, 2, 1, 0}, {5, 64, 64, 32, 5, 1, 0},
                                        {6, 8, 8, 4, 3, 1, 9}, {4, 12, 8, 4, 4, 0, 1000}};
    if (i >= COUNT(sizes))
        return false;
    const uint32_t *s = sizes[i];
    check_start_op(c, (uint64_t)s[0] * s[1], "%u x %u of %u, heads of %u, %u positions from %u%s",
                   s[0], s[2], s[1], s[3], s[4], s[6], s[5] ? ", at slots" : "");
    memcpy(c->number, s, sizeof sizes[0]);
    parameter(c, SHAPE(s[0], s[1]));
    op_argument(c, TENSOR_U32, SHAPE(s[0] / s[4], 2))->high = 50;
    return true;
}

struct tensor *record_rope(struct tensor_graph *g, const struct check_op_case *c,
                           struct tensor **in)
{
    return tensor_rope(g, in[0], &(struct tensor_rope_params){
        .head_dim = c->number[3], .columns = c->number[2], .positions = c->number[4],
        .first = c->number[6], .slot = c->number[5] ? in[1] : NULL});
}

void evaluate_rope(const struct check_op_case *c, void *const *in, const uint32_t *random,
                   double *result)
{
    const struct rope_params p = {
        .rows = c->number[0], .columns = c->number[1], .turned = c->number[2] / c->number[3],
        .pairs = c->number[3] / 2, .positions = c->number[4], .first = c->number[6],
        .flags = c->number[5] ? ROPE_SLOT : 0};
    reference_rope(&p, (void *const[]){in[0], in[1], result});
}

/* ---- references ---- */

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Whether position t sees key j, in the words of op.h. */
static bool sees(uint32_t t, uint32_t j, uint32_t span, uint32_t reach)
{
    const uint32_t patch = t / span, other = j / span;
    return j <= t && (other == patch || (other + 1 == patch && j % span >= span - reach));
}

/* y and lse of query i of sequence n, head h. */
static void attend(const struct attention_params *p, void *const *arg, uint32_t n, uint32_t h,
                   uint32_t i)
{
    const uint32_t *slot = p->flags & ATTENTION_SLOT ? (const uint32_t *)arg[3] + 2 * n : NULL;
    const uint32_t least = p->flags & ATTENTION_FIRST ? *(const uint32_t *)arg[3]
                                                      : p->keys - p->queries;
    const uint32_t t = (slot ? slot[1] : least) + i, row = n * p->queries + i;
    const uint32_t query = (n * p->heads + h) * p->queries + i;
    const double *q = (const double *)arg[0] + (size_t)row * p->stride_q + h * p->head_dim;
    const double *kv = (const double *)arg[1] + h * p->head_dim +
                       (size_t)(slot ? slot[0] : n) * p->key_rows * p->stride_k;
    double *y = (double *)arg[4] + ((size_t)row * p->heads + h) * p->head_dim, sum = 0;
    for (uint32_t c = 0; c < p->head_dim; c++)
        y[c] = 0;
    for (uint32_t j = 0; j <= t; j++) {
        if (!sees(t, j, p->span, p->reach))
            continue;
        const double *k = kv + (size_t)(j % p->key_rows) * p->stride_k;
        const double *v = k + (size_t)p->heads * p->head_dim;
        const double weight = exp(p->scale * dot(q, k, p->head_dim));
        sum += weight;
        if (!check_dropped(arg[2], j, query, p->stream, p->threshold))
            for (uint32_t c = 0; c < p->head_dim; c++)
                y[c] += weight * p->drop_scale * v[c];
    }
    for (uint32_t c = 0; c < p->head_dim; c++)
        y[c] /= sum;
    if (p->flags & ATTENTION_LSE)
        ((double *)arg[5])[(size_t)row * p->heads + h] = log(sum);
}

void reference_attention(const void *params, void *const *arg)
{
    const struct attention_params *p = params;
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t h = 0; h < p->heads; h++)
            for (uint32_t i = 0; i < p->queries; i++)
                attend(p, arg, n, h, i);
}

/* What the pair of query i and key j adds to the gradients; one of the halves is left out. */
static void pair_gradient(const struct attention_grad_params *p, void *const *arg, uint32_t n,
                          uint32_t h, uint32_t i, uint32_t j, unsigned parts)
{
    const size_t columns = (size_t)p->heads * p->head_dim, row = (size_t)n * p->queries + i;
    const size_t at_q = row * ATTENTION_STRIDE_Q(*p) + h * p->head_dim;
    const size_t at_k = ((size_t)n * p->keys + j) * ATTENTION_STRIDE_K(*p) + h * p->head_dim;
    const double *q = (const double *)arg[0] + at_q, *k = (const double *)arg[1] + at_k;
    const double *dy = (const double *)arg[3] + row * columns + h * p->head_dim;
    const double lse = ((const double *)arg[4])[row * p->heads + h];
    const double delta = ((const double *)arg[7])[row * p->heads + h];
    const uint32_t query = (n * p->heads + h) * p->queries + i;
    const double keep =
        check_dropped(arg[5], j, query, p->stream, p->threshold) ? 0 : (double)p->drop_scale;
    const double weight = exp(p->scale * dot(q, k, p->head_dim) - lse);
    const double ds = p->scale * weight * (keep * dot(dy, k + columns, p->head_dim) - delta);
    for (uint32_t c = 0; c < p->head_dim; c++) {
        if (parts & OF_QUERY)
            ((double *)arg[8])[at_q + c] += ds * k[c];
        if (parts & OF_KEY) {
            ((double *)arg[9])[at_k + c] += ds * q[c];
            ((double *)arg[9])[at_k + columns + c] += keep * weight * dy[c];
        }
    }
}

/* Sets `columns` of each row to zero. */
static void clear(double *x, size_t rows, size_t stride, size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++)
            x[r * stride + c] = 0;
}

static void attention_gradient(const struct attention_grad_params *p, void *const *arg,
                               unsigned parts)
{
    const size_t columns = (size_t)p->heads * p->head_dim;
    const size_t rows = (size_t)p->sequences * p->queries;
    const uint32_t first = p->flags & ATTENTION_FIRST ? *(const uint32_t *)arg[6]
                                                      : p->keys - p->queries;
    if (parts & OF_QUERY)
        clear(arg[8], rows, ATTENTION_STRIDE_Q(*p), columns);
    if (parts & OF_KEY)
        clear(arg[9], (size_t)p->sequences * p->keys, ATTENTION_STRIDE_K(*p), 2 * columns);
    for (size_t i = 0; parts & OF_QUERY && i < rows * p->heads; i++)
        ((double *)arg[7])[i] = dot((const double *)arg[2] + i * p->head_dim,
                                    (const double *)arg[3] + i * p->head_dim, p->head_dim);
    for (uint32_t n = 0; n < p->sequences; n++)
        for (uint32_t h = 0; h < p->heads; h++)
            for (uint32_t i = 0; i < p->queries; i++)
                for (uint32_t j = 0; j < p->keys; j++)
                    if (sees(first + i, j, p->span, p->reach))
                        pair_gradient(p, arg, n, h, i, j, parts);
}

void reference_attention_grad_query(const void *params, void *const *arg)
{
    attention_gradient(params, arg, OF_QUERY);
}

void reference_attention_grad_key(const void *params, void *const *arg)
{
    attention_gradient(params, arg, OF_KEY);
}

void reference_attention_grad_patch(const void *params, void *const *arg)
{
    const struct attention_grad_params *p = params;
    void *all[10];
    memcpy(all, arg, sizeof all);
    all[7] = check_allocate((uint64_t)p->sequences * p->queries * p->heads * sizeof(double));
    attention_gradient(p, all, OF_QUERY | OF_KEY);
    free(all[7]);
}

void reference_attention_append(const void *params, void *const *arg)
{
    const struct attention_append_params *p = params;
    const double *qkv = arg[0];
    const uint32_t *slot = arg[1];
    double *cache = arg[2];
    for (size_t n = 0; n < p->sequences; n++)
        for (size_t i = 0; i < p->fresh; i++) {
            const size_t line = (slot[2 * n + 1] + i) % p->capacity;
            const size_t row = (size_t)slot[2 * n] * p->capacity + line;
            for (size_t c = 0; c < 2 * (size_t)p->columns; c++)
                cache[row * 2 * p->columns + c] =
                    qkv[(n * p->fresh + i) * 3 * p->columns + p->columns + c];
        }
}

void reference_rope(const void *params, void *const *arg)
{
    const struct rope_params *p = params;
    const double *x = arg[0];
    double *y = arg[2];
    for (uint32_t r = 0; r < p->rows; r++)
        for (uint32_t c = 0; c < p->columns; c++) {
            const size_t at = (size_t)r * p->columns + c;
            const uint32_t pair = c % p->pairs;
            if (c >= 2 * p->pairs * p->turned) {
                y[at] = x[at];
            } else if (c % (2 * p->pairs) < p->pairs) {
                const double position = p->flags & ROPE_SLOT
                    ? ((const uint32_t *)arg[1])[2 * (r / p->positions) + 1] : 0;
                const double t = position + p->first + r % p->positions;
                const double angle =
                    (p->flags & ROPE_BACK ? -t : t) * pow(10000, -(double)pair / p->pairs);
                const double a = x[at], b = x[at + p->pairs];
                y[at] = a * cos(angle) - b * sin(angle);
                y[at + p->pairs] = b * cos(angle) + a * sin(angle);
            }
        }
}
