/* graph.c - the planner, the recorder and the random numbers, on the cpu device. */
#include "tensor/op/matmul_config.h"
#include "tensor/random.h"
#include "tests/tensor/check.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int failures;

#define REQUIRE(condition)                                                                        \
    do {                                                                                          \
        if (!(condition)) {                                                                       \
            printf("FAIL %s:%d: %s (last error: %s)\n", __func__, __LINE__, #condition,           \
                   tensor_error());                                                               \
            failures++;                                                                           \
        }                                                                                         \
    } while (0)

#define ROWS    6
#define COLUMNS 8
#define DEPTH   24

/* A device with input, square weights, vectors and what losses need. */
struct world {
    struct tensor_device *device;
    struct tensor_arena *arena;
    struct tensor *x, *weight[4], *gain, *bias, *gradient[6];
    struct tensor *readout[3]; /* (1, ROWS * COLUMNS): the loss is the sum of readout * result */
    struct tensor *one, *random, *result;
};

static struct tensor *take(struct world *w, enum tensor_type type, uint32_t rows, uint32_t columns)
{
    struct tensor *t = tensor_arena_take(w->arena, "test", type, 2, (uint32_t[]){rows, columns});
    return t;
}

static void draw(struct tensor *t)
{
    float *values = tensor_host(t);
    for (uint64_t i = 0; i < t->count; i++)
        values[i] = (float)check_uniform(-0.5, 0.5);
}

static void create_world_in(struct world *w, enum tensor_precision precision)
{
    const struct tensor_device_params params = {.name = "cpu", .precision = precision};
    *w = (struct world){0};
    REQUIRE(tensor_device_open(&params, &w->device) == 0);
    REQUIRE(tensor_arena_create(w->device, TENSOR_DEVICE, "test", &w->arena) == 0);
    struct tensor *parameter[6];
    w->x = take(w, TENSOR_F32, ROWS, COLUMNS);
    for (int i = 0; i < 4; i++)
        parameter[i] = w->weight[i] = take(w, TENSOR_F32, COLUMNS, COLUMNS);
    parameter[4] = w->gain = take(w, TENSOR_F32, 1, COLUMNS);
    parameter[5] = w->bias = take(w, TENSOR_F32, 1, COLUMNS);
    for (int i = 0; i < 6; i++) {
        parameter[i]->needs_gradient = true;
        parameter[i]->gradient = w->gradient[i] =
            take(w, TENSOR_F32, parameter[i]->shape[0], COLUMNS);
    }
    for (int i = 0; i < 3; i++)
        w->readout[i] = take(w, TENSOR_F32, 1, ROWS * COLUMNS);
    w->one = take(w, TENSOR_F32, 1, 1);
    w->random = take(w, TENSOR_U32, 1, 3);
    w->result = take(w, TENSOR_F32, ROWS, COLUMNS);
    REQUIRE(tensor_arena_commit(w->arena) == 0);
    check_seed(1, "graph");
    draw(w->x);
    for (int i = 0; i < 6; i++)
        draw(parameter[i]);
    for (int i = 0; i < 3; i++)
        draw(w->readout[i]);
    *(float *)tensor_host(w->one) = 1;
    memcpy(tensor_host(w->random), (uint32_t[]){1, 2, 3}, 12);
}

static void create_world(struct world *w)
{
    create_world_in(w, TENSOR_PRECISION_FP32);
}

static void destroy_world(struct world *w)
{
    tensor_arena_destroy(&w->arena);
    tensor_device_close(&w->device);
}

static struct tensor_graph *create_graph(const struct world *w, bool recompute)
{
    struct tensor_graph *g = NULL;
    const struct tensor_graph_params params = {.name = "test", .training = true,
                                               .random = w->random, .recompute = recompute};
    REQUIRE(tensor_graph_create(w->device, &params, &g) == 0);
    return g;
}

static struct tensor *loss_of(struct tensor_graph *g, const struct world *w, struct tensor *y,
                              int i)
{
    struct tensor *flat = tensor_reshape(g, y, 2, (uint32_t[]){1, ROWS * COLUMNS});
    return tensor_linear(g, flat, w->readout[i], NULL, 0);
}

