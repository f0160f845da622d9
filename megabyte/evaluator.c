/* evaluator.c - scores windows, and streams by windows. */
#include "megabyte/evaluator.h"
#include "megabyte/error.h"
#include "tensor/autotune.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct megabyte_evaluator {
    const struct megabyte_model *model;
    uint32_t batch;
    struct tensor_arena *arena;
    uint32_t span;          /* S: bytes of a window that one run predicts */
    struct tensor *bytes;   /* (batch · T) */
    struct tensor *begin;   /* (1) U32: the first of them; 0 unless S < T */
    struct tensor *targets; /* (batch · S): them; `bytes` unless S < T */
    struct tensor *lengths; /* (batch): how many of them are real */
    struct tensor *logits;  /* (batch · S, V) */
    struct tensor *losses;  /* (batch · S) */
    struct tensor_graph *graph;
};

/* What megabyte_evaluate() takes on the host. */
static uint64_t evaluation_memory(const struct megabyte_model *model, uint32_t batch)
{
    const uint64_t positions = (uint64_t)batch * model->config.seq_len;
    return 2 * positions * (1 + sizeof(float)) + 3 * (uint64_t)batch * sizeof(uint32_t);
}

/* Everything but memory. */
static int prepare(const struct megabyte_model *model, uint32_t batch,
                   struct megabyte_evaluator **evaluator)
{
    const uint32_t most = megabyte_config_most(&model->config);
    if (batch > most)
        return megabyte_fail(EINVAL, "%u windows of %u bytes are too many at a time; %u would do",
                             batch, model->config.seq_len, most);
    struct megabyte_evaluator *e = calloc(1, sizeof *e);
    if (!e)
        return megabyte_fail(ENOMEM, "no host memory for the evaluator");
    e->model = model;
    e->batch = batch;
    e->span = megabyte_config_predicted(&model->config);
    const struct tensor_graph_params params = {
        .name = "evaluate", .autotune = tensor_device_autotune(model->device)};
    int status = tensor_arena_create(model->device, TENSOR_HOST, "staging", &e->arena);
    if (status == 0)
        status = tensor_graph_create(model->device, &params, &e->graph);
    if (status < 0) {
        megabyte_evaluator_destroy(&e);
        return megabyte_fail(-status, "%s", tensor_error());
    }
    e->bytes = tensor_arena_take(e->arena, "bytes", TENSOR_U8, 1,
                                 (uint32_t[]){batch * model->config.seq_len});
    e->begin = tensor_arena_take(e->arena, "begin", TENSOR_U32, 1, (uint32_t[]){1});
    e->targets = e->span == model->config.seq_len
        ? e->bytes
        : tensor_arena_take(e->arena, "targets", TENSOR_U8, 1, (uint32_t[]){batch * e->span});
    e->lengths = tensor_arena_take(e->arena, "lengths", TENSOR_U32, 1, &batch);
    e->logits = megabyte_model_forward(e->graph, model, e->bytes, e->begin);
    e->losses = tensor_cross_entropy(e->graph, e->logits, e->targets, e->lengths);
    tensor_graph_keep(e->graph, e->logits);
    tensor_graph_keep(e->graph, e->losses);
    *evaluator = e;
    return 0;
}

int megabyte_evaluator_plan(const struct megabyte_model *model, uint32_t batch,
                            struct megabyte_evaluator_plan *plan)
{
    struct megabyte_evaluator *e;
    const int status = prepare(model, batch, &e);
    if (status < 0)
        return status;
    const uint64_t graph = tensor_graph_memory(e->graph);
    plan->device = graph + tensor_arena_size(e->arena);
    plan->host = evaluation_memory(model, batch);
    plan->scratch = tensor_graph_scratch(e->graph);
    megabyte_evaluator_destroy(&e);
    return graph ? 0 : megabyte_fail(ENOMEM, "%s", tensor_error());
}

int megabyte_evaluator_create(const struct megabyte_model *model, uint32_t batch,
                              struct megabyte_evaluator **evaluator)
{
    struct megabyte_evaluator *e;
    int status = prepare(model, batch, &e);
    if (status < 0)
        return status;
    status = tensor_arena_commit(e->arena);
    if (status == 0)
        status = tensor_graph_finish(e->graph);
    if (status < 0) {
        megabyte_evaluator_destroy(&e);
        return megabyte_fail(-status, "%s", tensor_error());
    }
    *evaluator = e;
    return 0;
}

