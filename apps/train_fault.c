/*
 * What mb-train does when a step is not applied: batches whose loss or gradient is not finite, and
 * losses that stand out.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/train.h"
#include "megabyte/error.h"
#include "megabyte/file.h"
#include "tensor/json.h"

/* ---- outliers ---- */

double train_outlier_limit(const struct train *t)
{
    const struct train_losses *l = &t->losses;
    double mean = 0, squares = 0;

    if (t->options->skip_outliers <= 0 || l->n < TRAIN_LOSSES)
        return (double)INFINITY;
    for (uint32_t i = 0; i < TRAIN_LOSSES; i++)
        mean += l->nats[i] / TRAIN_LOSSES;
    for (uint32_t i = 0; i < TRAIN_LOSSES; i++)
        squares += (l->nats[i] - mean) * (l->nats[i] - mean);
    return mean + t->options->skip_outliers * sqrt(squares / TRAIN_LOSSES);
}

void train_outlier_note(struct train *t, double nats)
{
    struct train_losses *l = &t->losses;

    if (t->options->skip_outliers <= 0)
        return;
    if (l->n == TRAIN_LOSSES)
        memmove(l->nats, l->nats + 1, (TRAIN_LOSSES - 1) * sizeof *l->nats);
    else
        l->n++;
    l->nats[l->n - 1] = nats;
}

static int skip_outlier(struct train *t, const struct train_step *s)
{
    const double bits = megabyte_bits_per_byte(s->result.nats, 1);
    const double limit = megabyte_bits_per_byte(s->limit, 1);

    t->outliers++;
    app_note("step %" PRIu64 ": %.4f bits per byte are more than the %.4f of --skip-outliers %g; "
             "it was not applied (%" PRIu64 " so far)", s->number, bits, limit,
             t->options->skip_outliers, t->outliers);
    return train_run_log(t, json_pack("{s:I, s:s, s:f, s:f}", "step", (json_int_t)s->number,
                                      "not_applied", "outlier", "bits_per_byte", bits, "limit",
                                      limit));
}

/* ---- values that are not finite ---- */

static json_t *rows_json(const struct train *t, const struct megabyte_batch *batch)
{
    static const char digits[] = "0123456789abcdef";
    const struct megabyte_config *c = &t->model->config;
    json_t *rows = json_array();
    char *text = malloc(2 * (size_t)c->seq_len);
    int failed = !text;

    for (uint32_t b = 0; b < c->batch && !failed; b++) {
        const uint8_t *row = batch->bytes + (size_t)b * c->seq_len;
        for (uint32_t i = 0; i < batch->lengths[b]; i++) {
            text[2 * i] = digits[row[i] >> 4];
            text[2 * i + 1] = digits[row[i] & 15];
        }
        failed = json_array_append_new(rows, json_stringn(text, 2 * (size_t)batch->lengths[b]));
    }
    free(text);
    if (!failed)
        return rows;
    json_decref(rows);
    return NULL;
}

/* What a text says; NULL: no memory. */
static json_t *parsed(const char *text)
{
    json_t *json = NULL;

    if (text && tensor_json_read(text, strlen(text), &json) < 0)
        return NULL;
    return json;
}

/* All that the step depends on: train_replay.c reads it. NULL: no memory. */
static char *replay_text(struct train *t, const struct train_step *s)
{
    const struct megabyte_batch batch = megabyte_trainer_submitted(t->trainer);
    char *state = train_run_state(t), *config = megabyte_config_text(&t->model->config);
    char nats[40], norm[40], *text;
    json_t *limit = isfinite(s->limit) ? json_real(s->limit) : json_null();

    snprintf(nats, sizeof nats, "%a", s->result.nats);
    snprintf(norm, sizeof norm, "%a", s->result.grad_norm);
    json_t *object = json_pack(
        "{s:s, s:i, s:I, s:f, s:o, s:s, s:s, s:o, s:o, s:o}", "format", TRAIN_REPLAY_FORMAT,
        "version", TRAIN_REPLAY_VERSION, "step", (json_int_t)s->number, "rate", s->rate, "limit",
        limit, "nats", nats, "grad_norm", norm, "config",
        parsed(config), "before", parsed(state), "rows", rows_json(t, &batch));
    text = object ? tensor_json_write(object, JSON_INDENT(1)) : NULL;
    json_decref(object);
    free(state);
    free(config);
    return text;
}