/* Runs a graph once, from gradients of zero if `clear`. */
static void finish_and_run(struct tensor_graph *g, struct world *w, bool clear)
{
    for (int i = 0; i < 6 && clear; i++)
        memset(tensor_host(w->gradient[i]), 0, tensor_size(w->gradient[i]));
    REQUIRE(tensor_graph_finish(g) == 0);
    REQUIRE(tensor_graph_run(g) == 0 && tensor_device_wait(w->device) == 0);
}

/* All gradients behind one another, to be freed. */
static double *gradients_of(const struct world *w, uint64_t *count)
{
    *count = 0;
    for (int i = 0; i < 6; i++)
        *count += w->gradient[i]->count;
    double *all = check_allocate(*count * sizeof *all), *to = all;
    for (int i = 0; i < 6; i++)
        for (uint64_t j = 0; j < w->gradient[i]->count; j++)
            *to++ = ((const float *)tensor_host(w->gradient[i]))[j];
    return all;
}

static bool near(const double *a, const double *b, uint64_t count, double tolerance)
{
    double largest = 0, error = 0;
    for (uint64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(b[i]));
        error = fmax(error, isnan(a[i]) ? INFINITY : fabs(a[i] - b[i]));
    }
    return largest > 0 && error <= tolerance * largest;
}

static void test_random(void)
{
    /* Known answers of the Random123 library. */
    static const struct {
        uint32_t counter[4], key[2], word[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}, {UINT32_MAX, UINT32_MAX},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const uint32_t *c = known[i].counter, *key = known[i].key;
        const struct tensor_random r = tensor_random(c[0], c[1], c[2], c[3], key[0], key[1]);
        REQUIRE(memcmp(r.word, known[i].word, sizeof r.word) == 0);
    }
}

/* A chain as deep as a model, with everything that passes gradients along, each turn a segment;
 * `keep` keeps every tensor. Returns the memory it takes. */
static uint64_t run_chain(struct world *w, bool keep, bool recompute, float dropout)
{
    struct tensor_graph *g = create_graph(w, recompute);
    struct tensor *x = w->x;
    for (int i = 0; i < DEPTH; i++) {
        tensor_graph_segment_begin(g);
        struct tensor *norm = tensor_layer_norm(g, x, w->gain, w->bias, 1e-5f, false);
        struct tensor *wide = tensor_linear(g, norm, w->weight[i % 4], w->bias, TENSOR_RELU);
        struct tensor *thin = tensor_linear_residual(g, wide, w->weight[(i + 1) % 4], w->bias, x,
                                                       dropout);
        struct tensor *y = tensor_linear_residual(g, thin, w->weight[i % 2], NULL, thin,
                                                  dropout);
        for (int j = 0; j < 4 && keep; j++)
            tensor_graph_keep(g, (struct tensor *[]){norm, wide, thin, y}[j]);
        x = y;
        tensor_graph_segment_end(g);
    }
    tensor_copy(g, w->result, x);
    tensor_graph_backward(g, tensor_sum(g, loss_of(g, w, x, 0), w->one));
    const uint64_t planned = tensor_graph_memory(g);
    finish_and_run(g, w, true);
    REQUIRE(tensor_graph_memory(g) == planned && planned > 0);
    tensor_graph_destroy(&g);
    REQUIRE(!g);
    return planned;
}

static void test_reuse(void)
{
    struct world w;
    create_world(&w);
    uint64_t count;
    float kept[ROWS * COLUMNS];
    const uint64_t all = run_chain(&w, true, false, 0);
    double *want = gradients_of(&w, &count);
    memcpy(kept, tensor_host(w.result), sizeof kept);
    const uint64_t less = run_chain(&w, false, false, 0);
    double *got = gradients_of(&w, &count);
    REQUIRE(less < all);
    REQUIRE(memcmp(kept, tensor_host(w.result), sizeof kept) == 0);
    REQUIRE(memcmp(got, want, count * sizeof *got) == 0);
    REQUIRE(near(got, got, count, 0)); /* neither zero nor NaN */
    free(got);
    free(want);
    destroy_world(&w);
}

