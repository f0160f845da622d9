/*
 * The run folder of mb-train: beginning, resuming, saving, metrics.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/train.h"
#include "megabyte/error.h"

static void note(void *user, const char *line)
{
    (void)user;
    app_note("%s", line);
}

static const struct megabyte_run_log log_notes = {.line = note};

/* ---- state.json ---- */

static json_t *hex(uint64_t number)
{
    char text[17];

    snprintf(text, sizeof text, "%016" PRIx64, number);
    return json_string(text);
}

static json_t *patterns(const char *const *list, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, json_stringn_nocheck(list[i], strlen(list[i])));
    return array;
}

static json_t *weights(const struct pipeline_mix *mix)
{
    json_t *array = json_array();

    for (uint32_t i = 0; mix->mixed && i < mix->n; i++)
        json_array_append_new(array, json_real(mix->lanes[i].weight));
    return array;
}

/* Which bytes the run trains on, and in which order: what must be the same to resume. The keys are
 * the options' names. */
static json_t *describe_choice(const struct train *t)
{
    const struct pipeline_choice *c = &t->options->data.choice;
    const bool skip = c->on_corrupt == PIPELINE_CORRUPT_SKIP;
    json_t *object = json_pack(
        "{s:o, s:o, s:f, s:s, s:I, s:s?}", "include", patterns(c->include, c->n_include),
        "exclude", patterns(c->exclude, c->n_exclude), "val-fraction", c->val_fraction,
        "on-corrupt", skip ? "skip" : "stop", "nested", (json_int_t)c->nested, "jsonl-field",
        c->content.jsonl_field);
    json_t *more = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "images", (json_int_t)c->content.image_size,
        "image-patch", (json_int_t)c->content.image_patch, "audio-rate",
        (json_int_t)c->content.audio_rate, "at-once", (json_int_t)t->mix->n, "shuffle",
        (json_int_t)t->options->data.shuffle_bytes, "seq_len",
        (json_int_t)t->model->config.seq_len, "weights", weights(t->mix));

    json_object_update(object, more);
    json_decref(more);
    return object;
}

/* Says what is not as it was when the run began; false if nothing is. */
static bool choice_differs(const struct train *t, json_t *choice, json_t *saved)
{
    const char *key;
    json_t *value;

    json_object_foreach(choice, key, value) {
        json_t *before = json_object_get(saved, key);
        char *now, *then;

        if (json_equal(value, before))
            continue;
        if (!before) {
            app_fail(APP_FAILED, "%s: its checkpoint was made by another version of mb-train, "
                                 "which kept the place in the data otherwise; take another --out",
                     t->options->out);
            return true;
        }
        now = json_dumps(value, JSON_ENCODE_ANY);
        then = json_dumps(before, JSON_ENCODE_ANY);
        app_fail(APP_FAILED, "%s: the run was begun with %s%s %s, and now it is %s: give the same, "
                             "or another --out",
                 t->options->out, strcmp(key, "weights") && strcmp(key, "seq_len") ? "--" : "", key,
                 then ? then : "?", now ? now : "?");
        free(now);
        free(then);
        return true;
    }
    return false;
}

static json_t *describe_sources(const struct train *t)
{
    json_t *array = json_array();

    for (size_t i = 0; i < t->sources->n; i++) {
        const struct pipeline_identity *id = &t->identities[i];
        const char *path = t->sources->list[i].path;
        json_array_append_new(array, json_pack("{s:o, s:I, s:o, s:o}", "path",
                                               json_stringn_nocheck(path, strlen(path)), "size",
                                               (json_int_t)id->size, "head", hex(id->head), "tail",
                                               hex(id->tail)));
    }
    return array;
}

