/*
 * The run folder of mb-train: beginning, resuming, saving, metrics.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/run.h"
#include "apps/train.h"
#include "apps/train_state.h"
#include "megabyte/error.h"

/* ---- state.json ---- */

static json_t *patterns(const char *const *list, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(array, train_state_string(list[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *weights(const struct pipeline_mix *mix)
{
    json_t *array = json_array();

    for (uint32_t i = 0; mix->mixed && i < mix->n; i++)
        if (json_array_append_new(array, json_real(mix->lanes[i].weight))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* Which bytes the run trains on, and in which order: what must be the same to resume. The keys are
 * the options' names. NULL: no memory. */
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

    if (json_object_update(object, more)) {
        json_decref(object);
        object = NULL;
    }
    json_decref(more);
    return object;
}

/* Against bombs: no part of the choice, as the bytes are the same with others. Endless is null. */
static json_t *describe_limits(const struct train *t)
{
    const struct pipeline_choice *c = &t->options->data.choice;

    return json_pack("{s:o, s:I}", "max-ratio",
                     isfinite(c->max_ratio) ? json_real(c->max_ratio) : json_null(), "max-size",
                     (json_int_t)c->max_bytes);
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

/* What the bits of a step depend on, beside the state of the run: another value of one of these may
 * give other bits. Matrix products on the processor may be cut by the number of threads. */
static json_t *describe_machine(const struct train *t)
{
    const struct tensor_device_info *info = tensor_device_info(t->device);
    const struct megabyte_config *c = &t->model->config;
    json_t *object = train_choices_machine(t->device);
    json_t *more = json_pack("{s:I, s:I, s:s, s:I, s:I, s:o}", "threads",
                             (json_int_t)info->threads, "kernels", (json_int_t)info->features,
                             "build", app_build(), "micro_batch",
                             (json_int_t)(c->micro_batch ? c->micro_batch : c->batch),
                             "local_group", (json_int_t)c->local_group, "products",
                             train_choices_json(t->device));

    if (json_object_update(object, more) ||
        (info->cores && json_object_set_new(object, "cores", json_integer(info->cores)))) {
        json_decref(object);
        object = NULL;
    }
    json_decref(more);
    return object;
}

/* Where the run stands, ended with train_state_finish(); the sources are t's. */
static struct train_state state_of(const struct train *t)
{
    struct train_state s = {
        .step = t->step, .bytes = t->bytes, .steps = t->steps, .seed = t->seed,
        .bits_per_byte = t->bits_per_byte, .line_nats = t->line_nats, .line_bytes = t->line_bytes,
        .nonfinite = t->nonfinite, .outliers = t->outliers, .losses = t->losses,
        .cursor = t->cursor, .choice = describe_choice(t), .limits = describe_limits(t),
        .made_on = describe_machine(t)};

    const enum tensor_precision precision = tensor_device_info(t->device)->precision;
    snprintf(s.precision, sizeof s.precision, "%s", tensor_precision_name(precision));
    if (t->trainer && precision == TENSOR_PRECISION_FP16) {
        const struct megabyte_loss_scale scale = megabyte_trainer_scale(t->trainer);
        s.loss_scale = (uint64_t)scale.scale;
        s.loss_scale_steps = scale.steps;
    }
    return s;
}

char *train_run_state(const struct train *t)
{
    struct train_state s = state_of(t);
    char *text;

    s.sources = t->identities;
    s.n_sources = t->sources->n;
    text = train_state_text(&s, t->sources);
    s.sources = NULL;
    train_state_finish(&s);
    return text;
}

/* The data must be what the cursor belongs to. */
static int check_data(const struct train *t, const struct train_state *saved,
                      const struct train_state *now)
{
    const int status = pipeline_sources_check(t->sources, saved->sources, saved->n_sources);

    if (status == -ESTALE)
        return app_fail(APP_FAILED, "%s; the run in %s cannot go on with it: give the data it was "
                        "trained on, or another --out", pipeline_error(), t->options->out);
    if (status < 0)
        return app_fail(APP_FAILED, "%s", pipeline_error());
    return choice_differs(t, now->choice, saved->choice) ? APP_FAILED : APP_DONE;
}

static int take_state(struct train *t, const struct train_state *saved)
{
    const struct train_options *o = t->options;
    int status = train_choices_settle(t, saved->made_on);
    char changes[700];

    if (status != APP_DONE)
        return status;
    struct train_state now = state_of(t);
    if (o->seed_given && o->seed != saved->seed)
        status = app_fail(APP_FAILED, "the run in %s has seed %" PRIu64 ", not %" PRIu64
                          "; give the same, or another --out", o->out, saved->seed, o->seed);
    else
        status = check_data(t, saved, &now);
    train_state_changes(saved, &now, changes, sizeof changes);
    train_state_finish(&now);
    if (status != APP_DONE)
        return status;
    if (*changes)
        app_note("%s: %s: the bits may differ from those of a run that went on as it was", o->out,
                 changes);
    t->saved = t->step = saved->step;
    t->bytes = saved->bytes;
    if (saved->steps)
        t->steps = saved->steps;
    t->seed = saved->seed;
    t->bits_per_byte = saved->bits_per_byte;
    t->line_nats = saved->line_nats;
    t->line_bytes = saved->line_bytes;
    t->nonfinite = saved->nonfinite;
    t->outliers = saved->outliers;
    t->losses = saved->losses;
    t->cursor = saved->cursor;
    t->loss_scale =
        (struct megabyte_loss_scale){(double)saved->loss_scale, (uint32_t)saved->loss_scale_steps};
    return APP_DONE;
}

static int resume_state(struct train *t, const char *text)
{
    struct train_state saved;
    const char *wrong;
    int status = train_state_parse(text, &saved, &wrong);

    if (status == -EBADMSG)
        return app_fail(APP_FAILED, "%s: the checkpoint was not made by this mb-train: its state "
                        "lacks %s", t->options->out, wrong);
    if (status < 0)
        return app_fail(APP_FAILED, "out of memory");
    status = take_state(t, &saved);
    train_state_finish(&saved);
    return status;
}

/* ---- the run ---- */

static int begin(struct train *t)
{
    const struct train_options *o = t->options;
    int status = train_plan_check(t, &o->config, false);

    if (status != APP_DONE)
        return status;
    status = megabyte_model_create(t->device, &o->config, true, &t->model);

    if (status < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    t->seed = o->seed;
    status = train_choices_settle(t, NULL);
    if (status != APP_DONE)
        return status;
    status = nn_parameters_commit(t->model->parameters);
    if (status == 0)
        status = nn_parameters_initialise(t->model->parameters, t->seed);
    return status < 0 ? app_fail(APP_FAILED, "%s", tensor_error()) : APP_DONE;
}

/* The first setting in which the command line's configuration is another one than the run's, but
 * for those that are a matter of the machine. */
static const char *other_setting(const struct megabyte_config *given,
                                 const struct megabyte_config *run)
{
    static char key[32];
    struct megabyte_config adapted = *given;
    json_t *x, *y;
    const char *k;
    json_t *value;
    char *text[2];

    megabyte_config_adapt(&adapted, run);
    text[0] = megabyte_config_text(&adapted);
    text[1] = megabyte_config_text(run);
    key[0] = '\0';
    x = text[0] ? json_loads(text[0], 0, NULL) : NULL;
    y = text[1] ? json_loads(text[1], 0, NULL) : NULL;
    json_object_foreach(x, k, value)
        if (!key[0] && !json_equal(value, json_object_get(y, k)))
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
    if (o->config_given)
        megabyte_config_adapt(&config, &o->config);
    const int status = train_plan_check(t, &config, true);
    if (status != APP_DONE)
        return status;
    if (megabyte_model_load(checkpoint, t->device, true, &t->model) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    megabyte_model_adapt(t->model, &config);
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

/* Takes the folder, if it is not held, and opens its newest checkpoint, if that is not open.
 * *status is megabyte_checkpoint_open()'s. */
static int take_folder(struct train *t, int *status)
{
    const char *out = t->options->out;

    if (t->lock < 0 && megabyte_run_lock(out, &t->lock) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    *status = t->checkpoint ? 0 : app_checkpoint_open(out, false, &t->checkpoint);
    if (*status < 0 && *status != -ENOENT && *status != -EINVAL)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    return APP_DONE;
}

int train_run_find(struct train *t, struct train_options *options)
{
    struct app_run_data data;
    char *folder = NULL;
    int opened;

    if (asprintf(&folder, "%s/checkpoints", options->out) < 0)
        return app_fail(APP_FAILED, "out of memory");
    const bool there = access(folder, F_OK) == 0;
    free(folder);
    if (!there)
        return APP_DONE; /* a run that begins makes no folder before its data is known to be good */
    int status = take_folder(t, &opened);
    if (status != APP_DONE || opened < 0)
        return status;
    status = app_run_data_read(t->checkpoint, &data);
    if (status == APP_DONE)
        status = app_run_data_take(&data, !options->n_val, &options->data);
    app_run_order_take(&data, &options->data);
    app_run_data_finish(&data);
    return status;
}

int train_run_sources(struct train *t)
{
    struct app_run_data data = {0};
    bool *own = calloc(t->sources->n, sizeof *own);
    int opened, status = own ? identify(t) : app_fail(APP_FAILED, "out of memory");

    if (status == APP_DONE && t->lock >= 0) /* the device was opened anew */
        status = take_folder(t, &opened);
    if (status == APP_DONE && t->checkpoint)
        status = app_run_data_read(t->checkpoint, &data);
    if (status == APP_DONE && t->checkpoint)
        app_run_data_own(&data, t->sources, t->identities, own);
    app_run_data_finish(&data);
    free(own);
    return status;
}

int train_run_open(struct train *t)
{
    const struct train_options *o = t->options;
    int opened = 0, status = take_folder(t, &opened);

    if (status != APP_DONE)
        return status;
    if (opened == 0) {
        status = resume(t, t->checkpoint);
        if (status == APP_DONE)
            app_note("going on in %s after step %" PRIu64, o->out, t->step);
    } else {
        status = begin(t);
    }
    megabyte_checkpoint_close(&t->checkpoint);
    t->asked = UINT64_MAX;
    if (status == APP_DONE && o->save_memory &&
        megabyte_saver_create(o->out, o->save_memory, &t->saver) < 0)
        status = app_fail(APP_FAILED, "%s", megabyte_error());
    return status == APP_DONE ? train_metrics_open(t) : status;
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
    if (megabyte_model_save_beside(t->model, t->saver, write, t->metrics.fd) == 0)
        return true;
    app_note("%s; training waits while checkpoints are saved", megabyte_error());
    megabyte_saver_destroy(&t->saver);
    return false;
}

void train_run_save(struct train *t, bool last)
{
    const struct train_options *o = t->options;
    char *state = train_run_state(t);
    const struct megabyte_checkpoint_write write = {
        .step = t->step, .state = state, .keep = (uint32_t)o->keep, .keep_every = o->keep_every,
        .log = app_run_log};
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
        if (fdatasync(t->metrics.fd) && errno != EINVAL)
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
    train_metrics_close(t);
    megabyte_checkpoint_close(&t->checkpoint);
    free(t->identities);
    t->identities = NULL;
}