static void test_same_bits(void)
{
    struct world w;
    create_world(&w);
    uint64_t count;
    run_chain(&w, false, false, 0.3f);
    double *first = gradients_of(&w, &count);
    run_chain(&w, false, false, 0.3f);
    double *second = gradients_of(&w, &count);
    ((uint32_t *)tensor_host(w.random))[2]++;
    run_chain(&w, false, false, 0.3f);
    double *third = gradients_of(&w, &count);
    REQUIRE(memcmp(first, second, count * sizeof *first) == 0);
    REQUIRE(memcmp(first, third, count * sizeof *first) != 0);
    free(first);
    free(second);
    free(third);
    destroy_world(&w);
}

/* Computed again or kept: the same bits, and less memory. */
static void test_recompute(void)
{
    struct world w;
    create_world(&w);
    uint64_t count;
    const float rates[] = {0, 0.3f};
    for (int i = 0; i < 2; i++) {
        float kept[ROWS * COLUMNS];
        const uint64_t all = run_chain(&w, false, false, rates[i]);
        double *want = gradients_of(&w, &count);
        memcpy(kept, tensor_host(w.result), sizeof kept);
        const uint64_t less = run_chain(&w, false, true, rates[i]);
        double *got = gradients_of(&w, &count);
        REQUIRE(less < all);
        REQUIRE(memcmp(kept, tensor_host(w.result), sizeof kept) == 0);
        REQUIRE(memcmp(got, want, count * sizeof *got) == 0);
        run_chain(&w, true, true, rates[i]); /* kept tensors are not computed again, but may be */
        double *both = gradients_of(&w, &count);
        REQUIRE(memcmp(both, want, count * sizeof *both) == 0);
        free(both);
        free(got);
        free(want);
    }
    destroy_world(&w);
}

/* What leaves a segment by more than one door, also through its middle, and what the segments
 * before it made. Returns the gradients. */
static double *run_doors(struct world *w, bool recompute, double *flops)
{
    struct tensor_graph *g = create_graph(w, recompute);
    uint64_t count;
    tensor_graph_segment_begin(g);
    struct tensor *a = tensor_linear(g, w->x, w->weight[0], w->bias, TENSOR_RELU);
    struct tensor *b = tensor_linear(g, a, w->weight[1], NULL, TENSOR_RELU);
    b = tensor_linear_residual(g, b, w->weight[3], NULL, w->x, 0.2f);
    tensor_graph_segment_end(g);
    struct tensor *between = tensor_add(g, a, b);
    tensor_graph_segment_begin(g);
    struct tensor *c = tensor_layer_norm(g, between, w->gain, w->bias, 1e-5f, false);
    c = tensor_linear(g, tensor_add(g, c, a), w->weight[2], w->bias, TENSOR_RELU);
    struct tensor *flat = tensor_reshape(g, c, 2, (uint32_t[]){2 * ROWS, COLUMNS / 2});
    c = tensor_reshape(g, tensor_add(g, flat, flat), 2, (uint32_t[]){ROWS, COLUMNS});
    tensor_graph_segment_end(g);
    struct tensor *end = tensor_add(g, tensor_add(g, c, b),
                                    tensor_linear(g, c, w->weight[3], NULL, 0));
    tensor_graph_backward(g, tensor_sum(g, loss_of(g, w, end, 0), w->one));
    finish_and_run(g, w, true);
    *flops = tensor_graph_flops(g);
    tensor_graph_destroy(&g);
    return gradients_of(w, &count);
}

static void test_doors(void)
{
    struct world w;
    create_world(&w);
    double flops[2], *result[2];
    uint64_t count = 0;
    for (int i = 0; i < 2; i++)
        result[i] = run_doors(&w, i, &flops[i]);
    for (int i = 0; i < 6; i++)
        count += w.gradient[i]->count;
    REQUIRE(memcmp(result[0], result[1], count * sizeof **result) == 0);
    REQUIRE(near(result[0], result[0], count, 0));
    REQUIRE(flops[1] > flops[0]);
    /* Neither a nor b is computed again, as others keep them; the product behind a is, as its ReLU
     * is asked for, and that of the second segment is: two of the four of the forward pass. */
    REQUIRE(flops[1] - flops[0] == 2 * 2.0 * ROWS * COLUMNS * COLUMNS);
    free(result[0]);
    free(result[1]);
    destroy_world(&w);
}

