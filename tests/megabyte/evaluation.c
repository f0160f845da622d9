/* evaluation.c - streams: every byte is scored once, by the pass that the inference mode names for
 * it; what untrained models give; bytes behind the end. Checks (c) and (d). */
#include "tests/megabyte/check.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stream {
    const uint8_t *bytes;
    size_t size, at;
    size_t fail_at;      /* fails when this much was read; 0: never */
    uint64_t last_bytes; /* what progress heard last */
    double last_nats;
    uint32_t calls, stop_at; /* calls of progress; stops at this one; 0: never */
};

static int read_stream(void *user, uint8_t *to, size_t size, size_t *got)
{
    struct stream *s = user;
    if (s->fail_at && s->at >= s->fail_at)
        return -EIO;
    *got = size < s->size - s->at ? size : s->size - s->at;
    memcpy(to, s->bytes + s->at, *got);
    s->at += *got;
    return 0;
}

static bool heard(void *user, uint64_t bytes, double nats)
{
    struct stream *s = user;
    CHECK(bytes >= s->last_bytes && nats >= s->last_nats, "progress goes back");
    s->last_bytes = bytes;
    s->last_nats = nats;
    return ++s->calls != s->stop_at;
}

/* ---- the reference: byte by byte, as the sheet says it in words ---- */

/* Scores stream bytes [start, end) as one window and returns the nats of byte n. The last two
 * windows are remembered, since bytes come in order and a strided window is scored from two grids.
 */
struct reference {
    struct megabyte_evaluator *one; /* batch 1 */
    uint32_t T, P, S; /* S: bytes that one run predicts */
    const uint8_t *bytes;
    size_t size;
    struct {
        size_t start, end;
        float *nats;
    } window[2];
};

static double window_nats(struct reference *r, int slot, size_t start, size_t end, uint32_t from,
                          size_t n)
{
    if (r->window[slot].start != start || r->window[slot].end != end) {
        uint8_t *row = check_allocate(r->T);
        memcpy(row, r->bytes + start, end - start);
        const uint32_t length = (uint32_t)(end - start);
        check_must(megabyte_evaluator_score(r->one, 1, row, &length, from,
                                            r->window[slot].nats, NULL),
                   "reference");
        r->window[slot].start = start;
        r->window[slot].end = end;
        free(row);
    }
    return r->window[slot].nats[n - start];
}

static double byte_nats(struct reference *r, bool sliding, bool strided, size_t n)
{
    /* Where the window begins that scores byte n: windows are a step apart, the first scores all it
     * holds, a later one the last `step` of its bytes. */
    const size_t step = sliding ? (r->S + 1) / 2 : r->T;
    const size_t number = n < r->T ? 0 : (n - r->T) / step + 1;
    const size_t start = number * step;
    const size_t end = start + r->T < r->size ? start + r->T : r->size;
    const size_t i = n - start;
    if (!strided || i < r->P || i % r->P < r->P / 2)
        return window_nats(r, 0, start, end, number ? (uint32_t)(r->T - step) : 0, n);
    return window_nats(r, 1, start + r->P / 2, end, 0, n);
}

static void check_stream(struct megabyte_evaluator *e, struct reference *r, bool sliding,
                         bool strided)
{
    struct stream s = {.bytes = r->bytes, .size = r->size};
    const struct megabyte_evaluation_params params = {
        .sliding = sliding, .strided = strided, .read = read_stream, .progress = heard, .user = &s};
    struct megabyte_evaluation got = {0};
    check_must(megabyte_evaluate(e, &params, &got), "evaluate");
    double want = 0;
    for (int slot = 0; slot < 2; slot++)
        r->window[slot].start = SIZE_MAX;
    for (size_t n = 0; n < r->size; n++)
        want += byte_nats(r, sliding, strided, n);
    const char *mode = sliding ? (strided ? "both" : "sliding") : (strided ? "strided" : "basic");
    CHECK(got.bytes == r->size, "T %u P %u %s: %u of %u bytes are scored", r->T, r->P, mode,
          (unsigned)got.bytes, (unsigned)r->size);
    CHECK(fabs(got.nats - want) <= 1e-5 * want, "T %u P %u %s, %u bytes: %.9g nats, not %.9g", r->T,
          r->P, mode, (unsigned)r->size, got.nats, want);
    CHECK(r->size == 0 || (s.last_bytes == got.bytes && s.last_nats == got.nats),
          "progress does not end with the result");
}

