/* generation.c - generation with caches against whole windows without any. Check (g). */
#include "megabyte/generator.h"
#include "tests/megabyte/check.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-4 /* of the largest logit */

static uint32_t likeliest(const float *logits)
{
    uint32_t best = 0;
    for (uint32_t v = 1; v < SYMBOLS; v++)
        best = logits[v] > logits[best] ? v : best;
    return best;
}

/* The window that the generator should have now: a full one keeps the later half of its patches. */
struct window {
    const struct megabyte_config *config;
    uint8_t *bytes; /* (T) */
    uint32_t length;
};

static void make_room(struct window *w)
{
    const uint32_t T = w->config->seq_len, P = w->config->patch_size;
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
};

static void compare(struct run *r, uint32_t position)
{
    struct window *w = &r->window;
    const uint32_t T = w->config->seq_len;
    make_room(w);
    memset(w->bytes + w->length, 0xee, T - w->length); /* must not matter */
    check_must(megabyte_evaluator_score(r->one, 1, w->bytes, &T, 0, r->nats, r->logits), "score");
    const float *want = r->logits + (size_t)w->length * SYMBOLS, *got, *again;
    check_must(megabyte_generator_logits(r->generator, &got), "logits");
    double largest = 0, difference = 0;
    for (uint32_t v = 0; v < SYMBOLS; v++) {
        largest = fmax(largest, fabs(want[v]));
        difference = fmax(difference, isfinite(got[v]) ? fabs((double)got[v] - want[v]) : INFINITY);
    }
    CHECK(difference <= TOLERANCE * largest, "%s: logits %u differ by %g of %g",
          check_shape_name(w->config), position, difference, largest);
    CHECK(likeliest(got) == likeliest(want), "%s: another byte %u is the likeliest",
          check_shape_name(w->config), position);
    float copy[SYMBOLS];
    memcpy(copy, got, sizeof copy);
    check_must(megabyte_generator_logits(r->generator, &again), "logits");
    CHECK(!memcmp(copy, again, sizeof copy), "%s: logits change without a byte",
          check_shape_name(w->config));
}

/* Feeds random bytes through several windows and asks for logits at some positions: `often` of 8.
 */
static void feed(struct run *r, uint32_t seed, uint32_t often)
{
    struct window *w = &r->window;
    const uint32_t T = w->config->seq_len, count = T + T / 2 + 3; /* slides twice */
    megabyte_generator_reset(r->generator);
    w->length = 0;
    for (uint32_t i = 0; i <= count; i++) {
        if (i == count || check_random_number(seed, i) % 8 < often)
            compare(r, i);
        const uint8_t byte = (uint8_t)(check_random_number(seed + 1, i) >> 9);
        make_room(w);
        w->bytes[w->length++] = byte;
        check_must(megabyte_generator_feed(r->generator, byte), "feed");
    }
}

static void check_config(struct tensor_device *device, const struct megabyte_config *c)
{
    struct megabyte_model *model = check_model(device, c, false, 21);
    struct run r = {.one = check_evaluator(model, 1), .window = {.config = c}};
    check_must(megabyte_generator_create(model, &r.generator), "generator");
    r.window.bytes = check_allocate(c->seq_len);
    r.nats = check_allocate(c->seq_len * sizeof *r.nats);
    r.logits = check_allocate((size_t)c->seq_len * SYMBOLS * sizeof *r.logits);
    feed(&r, 31, 8); /* every position */
    feed(&r, 41, 2); /* prompts that end anywhere, after a reset */
    feed(&r, 51, 0); /* one long prompt */
    megabyte_generator_destroy(&r.generator);
    megabyte_evaluator_destroy(&r.one);
    megabyte_model_destroy(&model);
    free(r.window.bytes);
    free(r.nats);
    free(r.logits);
}

void check_generation(struct tensor_device *device)
{
    struct megabyte_config c;
    for (unsigned i = 0; check_shape(i, &c); i++)
        check_config(device, &c);
}