/* Layers by groups of two rows, each a segment that also reads the row before it. Returns the
 * gradients. */
static double *run_groups(struct world *w, bool recompute, uint64_t *memory)
{
    struct tensor_graph *g = create_graph(w, recompute);
    struct tensor *x = w->x, *part[ROWS / 2];
    uint64_t count;
    for (int i = 0; i < DEPTH; i++) {
        for (uint32_t row = 0; row < ROWS; row += 2) {
            tensor_graph_segment_begin(g);
            struct tensor *h = tensor_slice_rows(g, x, row ? row - 1 : 0, 2);
            h = tensor_layer_norm(g, h, w->gain, w->bias, 1e-5f, false);
            h = tensor_linear(g, h, w->weight[i % 4], w->bias, TENSOR_RELU);
            part[row / 2] = tensor_linear_residual(g, h, w->weight[(i + 1) % 4], NULL,
                                                   tensor_slice_rows(g, x, row, 2), 0.3f);
            tensor_graph_segment_end(g);
        }
        x = tensor_concat_rows(g, part, ROWS / 2);
    }
    tensor_copy(g, w->result, x);
    tensor_graph_backward(g, tensor_sum(g, loss_of(g, w, x, 0), w->one));
    *memory = tensor_graph_memory(g);
    finish_and_run(g, w, true);
    tensor_graph_destroy(&g);
    return gradients_of(w, &count);
}

static void test_groups(void)
{
    struct world w;
    create_world(&w);
    uint64_t memory[2], count = 0;
    double *result[2];
    float values[2][ROWS * COLUMNS];
    for (int i = 0; i < 2; i++) {
        result[i] = run_groups(&w, i, &memory[i]);
        memcpy(values[i], tensor_host(w.result), sizeof values[i]);
    }
    for (int i = 0; i < 6; i++)
        count += w.gradient[i]->count;
    REQUIRE(memcmp(values[0], values[1], sizeof values[0]) == 0);
    REQUIRE(memcmp(result[0], result[1], count * sizeof **result) == 0);
    REQUIRE(near(result[0], result[0], count, 0));
    REQUIRE(memory[1] < memory[0]);
    free(result[0]);
    free(result[1]);
    destroy_world(&w);
}

/* Passes that nobody needs are left out; those that write what outlives the graph are not. */
static void test_unread(void)
{
    struct world w;
    create_world(&w);
    struct tensor_graph *g = create_graph(&w, false);
    struct tensor *unread = tensor_linear(g, w.x, w.weight[0], NULL, 0);
    tensor_linear(g, unread, w.weight[1], NULL, 0);
    struct tensor *kept = tensor_linear(g, w.x, w.weight[2], NULL, 0);
    tensor_graph_keep(g, kept);
    tensor_copy(g, w.result, tensor_linear(g, w.x, w.weight[3], NULL, 0));
    const double one = 2.0 * ROWS * COLUMNS * COLUMNS;
    REQUIRE(tensor_graph_flops(g) == 4 * one);
    REQUIRE(tensor_graph_memory(g) > 0 && tensor_graph_flops(g) == 2 * one);
    finish_and_run(g, &w, false);
    float value;
    REQUIRE(tensor_read(kept, 0, &value, sizeof value) == 0 && value != 0);
    REQUIRE(((float *)tensor_host(w.result))[0] != 0);
    tensor_graph_destroy(&g);
    destroy_world(&w);
}

