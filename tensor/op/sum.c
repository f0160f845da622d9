/* sum.c - sums over all elements, in a fixed order (op.h: tensor_sum, tensor_sum_squares). */
#include "tensor/op/sum.h"
#include "tensor/contract.h"

#define CHUNK 16384 /* elements that one workgroup adds; more of them take a second step */

#define BLOCK 512 /* elements that are summed in single precision at a time */

static double sum_chunk(const float *x, uint32_t count, bool square)
{
    double total = 0;
    for (uint32_t first = 0; first < count; first += BLOCK) {
        const uint32_t end = count - first < BLOCK ? count : first + BLOCK;
        float sum = 0;
        if (square) {
#pragma omp simd reduction(+ : sum)
            for (uint32_t j = first; j < end; j++)
                sum += x[j] * x[j];
        } else {
#pragma omp simd reduction(+ : sum)
            for (uint32_t j = first; j < end; j++)
                sum += x[j];
        }
        total += sum;
    }
    return total;
}

static int sum_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct sum_params *p = params;
    const uint32_t chunks = (uint32_t)(((uint64_t)p->count + p->chunk - 1) / p->chunk);
    const float factor = p->flags & SUM_FACTOR ? *f32_at(p->factor) : 1;
#pragma omp parallel for schedule(static)
    for (uint32_t i = 0; i < chunks; i++) {
        const uint64_t begin = (uint64_t)i * p->chunk, left = p->count - begin;
        const uint32_t count = left < p->chunk ? (uint32_t)left : p->chunk;
        const float *x = f32_at(p->x) + begin;
        f32_at(p->y)[i] = (float)(factor * sum_chunk(x, count, p->flags & SUM_SQUARE));
    }
    return 0;
}

static void sum_launch(const struct tensor_device_info *info, const void *params,
                       struct tensor_launch *launch)
{
    const struct sum_params *p = params;
    tensor_launch_groups(launch, ((uint64_t)p->count + p->chunk - 1) / p->chunk);
}

static const struct tensor_kernel sum = {
    .name = "sum",
    .params_size = sizeof(struct sum_params),
    .args = 3,
    .writes = TENSOR_ARG(sum_params, y),
    .cpu = sum_cpu,
    .launch = sum_launch,
    .variant = {"sum"},
};
const struct tensor_kernel *const tensor_kernel_sum = &sum;

static int sum_grad_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct sum_grad_params *p = params;
    const float value = *f32_at(p->factor) * *f32_at(p->dy);
    float *dx = f32_at(p->dx);
    for (uint32_t i = 0; i < p->count; i++)
        dx[i] = value;
    return 0;
}

static void sum_grad_launch(const struct tensor_device_info *info, const void *params,
                            struct tensor_launch *launch)
{
    tensor_launch_items(launch, ((const struct sum_grad_params *)params)->count);
}

static const struct tensor_kernel sum_grad = {
    .name = "sum_grad",
    .params_size = sizeof(struct sum_grad_params),
    .args = 3,
    .writes = TENSOR_ARG(sum_grad_params, dx),
    .cpu = sum_grad_cpu,
    .launch = sum_grad_launch,
    .variant = {"sum_grad"},
};
const struct tensor_kernel *const tensor_kernel_sum_grad = &sum_grad;

static uint32_t chunks_of(uint64_t count)
{
    return (uint32_t)((count + CHUNK - 1) / CHUNK);
}

/* y (chunks) = sums of chunks of x. */
static void record_chunks(struct tensor_graph *g, struct tensor *x, uint32_t flags,
                          struct tensor *factor, struct tensor *y)
{
    const struct sum_params p = {.count = (uint32_t)x->count, .chunk = CHUNK,
                                 .flags = flags | (factor ? SUM_FACTOR : 0)};
    tensor_graph_pass(g, &sum, &p, (struct tensor *[]){x, factor, y}, 0);
}

/* The sum of x, over as many steps as it takes. */
static struct tensor *record_sum(struct tensor_graph *g, struct tensor *x, struct tensor *factor)
{
    struct tensor *y = tensor_graph_new(g, TENSOR_F32, 1, (uint32_t[]){chunks_of(x->count)});
    record_chunks(g, x, 0, y->count == 1 ? factor : NULL, y);
    return y->count == 1 ? y : record_sum(g, y, factor);
}

static void sum_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    struct tensor *x = node->input[0], *factor = node->input[1];
    struct tensor *dx = tensor_graph_like(g, x);
    const struct sum_grad_params p = {.count = (uint32_t)x->count};
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    tensor_graph_pass(g, &sum_grad, &p, (struct tensor *[]){dy, factor, dx}, 0);
    tensor_graph_give(g, x, dx);
}

struct tensor *tensor_sum(struct tensor_graph *g, struct tensor *x, struct tensor *factor)
{
    if (!tensor_check(g, factor->count == 1, "sum", "factor (1)", x, factor))
        return x;
    struct tensor *y = record_sum(g, x, factor);
    tensor_graph_node(g, &(struct tensor_node){sum_gradient, .output = y, .input = {x, factor}});
    return y;
}

struct tensor *tensor_sum_squares(struct tensor_graph *g, struct tensor *const *x, uint32_t n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        count += chunks_of(x[i]->count);
    if (!count) {
        tensor_graph_fail(g, "sum_squares: an empty list");
        return tensor_graph_matrix(g, 1, 1);
    }
    struct tensor *partial = tensor_graph_new(g, TENSOR_F32, 1, &count);
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t chunks = chunks_of(x[i]->count);
        record_chunks(g, x[i], SUM_SQUARE, NULL, tensor_graph_view(g, partial, at, 1, &chunks));
        at += chunks;
    }
    return count == 1 ? partial : record_sum(g, partial, NULL);
}
