/* sampling.c - what a seed decides: bytes from logits, first values; and the schedule. */
#include "nn/optimizer.h"
#include "nn/sampling.h"
#include "tensor/op.h"
#include "tests/megabyte/check.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DRAWS 6000

/* So many choices at a time, as generation makes them. */
#define ROWS 1000
static struct {
    uint32_t rows;
    struct tensor_device *device;
    struct tensor_arena *arena;
    struct tensor *logits, *settings, *symbols;
    struct tensor_graph *graph;
} chooser;

static void open_chooser(uint32_t rows)
{
    chooser.rows = rows;
    chooser.device = check_open_cpu();
    check_must(tensor_arena_create(chooser.device, TENSOR_HOST, "choices", &chooser.arena),
               "arena");
    chooser.logits = tensor_arena_take(chooser.arena, "logits", TENSOR_F32, 2,
                                       (uint32_t[]){rows, SYMBOLS});
    chooser.settings = tensor_arena_take(chooser.arena, "settings", TENSOR_U32, 2,
                                         (uint32_t[]){rows, TENSOR_SAMPLE_SETTINGS});
    chooser.symbols = tensor_arena_take(chooser.arena, "symbols", TENSOR_U32, 2,
                                        (uint32_t[]){rows, 1});
    check_must(tensor_arena_commit(chooser.arena), "memory");
    check_must(tensor_graph_create(chooser.device, &(struct tensor_graph_params){.name = "choose"},
                                   &chooser.graph), "graph");
    tensor_sample(chooser.graph, chooser.logits, chooser.settings, chooser.symbols, 0);
    check_must(tensor_graph_finish(chooser.graph), "record");
}

static void close_chooser(void)
{
    tensor_graph_destroy(&chooser.graph);
    tensor_arena_destroy(&chooser.arena);
    tensor_device_close(&chooser.device);
}

/* Row i: the choice by `logits` (V) of draw first + i / streams of stream i mod `streams`. */
static const uint32_t *choose(const struct nn_sampling *s, const float *logits, uint32_t streams,
                              uint64_t first)
{
    for (uint32_t i = 0; i < chooser.rows; i++) {
        memcpy((float *)tensor_host(chooser.logits) + (size_t)i * SYMBOLS, logits,
               SYMBOLS * sizeof *logits);
        nn_sampling_row(s, i % streams, first + i / streams, 0,
                        (uint32_t *)tensor_host(chooser.settings) + i * TENSOR_SAMPLE_SETTINGS);
    }
    check_must(tensor_graph_run(chooser.graph), "choose");
    check_must(tensor_device_wait(chooser.device), "wait");
    return tensor_host(chooser.symbols);
}

/* Logits of a few symbols; all others cannot happen. */
static void few(float *logits, const uint8_t *symbols, const double *probabilities, uint32_t count)
{
    for (uint32_t v = 0; v < SYMBOLS; v++)
        logits[v] = -1e30f;
    for (uint32_t i = 0; i < count; i++)
        logits[symbols[i]] = (float)log(probabilities[i]);
}

/* How often each symbol comes in DRAWS draws. */
static void draw(const struct nn_sampling *s, const float *logits, uint32_t *often)
{
    memset(often, 0, SYMBOLS * sizeof *often);
    for (uint32_t i = 0; i < DRAWS; i++) {
        const uint32_t *symbols =
            i % ROWS ? tensor_host(chooser.symbols) : choose(s, logits, 4, i / 4);
        CHECK(symbols[i % ROWS] < SYMBOLS, "symbol %u", symbols[i % ROWS]);
        often[symbols[i % ROWS] % SYMBOLS]++;
    }
}

static void expect(const char *what, const struct nn_sampling *s, const float *logits,
                   const uint8_t *symbols, const double *wanted, uint32_t count)
{
    uint32_t often[SYMBOLS], rest = DRAWS;
    draw(s, logits, often);
    for (uint32_t i = 0; i < count; i++) {
        const double p = wanted[i], deviation = sqrt(p * (1 - p) / DRAWS);
        const double got = (double)often[symbols[i]] / DRAWS;
        CHECK(fabs(got - p) <= 5 * deviation, "%s: symbol %u comes with probability %g, not %g",
              what, symbols[i], got, p);
        rest -= often[symbols[i]];
    }
    CHECK(rest == 0, "%s: %u draws outside of what is allowed", what, rest);
}