/* One graph run again gives the same result, and adds the same gradient once more. */
static void test_run_again(void)
{
    struct world w;
    create_world(&w);
    struct tensor_graph *g = create_graph(&w, false);
    struct tensor *hidden = tensor_linear(g, w.x, w.weight[0], w.bias, TENSOR_RELU);
    struct tensor *y = tensor_linear_residual(g, hidden, w.weight[1], w.bias, w.x, 0.4f);
    tensor_copy(g, w.result, y);
    tensor_graph_backward(g, tensor_sum(g, loss_of(g, &w, y, 0), w.one));
    finish_and_run(g, &w, true);
    uint64_t count;
    float kept[ROWS * COLUMNS];
    memcpy(kept, tensor_host(w.result), sizeof kept);
    double *once = gradients_of(&w, &count);
    REQUIRE(tensor_graph_run(g) == 0 && tensor_device_wait(w.device) == 0);
    double *twice = gradients_of(&w, &count);
    for (uint64_t i = 0; i < count; i++)
        once[i] *= 2;
    REQUIRE(memcmp(kept, tensor_host(w.result), sizeof kept) == 0);
    /* The second gradient is added term by term, which may round otherwise than a sum. */
    REQUIRE(near(twice, once, count, 1e-6));
    free(once);
    free(twice);
    tensor_graph_destroy(&g);
    destroy_world(&w);
}

/* a and b meet in a sum that hands its gradient to both, and each goes another way as well, through
 * ReLU, a second sum and itself. `parts`: bit i: the loss counts way i. */
static void run_ways(struct world *w, unsigned parts, bool clear)
{
    struct tensor_graph *g = create_graph(w, false);
    struct tensor *a = tensor_linear(g, w->x, w->weight[0], w->bias, TENSOR_RELU);
    struct tensor *b = tensor_linear(g, w->x, w->weight[1], NULL, 0);
    struct tensor *sum = tensor_add(g, a, b);
    struct tensor *same = tensor_linear_residual(g, a, w->weight[3], NULL, sum, 0);
    struct tensor *way[3] = {
        tensor_linear(g, tensor_add(g, same, same), w->weight[2], NULL, TENSOR_RELU),
        tensor_layer_norm(g, tensor_add(g, a, sum), w->gain, w->bias, 1e-5f, false),
        tensor_add(g, tensor_linear(g, b, w->weight[3], NULL, 0), b)};
    struct tensor *loss = NULL;
    for (int i = 0; i < 3; i++)
        if (parts >> i & 1) {
            struct tensor *part = loss_of(g, w, way[i], i);
            loss = loss ? tensor_add(g, loss, part) : part;
        }
    tensor_graph_backward(g, tensor_sum(g, loss, w->one));
    finish_and_run(g, w, clear);
    tensor_graph_destroy(&g);
}

/* Gradients are linear in the loss: those of the whole are the sums of those of its parts. */
static void test_shared_gradients(void)
{
    struct world w;
    create_world(&w);
    uint64_t count;
    for (unsigned i = 0; i < 3; i++)
        run_ways(&w, 1u << i, i == 0);
    double *want = gradients_of(&w, &count);
    run_ways(&w, 7, true);
    double *got = gradients_of(&w, &count);
    REQUIRE(near(got, want, count, 1e-5));
    free(got);
    free(want);
    destroy_world(&w);
}

/* y = x W1ᵀ + x W2ᵀ has the gradient of x (W1 + W2)ᵀ: x is used twice. */
static void test_diamond(void)
{
    struct world w;
    create_world(&w);
    uint64_t count;
    double *result[2];
    for (int joined = 0; joined < 2; joined++) {
        struct tensor_graph *g = create_graph(&w, false);
        struct tensor *x = tensor_linear(g, w.x, w.weight[0], NULL, 0);
        struct tensor *both = tensor_add(g, w.weight[1], w.weight[2]);
        struct tensor *y =
            joined ? tensor_linear(g, x, both, NULL, 0)
                   : tensor_add(g, tensor_linear(g, x, w.weight[1], NULL, 0),
                                tensor_linear(g, x, w.weight[2], NULL, 0));
        tensor_graph_backward(g, tensor_sum(g, loss_of(g, &w, y, 0), w.one));
        finish_and_run(g, &w, true);
        result[joined] = gradients_of(&w, &count);
        tensor_graph_destroy(&g);
    }
    REQUIRE(near(result[0], result[1], count, 1e-5));
    free(result[0]);
    free(result[1]);
    destroy_world(&w);
}