/* The numbers of a lane's cursor by name: one table for writing and reading. */
static const struct {
    const char *name;
    size_t offset; /* of a uint64_t in struct pipeline_lane_cursor */
} cursor_numbers[] = {
    {"epoch", offsetof(struct pipeline_lane_cursor, epoch)},
    {"block", offsetof(struct pipeline_lane_cursor, block)},
    {"window", offsetof(struct pipeline_lane_cursor, window)},
    {"given", offsetof(struct pipeline_lane_cursor, given)},
    {"source", offsetof(struct pipeline_lane_cursor, at.source)},
    {"member", offsetof(struct pipeline_lane_cursor, at.member)},
    {"inner", offsetof(struct pipeline_lane_cursor, at.inner)},
    {"offset", offsetof(struct pipeline_lane_cursor, at.offset)},
    {"header", offsetof(struct pipeline_lane_cursor, at.hint.header)},
    {"frame_in", offsetof(struct pipeline_lane_cursor, at.hint.in)},
    {"frame_out", offsetof(struct pipeline_lane_cursor, at.hint.out)},
    {"check", offsetof(struct pipeline_lane_cursor, at.check)},
    {"check_bytes", offsetof(struct pipeline_lane_cursor, at.check_bytes)},
};
#define CURSOR_NUMBERS (sizeof cursor_numbers / sizeof *cursor_numbers)

static json_t *describe_cursor(const struct pipeline_cursor *c)
{
    json_t *lanes = json_array();

    for (uint32_t lane = 0; lane < c->n; lane++) {
        json_t *object = json_object();
        for (size_t i = 0; i < CURSOR_NUMBERS; i++) {
            const void *number = (const char *)&c->lanes[lane] + cursor_numbers[i].offset;
            json_object_set_new(object, cursor_numbers[i].name,
                                json_integer((json_int_t)*(const uint64_t *)number));
        }
        json_array_append_new(lanes, object);
    }
    return json_pack("{s:I, s:o}", "epoch", (json_int_t)c->epoch, "lanes", lanes);
}

static char *state_text(const struct train *t)
{
    char seed[24];
    json_t *state;
    char *text;

    snprintf(seed, sizeof seed, "%" PRIu64, t->seed);
    state = json_pack("{s:I, s:I, s:I, s:s, s:s, s:f, s:f, s:I, s:{s:o, s:o, s:o}}", "step",
                      (json_int_t)t->step, "bytes", (json_int_t)t->bytes, "steps",
                      (json_int_t)t->steps, "seed", seed, "precision",
                      app_precision(&t->options->device), "bits_per_byte", t->bits_per_byte,
                      "line_nats", t->line_nats, "line_bytes", (json_int_t)t->line_bytes, "data",
                      "cursor", describe_cursor(&t->cursor), "choice", describe_choice(t),
                      "sources", describe_sources(t));
    text = state ? json_dumps(state, JSON_INDENT(4)) : NULL;
    json_decref(state);
    return text;
}

static int read_cursor(json_t *object, struct pipeline_cursor *c)
{
    json_t *epoch = json_object_get(object, "epoch"), *lanes = json_object_get(object, "lanes");
    struct pipeline_cursor read = {0};

    if (!json_is_integer(epoch) || json_integer_value(epoch) < 0 || !json_is_array(lanes) ||
        json_array_size(lanes) > PIPELINE_MAX_LANES)
        return -1;
    read.epoch = (uint64_t)json_integer_value(epoch);
    read.n = (uint32_t)json_array_size(lanes);
    for (uint32_t lane = 0; lane < read.n; lane++) {
        for (size_t i = 0; i < CURSOR_NUMBERS; i++) {
            json_t *value = json_object_get(json_array_get(lanes, lane), cursor_numbers[i].name);
            void *number = (char *)&read.lanes[lane] + cursor_numbers[i].offset;
            if (!json_is_integer(value) || json_integer_value(value) < 0)
                return -1;
            *(uint64_t *)number = (uint64_t)json_integer_value(value);
        }
    }
    *c = read;
    return 0;
}

/* The data must be what the cursor belongs to. */
static int check_sources(const struct train *t, json_t *array)
{
    const size_t n = json_array_size(array);
    struct pipeline_identity *saved = calloc(n + 1, sizeof *saved);
    int status = saved ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && status == 0; i++) {
        json_int_t size;
        const char *head, *tail;
        if (json_unpack(json_array_get(array, i), "{s:I, s:s, s:s}", "size", &size, "head", &head,
                        "tail", &tail))
            status = -EBADMSG;
        else
            saved[i] = (struct pipeline_identity){(uint64_t)size, strtoull(head, NULL, 16),
                                                  strtoull(tail, NULL, 16)};
    }
    if (status == 0)
        status = pipeline_sources_check(t->sources, saved, n);
    free(saved);
    if (status == -ESTALE)
        return app_fail(APP_FAILED, "%s; the run in %s cannot go on with it: give the data it was "
                        "trained on, or another --out", pipeline_error(), t->options->out);
    if (status == -EBADMSG)
        return app_fail(APP_FAILED, "%s: the state of the checkpoint lacks its data",
                        t->options->out);
    return status < 0 ? app_fail(APP_FAILED, "%s", pipeline_error()) : APP_DONE;
}