static void check_limits(struct megabyte_evaluator *e, struct reference *r)
{
    struct stream s = {.bytes = r->bytes, .size = 3 * r->T};
    struct megabyte_evaluation_params params = {.read = read_stream, .progress = heard, .user = &s};
    struct megabyte_evaluation got = {0};
    params.limit = r->T + 2;
    check_must(megabyte_evaluate(e, &params, &got), "evaluate");
    CHECK(got.bytes == r->T + 2, "limit %u scores %u bytes", r->T + 2, (unsigned)got.bytes);
    CHECK(s.at == r->T + 2, "limit %u reads %u bytes", r->T + 2, (unsigned)s.at);
    s = (struct stream){.bytes = r->bytes, .size = 3 * r->T, .fail_at = r->T};
    params.limit = 0;
    got = (struct megabyte_evaluation){.bytes = 99};
    CHECK(megabyte_evaluate(e, &params, &got) == -EIO, "an error while reading gets lost");
    CHECK(got.bytes == 99, "a failed evaluation changes the result");
    s = (struct stream){.bytes = r->bytes, .size = 3 * r->T, .stop_at = 1};
    CHECK(megabyte_evaluate(e, &params, &got) == -EINTR, "an evaluation that should stop goes on");
    params.strided = true;
    s = (struct stream){.bytes = r->bytes, .size = 3 * r->T};
    const int status = megabyte_evaluate(e, &params, &got);
    const bool patches = r->S == r->T; /* a PerceiverAR has none */
    if (!patches)
        CHECK(status == -EINVAL && strstr(megabyte_error(), "perceiver"),
              "strided without patches: %d, \"%s\"", status, megabyte_error());
    else
        CHECK(status == (r->P % 2 ? -EINVAL : 0), "strided with P %u gives %d", r->P, status);
    CHECK(status == 0 || !patches || strstr(megabyte_error(), "even"), "odd P: \"%s\"",
          megabyte_error());
}

/* Bytes behind the real ones, and rows that are not asked for, change nothing. */
static void check_padding(struct megabyte_evaluator *e, const struct megabyte_config *c)
{
    const uint32_t T = c->seq_len, lengths[3] = {T - T / 3, T, 0};
    uint8_t *bytes = check_allocate(3 * T);
    float *a = check_allocate(3 * T * sizeof *a), *b = check_allocate(3 * T * sizeof *b);
    check_random_bytes(5, bytes, 3 * T);
    check_must(megabyte_evaluator_score(e, 3, bytes, lengths, 0, a, NULL), "score");
    memset(bytes + lengths[0], 0x5a, T - lengths[0]);
    check_random_bytes(6, bytes + 2 * T, T);
    check_must(megabyte_evaluator_score(e, 3, bytes, lengths, 0, b, NULL), "score");
    CHECK(!memcmp(a, b, 3 * T * sizeof *a), "%s: padding changes what real bytes cost",
          check_shape_name(c));
    for (uint32_t i = lengths[0]; i < T; i++)
        CHECK(b[i] == 0, "%s: padding costs %g", check_shape_name(c), b[i]);
    for (uint32_t i = 0; i < lengths[0]; i++)
        CHECK(b[i] > 0 && isfinite(b[i]), "%s: a byte costs %g", check_shape_name(c), b[i]);
    free(bytes);
    free(a);
    free(b);
}