static uint32_t count_casts(struct tensor_graph *g)
{
    struct tensor_time times[64];
    uint32_t casts = 0;
    const uint32_t count = tensor_graph_times(g, times, 64);
    for (uint32_t i = 0; i < count && i < 64; i++)
        casts += strcmp(times[i].kernel, "cast") == 0 ? times[i].passes : 0;
    return casts;
}

/* A tensor is rounded once for all products, under whatever shape, and again only when it was
 * written to; a weight that is kept in 16 bits never is, and then those bits count. */
static void test_casts(void)
{
    struct world w;
    create_world_in(&w, TENSOR_PRECISION_BF16);
    const struct tensor_graph_params params = {.name = "casts", .training = true, .timing = true};
    struct tensor_graph *g = NULL;
    struct tensor_arena *arena = NULL;
    REQUIRE(tensor_arena_create(w.device, TENSOR_DEVICE, "low precision", &arena) == 0);
    struct tensor *thin =
        tensor_arena_take(arena, "low precision", TENSOR_BF16, 2, (uint32_t[]){COLUMNS, COLUMNS});
    REQUIRE(tensor_arena_commit(arena) == 0);
    REQUIRE(tensor_graph_create(w.device, &params, &g) == 0);
    w.weight[0]->copy16 = thin; /* of zeros */
    struct tensor *x = tensor_add(g, w.x, w.x);
    struct tensor *a = tensor_linear(g, x, w.weight[0], NULL, 0);
    struct tensor *same = tensor_reshape(g, x, 2, (uint32_t[]){ROWS * COLUMNS / 8, 8});
    struct tensor *b = tensor_linear(g, same, w.weight[1], NULL, 0);
    tensor_copy(g, w.result, a);
    /* Casts of x, weight[1], the readout (the loss itself is not read); of the gradients of the
     * loss and of the sum; of x and weight[1] again: tensors of one arena count as written
     * together, as the gradients were. */
    tensor_graph_backward(g, tensor_sum(g, loss_of(g, &w, tensor_add(g, a, b), 0), w.one));
    tensor_graph_keep(g, b);
    tensor_fill(g, x, 2);
    struct tensor *c = tensor_linear(g, x, w.weight[1], NULL, 0); /* x, as it is now */
    tensor_graph_keep(g, c);
    finish_and_run(g, &w, true);
    float ca[ROWS * COLUMNS], cb[ROWS * COLUMNS];
    REQUIRE(tensor_read(b, 0, cb, sizeof cb) == 0 && tensor_read(c, 0, ca, sizeof ca) == 0);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        float sum = 0; /* two times the sum of a line of the rounded weight */
        for (int k = 0; k < COLUMNS; k++)
            sum += 2 *
                   (float)check_round(
                       TENSOR_BF16, ((float *)tensor_host(w.weight[1]))[i % COLUMNS * COLUMNS + k]);
        REQUIRE(fabsf(ca[i] - sum) < 1e-5f && ((float *)tensor_host(w.result))[i] == 0);
    }
    REQUIRE(memcmp(ca, cb, sizeof ca) != 0);
    REQUIRE(count_casts(g) == 7);
    tensor_graph_destroy(&g);
    tensor_arena_destroy(&arena);
    destroy_world(&w);
}

/* TENSOR_LOW_PRECISION: where products alone read a tensor it is of 16 bits and cast by none of
 * them, nor is its gradient; what does not take it says so. */