/* Writes RUN/replay-STEP.json; *name is its name. Returns 0, or a negative errno with
 * megabyte_error(). */
static int write_replay(struct train *t, const struct train_step *s, char name[32])
{
    char *text = replay_text(t, s);
    int folder = -1, status;

    snprintf(name, 32, "replay-%08" PRIu64 ".json", s->number);
    status = text ? megabyte_folder_create(t->options->out, &folder)
                  : megabyte_fail(12, "out of memory");
    if (status == 0) {
        status = megabyte_file_replace(folder, name, text, strlen(text));
        close(folder);
    }
    free(text);
    return status;
}

/* Where the batch begins, as far as a line can say it: of each lane the place of its block. */
static void place(const struct train *t, char *text, size_t size)
{
    const struct pipeline_cursor *c = &t->cursor;
    size_t at = (size_t)snprintf(text, size, "seed %" PRIu64 ", epoch %" PRIu64, t->seed, c->epoch);

    for (uint32_t i = 0; i < t->mix->n && at < size; i++) {
        const struct pipeline_lane_cursor none = {0}, *l = c->n ? &c->lanes[i] : &none;
        const struct pipeline_sources *sources = &t->mix->lanes[i].sources;
        at += (size_t)snprintf(text + at, size - at, "; %s member %" PRIu64 " byte %" PRIu64
                               " block %" PRIu64 " window %" PRIu64,
                               l->at.source < sources->n ? sources->list[l->at.source].path : "?",
                               l->at.member, l->at.offset, l->block, l->window);
    }
}

static int stop_or_go_on(struct train *t, const struct train_step *s)
{
    const struct train_options *o = t->options;
    const struct megabyte_trainer_result *r = &s->result;
    char where[900], name[32], saved[1100], rest[80] = "; try a lower lr";

    /* The weights before the step are what a replay needs; so far they are only in memory. */
    train_run_settle(t, true);
    if (t->step && t->saved != t->step)
        train_run_save(t, true);
    if (write_replay(t, s, name) == 0)
        snprintf(saved, sizeof saved, "mb-train --replay %s/%s --out %s shows where", o->out, name,
                 o->out);
    else
        snprintf(saved, sizeof saved, "it could not be written: %s", megabyte_error());
    place(t, where, sizeof where);
    t->nonfinite++;
    const bool stop = t->nonfinite >= o->stop_after;
    if (!stop)
        snprintf(rest, sizeof rest, "; training goes on (%" PRIu64 " of %" PRIu64 ")",
                 t->nonfinite, o->stop_after);
    app_fail(APP_FAILED, "step %" PRIu64 ": the %s is not finite; the weights stay those of step %"
             PRIu64 "; its batch (%s): %s%s", s->number, isfinite(r->nats) ? "gradient" : "loss",
             t->step, where, saved, rest);
    if (stop)
        return APP_FAILED;
    return train_run_log(t, json_pack("{s:I, s:s}", "step", (json_int_t)s->number, "not_applied",
                                      "not finite"));
}

/* fp16: gradients that were too large for the scale of the loss, which is halved. */
static int overflowed(struct train *t, const struct train_step *s)
{
    const double now = megabyte_trainer_scale(t->trainer).scale;

    app_note("step %" PRIu64 ": its gradient overflowed in fp16 with the loss scaled by %g; it was "
             "not applied, the next one is scaled by %g",
             s->number, s->result.loss_scale, now);
    return train_run_log(t, json_pack("{s:I, s:s, s:f}", "step", (json_int_t)s->number,
                                      "not_applied", "overflow", "loss_scale", now));
}

int train_not_applied(struct train *t, const struct train_step *s)
{
    if (s->result.overflowed)
        return overflowed(t, s);
    if (isfinite(s->result.nats) && isfinite(s->result.grad_norm))
        return skip_outlier(t, s);
    return stop_or_go_on(t, s);
}
