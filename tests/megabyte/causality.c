/* causality.c - which logits may depend on which bytes: bit for bit, since the hidden part of a
 * computation must not even touch the sums. Checks (a) and (b). */
#include "tests/megabyte/check.h"
#include <stdlib.h>
#include <string.h>

struct run {
    struct megabyte_evaluator *evaluator;
    const struct megabyte_config *config;
    uint32_t *lengths;
    float *nats;
};

/* Logits of two rows; always the same rows, since only equal work must give equal bits. */
static void score(const struct run *r, const uint8_t *bytes, float *logits)
{
    check_must(megabyte_evaluator_score(r->evaluator, 2, bytes, r->lengths, 0, r->nats, logits),
               "score");
}

static bool same(const float *a, const float *b, uint32_t position)
{
    const size_t at = (size_t)position * SYMBOLS;
    return !memcmp(a + at, b + at, SYMBOLS * sizeof *a);
}

/* Byte t of row 0 is another one: positions up to t keep their bits, and so does row 1. */
static void check_byte(const struct run *r, uint32_t t, const float *base, const float *other)
{
    const struct megabyte_config *c = r->config;
    const uint32_t T = c->seq_len, P = c->patch_size;
    for (uint32_t i = 0; i <= t; i++)
        CHECK(same(base, other, i), "%s: byte %u reaches back to position %u", check_shape_name(c),
              t, i);
    for (uint32_t i = T; i < 2 * T; i++)
        CHECK(same(base, other, i), "%s: byte %u of a sequence reaches another sequence",
              check_shape_name(c), t);
    if (c->model == MEGABYTE_PERCEIVER) {
        for (uint32_t i = t + 1; i < T; i++)
            CHECK(!same(base, other, i), "%s: position %u does not see byte %u",
                  check_shape_name(c), i, t);
        return;
    }
    /* Through the local model: also from the next patch, if position t + 1 is near enough to it. */
    if (c->model != MEGABYTE_GLOBAL && t % P != P - 1)
        CHECK(!same(base, other, t + 1), "%s: position %u does not see byte %u",
              check_shape_name(c), t + 1, t);
    if (c->model == MEGABYTE_LOCAL && t % P != P - 1 && P - t % P - 1 <= c->cross_patch &&
        (t / P + 1) * P < T)
        CHECK(!same(base, other, (t / P + 1) * P), "%s: patch %u does not see byte %u",
              check_shape_name(c), t / P + 1, t);
    for (uint32_t i = (t / P + 1) * P; c->model != MEGABYTE_LOCAL && i < T; i++) /* global model */
        CHECK(!same(base, other, i), "%s: position %u does not see byte %u", check_shape_name(c), i,
              t);
}

/* Position 0 expects the same of every input; position p < P depends on bytes 0 … p - 1 alone,
 * since slot 0 of the global model has seen nothing but the pad. */
static void check_first_patch(const struct run *r, const uint8_t *bytes, const float *base,
                              uint8_t *changed, float *other)
{
    const uint32_t T = r->config->seq_len, P = r->config->patch_size;
    for (uint32_t p = 0; p < P; p++) {
        check_random_bytes(1000 + p, changed, 2 * T);
        memcpy(changed, bytes, p);
        score(r, changed, other);
        for (uint32_t i = 0; i <= p; i++)
            CHECK(same(base, other, i), "%s: position %u depends on more than the bytes before it",
                  check_shape_name(r->config), i);
    }
}

static void check_config(struct tensor_device *device, const struct megabyte_config *c)
{
    struct megabyte_model *model = check_model(device, c, false, 7);
    const uint32_t T = c->seq_len;
    struct run r = {.evaluator = check_evaluator(model, 2), .config = c};
    r.lengths = check_allocate(2 * sizeof *r.lengths);
    r.lengths[0] = r.lengths[1] = T;
    r.nats = check_allocate(2 * T * sizeof *r.nats);
    uint8_t *bytes = check_allocate(2 * T), *changed = check_allocate(2 * T);
    float *base = check_allocate((size_t)2 * T * SYMBOLS * sizeof *base);
    float *other = check_allocate((size_t)2 * T * SYMBOLS * sizeof *other);
    check_random_bytes(3, bytes, 2 * T);
    score(&r, bytes, base);
    score(&r, bytes, other);
    for (uint32_t i = 0; i < 2 * T; i++)
        CHECK(same(base, other, i), "%s: two equal runs differ", check_shape_name(c));
    for (uint32_t t = 0; t < T; t++) {
        memcpy(changed, bytes, 2 * T);
        changed[t] ^= (uint8_t)(1 + t * 37 % 255);
        score(&r, changed, other);
        check_byte(&r, t, base, other);
    }
    check_first_patch(&r, bytes, base, changed, other);
    megabyte_evaluator_destroy(&r.evaluator);
    megabyte_model_destroy(&model);
    free(r.lengths);
    free(r.nats);
    free(bytes);
    free(changed);
    free(base);
    free(other);
}

void check_causality(struct tensor_device *device)
{
    struct megabyte_config c;
    for (unsigned i = 0; check_shape(i, &c); i++)
        check_config(device, &c);
    for (unsigned i = 0; check_variation(i, &c); i++)
        check_config(device, &c);
}
