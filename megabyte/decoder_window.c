/* decoder_window.c - generation without caches: the whole model over the whole window, once for
 * each byte (decoder.h). */
#include "megabyte/decoder.h"
#include "megabyte/error.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Inputs and results of one run, which is of one sequence: the choice of one byte. */
struct megabyte_window {
    uint8_t *bytes;          /* (N, T) windows as they are so far, on the host */
    uint32_t *words;         /* what the decoder's tables for the host point into */
    float *logits;           /* (U, V) of the run at hand */
    struct tensor *run_bytes; /* (T) U8 */
    struct tensor *begin;    /* (1) U32, of a PerceiverAR: the first byte that is predicted */
    struct tensor *first;    /* (1) U32: row of the first of the U bytes of the patch … */
    struct tensor *row;      /* (1) U32: … and of the one that is chosen */
    struct tensor *settings; /* (1, TENSOR_SAMPLE_SETTINGS) */
    struct tensor *symbol;   /* (1, 1) */
    struct tensor *result;   /* (U, V) */
};

bool megabyte_window_wanted(const struct megabyte_config *c)
{
    return c->model != MEGABYTE_WHOLE || c->conv;
}

/* The tables that the generator fills in and reads. */
static int take_tables(struct megabyte_decoder *d)
{
    const size_t n = d->sequences, u = d->patch_size;
    const size_t sizes[] = {2,     d->chunk * u, 2 * n, n * u, n * TENSOR_SAMPLE_SETTINGS,
                            n * u, n * u};
    uint32_t **const tables[] = {&d->prefill_place, &d->prefill_symbols, &d->place, &d->previous,
                                 &d->settings, &d->given, &d->symbols};
    size_t count = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        count += sizes[i];
    uint32_t *words = d->window->words = calloc(count, sizeof *words);
    if (!words)
        return megabyte_fail(ENOMEM, "no host memory for generation");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; words += sizes[i++])
        *tables[i] = words;
    return 0;
}

static int take_tensors(struct megabyte_decoder *d)
{
    struct megabyte_window *w = d->window;
    const uint32_t T = d->model->config.seq_len, one = 1;
    const uint32_t row[2] = {d->sequences, MEGABYTE_SYMBOLS};
    int status = tensor_arena_create(d->model->device, TENSOR_HOST, "window", &d->shared);
    if (status < 0)
        return status;
    w->run_bytes = tensor_arena_take(d->shared, "bytes", TENSOR_U8, 1, &T);
    w->begin = tensor_arena_take(d->shared, "begin", TENSOR_U32, 1, &one);
    w->first = tensor_arena_take(d->shared, "first", TENSOR_U32, 1, &one);
    w->row = tensor_arena_take(d->shared, "row", TENSOR_U32, 1, &one);
    w->settings = tensor_arena_take(d->shared, "sampling", TENSOR_U32, 2,
                                    (uint32_t[]){1, TENSOR_SAMPLE_SETTINGS});
    w->symbol = tensor_arena_take(d->shared, "symbol", TENSOR_U32, 2, (uint32_t[]){1, 1});
    for (uint32_t p = 0; p < d->patch_size; p++)
        d->logits[p] = tensor_arena_take(d->shared, "logits", TENSOR_F32, 2, row);
    return 0;
}

static int record(struct megabyte_decoder *d, bool timing)
{
    struct megabyte_window *w = d->window;
    const struct tensor_graph_params params = {.name = "next byte", .timing = timing};
    const int status = tensor_graph_create(d->model->device, &params, &d->advance);
    if (status < 0)
        return status;
    struct tensor_graph *g = d->advance;
    const uint32_t rows = megabyte_config_predicted(&d->model->config);
    struct tensor *h = megabyte_model_forward(g, d->model, w->run_bytes, w->begin);
    tensor_graph_push(g, "sample");
    w->result = tensor_slice(g, h, rows, w->first, d->patch_size);
    tensor_graph_keep(g, w->result);
    tensor_sample(g, tensor_slice(g, h, rows, w->row, 1), w->settings, w->symbol, 0);
    tensor_graph_pop(g);
    return 0;
}

int megabyte_window_create(struct megabyte_decoder *d, bool timing)
{
    struct megabyte_window *w = d->window = calloc(1, sizeof *w);
    if (w) {
        w->bytes = calloc(d->sequences, d->model->config.seq_len);
        w->logits = calloc((size_t)d->patch_size * MEGABYTE_SYMBOLS, sizeof *w->logits);
    }
    if (!w || !w->bytes || !w->logits)
        return megabyte_fail(ENOMEM, "no host memory for generation");
    int status = take_tables(d);
    if (status < 0)
        return status;
    status = take_tensors(d);
    if (status == 0)
        status = record(d, timing);
    return status < 0 ? megabyte_fail(-status, "generation cannot be set up: %s", tensor_error())
                      : 0;
}

