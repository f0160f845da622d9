/* generation.c - generation with caches against whole windows without any, check (g), of every kind
 * of model; sequences together against each by itself. */
#include "megabyte/generator.h"
#include "tests/megabyte/check.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE      1e-4 /* of the largest logit */
#define TOLERANCE_BF16 5e-2 /* a factor that lies between two roundings may go to either */

static const struct nn_sampling plain = {.temperature = 1, .top_p = 1, .seed = 3};

/* Bytes that one advance gives: a patch, or single bytes where a patch is the whole window or the
 * model has none. */
static uint32_t unit_of(const struct megabyte_config *c)
{
    const bool whole = c->model == MEGABYTE_LOCAL && c->patch_size == c->seq_len;
    return whole || c->model == MEGABYTE_PERCEIVER ? 1 : c->patch_size;
}

/* A model whose biases are no zeros, so that it matters where they are added. */
static struct megabyte_model *model_of(struct tensor_device *device,
                                       const struct megabyte_config *c, uint64_t seed)
{
    struct megabyte_model *model = check_model(device, c, false, seed);
    for (uint32_t i = 0; i < nn_parameters_count(model->parameters); i++) {
        const struct nn_parameter *p = nn_parameters_at(model->parameters, i);
        const uint64_t count = p->weight->count;
        if (p->first != NN_ZEROS)
            continue;
        float *values = check_allocate(count * sizeof *values);
        for (uint64_t j = 0; j < count; j++)
            values[j] = (float)check_random_number(i + 1, (uint32_t)j) * 0x1p-33f;
        check_must(tensor_write(p->weight, 0, values, count * sizeof *values), "write");
        free(values);
    }
    return model;
}

/* A window as the generator should have it: a full one keeps the later half of its patches. */
struct window {
    const struct megabyte_config *config;
    uint8_t *bytes; /* (T) */
    uint32_t length;
};

static void make_room(struct window *w)
{
    const uint32_t T = w->config->seq_len, P = unit_of(w->config);
    if (w->length < T)
        return;
    const uint32_t kept = T / P / 2 * P;
    memmove(w->bytes, w->bytes + T - kept, kept);
    w->length = kept;
}

struct run {
    struct megabyte_generator *generator;
    struct megabyte_evaluator *one; /* batch 1 */
    struct window window;
    float *nats, *logits; /* (T), (T, V) */
    double tolerance;
};

/* Logits of the patch that was advanced last, which ends the window. */
static void compare(struct run *r)
{
    struct window *w = &r->window;
    const uint32_t T = w->config->seq_len, P = unit_of(w->config);
    memset(w->bytes + w->length, 0xee, T - w->length); /* must not matter */
    check_must(megabyte_evaluator_score(r->one, 1, w->bytes, &T, 0, r->nats, r->logits), "score");
    for (uint32_t p = 0; p < P; p++) {
        const float *want = r->logits + (size_t)(w->length - P + p) * SYMBOLS;
        float got[SYMBOLS];
        double largest = 0, difference = 0;
        check_must(megabyte_generator_logits(r->generator, 0, p, got), "logits");
        for (uint32_t v = 0; v < SYMBOLS; v++) {
            const double d = fabs((double)got[v] - want[v]);
            largest = fmax(largest, fabs(want[v]));
            difference = isfinite(got[v]) ? fmax(difference, d) : INFINITY;
        }
        CHECK(difference <= r->tolerance * largest,
              "%s: logits %u of a window of %u differ by %g of %g", check_shape_name(w->config), p,
              w->length, difference, largest);
    }
}

/* A prompt and the patches behind it. */
static void follow(struct run *r, uint32_t prompt, uint32_t patches)
{
    struct window *w = &r->window;
    const uint32_t P = unit_of(w->config);
    check_random_bytes(prompt + 1, w->bytes, prompt);
    w->length = prompt;
    check_must(megabyte_generator_start(r->generator, 0, w->bytes, prompt, &plain, prompt),
               "start");
    for (uint32_t i = 0; i < patches; i++) {
        make_room(w);
        check_must(megabyte_generator_advance(r->generator), "advance");
        uint32_t count;
        const uint8_t *bytes = megabyte_generator_bytes(r->generator, 0, &count);
        CHECK(count == P - w->length % P, "%s: %u bytes behind %u", check_shape_name(w->config),
              count, w->length);
        memcpy(w->bytes + w->length, bytes, count);
        w->length += count;
        compare(r);
    }
}

