/*
 * mb-train --replay: does again the step of which a replay file tells (train_fault.c), on the
 * weights that it was done with, and names the first pass whose result is not finite. Changes
 * nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "apps/train.h"
#include "apps/train_state.h"
#include "megabyte/error.h"
#include "megabyte/file.h"
#include "tensor/json.h"

#define LARGEST (1u << 30) /* bytes of a replay file */

struct replay {
    json_t *json;
    struct megabyte_config config;
    struct train_state before; /* step - 1 */
    uint64_t step;
    double rate, limit;
    const char *nats, *grad_norm; /* as they were found; owned by json */
    json_t *rows;
};

static int not_a_replay(const struct train_options *o, const char *what)
{
    return app_fail(APP_FAILED, "%s: not a replay file of this mb-train: %s", o->replay, what);
}

/* The text of one of its objects, in the form of a file of its own. */
static char *part(const struct replay *r, const char *key)
{
    const json_t *object = json_object_get(r->json, key);

    return json_is_object(object) ? tensor_json_write(object, 0) : NULL;
}

static int read_parts(const struct train_options *o, struct replay *r)
{
    char *config = part(r, "config"), *before = part(r, "before");
    const char *wrong = NULL;
    int status = APP_DONE;

    if (!config || !before)
        status = not_a_replay(o, "it lacks settings or state");
    else if (megabyte_config_parse(config, &r->config) < 0 ||
             megabyte_config_check(&r->config) < 0)
        status = app_fail(APP_FAILED, "%s: %s", o->replay, megabyte_error());
    else if (train_state_parse(before, &r->before, &wrong) < 0)
        status = not_a_replay(o, wrong && *wrong ? wrong : "out of memory");
    else if (r->before.step + 1 != r->step)
        status = not_a_replay(o, "its state is not that of the step before");
    free(config);
    free(before);
    return status;
}

