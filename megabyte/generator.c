/* generator.c - windows, prompts and draws of sequences that are generated together. */
#include "megabyte/generator.h"
#include "megabyte/decoder.h"
#include "megabyte/error.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct sequence {
    uint8_t *window; /* (T) bytes so far */
    uint32_t length; /* how many */
    uint32_t cached; /* units that the caches have seen */
    bool turned;     /* whether they are past decoder->turn */
    uint32_t fresh;  /* bytes at the end of the window that are new since the last advance */
    uint64_t drawn;  /* bytes that were chosen since the start */
    uint32_t stream;
    struct nn_sampling sampling;
    bool rests;
};

struct megabyte_generator {
    struct megabyte_decoder *decoder;
    struct sequence *sequences; /* (N) */
    uint8_t *windows;           /* (N, T) */
    bool advanced;
};

int megabyte_generator_plan(const struct megabyte_model *model, uint32_t sequences,
                            struct megabyte_generator_plan *plan)
{
    const int status = megabyte_decoder_plan(model, sequences, plan);
    if (status == 0)
        plan->host += sequences * (sizeof(struct sequence) + (uint64_t)model->config.seq_len);
    return status;
}

int megabyte_generator_create(const struct megabyte_model *model,
                              const struct megabyte_generator_params *params,
                              struct megabyte_generator **generator)
{
    const uint32_t n = params && params->sequences ? params->sequences : 1;
    const uint32_t window = model->config.seq_len;
    struct megabyte_generator *t = calloc(1, sizeof *t);
    int status = 0;
    if (t) {
        t->sequences = calloc(n, sizeof *t->sequences);
        t->windows = calloc(n, window);
    }
    if (!t || !t->sequences || !t->windows)
        status = megabyte_fail(ENOMEM, "no host memory for the generator");
    if (status == 0)
        status = megabyte_decoder_create(model, n, params && params->timing, &t->decoder);
    if (status < 0) {
        megabyte_generator_destroy(&t);
        return status;
    }
    for (uint32_t i = 0; i < n; i++)
        t->sequences[i] = (struct sequence){.window = t->windows + (size_t)i * window,
                                            .rests = true};
    *generator = t;
    return 0;
}

void megabyte_generator_destroy(struct megabyte_generator **generator)
{
    struct megabyte_generator *t = *generator;
    if (!t)
        return;
    megabyte_decoder_destroy(&t->decoder);
    free(t->sequences);
    free(t->windows);
    free(t);
    *generator = NULL;
}

/* Brings the patch before each of `count` patches from `first` on to `to`; there is none before
 * patch 0, and what lies beyond the window does not matter. */
static void copy_previous(const struct megabyte_decoder *d, const struct sequence *s,
                          uint32_t first, uint32_t count, uint32_t *to)
{
    const uint32_t size = d->patch_size;
    for (uint32_t i = 0; i < count * size; i++) {
        const uint64_t at = (uint64_t)first * size + i;
        to[i] = at >= size && at - size < s->length ? s->window[at - size] : 0;
    }
}

/* What the device needs to know of sequence n to advance through a patch of which the first `given`
 * bytes are given: those of the window, as far as it goes. */
static void fill_in(struct megabyte_decoder *d, const struct sequence *s, uint32_t n,
                    uint32_t patch, uint32_t given)
{
    const uint32_t size = d->patch_size;
    d->slot[2 * n] = n;
    d->slot[2 * n + 1] = patch;
    copy_previous(d, s, patch, 1, d->previous + (size_t)n * size);
    for (uint32_t i = 0; i < size; i++) {
        const uint32_t at = patch * size + i;
        d->given[n * size + i] = i < given && at < s->length ? s->window[at] : 0;
    }
    nn_sampling_row(&s->sampling, s->stream, s->drawn, given,
                    d->settings + (size_t)n * TENSOR_SAMPLE_SETTINGS);
}

/* For a sequence that does not advance now: its patch once more, all given, which changes nothing
 * that is looked at before that patch is advanced through. */
static void fill_in_idle(struct megabyte_decoder *d, const struct sequence *s, uint32_t n)
{
    const uint32_t patch = s->length / d->patch_size, last = d->patches - 1;
    fill_in(d, s, n, patch < last ? patch : last, d->patch_size);
}

/* Fills the caches from a unit on up to one. Rows of a chunk behind that are written too, and are
 * written again before anything looks at them. */
static int prefill(struct megabyte_decoder *d, const struct sequence *s, uint32_t n, uint32_t from,
                   uint32_t to, bool turned)
{
    int status = 0;
    for (; from < to && status == 0; from = to - from > d->chunk ? from + d->chunk : to) {
        d->prefill_slot[0] = n;
        d->prefill_slot[1] = from;
        copy_previous(d, s, from, d->chunk, d->prefill_symbols);
        status = megabyte_decoder_prefill(d, turned);
    }
    return status;
}

/* Lets the model read the units before the one at hand, and the local model as many patches of them
 * as it must have seen. */
