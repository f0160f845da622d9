/* rope.c - rotary position embedding (op.h: tensor_rope). */
#include "tensor/op/rope.h"
#include "tensor/contract.h"
#include <math.h>
#include <string.h>

#define PAIRS_MAX 128 /* as wide as heads of attention may be: 256 columns */

/* The upper 64 bits of a product. */
static uint64_t multiply(uint64_t a, uint64_t b)
{
    const uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    const uint64_t middle = a0 * b1 + (a0 * b0 >> 32), other = a1 * b0 + (uint32_t)middle;
    return a1 * b1 + (middle >> 32) + (other >> 32);
}

static uint64_t word_pair(const uint32_t *word)
{
    return (uint64_t)word[1] << 32 | word[0];
}

/* Turns a position, as a fraction of 2^64, of each pair of columns. */
static void fill_rates(const struct rope_params *p, uint64_t *rate)
{
    for (uint32_t c = 0; c < p->pairs; c++) {
        rate[c] = word_pair(p->unit);
        for (uint32_t i = 0; c >> i; i++)
            if (c >> i & 1)
                rate[c] = multiply(rate[c], word_pair(p->power + 2 * (size_t)i));
    }
}

/* Cosine and sine of an angle in turns of 2^32. */
static inline void turn(uint32_t phase, float *cosine, float *sine)
{
    const uint32_t quarter = (phase + 0x20000000u) >> 30;
    const float x = (float)(int32_t)(phase - (quarter << 30)) * ROPE_RADIANS, x2 = x * x;
    const float s = ROPE_SIN(x, x2), c = ROPE_COS(x2), sign = quarter & 2 ? -1.0f : 1.0f;
    *cosine = sign * (quarter & 1 ? -s : c);
    *sine = sign * (quarter & 1 ? c : s);
}

static void turn_row(const struct rope_params *p, uint32_t r, uint32_t t, const uint64_t *rate)
{
    float cosine[PAIRS_MAX], sine[PAIRS_MAX];
    const uint32_t pairs = p->pairs, width = 2 * pairs * p->turned;
    const float *x = f32_at(p->x) + (size_t)r * p->columns;
    float *y = f32_at(p->y) + (size_t)r * p->columns;
    const float sign = p->flags & ROPE_BACK ? -1.0f : 1.0f;
#pragma omp simd
    for (uint32_t c = 0; c < pairs; c++) {
        turn((uint32_t)(t * rate[c] >> 32), &cosine[c], &sine[c]);
        sine[c] *= sign;
    }
    for (uint32_t at = 0; at < width; at += 2 * pairs)
#pragma omp simd
        for (uint32_t c = 0; c < pairs; c++) {
            const float a = x[at + c], b = x[at + pairs + c];
            y[at + c] = cosine[c] * a - sine[c] * b;
            y[at + pairs + c] = cosine[c] * b + sine[c] * a;
        }
    if (!(p->flags & ROPE_IN_PLACE))
        memcpy(y + width, x + width, (p->columns - width) * sizeof *y);
}

static int rope_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct rope_params *p = params;
    uint64_t rate[PAIRS_MAX];
    fill_rates(p, rate);
#pragma omp parallel for schedule(static)
    for (uint32_t r = 0; r < p->rows; r++) {
        const uint32_t n = r / p->positions;
        const uint32_t position = p->flags & ROPE_SLOT ? u32_at(p->slot)[2 * (size_t)n + 1] : 0;
        turn_row(p, r, position + p->first + r % p->positions, rate);
    }
    return 0;
}

static void rope_launch(const struct tensor_device_info *info, const void *params,
                        struct tensor_launch *launch)
{
    const struct rope_params *p = params;
    tensor_launch_items(launch, (uint64_t)p->rows * p->pairs);
}

static const struct tensor_kernel rope = {
    .name = "rope",
    .params_size = sizeof(struct rope_params),
    .args = 3,
    .writes = TENSOR_ARG(rope_params, y),
    .cpu = rope_cpu,
    .launch = rope_launch,
    .variant = {"rope"},
};
const struct tensor_kernel *const tensor_kernel_rope = &rope;

/* x in [0, 1) as a fraction of 2^64. */
static void store_fraction(long double x, uint32_t *word)
{
    const uint64_t fraction = (uint64_t)ldexpl(x, 64);
    word[0] = (uint32_t)fraction;
    word[1] = (uint32_t)(fraction >> 32);
}

static void rope_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    struct rope_params p = *(const struct rope_params *)node->params;
    const bool sole = tensor_graph_sole(dy);
    struct tensor *dx = sole ? dy : tensor_graph_like(g, dy);
    p.flags |= ROPE_BACK | (sole ? ROPE_IN_PLACE : 0);
    tensor_graph_pass(g, &rope, &p, (struct tensor *[]){dy, node->saved[0], dx}, 0);
    tensor_graph_give(g, node->input[0], dx);
}

struct tensor *tensor_rope(struct tensor_graph *g, struct tensor *x,
                           const struct tensor_rope_params *params)
{
    const uint32_t pairs = params->head_dim / 2, columns = tensor_columns(x);
    struct tensor *y = tensor_graph_like(g, x);
    struct rope_params *p = tensor_graph_memory_take(g, sizeof *p);
    if (!p || !tensor_check(g, params->positions && tensor_rows(x) % params->positions == 0,
                            "rope", "x (N·S, C')", x, NULL) ||
        !tensor_check(g, !params->slot || params->slot->count ==
                                               2ull * tensor_rows(x) / params->positions,
                      "rope", "x (N·S, C'), slot (N, 2)", x,
                      params->slot ? params->slot : x))
        return x;
    if (!pairs || params->head_dim % 2 || pairs > PAIRS_MAX || columns % params->head_dim ||
        params->columns > columns || params->columns % params->head_dim) {
        tensor_graph_fail(g, "rope: %u of %u columns do not part into heads of %u (even, at most "
                          "%d)", params->columns, columns, params->head_dim, 2 * PAIRS_MAX);
        return x;
    }
    *p = (struct rope_params){
        .rows = tensor_rows(x), .columns = columns, .turned = params->columns / params->head_dim,
        .pairs = pairs, .positions = params->positions, .first = params->first,
        .flags = params->slot ? ROPE_SLOT : 0};
    store_fraction(0.5L / acosl(-1.0L), p->unit);
    for (uint32_t i = 0; i < ROPE_POWERS; i++)
        store_fraction(powl(10000.0L, -(long double)(1u << i) / pairs), p->power + 2 * (size_t)i);
    tensor_graph_pass(g, &rope, p, (struct tensor *[]){x, params->slot, y}, 0);
    tensor_graph_node(g, &(struct tensor_node){rope_gradient, .output = y, .input = {x},
                                               .saved = {params->slot}, .params = p});
    return y;
}