static int read_replay(const struct train_options *o, struct replay *r)
{
    const json_t *limit;
    const char *format;
    json_int_t step;
    char *text;
    int version;

    if (megabyte_file_read(AT_FDCWD, o->replay, LARGEST, &text, NULL) < 0)
        return app_fail(APP_FAILED, "%s: %s", o->replay, megabyte_error());
    if (tensor_json_read(text, strlen(text), &r->json) < 0)
        r->json = NULL;
    free(text);
    if (json_unpack(r->json, "{s:s, s:i}", "format", &format, "version", &version) ||
        strcmp(format, TRAIN_REPLAY_FORMAT))
        return not_a_replay(o, "it does not say that it is one");
    if (version > TRAIN_REPLAY_VERSION)
        return not_a_replay(o, "a newer version made it");
    if (json_unpack(r->json, "{s:I, s:f, s:s, s:s, s:o}", "step", &step, "rate", &r->rate, "nats",
                    &r->nats, "grad_norm", &r->grad_norm, "rows", &r->rows) || step < 1)
        return not_a_replay(o, "it lacks its step or its rows");
    limit = json_object_get(r->json, "limit");
    r->limit = json_is_real(limit) ? json_real_value(limit) : (double)INFINITY;
    r->step = (uint64_t)step;
    return read_parts(o, r);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The batch into the trainer's memory. */
static int fill_batch(const struct train_options *o, const struct replay *r,
                      struct megabyte_trainer *trainer)
{
    const struct megabyte_batch batch = megabyte_trainer_batch(trainer);
    const uint32_t length = r->config.seq_len;

    if (json_array_size(r->rows) != r->config.batch)
        return not_a_replay(o, "its rows are not a batch");
    memset(batch.bytes, 0, (size_t)r->config.batch * length);
    for (uint32_t b = 0; b < r->config.batch; b++) {
        const json_t *row = json_array_get(r->rows, b);
        const char *text = json_string_value(row);
        const size_t n = text ? json_string_length(row) : 1;
        if (n % 2 || n / 2 > length)
            return not_a_replay(o, "a row is no text of bytes, or too long");
        for (size_t i = 0; i < n; i += 2) {
            const int high = digit(text[i]), low = digit(text[i + 1]);
            if (high < 0 || low < 0)
                return not_a_replay(o, "a row is no text of bytes");
            batch.bytes[(size_t)b * length + i / 2] = (uint8_t)(high << 4 | low);
        }
        batch.lengths[b] = (uint32_t)(n / 2);
    }
    return APP_DONE;
}

/* The weights of the step before: of its checkpoint, or the first ones. */
static int open_model(const struct train_options *o, const struct replay *r,
                      struct tensor_device *device, struct megabyte_model **model)
{
    struct megabyte_checkpoint *checkpoint = NULL;
    char path[4200];
    int status;

    if (r->step == 1) {
        status = megabyte_model_create(device, &r->config, true, model);
        if (status == 0) {
            status = nn_parameters_commit((*model)->parameters);
            if (status == 0)
                status = nn_parameters_initialise((*model)->parameters, r->before.seed);
            if (status < 0)
                return app_fail(APP_FAILED, "%s", tensor_error());
        }
        return status < 0 ? app_fail(APP_FAILED, "%s", megabyte_error()) : APP_DONE;
    }
    snprintf(path, sizeof path, "%s/checkpoints/%08" PRIu64, o->out, r->step - 1);
    status = megabyte_checkpoint_open(path, NULL, &checkpoint);
    if (status == -ENOENT)
        return app_fail(APP_FAILED, "%s: the checkpoint with the weights of step %" PRIu64
                        " is not there; give the run's --out", path, r->step - 1);
    if (status == 0)
        status = megabyte_model_load(checkpoint, device, true, model);
    megabyte_checkpoint_close(&checkpoint);
    if (status < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    megabyte_model_adapt(*model, &r->config);
    return APP_DONE;
}

static int report(const struct train_options *o, const struct replay *r,
                  const struct megabyte_trainer_result *result,
                  const struct megabyte_trainer_trace *trace)
{
    const struct tensor_trace *first = &trace->first;
    char nats[40], norm[40], value[40];

    snprintf(nats, sizeof nats, "%a", result->nats);
    snprintf(norm, sizeof norm, "%a", result->grad_norm);
    snprintf(value, sizeof value, "%g", first->value);
    const bool same = !strcmp(nats, r->nats) && !strcmp(norm, r->grad_norm);
    if (first->found)
        app_note("step %" PRIu64 ": loss %g, gradient's norm %g; first not finite: pass \"%s\" "
                 "(%s, number %u of graph \"%s\", micro-batch %u), element %" PRIu64 ": %s",
                 r->step, result->nats, result->grad_norm, first->label, first->kernel,
                 first->pass, trace->graph, trace->micro_batch, first->element, value);
    if (o->json) {
        const int status = app_json(json_pack(
            "{s:I, s:b, s:b, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "step",
            (json_int_t)r->step, "same", same, "finite", !first->found, "nats", nats, "grad_norm",
            norm, "graph", first->found ? trace->graph : "", "label",
            first->found ? first->label : "", "kernel", first->found ? first->kernel : "", "pass",
            (json_int_t)first->pass, "micro_batch", (json_int_t)trace->micro_batch, "element",
            (json_int_t)first->element, "value", value));
        if (status != APP_DONE)
            return status;
    }
    if (!first->found)
        return app_fail(APP_FAILED, "step %" PRIu64 ": all is finite here: loss %g, gradient's "
                        "norm %g; another device, build or precision?", r->step, result->nats,
                        result->grad_norm);
    if (!same)
        app_note("the run had loss %s and gradient's norm %s, and here they are %s and %s", r->nats,
                 r->grad_norm, nats, norm);
    return APP_DONE;
}

static int replay(const struct train_options *o, struct replay *r, struct tensor_device *device)
{
    struct megabyte_model *model = NULL;
    struct megabyte_trainer *trainer = NULL;
    const struct megabyte_trainer_params params = {.seed = r->before.seed};
    struct megabyte_trainer_result result;
    struct megabyte_trainer_trace trace;
    int status = open_model(o, r, device, &model);

    if (status == APP_DONE)
        status = train_choices_again(device, r->before.made_on);
    if (status == APP_DONE && megabyte_trainer_create(model, &params, &trainer) < 0)
        status = app_fail(APP_FAILED, "%s", megabyte_error());
    if (status == APP_DONE)
        status = fill_batch(o, r, trainer);
    if (status == APP_DONE && r->before.loss_scale &&
        tensor_device_info(device)->precision == TENSOR_PRECISION_FP16) {
        const struct megabyte_loss_scale scale = {(double)r->before.loss_scale,
                                                  (uint32_t)r->before.loss_scale_steps};
        if (megabyte_trainer_rescale(trainer, &scale) < 0)
            status = app_fail(APP_FAILED, "%s: %s", o->replay, megabyte_error());
    }
    if (status == APP_DONE) {
        megabyte_trainer_limit(trainer, r->limit);
        if (megabyte_trainer_trace(trainer, r->step, r->rate, &result, &trace) < 0)
            status = app_fail(APP_FAILED, "step %" PRIu64 ": %s", r->step, megabyte_error());
    }
    if (status == APP_DONE)
        status = report(o, r, &result, &trace);
    megabyte_trainer_destroy(&trainer);
    megabyte_model_destroy(&model);
    return status;
}

int train_replay(const struct train_options *o)
{
    struct replay r = {.rows = NULL};
    struct app_device_options options = o->device;
    struct tensor_device *device = NULL;
    int status = read_replay(o, &r);

    if (status == APP_DONE) {
        if (!options.precision)
            options.precision = r.before.precision;
        status = app_device_open(&options, &device);
    }
    if (status == APP_DONE)
        status = replay(o, &r, device);
    tensor_device_close(&device);
    train_state_finish(&r.before);
    json_decref(r.json);
    return status;
}