static void check_choices(void)
{
    static const uint8_t symbols[4] = {0, 255, 7, 100};
    static const double p[4] = {0.4, 0.3, 0.2, 0.1};
    float logits[SYMBOLS];
    few(logits, symbols, p, 4);
    struct nn_sampling s = {.temperature = 1, .top_p = 1, .seed = 5};
    expect("as it is", &s, logits, symbols, p, 4);
    s.top_k = 2;
    expect("top-k 2", &s, logits, symbols, (const double[]){0.4 / 0.7, 0.3 / 0.7}, 2);
    s.top_k = 1;
    expect("top-k 1", &s, logits, symbols, (const double[]){1}, 1);
    s.top_k = 1000;
    expect("top-k 1000", &s, logits, symbols, p, 4);
    s.top_k = 0;
    s.top_p = 0.69; /* 0.4 is too little, 0.4 + 0.3 reaches it */
    expect("top-p 0.69", &s, logits, symbols, (const double[]){0.4 / 0.7, 0.3 / 0.7}, 2);
    s.top_p = 0.71;
    expect("top-p 0.71", &s, logits, symbols, (const double[]){4 / 9.0, 3 / 9.0, 2 / 9.0}, 3);
    s.top_p = 0;
    expect("top-p 0", &s, logits, symbols, (const double[]){1}, 1);
    s.top_p = 0.5;
    s.top_k = 3; /* top-p within the three: 0.4 of 0.9 is below a half, 0.7 of 0.9 reaches it */
    expect("top-k 3, top-p 0.5", &s, logits, symbols, (const double[]){0.4 / 0.7, 0.3 / 0.7}, 2);
    s = (struct nn_sampling){.temperature = 0.5, .top_p = 1}; /* squares the probabilities */
    expect("temperature 0.5", &s, logits, symbols,
           (const double[]){16 / 30.0, 9 / 30.0, 4 / 30.0, 1 / 30.0}, 4);
    s.temperature = 1e-30;
    expect("temperature near 0", &s, logits, symbols, (const double[]){1}, 1);
}

static void check_greedy(void)
{
    float logits[SYMBOLS];
    const struct nn_sampling greedy = {.temperature = 0, .top_p = 1};
    for (uint32_t round = 0; round < 50; round++) {
        uint32_t best = 0;
        for (uint32_t v = 0; v < SYMBOLS; v++) {
            logits[v] = (float)check_random_number(round, v) / 4e8f - 5;
            best = logits[v] > logits[best] ? v : best;
        }
        CHECK(*choose(&greedy, logits, 1, round) == best, "temperature 0 is not the likeliest");
        logits[200] = logits[100] = logits[best] + 1; /* a tie */
        CHECK(*choose(&greedy, logits, 1, round) == 100,
              "a tie does not go to the smaller symbol");
        const struct nn_sampling one = {.temperature = 1, .top_k = 1, .top_p = 1, .seed = round};
        CHECK(*choose(&one, logits, 1, round) == 100, "a tie in top-k goes elsewhere");
    }
}

/* How many of `a` are as those of `b` that are `step` apart. */
static uint32_t alike(const uint32_t *a, const uint32_t *b, uint32_t step)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ROWS / step; i++)
        count += a[i] == b[i * step];
    return count;
}

/* Seed, stream and number of the draw each matter, and nothing else does. */
static void check_draws(void)
{
    float logits[SYMBOLS] = {0};
    uint32_t seeds = 0, streams = 0, draws = 0, highs = 0, base[ROWS];
    const struct nn_sampling a = {.temperature = 1, .top_p = 1, .seed = 1};
    struct nn_sampling b = a, high = a;
    b.seed = 2;
    high.seed = (1ull << 40) + 1;
    memcpy(base, choose(&a, logits, 1, 0), sizeof base);
    CHECK(!memcmp(base, choose(&a, logits, 1, 0), sizeof base), "the same is chosen otherwise");
    seeds = alike(base, choose(&b, logits, 1, 0), 1);
    streams = alike(base, choose(&a, logits, 2, 0) + 1, 2);
    draws = alike(base, choose(&a, logits, 1, 1ull << 33), 1);
    highs = alike(base, choose(&high, logits, 1, 0), 1);
    CHECK(seeds < 20 && streams < 20 && draws < 20 && highs < 20,
          "of 1000 bytes %u agree between seeds, %u of 500 between streams, %u between draws, %u "
          "between high words of the seed", seeds, streams, draws, highs);
    CHECK(base[500] == *choose(&a, logits, 1, 500), "draw 500 hangs on where it is made");
}