static int resume_data(struct train *t, json_t *data)
{
    json_t *choice;
    int status = check_sources(t, json_object_get(data, "sources"));

    if (status != APP_DONE)
        return status;
    choice = describe_choice(t);
    if (choice_differs(t, choice, json_object_get(data, "choice")))
        status = APP_FAILED;
    json_decref(choice);
    if (status != APP_DONE)
        return status;
    if (read_cursor(json_object_get(data, "cursor"), &t->cursor) < 0)
        return app_fail(APP_FAILED, "%s: the state of the checkpoint lacks its cursor",
                        t->options->out);
    return APP_DONE;
}

static int resume_state(struct train *t, const char *text)
{
    const struct train_options *o = t->options;
    json_t *state = json_loads(text, 0, NULL), *data = NULL;
    json_int_t step, bytes, steps;
    const char *seed;
    int status;

    if (!state || json_unpack(state, "{s:I, s:I, s:I, s:s, s:o}", "step", &step, "bytes", &bytes,
                              "steps", &steps, "seed", &seed, "data", &data)) {
        json_decref(state);
        return app_fail(APP_FAILED, "%s: the checkpoint was not made by mb-train", o->out);
    }
    t->step = (uint64_t)step;
    t->saved = t->step;
    t->bytes = (uint64_t)bytes;
    t->steps = (uint64_t)steps;
    t->seed = strtoull(seed, NULL, 10);
    t->bits_per_byte = json_number_value(json_object_get(state, "bits_per_byte"));
    t->line_nats = json_number_value(json_object_get(state, "line_nats"));
    t->line_bytes = (uint64_t)json_integer_value(json_object_get(state, "line_bytes"));
    const char *precision = json_string_value(json_object_get(state, "precision"));
    if (precision && strcmp(precision, app_precision(&o->device)))
        app_note("%s: trained in %s up to step %" PRIu64 ", in %s from here on", o->out, precision,
                 t->step, app_precision(&o->device));
    if (o->seed_given && o->seed != t->seed)
        status = app_fail(APP_FAILED, "the run in %s has seed %" PRIu64 ", not %" PRIu64
                          "; give the same, or another --out", o->out, t->seed, o->seed);
    else
        status = resume_data(t, data);
    json_decref(state);
    return status;
}

/* ---- metrics.jsonl ---- */

/* Opens it, without the lines behind the step at which the run goes on. */
static int open_metrics(struct train *t)
{
    char path[4096], *line = NULL;
    size_t room = 0;
    long keep = 0;

    if ((size_t)snprintf(path, sizeof path, "%s/metrics.jsonl", t->options->out) >= sizeof path)
        return app_fail(APP_USAGE, "%s: the name is too long", t->options->out);
    t->metrics = fopen(path, "a+e");
    if (!t->metrics)
        return app_fail(APP_FAILED, "%s: %s", path, strerror(errno));
    rewind(t->metrics);
    while (getline(&line, &room, t->metrics) > 0) {
        json_t *object = json_loads(line, 0, NULL);
        const json_t *step = json_object_get(object, "step");
        const bool ours = step && (uint64_t)json_integer_value(step) <= t->step;
        if (ours && json_object_get(object, "val_bits_per_byte"))
            t->validated = (uint64_t)json_integer_value(step);
        json_decref(object);
        if (!ours)
            break;
        keep = ftell(t->metrics);
    }
    free(line);
    if (fflush(t->metrics) || ftruncate(fileno(t->metrics), keep))
        return app_fail(APP_FAILED, "%s: %s", path, strerror(errno));
    return APP_DONE;
}

int train_run_log(struct train *t, json_t *line)
{
    const int failed = json_dumpf(line, t->metrics, JSON_COMPACT) < 0 ||
                       fputc('\n', t->metrics) == EOF || fflush(t->metrics);

    json_decref(line);
    if (failed)
        return app_fail(APP_FAILED, "%s/metrics.jsonl: %s", t->options->out, strerror(errno));
    return APP_DONE;
}

/* ---- the run ---- */