static void test_low_precision(void)
{
    struct world w;
    create_world_in(&w, TENSOR_PRECISION_BF16);
    for (int training = 0; training < 2; training++) {
        const struct tensor_graph_params params = {.name = "low precision", .training = training,
                                                   .timing = true};
        struct tensor_graph *g = NULL;
        REQUIRE(tensor_graph_create(w.device, &params, &g) == 0);
        struct tensor *a =
            tensor_linear(g, w.x, w.weight[0], w.bias, TENSOR_RELU | TENSOR_LOW_PRECISION);
        struct tensor *b = tensor_linear(g, a, w.weight[1], NULL, TENSOR_LOW_PRECISION);
        struct tensor *c = tensor_add(g, tensor_linear(g, a, w.weight[2], NULL, 0),
                                      tensor_linear(g, b, w.weight[3], NULL, 0));
        REQUIRE(a->type == TENSOR_BF16 && b->type == TENSOR_BF16 && c->type == TENSOR_F32);
        if (training)
            tensor_graph_backward(g, tensor_sum(g, loss_of(g, &w, c, 0), w.one));
        else
            tensor_graph_keep(g, c);
        finish_and_run(g, &w, training);
        if (training)
            REQUIRE(a->gradient->type == TENSOR_BF16 && b->gradient->type == TENSOR_BF16);
        else
            REQUIRE(count_casts(g) == 5); /* of x and the weights */
        tensor_graph_destroy(&g);
    }
    struct tensor_graph *g = create_graph(&w, false);
    REQUIRE(tensor_linear(g, w.x, w.gain, NULL, TENSOR_LOW_PRECISION)->type ==
            TENSOR_F32); /* 1 column */
    tensor_add(g, w.x, tensor_linear(g, w.x, w.weight[0], NULL, TENSOR_LOW_PRECISION));
    REQUIRE(tensor_graph_finish(g) == -EINVAL && strstr(tensor_error(), "add does not take"));
    tensor_graph_destroy(&g);
    destroy_world(&w);
}

/* Arenas of the same shapes in 16 and 32 bits lie alike, element by element. */
static void test_layout(void)
{
    struct world w;
    struct tensor_arena *arena[2] = {NULL, NULL};
    struct tensor *last[2];
    uint32_t index[2];
    uint64_t element[2];
    create_world(&w);
    for (int i = 0; i < 2; i++) {
        const enum tensor_type type = i ? TENSOR_F16 : TENSOR_F32;
        REQUIRE(tensor_arena_create(w.device, TENSOR_DEVICE, "layout", &arena[i]) == 0);
        for (uint32_t count = 1; count < 300; count += 37)
            last[i] = tensor_arena_take(arena[i], NULL, type, 1, &count);
        REQUIRE(tensor_arena_commit(arena[i]) == 0);
        tensor_arena_place(last[i], &index[i], &element[i]);
        REQUIRE(tensor_arena_flat(arena[i], 0)->type == type);
    }
    REQUIRE(index[0] == index[1] && element[0] == element[1] && element[0] > 0);
    REQUIRE(tensor_arena_flat(arena[0], 0)->count == tensor_arena_flat(arena[1], 0)->count);
    REQUIRE(tensor_arena_size(arena[0]) == 2 * tensor_arena_size(arena[1]));
    for (int i = 0; i < 2; i++)
        tensor_arena_destroy(&arena[i]);
    destroy_world(&w);
}