void megabyte_evaluator_destroy(struct megabyte_evaluator **evaluator)
{
    struct megabyte_evaluator *e = *evaluator;
    if (!e)
        return;
    tensor_graph_destroy(&e->graph);
    tensor_arena_destroy(&e->arena);
    free(e);
    *evaluator = NULL;
}

/* Results (rows·S, columns) to their places among (rows·T, columns), but for the first `skip` of
 * each S. */
static int read_span(const struct megabyte_evaluator *e, const struct tensor *from, uint32_t rows,
                     uint32_t begin, uint32_t skip, uint32_t columns, float *to)
{
    const size_t size = columns * sizeof *to, length = e->model->config.seq_len;
    int status = 0;
    if (e->span == length) /* all at once */
        return tensor_read(from, 0, to, rows * length * size);
    for (size_t b = 0; b < rows && status == 0; b++)
        status = tensor_read(from, (b * e->span + skip) * size,
                             to + (b * length + begin + skip) * columns, (e->span - skip) * size);
    return status;
}

/* One run: the S bytes of each window from `begin` on, of which the first `skip` are scored. */
static int score_span(struct megabyte_evaluator *e, uint32_t rows, const uint8_t *bytes,
                      const uint32_t *lengths, uint32_t begin, uint32_t skip, float *nats,
                      float *logits)
{
    const uint32_t length = e->model->config.seq_len;
    uint32_t *to = tensor_host(e->lengths);
    *(uint32_t *)tensor_host(e->begin) = begin;
    for (uint32_t b = 0; b < e->batch; b++) {
        const uint32_t real = b < rows && lengths[b] > begin ? lengths[b] - begin : 0;
        to[b] = real < e->span ? real : e->span;
        if (e->targets != e->bytes && b < rows)
            memcpy((uint8_t *)tensor_host(e->targets) + (size_t)b * e->span,
                   bytes + (size_t)b * length + begin, e->span);
    }
    int status = tensor_graph_run(e->graph);
    if (status == 0)
        status = read_span(e, e->losses, rows, begin, skip, 1, nats);
    if (status == 0 && logits)
        status = read_span(e, e->logits, rows, begin, skip, MEGABYTE_SYMBOLS, logits);
    return status;
}

int megabyte_evaluator_score(struct megabyte_evaluator *e, uint32_t rows, const uint8_t *bytes,
                             const uint32_t *lengths, uint32_t from, float *nats, float *logits)
{
    const uint32_t length = e->model->config.seq_len, last = length - e->span;
    uint32_t begin = from < last ? from / e->span * e->span : last;
    memcpy(tensor_host(e->bytes), bytes, (size_t)rows * length);
    int status = score_span(e, rows, bytes, lengths, begin, 0, nats, logits);
    while (status == 0 && begin < last) {
        const uint32_t next = begin + e->span;
        begin = next < last ? next : last;
        status = score_span(e, rows, bytes, lengths, begin, next - begin, nats, logits);
    }
    return status < 0 ? megabyte_fail(-status, "%s", tensor_error()) : 0;
}

double megabyte_bits_per_byte(double nats, double bytes)
{
    return bytes > 0 ? nats / (bytes * M_LN2) : 0;
}

/* ---- a stream by windows ---- */

struct windows {
    struct megabyte_evaluator *evaluator;
    const struct megabyte_evaluation_params *params;
    uint32_t length, patch, step; /* T, P, bytes from one window to the next */
    uint32_t rows;                /* windows gathered */
    uint8_t *bytes;               /* (batch, T) */
    uint8_t *later;               /* the same windows, P/2 bytes later */
    uint32_t *lengths, *lengths_later;
    uint32_t *from;               /* (batch): first position that is scored */
    float *nats, *nats_later;     /* (batch, T) */
    struct megabyte_evaluation sum;
};

/* The nats of position i of window b, from the pass that decision 20 says. */
static float position_nats(const struct windows *w, uint32_t b, uint32_t i)
{
    const uint32_t half = w->patch / 2;
    const size_t row = (size_t)b * w->length;
    if (!w->params->strided || i < w->patch || i % w->patch < half)
        return w->nats[row + i];
    return w->nats_later[row + i - half];
}