/* Whether training will fit, before memory is taken. A processor that promises more than it has
 * ends programs later; for other devices the driver knows best, and what it says is a note. */
static int check_memory(const struct train *t, const struct megabyte_config *config)
{
    const struct tensor_device_info *info = tensor_device_info(t->device);
    struct megabyte_model *model = NULL;
    struct megabyte_trainer_plan p;
    char needs[32], has[32];
    int status = megabyte_model_create(t->device, config, true, &model);

    if (status == 0)
        status = megabyte_trainer_plan(model, &p);
    if (status < 0) {
        megabyte_model_destroy(&model);
        return app_fail(APP_FAILED, "%s", megabyte_error());
    }
    const struct nn_parameters_memory m = nn_parameters_memory(model->parameters);
    const uint64_t all = m.weights + m.gradients + m.moments + p.activations + p.staging;
    megabyte_model_destroy(&model);
    if (all <= info->memory_bytes)
        return APP_DONE;
    app_bytes((double)all, needs);
    app_bytes((double)info->memory_bytes, has);
    if (!strcmp(info->kind, "cpu"))
        return app_fail(APP_FAILED, "training this takes %s of memory and there are %s; take a "
                        "smaller batch, micro_batch or model", needs, has);
    app_note("training this takes %s of memory, and %s has %s", needs, info->name, has);
    return APP_DONE;
}

