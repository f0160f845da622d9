/* strided.c - bytes late in a patch cost more, and strided inference makes up for it. Check (i). */
#include "megabyte/trainer.h"
#include "tests/megabyte/check.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 600
#define TEST  8192 /* bytes that training has not seen */

/* A language of 8 letters: a byte follows from the three before it, but for one in eight. The
 * global model finds those three in one vector; the local model must collect them by attention. */
static void make_language(uint32_t seed, uint8_t *to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint32_t noise = check_random_number(seed, (uint32_t)i);
        const uint32_t context =
            i < 3 ? 0 : to[i - 1] % 8u + to[i - 2] % 8u * 8 + to[i - 3] % 8u * 64;
        const uint32_t next = noise >> 29 ? check_random_number(99, context) : noise;
        to[i] = (uint8_t)('a' - 'a' % 8 + next % 8);
    }
}

static struct megabyte_model *train(struct tensor_device *cpu, const struct megabyte_config *c)
{
    struct megabyte_model *model = check_model(cpu, c, true, 1);
    struct megabyte_trainer *trainer;
    check_must(
        megabyte_trainer_create(model, &(struct megabyte_trainer_params){.seed = 1}, &trainer),
        "trainer");
    const size_t size = (size_t)c->batch * c->seq_len;
    uint8_t *bytes = check_allocate(size);
    uint32_t *lengths = check_allocate(c->batch * sizeof *lengths);
    for (uint32_t b = 0; b < c->batch; b++)
        lengths[b] = c->seq_len;
    struct megabyte_trainer_result r;
    for (uint32_t step = 1; step <= STEPS; step++) {
        make_language(1000 + step, bytes, size);
        const double rate = nn_schedule_polynomial(0.006, step, 20, STEPS);
        check_must(megabyte_trainer_step(trainer, step, rate, bytes, lengths, &r), "step");
    }
    free(bytes);
    free(lengths);
    megabyte_trainer_destroy(&trainer);
    return model;
}

/* Bits a byte at each position of a patch, without each window's first patch. */
static void by_position(struct megabyte_evaluator *e, const struct megabyte_config *c,
                        const uint8_t *bytes, double *bits)
{
    const uint32_t T = c->seq_len, P = c->patch_size, windows = TEST / T;
    float *nats = check_allocate(T * sizeof *nats);
    for (uint32_t p = 0; p < P; p++)
        bits[p] = 0;
    for (uint32_t w = 0; w < windows; w++) {
        check_must(megabyte_evaluator_score(e, 1, bytes + (size_t)w * T, &T, 0, nats, NULL),
                   "score");
        for (uint32_t i = P; i < T; i++)
            bits[i % P] += nats[i] / M_LN2 / (windows * (T / P - 1));
    }
    free(nats);
}

struct source {
    const uint8_t *bytes;
    size_t at;
};

static int read_source(void *user, uint8_t *to, size_t size, size_t *got)
{
    struct source *s = user;
    *got = size < TEST - s->at ? size : TEST - s->at;
    memcpy(to, s->bytes + s->at, *got);
    s->at += *got;
    return 0;
}

static double evaluate(struct megabyte_evaluator *e, const uint8_t *bytes, bool sliding,
                       bool strided)
{
    struct source s = {.bytes = bytes};
    struct megabyte_evaluation got;
    check_must(megabyte_evaluate(
                   e,
                   &(struct megabyte_evaluation_params){
                       .sliding = sliding, .strided = strided, .read = read_source, .user = &s},
                   &got),
               "evaluate");
    return megabyte_bits_per_byte(got.nats, (double)got.bytes);
}

void check_strided_gain(void)
{
    struct tensor_device *cpu = check_open_cpu();
    struct megabyte_config c;
    check_must(megabyte_config_preset("tiny", &c), "preset");
    c.seq_len = 64;
    c.patch_size = 8;
    c.global = (struct megabyte_stage){128, 1, 4};
    c.local = (struct megabyte_stage){8, 1, 1}; /* too narrow to learn it all */
    c.batch = 16;
    c.init = c.init_embedding = 0.04; /* what learns this little language in a few seconds */
    c.lr = 2e-3;
    c.warmup = 50;
    struct megabyte_model *model = train(cpu, &c);
    struct megabyte_evaluator *e = check_evaluator(model, 1);
    uint8_t *bytes = check_allocate(TEST);
    double bits[8];
    make_language(5, bytes, TEST);
    by_position(e, &c, bytes, bits);
    printf("     bits by position in the patch:");
    for (int p = 0; p < 8; p++)
        printf(" %.3f", bits[p]);
    const double basic = evaluate(e, bytes, false, false),
                 strided = evaluate(e, bytes, false, true);
    const double sliding = evaluate(e, bytes, true, false), both = evaluate(e, bytes, true, true);
    printf("\n     bits a byte: basic %.4f, strided %.4f, sliding %.4f, both %.4f\n", basic,
           strided, sliding, both);
    const double begin = (bits[0] + bits[1]) / 2, end = (bits[6] + bits[7]) / 2;
    CHECK(end > begin + 0.1, "bits rise from %g to %g within a patch only", begin, end);
    CHECK(strided < basic - 0.02, "strided inference: %g bits, basic %g", strided, basic);
    CHECK(sliding < basic, "sliding inference: %g bits, basic %g", sliding, basic);
    CHECK(both < sliding - 0.02, "strided and sliding: %g bits, sliding %g", both, sliding);
    megabyte_evaluator_destroy(&e);
    megabyte_model_destroy(&model);
    tensor_device_close(&cpu);
    free(bytes);
}