static void check_config(struct tensor_device *device, const struct megabyte_config *c)
{
    const uint32_t T = c->seq_len, P = c->patch_size;
    const size_t sizes[] = {P - 1, T + 1, 3 * T + 5, 0,     1,         P,     P + 1,    T - P,
                            T - 1, T,     T + P,     2 * T, 2 * T + 1, 3 * T, 7 * T - 1};
    /* How a stream is cut is the host's work: all sizes there, and a few elsewhere. */
    const bool cpu = !strcmp(tensor_device_info(device)->kind, "cpu");
    const size_t count = cpu ? sizeof sizes / sizeof *sizes : 3;
    struct megabyte_model *model = check_model(device, c, false, 11);
    struct megabyte_evaluator *e = check_evaluator(model, 3); /* windows wrap around the batch */
    struct reference r = {.one = check_evaluator(model, 1), .T = T, .P = P,
                          .S = megabyte_config_predicted(c)};
    uint8_t *bytes = check_allocate(7 * T + 6);
    check_random_bytes(9, bytes, 7 * T + 6);
    r.bytes = bytes;
    for (int slot = 0; slot < 2; slot++)
        r.window[slot].nats = check_allocate(T * sizeof(float));
    for (size_t i = 0; i < count; i++)
        for (int mode = 0; mode < 4; mode++) {
            r.size = sizes[i];
            if (mode < 2 || (P % 2 == 0 && c->model != MEGABYTE_PERCEIVER))
                check_stream(mode == 3 ? r.one : e, &r, mode & 1, mode & 2);
        }
    check_limits(e, &r);
    check_padding(e, c);
    for (int slot = 0; slot < 2; slot++)
        free(r.window[slot].nats);
    megabyte_evaluator_destroy(&e);
    megabyte_evaluator_destroy(&r.one);
    megabyte_model_destroy(&model);
    free(bytes);
}

void check_evaluation(struct tensor_device *device)
{
    struct megabyte_config c;
    for (unsigned i = 0; check_shape(i, &c); i++)
        check_config(device, &c);
    for (unsigned i = 0; check_variation(i, &c); i++)
        check_config(device, &c);
}

/* ---- untrained models ---- */

/* An untrained model guesses: 8 bits a byte, and a little more for being sure without a reason. Its
 * hidden rows are normalised, so logits are normal with deviation init_embedding · sqrt(E) · 0.88
 * (what a cut at two deviations leaves), and half the variance is what that costs, in nats. */
static double expected_bits(const struct megabyte_config *c)
{
    const double variance = 0.774 * c->init_embedding * c->init_embedding * c->local.dim;
    return 8 + variance / 2 / M_LN2;
}

void check_untrained(struct tensor_device *device)
{
    static const char *const presets[] = {"tiny", "small"};
    for (int i = 0; i < (tensor_device_info(device)->software ? 1 : 2); i++) { /* slow ones: tiny */
        struct megabyte_config c;
        check_must(megabyte_config_preset(presets[i], &c), "preset");
        c.seq_len = 64; /* short and shallow; widths and first values are the preset's */
        c.global.layers = c.local.layers = 1;
        struct megabyte_model *model = check_model(device, &c, false, 1);
        struct megabyte_evaluator *e = check_evaluator(model, 4);
        uint8_t bytes[512];
        for (int text = 0; text < 2; text++) {
            text ? check_text(1, bytes, sizeof bytes) : check_random_bytes(2, bytes, sizeof bytes);
            struct stream s = {.bytes = bytes, .size = sizeof bytes};
            const struct megabyte_evaluation_params params = {.read = read_stream, .user = &s};
            struct megabyte_evaluation got = {0};
            check_must(megabyte_evaluate(e, &params, &got), "evaluate");
            const double bits = megabyte_bits_per_byte(got.nats, (double)got.bytes);
            printf("     untrained %s on %s: %.4f bits a byte, %.4f expected\n", presets[i],
                   text ? "text" : "random bytes", bits, expected_bits(&c));
            CHECK(bits > 7.9 && bits < 8.2, "untrained %s: %g bits a byte", presets[i], bits);
            CHECK(text || fabs(bits - expected_bits(&c)) < 0.05,
                  "untrained %s: %g bits a byte, not %g", presets[i], bits, expected_bits(&c));
        }
        megabyte_evaluator_destroy(&e);
        megabyte_model_destroy(&model);
    }
}