static void check_schedule(void)
{
    static const struct {
        uint64_t step, warmup, steps;
        double rate;
    } cases[] = {
        {1, 10, 110, 0.1},  {5, 10, 110, 0.5},    {10, 10, 110, 1},  {11, 10, 110, 1},
        {61, 10, 110, 0.5}, {110, 10, 110, 0.01}, {111, 10, 110, 0}, {1, 0, 4, 1},
        {2, 0, 4, 0.75},    {4, 0, 4, 0.25},      {5, 0, 4, 0},      {3, 5, 5, 0.6},
        {5, 5, 5, 1},       {6, 5, 5, 0},         {2, 10, 4, 0.2},   {1, 0, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double got =
            nn_schedule_polynomial(2, cases[i].step, cases[i].warmup, cases[i].steps) / 2;
        CHECK(fabs(got - cases[i].rate) < 1e-12, "step %u, warm-up %u of %u: rate %g, not %g",
              (unsigned)cases[i].step, (unsigned)cases[i].warmup, (unsigned)cases[i].steps, got,
              cases[i].rate);
    }
}

void check_sampling(void)
{
    open_chooser(ROWS);
    check_choices();
    check_draws();
    close_chooser();
    open_chooser(1);
    check_greedy();
    close_chooser();
    check_schedule();
}

/* ---- first values ---- */

static float *values_of(const struct tensor *t)
{
    float *values = check_allocate(tensor_size(t));
    check_must(tensor_read(t, 0, values, tensor_size(t)), "read");
    return values;
}

/* Declared in either order. */
static struct nn_parameters *declare(struct tensor_device *device, bool backwards, uint64_t seed,
                                     struct nn_parameter **normal)
{
    struct nn_parameters *p;
    check_must(nn_parameters_create(device, false, &p), "parameters");
    for (int i = 0; i < 4; i++) {
        const int which = backwards ? 3 - i : i;
        struct nn_parameter *one = nn_parameter(
            p,
            which == 3   ? NN_ONES
            : which == 2 ? NN_ZEROS
                         : NN_NORMAL,
            0.02f, which < 2 ? 2 : 1, (uint32_t[]){which < 2 ? 211 : 7, 97}, "test.%d", which);
        if (which < 2)
            normal[which] = one;
        CHECK(one->rank == (which < 2 ? 2u : 1u), "rank %u", one->rank);
    }
    check_must(nn_parameters_place(p), "place");
    check_must(nn_parameters_commit(p), "commit");
    check_must(nn_parameters_initialise(p, seed), "initialise");
    return p;
}

static void check_truncated(const float *values, uint64_t count, double deviation)
{
    const double chance = 4 / sqrt((double)count); /* four deviations of a mean, and more */
    double sum = 0, squares = 0, largest = 0;
    for (uint64_t i = 0; i < count; i++) {
        sum += values[i];
        squares += (double)values[i] * values[i];
        largest = fmax(largest, fabs(values[i]));
    }
    const double mean = sum / (double)count / deviation;
    const double spread = sqrt(squares / (double)count) / deviation;
    CHECK(largest <= 2 * deviation * (1 + 1e-6), "a first value lies %g deviations out",
          largest / deviation);
    CHECK(largest > 1.98 * deviation, "first values end at %g deviations", largest / deviation);
    CHECK(fabs(mean) < chance, "first values have mean %g", mean);
    CHECK(fabs(spread - 0.8796) < chance / 2, "%u first values have deviation %g, not 0.8796",
          (unsigned)count, spread);
}

/* The same model on the cpu and here, bit for bit; its residual branches begin smaller. */
static void check_same_on_cpu(struct tensor_device *device)
{
    struct megabyte_config c;
    check_shape(1, &c);
    c.local = (struct megabyte_stage){24, 8, 3};
    struct tensor_device *cpu = check_open_cpu();
    struct megabyte_model *a = check_model(cpu, &c, false, 1234567890123ull);
    struct megabyte_model *b = check_model(device, &c, true, 1234567890123ull);
    for (uint32_t i = 0; i < nn_parameters_count(a->parameters); i++) {
        const struct nn_parameter *p = nn_parameters_at(a->parameters, i);
        const struct nn_parameter *q = nn_parameters_at(b->parameters, i);
        float *x = values_of(p->weight), *y = values_of(q->weight);
        CHECK(!strcmp(p->name, q->name), "%s is %s", p->name, q->name);
        CHECK(!memcmp(x, y, tensor_size(p->weight)), "%s begins otherwise on the cpu", p->name);
        if (!strcmp(p->name, "local.blocks.3.feed_forward.down.weight"))
            check_truncated(x, p->weight->count, c.init / sqrt(2 * c.local.layers));
        if (!strcmp(p->name, "local.blocks.3.feed_forward.up.weight"))
            check_truncated(x, p->weight->count, c.init);
        if (!strcmp(p->name, "local.embedding"))
            check_truncated(x, p->weight->count, c.init_embedding);
        for (uint64_t k = 0; k < p->weight->count && p->rank == 1; k++)
            CHECK(x[k] == (p->first == NN_ONES ? 1.0f : 0.0f), "%s begins with %g", p->name, x[k]);
        free(x);
        free(y);
    }
    megabyte_model_destroy(&a);
    megabyte_model_destroy(&b);
    tensor_device_close(&cpu);
}

void check_first_values(struct tensor_device *device)
{
    struct nn_parameter *normal[3][2];
    struct nn_parameters *sets[3] = {declare(device, false, 9, normal[0]),
                                     declare(device, true, 9, normal[1]),
                                     declare(device, false, 10, normal[2])};
    float *values[3][2];
    for (int set = 0; set < 3; set++)
        for (int i = 0; i < 2; i++)
            values[set][i] = values_of(normal[set][i]->weight);
    const uint64_t count = normal[0][0]->weight->count, size = count * sizeof(float);
    for (int i = 0; i < 2; i++) {
        CHECK(!memcmp(values[0][i], values[1][i], size), "first values depend on the order");
        CHECK(memcmp(values[0][i], values[2][i], size), "first values do not depend on the seed");
        check_truncated(values[0][i], count, 0.02);
    }
    CHECK(memcmp(values[0][0], values[0][1], size), "first values do not depend on the name");
    for (int set = 0; set < 3; set++) {
        free(values[set][0]);
        free(values[set][1]);
        nn_parameters_destroy(&sets[set]);
    }
    check_same_on_cpu(device);
}