/* Prompts of 0, `step`, 2·step … 3·P bytes, and of windows that are full or nearly so. */
static void check_config(struct tensor_device *device, const struct megabyte_config *c,
                         uint32_t step)
{
    const uint32_t T = c->seq_len, P = unit_of(c), K = T / P;
    struct megabyte_model *model = model_of(device, c, 21);
    struct run r = {.one = check_evaluator(model, 1), .window = {.config = c}};
    const bool bf16 = tensor_device_info(device)->precision != TENSOR_PRECISION_FP32;
    r.tolerance = bf16 ? TOLERANCE_BF16 : TOLERANCE;
    check_must(megabyte_generator_create(model, NULL, &r.generator), "generator");
    r.window.bytes = check_allocate(T);
    r.nats = check_allocate(T * sizeof *r.nats);
    r.logits = check_allocate((size_t)T * SYMBOLS * sizeof *r.logits);
    for (uint32_t prompt = 0; prompt <= 3 * P && prompt < T; prompt += step)
        follow(&r, prompt, 1 + prompt % 2);
    follow(&r, T - T / 4, 2);
    follow(&r, T - 1, 2);
    follow(&r, T, K - K / 2 + 2); /* slides at once, and again */
    megabyte_generator_destroy(&r.generator);
    megabyte_evaluator_destroy(&r.one);
    megabyte_model_destroy(&model);
    free(r.window.bytes);
    free(r.nats);
    free(r.logits);
}

/* ---- together and alone ---- */

#define TOGETHER 5

struct member {
    uint32_t prompt; /* bytes */
    uint32_t stream, begin; /* … after so many advances of the others */
    struct nn_sampling sampling;
    uint8_t bytes[512];
    float logits[2][SYMBOLS]; /* of the last byte of the second patch and of the last one */
    uint32_t count;
};

/* What sequence n of a generator has made since the last advance. */
static void collect(struct megabyte_generator *g, uint32_t n, uint32_t P, uint32_t patch,
                    struct member *m)
{
    uint32_t count;
    const uint8_t *bytes = megabyte_generator_bytes(g, n, &count);
    CHECK(m->count + count <= sizeof m->bytes, "%u bytes are too many", m->count + count);
    memcpy(m->bytes + m->count, bytes, count);
    m->count += count;
    check_must(megabyte_generator_logits(g, n, P - 1, m->logits[patch > 1]), "logits");
}

static void begin(struct megabyte_generator *g, uint32_t n, const struct member *m)
{
    uint8_t prompt[256];
    CHECK(m->prompt <= sizeof prompt, "a prompt of %u bytes is too long", m->prompt);
    check_random_bytes(m->stream, prompt, m->prompt);
    check_must(megabyte_generator_start(g, n, prompt, m->prompt, &m->sampling, m->stream),
               "start");
}

/* Other prompts, streams and settings, begun at other times, one of them where another was. */
static void check_together(struct tensor_device *device, const struct megabyte_config *c)
{
    const uint32_t P = unit_of(c), T = c->seq_len, patches = T / P + 3;
    const struct member members[TOGETHER] = {
        {0, 1, 0, plain},
        {2 * P < T ? 2 * P : T, 2, 0, {.temperature = 0.8, .top_k = 20, .top_p = 1, .seed = 9}},
        {T, 3, 0, {.temperature = 1.2, .top_p = 0.9, .seed = 9}},
        {(P + 1) % T, 4, 2, {.temperature = 0, .top_p = 1}},
        {T - 1, 5, 1, plain}};
    static struct member got[TOGETHER], want[TOGETHER];
    struct megabyte_model *model = model_of(device, c, 22);
    struct megabyte_generator *all, *alone;
    const struct megabyte_generator_params params = {.sequences = TOGETHER};
    check_must(megabyte_generator_create(model, &params, &all), "generator");
    check_must(megabyte_generator_create(model, NULL, &alone), "generator");
    memcpy(got, members, sizeof got);
    memcpy(want, members, sizeof want);
    begin(all, 3, &members[0]); /* to be thrown out */
    for (uint32_t i = 0; i < patches + 2; i++) {
        for (uint32_t n = 0; n < TOGETHER; n++)
            if (got[n].begin == i)
                begin(all, n, &got[n]);
        check_must(megabyte_generator_advance(all), "advance");
        for (uint32_t n = 0; n < TOGETHER; n++) {
            const uint32_t patch = i - got[n].begin;
            if (i >= got[n].begin && patch < patches)
                collect(all, n, P, patch, &got[n]);
            if (i >= got[n].begin && patch == patches - 1)
                megabyte_generator_stop(all, n);
        }
    }
    for (uint32_t n = 0; n < TOGETHER; n++) {
        begin(alone, 0, &want[n]);
        for (uint32_t i = 0; i < patches; i++) {
            check_must(megabyte_generator_advance(alone), "advance");
            collect(alone, 0, P, i, &want[n]);
        }
        CHECK(got[n].count == want[n].count && !memcmp(got[n].bytes, want[n].bytes, got[n].count),
              "%s: sequence %u becomes another beside others", check_shape_name(c), n);
        CHECK(!memcmp(got[n].logits, want[n].logits, sizeof got[n].logits),
              "%s: logits of sequence %u are others beside others", check_shape_name(c), n);
    }
    CHECK(memcmp(got[0].bytes, got[4].bytes, P), "streams 1 and 5 choose alike");
    megabyte_generator_destroy(&all);
    megabyte_generator_destroy(&alone);
    megabyte_model_destroy(&model);
}