static int read_patches(struct megabyte_generator *t, uint32_t n)
{
    struct megabyte_decoder *d = t->decoder;
    struct sequence *s = &t->sequences[n];
    const uint32_t patch = s->length / d->patch_size;
    const bool fresh = s->cached < patch;
    int status = prefill(d, s, n, s->cached, patch, false);
    s->cached = patch;
    if (status == 0 && d->turn && patch >= d->turn && !s->turned) {
        status = prefill(d, s, n, d->turned_from, patch, true);
        s->turned = true;
    }
    if (!fresh || !d->replay)
        return status;
    for (uint32_t i = 0; i < d->sequences; i++)
        fill_in_idle(d, &t->sequences[i], i);
    for (uint32_t k = patch > d->replay ? patch - d->replay : 0; k < patch && status == 0; k++) {
        fill_in(d, s, n, k, d->patch_size);
        status = megabyte_decoder_advance(d);
    }
    return status;
}

/* A full window goes on with the later half of its patches. */
static void make_room(const struct megabyte_decoder *d, struct sequence *s)
{
    const uint32_t whole = d->patches * d->patch_size, kept = d->patches / 2 * d->patch_size;
    if (s->length < whole)
        return;
    memmove(s->window, s->window + whole - kept, kept);
    s->length = kept;
    s->cached = 0;
    s->turned = false;
}

int megabyte_generator_start(struct megabyte_generator *t, uint32_t n, const uint8_t *prompt,
                             size_t size, const struct nn_sampling *sampling, uint32_t stream)
{
    struct megabyte_decoder *d = t->decoder;
    struct sequence *s = &t->sequences[n];
    const size_t window = (size_t)d->patches * d->patch_size;
    const size_t taken = size < window ? size : window;
    *s = (struct sequence){.window = s->window, .length = (uint32_t)taken, .stream = stream,
                           .sampling = *sampling};
    if (taken)
        memcpy(s->window, prompt + size - taken, taken);
    make_room(d, s);
    return read_patches(t, n);
}

void megabyte_generator_stop(struct megabyte_generator *t, uint32_t n)
{
    t->sequences[n].rests = true;
    t->sequences[n].fresh = 0;
}

static int check_symbols(const struct megabyte_generator *t)
{
    const struct megabyte_decoder *d = t->decoder;
    for (uint32_t n = 0; n < d->sequences; n++)
        for (uint32_t p = 0; p < d->patch_size; p++) {
            const struct sequence *s = &t->sequences[n];
            const uint32_t given = s->length % d->patch_size;
            if (!s->rests && d->symbols[n * d->patch_size + p] >= MEGABYTE_SYMBOLS)
                return megabyte_fail(EDOM, "sequence %u: logits of byte %" PRIu64 " are not "
                                     "finite: the weights are damaged, or training has diverged; "
                                     "take an earlier checkpoint", n, s->drawn + p - given);
        }
    return 0;
}

static void take_symbols(const struct megabyte_decoder *d, struct sequence *s, uint32_t n)
{
    const uint32_t size = d->patch_size, given = s->length % size;
    for (uint32_t p = given; p < size; p++)
        s->window[s->length++] = (uint8_t)d->symbols[(size_t)n * size + p];
    s->fresh = size - given;
    s->drawn += s->fresh;
    s->cached = s->length / size;
}

int megabyte_generator_advance(struct megabyte_generator *t)
{
    struct megabyte_decoder *d = t->decoder;
    int status = 0;
    for (uint32_t n = 0; n < d->sequences && status == 0; n++) {
        struct sequence *s = &t->sequences[n];
        s->fresh = 0;
        if (s->rests)
            continue;
        make_room(d, s);
        status = read_patches(t, n);
    }
    for (uint32_t n = 0; n < d->sequences && status == 0; n++) {
        const struct sequence *s = &t->sequences[n];
        if (s->rests)
            fill_in_idle(d, s, n);
        else
            fill_in(d, s, n, s->length / d->patch_size, s->length % d->patch_size);
    }
    if (status == 0)
        status = megabyte_decoder_advance(d);
    if (status == 0)
        status = check_symbols(t);
    if (status < 0)
        return status;
    t->advanced = true;
    for (uint32_t n = 0; n < d->sequences; n++)
        if (!t->sequences[n].rests)
            take_symbols(d, &t->sequences[n], n);
    return 0;
}

const uint8_t *megabyte_generator_bytes(const struct megabyte_generator *t, uint32_t n,
                                        uint32_t *count)
{
    const struct sequence *s = &t->sequences[n];
    *count = s->fresh;
    return s->window + s->length - s->fresh;
}

int megabyte_generator_logits(struct megabyte_generator *t, uint32_t n, uint32_t p, float *logits)
{
    const struct megabyte_decoder *d = t->decoder;
    const size_t size = MEGABYTE_SYMBOLS * sizeof *logits;
    if (!t->advanced || n >= d->sequences || p >= d->patch_size)
        return megabyte_fail(EINVAL, "there are no logits of sequence %u, position %u", n, p);
    const int status = tensor_read(d->logits[p], n * size, logits, size);
    return status < 0 ? megabyte_fail(-status, "%s", tensor_error()) : 0;
}

struct tensor_graph *megabyte_generator_graph(struct megabyte_generator *t, unsigned which)
{
    return which ? t->decoder->advance : t->decoder->prefill;
}