static void test_errors(void)
{
    struct world w;
    create_world(&w);
    struct tensor_graph *g = create_graph(&w, false);
    tensor_graph_push(g, "outer");
    tensor_graph_push(g, "inner");
    struct tensor *y = tensor_linear(g, w.x, w.readout[0], NULL, 0);
    tensor_graph_pop(g);
    tensor_graph_pop(g);
    y = tensor_add(g, y, tensor_layer_norm(g, y, w.gain, w.one, 1e-5f, false)); /* more errors */
    tensor_graph_backward(g, tensor_sum(g, y, w.gain));
    REQUIRE(tensor_graph_memory(g) == 0);
    REQUIRE(tensor_graph_finish(g) == -EINVAL);
    REQUIRE(strstr(tensor_error(), "outer.inner") && strstr(tensor_error(), "linear"));
    REQUIRE(strstr(tensor_error(), "(6, 8)") && strstr(tensor_error(), "(1, 48)"));
    REQUIRE(tensor_graph_run(g) == -EINVAL);
    tensor_graph_destroy(&g);

    g = create_graph(&w, false);
    tensor_graph_backward(g, tensor_sum(g, w.x, w.one)); /* depends on no parameter */
    REQUIRE(tensor_graph_finish(g) == -EINVAL);
    tensor_graph_destroy(&g);

    g = create_graph(&w, false);
    tensor_linear_residual(g, w.x, w.weight[0], NULL, w.x, 1.5f);
    REQUIRE(tensor_graph_finish(g) == -EINVAL && strstr(tensor_error(), "1.5"));
    tensor_graph_destroy(&g);

    g = create_graph(&w, false);
    tensor_linear_residual(g, w.x, w.weight[0], NULL, w.bias, 0);
    REQUIRE(tensor_graph_finish(g) == -EINVAL && strstr(tensor_error(), "linear_residual"));
    tensor_graph_destroy(&g);

    g = create_graph(&w, true);
    tensor_graph_segment_begin(g);
    tensor_fill(g, w.result, 1); /* doing that again may change what was there before */
    tensor_graph_segment_end(g);
    REQUIRE(tensor_graph_finish(g) == -EINVAL && strstr(tensor_error(), "fill"));
    tensor_graph_destroy(&g);

    g = create_graph(&w, true);
    tensor_graph_segment_begin(g);
    tensor_graph_segment_begin(g);
    REQUIRE(tensor_graph_finish(g) == -EINVAL && strstr(tensor_error(), "nest"));
    tensor_graph_destroy(&g);

    g = create_graph(&w, true);
    tensor_graph_segment_begin(g);
    tensor_concat_rows(g, &w.x, 1);
    REQUIRE(tensor_graph_finish(g) == -EINVAL &&
            strstr(tensor_error(), "concat_rows within a segment"));
    tensor_graph_destroy(&g);
    destroy_world(&w);
}

/* The rule of which tile and how many splits of k a product gets goes by the cores that there are;
 * without their number it thinks of a large GPU. */
static void test_cores(void)
{
    static const struct {
        uint32_t cores, tile, splits; /* of 1024 x 1024, of 128 x 128 */
    } wanted[] = {{0, 64, 16}, {20, 128, 2}, {64, 128, 8}, {65, 64, 8}, {300, 32, 16}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const struct tensor_device_info info = {
            .kind = "vulkan", .features = TENSOR_COOP_F16, .cores = wanted[i].cores, .subgroup = 32,
            .workgroup = 1024, .shared_bytes = 48u << 10, .matrix_shapes = 1,
            .matrix_shape = {{TENSOR_COOP_F16, 16, 16, 16, 0}}};
        struct matmul_params p = {.m = 1024, .n = 1024, .k = 8192, .split_k = 8192,
                                  .flags = MATMUL_F16 | MATMUL_TRANSPOSE_A};
        struct matmul_config config;
        tensor_matmul_configure(&info, NULL, &p, &config, NULL);
        REQUIRE(config.m == wanted[i].tile && config.n == wanted[i].tile);
        p.m = p.n = 128;
        REQUIRE(tensor_matmul_splits(p.k, tensor_matmul_split_k_for(&info, NULL, &p)) ==
                wanted[i].splits);
        /* A cache that the caller passes in comes before the rule; it changes nothing else. */
        struct tensor_autotune_entry entry = tensor_matmul_entry(&p, &config, 4);
        const struct tensor_autotune cache = {.list = &entry, .count = 1};
        REQUIRE(tensor_matmul_splits(p.k, tensor_matmul_split_k_for(&info, &cache, &p)) == 4);
        p.n = 64;
        REQUIRE(tensor_matmul_split_k_for(&info, &cache, &p) ==
                tensor_matmul_split_k_for(&info, NULL, &p));
    }
}

int main(void)
{
    test_random();
    test_reuse();
    test_same_bits();
    test_recompute();
    test_doors();
    test_groups();
    test_unread();
    test_run_again();
    test_shared_gradients();
    test_diamond();
    test_casts();
    test_low_precision();
    test_layout();
    test_cores();
    test_errors();
    printf("graph: %d failures\n", failures);
    return failures ? CHECK_FAILED : 0;
}