/* ---- what is not finite ---- */

static void check_not_finite(struct tensor_device *device)
{
    struct megabyte_config c;
    check_shape(0, &c);
    struct megabyte_model *model = check_model(device, &c, false, 5);
    struct megabyte_generator *g;
    const struct megabyte_generator_params params = {.sequences = 2};
    const struct tensor *head = model->local.embedding->weight;
    const float nan = NAN;
    uint32_t count;
    check_must(megabyte_generator_create(model, &params, &g), "generator");
    check_must(megabyte_generator_start(g, 1, NULL, 0, &plain, 0), "start");
    check_must(megabyte_generator_advance(g), "advance");
    check_must(tensor_write((struct tensor *)head, 77 * (uint64_t)c.local.dim * 4, &nan,
                            sizeof nan), "write");
    const int status = megabyte_generator_advance(g);
    CHECK(status == -EDOM && strstr(megabyte_error(), "sequence 1: logits of byte 4 are not"),
          "logits that are no numbers: %d, %s", status, megabyte_error());
    megabyte_generator_bytes(g, 1, &count);
    CHECK(count == 0, "%u bytes of logits that are no numbers", count);
    megabyte_generator_stop(g, 1);
    check_must(megabyte_generator_advance(g), "nothing to generate");
    megabyte_generator_destroy(&g);
    megabyte_model_destroy(&model);
}

/* Every `each`th small model, from number `first` on. */
static void check_models(struct tensor_device *device, unsigned first, unsigned each, uint32_t step)
{
    struct megabyte_config c;
    for (unsigned i = first; check_shape(i, &c); i += each) {
        check_config(device, &c, step);
        check_together(device, &c);
    }
}

/* The variations and baselines: each by itself, and from the first on each `together`th with others
 * beside it, since software devices compile for long what that takes. */
static void check_variations(struct tensor_device *device, uint32_t step, unsigned together)
{
    struct megabyte_config c;
    for (unsigned i = 0; check_variation(i, &c); i++) {
        check_config(device, &c, step);
        if (i % together == 0)
            check_together(device, &c);
    }
}

/* Windows of more units than are read at a time; patches that are replayed reach back behind the
 * last of such readings; the last latents of a PerceiverAR begin within one. */
static void check_long(struct tensor_device *device)
{
    static const struct {
        uint32_t model, seq_len, patch_size, cross_patch, conv, rope, tied, layers;
    } kinds[] = {{MEGABYTE_WHOLE, 150, 2, 0, 0, 0, 1, 2},  {MEGABYTE_WHOLE, 150, 2, 2, 0, 1, 1, 2},
                 {MEGABYTE_WHOLE, 136, 2, 1, 1, 1, 0, 5},  {MEGABYTE_WHOLE, 70, 1, 1, 1, 0, 1, 2},
                 {MEGABYTE_LOCAL, 150, 2, 2, 0, 0, 0, 3},
                 {MEGABYTE_LOCAL, 150, 150, 0, 0, 0, 1, 2},
                 {MEGABYTE_LOCAL, 90, 90, 7, 0, 0, 0, 1},  {MEGABYTE_GLOBAL, 150, 2, 0, 1, 1, 0, 2},
                 {MEGABYTE_PERCEIVER, 150, 40, 0, 0, 0, 1, 2},
                 {MEGABYTE_PERCEIVER, 160, 80, 0, 0, 0, 0, 1},
                 {MEGABYTE_PERCEIVER, 149, 83, 0, 0, 0, 1, 1}};
    struct megabyte_config c;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        check_shape(0, &c);
        c.model = kinds[i].model;
        c.seq_len = kinds[i].seq_len;
        c.patch_size = kinds[i].patch_size;
        c.cross_patch = kinds[i].cross_patch;
        c.conv = kinds[i].conv;
        c.rope = kinds[i].rope;
        c.tied = kinds[i].tied;
        c.local.layers = kinds[i].layers;
        check_config(device, &c, 3);
        if (i % 2)
            check_together(device, &c);
    }
}

void check_generation(struct tensor_device *device)
{
    const struct tensor_device_info *info = tensor_device_info(device);
    const bool cpu = !strcmp(info->kind, "cpu"); /* others take their time over so many */
    char name[300];
    check_models(device, 0, cpu ? 1 : 2, cpu ? 1 : 3);
    check_variations(device, cpu ? 2 : 5, cpu ? 1 : 4);
    if (cpu)
        check_long(device);
    check_not_finite(device);
    snprintf(name, sizeof name, cpu ? "cpu" : "vulkan:%s", info->name);
    struct tensor_device *bf16 = check_open(name, TENSOR_PRECISION_BF16, NULL);
    check_models(bf16, cpu ? 0 : 1, cpu ? 1 : 6, cpu ? 1 : 5);
    if (cpu)
        check_variations(bf16, 5, 4);
    check_close(&bf16);
}