void megabyte_window_destroy(struct megabyte_window **window)
{
    struct megabyte_window *w = *window;
    if (!w)
        return;
    free(w->bytes);
    free(w->words);
    free(w->logits);
    free(w);
    *window = NULL;
}

/* Symbols of the patch before patch k; what is chosen is a byte, or the run has ended. */
static void put_previous(const struct megabyte_decoder *d, uint32_t n, uint32_t k,
                         const uint32_t *symbols)
{
    uint8_t *to = d->window->bytes + (size_t)n * d->model->config.seq_len;
    if (k == 0 || k > d->patches)
        return;
    for (uint32_t i = 0; i < d->patch_size; i++)
        to[(size_t)(k - 1) * d->patch_size + i] = (uint8_t)symbols[i];
}

void megabyte_window_prefill(struct megabyte_decoder *d)
{
    for (uint32_t i = 0; i < d->chunk; i++)
        put_previous(d, d->prefill_place[0], d->prefill_place[1] + i,
                     d->prefill_symbols + (size_t)i * d->patch_size);
}

static uint32_t *word(const struct tensor *t)
{
    return tensor_host(t);
}

/* Byte p of patch k of sequence n, and the logits of all bytes of the patch up to it. */
static int choose(struct megabyte_decoder *d, uint32_t n, uint32_t k, uint32_t p)
{
    const struct megabyte_config *c = &d->model->config;
    struct megabyte_window *w = d->window;
    const uint32_t u = d->patch_size, at = k * u, last = c->seq_len - c->patch_size;
    const uint32_t span = at / c->patch_size * c->patch_size;
    const uint32_t begin = c->model != MEGABYTE_PERCEIVER ? 0 : span < last ? span : last;
    uint32_t *settings = word(w->settings);
    memcpy(tensor_host(w->run_bytes), w->bytes + (size_t)n * c->seq_len, c->seq_len);
    memcpy(settings, d->settings + (size_t)n * TENSOR_SAMPLE_SETTINGS,
           TENSOR_SAMPLE_SETTINGS * sizeof *settings);
    settings[TENSOR_SAMPLE_GIVEN] = 0;
    settings[TENSOR_SAMPLE_DRAW_LOW] += p; /* column p of the patch is column 0 here */
    settings[TENSOR_SAMPLE_DRAW_HIGH] += settings[TENSOR_SAMPLE_DRAW_LOW] < p;
    *word(w->begin) = begin;
    *word(w->first) = at - begin;
    *word(w->row) = at - begin + p;
    int status = tensor_graph_run(d->advance);
    if (status == 0)
        status = tensor_read(w->result, 0, w->logits, tensor_size(w->result));
    if (status < 0)
        return status;
    for (uint32_t i = 0; i <= p; i++)
        memcpy((float *)tensor_host(d->logits[i]) + (size_t)n * MEGABYTE_SYMBOLS,
               w->logits + (size_t)i * MEGABYTE_SYMBOLS, MEGABYTE_SYMBOLS * sizeof *w->logits);
    return 0;
}

int megabyte_window_advance(struct megabyte_decoder *d)
{
    const uint32_t u = d->patch_size;
    for (uint32_t n = 0; n < d->sequences; n++) {
        const uint32_t k = d->place[2 * n + 1];
        const uint32_t given = d->settings[n * TENSOR_SAMPLE_SETTINGS + TENSOR_SAMPLE_GIVEN];
        uint8_t *bytes = d->window->bytes + (size_t)n * d->model->config.seq_len + (size_t)k * u;
        uint32_t *symbols = d->symbols + (size_t)n * u;
        memcpy(symbols, d->given + (size_t)n * u, u * sizeof *symbols);
        if (given >= u) /* it rests */
            continue;
        put_previous(d, n, k, d->previous + (size_t)n * u);
        for (uint32_t p = 0; p < given; p++)
            bytes[p] = (uint8_t)symbols[p];
        for (uint32_t p = given; p < u; p++) {
            const int status = choose(d, n, k, p);
            if (status < 0)
                return status;
            symbols[p] = *word(d->window->symbol);
            if (symbols[p] == TENSOR_SAMPLE_NONE)
                break;
            bytes[p] = (uint8_t)symbols[p];
        }
    }
    return 0;
}