static int begin(struct train *t)
{
    const struct train_options *o = t->options;
    int status = check_memory(t, &o->config);

    if (status != APP_DONE)
        return status;
    status = megabyte_model_create(t->device, &o->config, true, &t->model);

    if (status < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    t->seed = o->seed;
    status = nn_parameters_commit(t->model->parameters);
    if (status == 0)
        status = nn_parameters_initialise(t->model->parameters, t->seed);
    return status < 0 ? app_fail(APP_FAILED, "%s", tensor_error()) : APP_DONE;
}

/* The first setting in which the command line's configuration is another one than the run's. */
static const char *other_setting(const struct megabyte_config *a, const struct megabyte_config *b)
{
    static char key[32];
    json_t *x, *y;
    const char *k;
    json_t *value;
    char *text[2] = {megabyte_config_text(a), megabyte_config_text(b)};

    key[0] = '\0';
    x = text[0] ? json_loads(text[0], 0, NULL) : NULL;
    y = text[1] ? json_loads(text[1], 0, NULL) : NULL;
    json_object_foreach(x, k, value)
        if (!key[0] && strcmp(k, "micro_batch") && strcmp(k, "recompute") &&
            !json_equal(value, json_object_get(y, k)))
            snprintf(key, sizeof key, "%s", k);
    json_decref(x);
    json_decref(y);
    free(text[0]);
    free(text[1]);
    return key[0] ? key : NULL;
}

static int resume(struct train *t, struct megabyte_checkpoint *checkpoint)
{
    const struct train_options *o = t->options;
    struct megabyte_config config;
    const char *key;

    if (megabyte_model_settings(checkpoint, &config) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    if (o->config_given && (key = other_setting(&o->config, &config)))
        return app_fail(APP_FAILED, "the run in %s has another %s; leave out --preset and --set to "
                        "go on with it, or give another --out", o->out, key);
    /* How many sequences are computed at a time, and what is kept for the gradient, is no matter of
     * the run but of the machine. */
    if (o->config_given) {
        config.micro_batch = o->config.micro_batch;
        config.recompute = o->config.recompute;
    }
    const int status = check_memory(t, &config);
    if (status != APP_DONE)
        return status;
    if (megabyte_model_load(checkpoint, t->device, true, &t->model) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    t->model->config.micro_batch = config.micro_batch;
    t->model->config.recompute = config.recompute;
    return resume_state(t, megabyte_checkpoint_state(checkpoint));
}

static int identify(struct train *t)
{
    t->identities = calloc(t->sources->n, sizeof *t->identities);
    if (!t->identities)
        return app_fail(APP_FAILED, "out of memory");
    for (size_t i = 0; i < t->sources->n; i++)
        if (pipeline_source_identify(&t->sources->list[i], &t->identities[i]) < 0)
            return app_fail(APP_FAILED, "%s", pipeline_error());
    return APP_DONE;
}

int train_run_open(struct train *t)
{
    const struct train_options *o = t->options;
    const struct megabyte_checkpoint_params params = {.log = log_notes};
    struct megabyte_checkpoint *checkpoint = NULL;
    int status = identify(t);

    if (status != APP_DONE)
        return status;
    if (megabyte_run_lock(o->out, &t->lock) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    status = megabyte_checkpoint_open(o->out, &params, &checkpoint);
    if (status == 0) {
        status = resume(t, checkpoint);
        if (status == APP_DONE)
            app_note("going on in %s after step %" PRIu64, o->out, t->step);
    } else if (status == -ENOENT || status == -EINVAL) {
        status = begin(t);
    } else {
        return app_fail(APP_FAILED, "%s", megabyte_error());
    }
    megabyte_checkpoint_close(&checkpoint);
    t->asked = UINT64_MAX;
    if (status == APP_DONE && o->save_memory &&
        megabyte_saver_create(o->out, o->save_memory, &t->saver) < 0)
        status = app_fail(APP_FAILED, "%s", megabyte_error());
    return status == APP_DONE ? open_metrics(t) : status;
}

/* ---- saving ---- */

/* What goes wrong the same way again is told as a note: --quiet has one line about it. */
static void save_ended(struct train *t, const struct megabyte_save *save, bool last)
{
    const bool before = t->save_failed != 0, again = before && t->save_failed == save->result;
    char rest[120];

    t->save_failed = save->result;
    if (save->result == 0) {
        t->saved = save->step;
        if (before)
            app_note("step %" PRIu64 " is saved, after saves that failed", save->step);
        if (t->asked == save->step)
            app_note("saved after step %" PRIu64 ", as SIGUSR1 asked", save->step);
        t->asked = UINT64_MAX;
        return;
    }
    if (t->saved)
        snprintf(rest, sizeof rest, "; the last checkpoint is of step %" PRIu64 "%s", t->saved,
                 last ? "" : ", training goes on and saves again");
    else
        snprintf(rest, sizeof rest, "; there is no checkpoint yet%s",
                 last ? "" : ", training goes on and saves again");
    if (again)
        app_note("%s%s", save->line, rest);
    else
        app_fail(APP_FAILED, "%s%s", save->line, rest);
}

void train_run_settle(struct train *t, bool wait)
{
    struct megabyte_save save;

    if (t->saver && (wait ? megabyte_saver_wait(t->saver, &save)
                          : megabyte_saver_poll(t->saver, &save)))
        save_ended(t, &save, false);
}

/* False: the copy cannot be made, and training waits for this save and those that follow. */
static bool save_beside(struct train *t, const struct megabyte_checkpoint_write *write)
{
    if (!t->saver)
        return false;
    if (megabyte_model_save_beside(t->model, t->saver, write, fileno(t->metrics)) == 0)
        return true;
    app_note("%s; training waits while checkpoints are saved", megabyte_error());
    megabyte_saver_destroy(&t->saver);
    return false;
}

void train_run_save(struct train *t, bool last)
{
    const struct train_options *o = t->options;
    char *state = state_text(t);
    const struct megabyte_checkpoint_write write = {
        .step = t->step, .state = state, .keep = (uint32_t)o->keep, .keep_every = o->keep_every,
        .log = log_notes};
    struct megabyte_save save = {.step = t->step};

    train_run_settle(t, true);
    if (state && !last && save_beside(t, &write)) {
        free(state);
        return;
    }
    if (!state) {
        save.result = megabyte_fail(ENOMEM, "out of memory; step %" PRIu64 " was not saved",
                                    t->step);
    } else {
        /* The lines up to here last as long as the checkpoint; a file that cannot be synced is no
         * reason to lose the checkpoint. */
        if (fdatasync(fileno(t->metrics)) && errno != EINVAL)
            app_note("%s/metrics.jsonl: cannot fsync: %s", o->out, strerror(errno));
        save.result = megabyte_model_save(t->model, o->out, &write);
    }
    if (save.result < 0)
        snprintf(save.line, sizeof save.line, "%s", megabyte_error());
    save_ended(t, &save, last);
    free(state);
}

void train_run_close(struct train *t)
{
    train_run_settle(t, true);
    megabyte_saver_destroy(&t->saver);
    if (t->metrics)
        fclose(t->metrics);
    free(t->identities);
    megabyte_run_unlock(&t->lock);
}