static int score_gathered(struct windows *w)
{
    if (!w->rows)
        return 0;
    uint32_t from = w->length;
    for (uint32_t b = 0; b < w->rows; b++)
        from = w->from[b] < from ? w->from[b] : from;
    int status =
        megabyte_evaluator_score(w->evaluator, w->rows, w->bytes, w->lengths, from, w->nats, NULL);
    if (status == 0 && w->params->strided) {
        const uint32_t half = w->patch / 2;
        for (uint32_t b = 0; b < w->rows; b++) {
            uint8_t *later = w->later + (size_t)b * w->length;
            memcpy(later, w->bytes + (size_t)b * w->length + half, w->length - half);
            memset(later + w->length - half, 0, half);
            w->lengths_later[b] = w->lengths[b] > half ? w->lengths[b] - half : 0;
        }
        status = megabyte_evaluator_score(w->evaluator, w->rows, w->later, w->lengths_later, 0,
                                          w->nats_later, NULL);
    }
    if (status < 0)
        return status;
    const struct megabyte_evaluation_params *p = w->params;
    for (uint32_t b = 0; b < w->rows; b++) {
        float *row = w->nats + (size_t)b * w->length;
        for (uint32_t i = w->from[b]; i < w->lengths[b]; i++) {
            row[i] = position_nats(w, b, i);
            w->sum.nats += (double)row[i];
        }
        const uint32_t first = w->from[b], count = w->lengths[b] - first;
        if (p->scored)
            p->scored(p->user, w->sum.bytes, first, count, row + first);
        w->sum.bytes += count;
    }
    w->rows = 0;
    return p->progress && !p->progress(p->user, w->sum.bytes, w->sum.nats) ? -EINTR : 0;
}

/* Fills the next row: what it shares with the window before, then new bytes. *got new ones. */
static int gather(struct windows *w, const uint8_t *shared, uint64_t left, size_t *got)
{
    uint8_t *row = w->bytes + (size_t)w->rows * w->length;
    const uint32_t kept = shared ? w->length - w->step : 0;
    if (kept)
        memmove(row, shared, kept);
    const size_t want = left < w->length - kept ? (size_t)left : w->length - kept;
    const int status = w->params->read(w->params->user, row + kept, want, got);
    if (status < 0 || *got == 0)
        return status;
    memset(row + kept + *got, 0, w->length - kept - *got);
    w->lengths[w->rows] = kept + (uint32_t)*got;
    w->from[w->rows] = kept;
    w->rows++;
    return 0;
}

static int evaluate(struct windows *w)
{
    uint64_t left = w->params->limit ? w->params->limit : UINT64_MAX;
    const uint8_t *shared = NULL;
    for (;;) {
        size_t got = 0;
        int status = gather(w, shared, left, &got);
        if (status < 0)
            return status;
        left -= got;
        const bool over = got == 0 || w->lengths[w->rows - 1] < w->length || left == 0;
        if (!over && w->step < w->length)
            shared = w->bytes + (size_t)(w->rows - 1) * w->length + w->step;
        /* Where a window is scored in spans, all of a batch have the same: the first window, which
         * is scored whole, is no company for the others. */
        const bool alone =
            got && w->from[w->rows - 1] == 0 && w->evaluator->span < w->length;
        if (over || alone || w->rows == w->evaluator->batch)
            if ((status = score_gathered(w)) < 0)
                return status;
        if (over)
            return 0;
    }
}

int megabyte_evaluate(struct megabyte_evaluator *evaluator,
                      const struct megabyte_evaluation_params *params,
                      struct megabyte_evaluation *evaluation)
{
    const struct megabyte_config *c = &evaluator->model->config;
    if (params->strided && c->model == MEGABYTE_PERCEIVER)
        return megabyte_fail(EINVAL, "strided inference is about patches, which model = perceiver "
                             "has not");
    if (params->strided && c->patch_size % 2)
        return megabyte_fail(EINVAL, "strided inference wants an even patch_size, not %u",
                             c->patch_size);
    const size_t rows = evaluator->batch, count = rows * c->seq_len;
    struct windows w = {.evaluator = evaluator, .params = params, .length = c->seq_len,
                        .patch = c->patch_size};
    const uint32_t span = megabyte_config_predicted(c);
    w.step = params->sliding && span > 1 ? (span + 1) / 2 : c->seq_len;
    w.bytes = malloc(2 * count);
    w.lengths = malloc(3 * rows * sizeof *w.lengths);
    w.nats = malloc(2 * count * sizeof *w.nats);
    int status = 0;
    if (!w.bytes || !w.lengths || !w.nats) {
        status = megabyte_fail(ENOMEM, "no host memory to evaluate");
    } else {
        w.later = w.bytes + count;
        w.lengths_later = w.lengths + rows;
        w.from = w.lengths + 2 * rows;
        w.nats_later = w.nats + count;
        status = evaluate(&w);
    }
    if (status == 0 || status == -EINTR)
        *evaluation = w.sum;
    free(w.bytes);
    free(w.lengths);
    free(w.nats);
    return status;
}
