/*
 * mb-train: trains a model from archives as they are.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/train.h"
#include "megabyte/error.h"

static const char usage[] =
    "Usage: mb-train [options] DATA...\n"
    "\n"
    "Trains a MEGABYTE model on the bytes of DATA and keeps the run in a folder. Run again with\n"
    "the same --out, it goes on where it stopped.\n"
    "\n"
    "Run:\n"
    "  --out DIR              the run's folder (mb-run)\n"
    "  --preset NAME          where settings start from (tiny)\n"
    "  --set KEY=VALUE        changes a setting; repeatable\n"
    "  --list-settings        list presets and settings and end\n"
    "  --seed N               of first weights, order and dropout (1)\n"
    "  --steps N | --bytes N | --minutes X\n"
    "                         how long to train in all (2000 steps); with --minutes the number of\n"
    "                         steps is fixed once the pace is known\n"
    "  --save-every N         steps between checkpoints (500; 0: off)\n"
    "  --save-minutes X       save as well if the last checkpoint is X minutes old (10; 0: off);\n"
    "                         the last step is always saved\n"
    "  --keep N               newest checkpoints that stay (3); 0: all\n"
    "  --save-memory SIZE     a checkpoint is copied and written while training continues; this\n"
    "                         limits the copy (the memory available; 0: training waits)\n"
    "  --keep-every N         never delete checkpoints of every Nth step (0: delete them, too)\n"
    "  --val DATA             held-out data, instead of --val-fraction; repeatable\n"
    "  --val-every N          steps between validations (the value of --save-every)\n"
    "  --val-bytes N          score at most so many held-out bytes (256K)\n"
    "  --stop-after-nonfinite N\n"
    "                         end with status 1 at the Nth step whose loss or gradient is not\n"
    "                         finite (1); no such step is applied\n"
    "  --skip-outliers Z      leave out steps whose loss is Z standard deviations above the mean\n"
    "                         of the last 128 (0: none)\n"
    "  --device-retries N     if the device fails, reopen it and continue from the last\n"
    "                         checkpoint, at most N times (3)\n"
    "  --replay FILE          do the step of a replay-STEP.json in the run folder again, and name\n"
    "                         the first operation whose result is not finite\n"
    "  --log-every N          steps between lines of metrics.jsonl (10)\n"
    "  --tune                 a new run on a vulkan device: try kernels for products not tried\n"
    "                         there before, and keep the fastest for this and later runs\n"
    "  --dry-run              print the plan of memory and operations and end\n"
    "\n";

static const char more_usage[] =
    "\n"
    "Output:\n"
    "  --json                 the result as one JSON object on standard output\n"
    "  --quiet                no notes and no progress\n"
    "  --version              print the version\n"
    "  --help                 print this\n"
    "\n"
    "Ctrl-C (SIGINT, SIGTERM) saves and ends, twice ends at once; SIGUSR1 saves and goes on.\n"
    "Exit status: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted after a checkpoint.\n";

enum {
    KEY_OUT = 0x100, KEY_PRESET, KEY_SET, KEY_LIST, KEY_SEED, KEY_STEPS, KEY_BYTES, KEY_MINUTES,
    KEY_SAVE, KEY_SAVE_MINUTES, KEY_SAVE_MEMORY, KEY_KEEP, KEY_KEEP_EVERY, KEY_VAL, KEY_VAL_EVERY,
    KEY_VAL_BYTES, KEY_LOG, KEY_STOP_AFTER, KEY_OUTLIERS, KEY_RETRIES, KEY_REPLAY, KEY_TUNE,
    KEY_DRY, KEY_JSON,
    KEY_QUIET, KEY_VERSION, KEY_HELP,
};

static const struct option table[] = {
    APP_DATA_OPTIONS,
    APP_MIX_OPTIONS,
    APP_DEVICE_OPTIONS,
    {"out", required_argument, NULL, KEY_OUT},
    {"preset", required_argument, NULL, KEY_PRESET},
    {"set", required_argument, NULL, KEY_SET},
    {"list-settings", no_argument, NULL, KEY_LIST},
    {"seed", required_argument, NULL, KEY_SEED},
    {"steps", required_argument, NULL, KEY_STEPS},
    {"bytes", required_argument, NULL, KEY_BYTES},
    {"minutes", required_argument, NULL, KEY_MINUTES},
    {"save-every", required_argument, NULL, KEY_SAVE},
    {"save-minutes", required_argument, NULL, KEY_SAVE_MINUTES},
    {"save-memory", required_argument, NULL, KEY_SAVE_MEMORY},
    {"keep", required_argument, NULL, KEY_KEEP},
    {"keep-every", required_argument, NULL, KEY_KEEP_EVERY},
    {"val", required_argument, NULL, KEY_VAL},
    {"val-every", required_argument, NULL, KEY_VAL_EVERY},
    {"val-bytes", required_argument, NULL, KEY_VAL_BYTES},
    {"log-every", required_argument, NULL, KEY_LOG},
    {"stop-after-nonfinite", required_argument, NULL, KEY_STOP_AFTER},
    {"skip-outliers", required_argument, NULL, KEY_OUTLIERS},
    {"device-retries", required_argument, NULL, KEY_RETRIES},
    {"replay", required_argument, NULL, KEY_REPLAY},
    {"tune", no_argument, NULL, KEY_TUNE},
    {"dry-run", no_argument, NULL, KEY_DRY},
    {"json", no_argument, NULL, KEY_JSON},
    {"quiet", no_argument, NULL, KEY_QUIET},
    {"version", no_argument, NULL, KEY_VERSION},
    {"help", no_argument, NULL, KEY_HELP},
    {0},
};

static void list_settings(void)
{
    const char *name, *about;

    puts("Presets (--preset):");
    for (unsigned i = 0; megabyte_config_preset_at(i, &name, &about); i++)
        printf("  %-16s %s\n", name, about);
    puts("Settings (--set KEY=VALUE):");
    for (unsigned i = 0; megabyte_config_key_at(i, &name, &about); i++)
        printf("  %-16s %s\n", name, about);
}

/* ---- options ---- */

/* What is kept in JSON, where whole numbers end at 2^63 - 1, is bounded by that. */
static int take_count(const char *option, const char *value, uint64_t least, uint64_t *out)
{
    return app_take_whole(option, value, least, INT64_MAX, out);
}

static int take_val(struct train_options *o, const char *path)
{
    const char **grown = realloc(o->val, (o->n_val + 1) * sizeof *grown);

    if (!grown)
        return app_fail(-1, "out of memory");
    o->val = grown;
    o->val[o->n_val++] = path;
    return 1;
}

/* The numbers; 0 where key is none of them. */
static int take_number(struct train_options *o, int key, const char *value)
{
    switch (key) {
    case KEY_SEED:
        o->seed_given = true;
        return take_count("seed", value, 0, &o->seed);
    case KEY_STEPS:
        return take_count("steps", value, 1, &o->steps);
    case KEY_BYTES:
        return take_count("bytes", value, 1, &o->bytes);
    case KEY_MINUTES:
        return app_take_number("minutes", value, 0.01, 1e7, &o->minutes);
    case KEY_SAVE:
        return take_count("save-every", value, 0, &o->save_every);
    case KEY_SAVE_MINUTES:
        return app_take_number("save-minutes", value, 0, 1e7, &o->save_minutes);
    case KEY_SAVE_MEMORY:
        return take_count("save-memory", value, 0, &o->save_memory);
    case KEY_KEEP:
        return take_count("keep", value, 0, &o->keep);
    case KEY_KEEP_EVERY:
        return take_count("keep-every", value, 0, &o->keep_every);
    case KEY_VAL_EVERY:
        return take_count("val-every", value, 0, &o->val_every);
    case KEY_VAL_BYTES:
        return take_count("val-bytes", value, 1, &o->val_bytes);
    case KEY_STOP_AFTER:
        return take_count("stop-after-nonfinite", value, 1, &o->stop_after);
    case KEY_OUTLIERS:
        return app_take_number("skip-outliers", value, 0, 1e6, &o->skip_outliers);
    case KEY_RETRIES:
        return take_count("device-retries", value, 0, &o->device_retries);
    case KEY_LOG:
        return take_count("log-every", value, 1, &o->log_every);
    default:
        return 0;
    }
}

/* --preset and --set are applied in that order, wherever they stand: first pass, second pass. */
static int take_setting(struct train_options *o, int key, char *value, bool presets)
{
    if ((key == KEY_PRESET) != presets)
        return 1;
    o->config_given = true;
    if (key == KEY_PRESET)
        return megabyte_config_preset(value, &o->config) < 0
                   ? app_fail(-1, "%s", megabyte_error()) : 1;
    char *equals = strchr(value, '=');
    if (!equals)
        return app_fail(-1, "--set wants KEY=VALUE, not '%s'", value);
    char setting[64];
    snprintf(setting, sizeof setting, "%.*s", (int)(equals - value), value);
    return megabyte_config_set(&o->config, setting, equals + 1) < 0
               ? app_fail(-1, "%s", megabyte_error()) : 1;
}

static int take_option(struct train_options *o, int key, char *value, bool first)
{
    if (key == KEY_PRESET || key == KEY_SET)
        return take_setting(o, key, value, first);
    if (!first)
        return 1;
    int taken = app_data_option(&o->data, key, value);
    if (!taken)
        taken = app_device_option(&o->device, key, value);
    if (!taken)
        taken = take_number(o, key, value);
    if (taken)
        return taken;
    switch (key) {
    case KEY_OUT:
        o->out = value;
        return 1;
    case KEY_VAL:
        return take_val(o, value);
    case KEY_REPLAY:
        o->replay = value;
        return 1;
    case KEY_TUNE:
        return o->tune = true;
    case KEY_DRY:
        return o->dry_run = true;
    case KEY_JSON:
        return o->json = true;
    case KEY_QUIET:
        app_set_quiet(true);
        return 1;
    case KEY_LIST:
        list_settings();
        return 2;
    case KEY_VERSION:
        puts("mb-train " MEGABYTE_VERSION);
        return 2;
    case KEY_HELP:
        printf("%s%s%s\n%s%s", usage, app_data_help, app_mix_help, app_device_help,
               more_usage);
        return 2;
    default:
        return -1; /* getopt has said what is wrong */
    }
}

static int check_options(struct train_options *o, int argc, char **argv)
{
    if ((o->steps != 0) + (o->bytes != 0) + (o->minutes > 0) > 1)
        return app_fail(-1, "give one of --steps, --bytes and --minutes");
    if (o->n_val && o->data.choice.val_fraction > 0)
        return app_fail(-1, "give either --val or --val-fraction");
    if (megabyte_config_check(&o->config) < 0)
        return app_fail(-1, "%s", megabyte_error());
    o->paths = (const char *const *)argv + optind;
    o->n_paths = (size_t)(argc - optind);
    if (o->replay && o->n_paths)
        return app_fail(-1, "--replay reads no DATA; the batch is in its file");
    if (o->tune && (o->dry_run || o->replay))
        return app_fail(-1, "--tune is for training; mb-bench tune tries kernels without it");
    if (!o->n_paths && !o->dry_run && !o->replay)
        return app_fail(-1, "no DATA given; mb-train --help shows how");
    if (o->data.choice.val_fraction > 0)
        o->data.choice.side = PIPELINE_SIDE_TRAIN;
    if (o->val_every == UINT64_MAX)
        o->val_every = o->save_every;
    return 1;
}

/* 1: go on; 2: done already; -1: wrong. */
static int parse(int argc, char **argv, struct train_options *o)
{
    int taken = 1;

    *o = (struct train_options){.data = APP_DATA_DEFAULTS, .out = "mb-run", .seed = 1,
                                .save_every = 500, .save_minutes = 10,
                                .save_memory = UINT64_MAX, .keep = 3,
                                .stop_after = 1, .device_retries = 3,
                                .val_bytes = 256 << 10, .val_every = UINT64_MAX, .log_every = 10};
    /* What lies together in an archive is alike, and a model that sees it at a stretch learns it
     * and forgets the rest: docs/performance.md. */
    o->data.shuffle_bytes = 64 << 20;
    megabyte_config_preset("tiny", &o->config);
    argv[0] = "mb-train"; /* for getopt's messages */
    for (int pass = 0; pass < 2 && taken == 1; pass++) {
        int key;
        optind = 0;
        while (taken == 1 && (key = getopt_long(argc, argv, "", table, NULL)) != -1)
            taken = take_option(o, key, optarg, pass == 0);
    }
    return taken == 1 ? check_options(o, argc, argv) : taken;
}

/* ---- training ---- */

static int open_data(struct train *t)
{
    const struct train_options *o = t->options;
    const struct pipeline_io_params params = {.mode = o->data.io, .direct = o->data.direct};
    struct pipeline_choice held = o->data.choice;
    int status = pipeline_io_create(&params, &t->io);

    app_cancels(t->io);
    if (status == 0)
        status = pipeline_sources_create(o->paths, o->n_paths, &t->sources);
    if (status == 0 && train_run_sources(t) != APP_DONE)
        return APP_FAILED;
    if (status == 0)
        status = pipeline_mix_create(t->io, t->sources, &o->data.choice, o->data.at_once,
                                     &t->mix);
    if (status == 0)
        status = pipeline_mix_probe(t->mix);
    if (status == 0 && o->n_val) {
        held.val_fraction = 0;
        status = pipeline_sources_create(o->val, o->n_val, &t->val_sources);
    }
    if (status == 0 && (o->n_val || held.val_fraction > 0)) {
        held.side = o->n_val ? PIPELINE_SIDE_ALL : PIPELINE_SIDE_VAL;
        status = pipeline_stream_create(t->io, o->n_val ? t->val_sources : t->sources, &held,
                                        &t->val_stream);
    }
    if (status == 0 && t->val_stream)
        status = pipeline_stream_probe(t->val_stream);
    if (status < 0)
        return status == -EINVAL ? app_fail(APP_USAGE, "%s", pipeline_error())
                                 : app_fail_pipeline(status);
    return APP_DONE;
}

static int open_trainer(struct train *t)
{
    const struct megabyte_trainer_params params = {.seed = t->seed};
    const struct megabyte_config *c = &t->model->config;
    const uint32_t rows = c->micro_batch ? c->micro_batch : c->batch;
    const struct pipeline_loader_params loader = {.mix = t->mix, .window_bytes = c->seq_len,
                                                  .shuffle_bytes = t->options->data.shuffle_bytes,
                                                  .seed = t->seed, .start = &t->cursor};

    if (megabyte_trainer_create(t->model, &params, &t->trainer) < 0 ||
        (t->val_stream && megabyte_evaluator_create(t->model, rows, &t->evaluator) < 0))
        return app_fail(APP_FAILED, "%s", megabyte_error());
    /* A run that began in another precision has no scale, and one that goes on in another needs
     * none. */
    if (t->loss_scale.scale > 0 &&
        tensor_device_info(t->device)->precision == TENSOR_PRECISION_FP16 &&
        megabyte_trainer_rescale(t->trainer, &t->loss_scale) < 0)
        return app_fail(APP_FAILED, "%s: %s", t->options->out, megabyte_error());
    return pipeline_loader_create(&loader, &t->loader) < 0 ? app_fail(APP_FAILED, "%s",
                                                                      pipeline_error()) : APP_DONE;
}

/* How many steps in all: what the command line says, else what the run was begun with. */
static void choose_steps(struct train *t)
{
    const struct train_options *o = t->options;
    const uint64_t before = t->steps;
    const uint64_t a_step = (uint64_t)t->model->config.batch * t->model->config.seq_len;

    if (o->steps)
        t->steps = o->steps;
    else if (o->bytes)
        t->steps = (o->bytes + a_step - 1) / a_step;
    else if (!before && o->minutes == 0)
        t->steps = TRAIN_STEPS;
    if (before && before != t->steps)
        app_note("the run was begun for %" PRIu64 " steps; the learning rate now follows %" PRIu64,
                 before, t->steps);
}

static void describe(const struct train *t)
{
    const struct megabyte_config *c = &t->model->config;
    char a_step[32], kind[64];

    switch (c->model) {
    case MEGABYTE_PERCEIVER:
        snprintf(kind, sizeof kind, "PerceiverAR, %u of %u", c->patch_size, c->seq_len);
        break;
    case MEGABYTE_LOCAL:
        snprintf(kind, sizeof kind, c->patch_size == c->seq_len ? "Transformer over %u"
                                                                : "local model alone, %u",
                 c->patch_size);
        break;
    default:
        snprintf(kind, sizeof kind, "%s, patches of %u in %u",
                 c->model == MEGABYTE_GLOBAL ? "global model alone" : "MEGABYTE", c->patch_size,
                 c->seq_len);
    }
    app_note("model: %s (%s bytes), %.3g M parameters, %.3g FLOPs a byte", c->preset, kind,
             (double)nn_parameters_size(t->model->parameters) / 1e6, megabyte_config_flops(c));
    app_note("training: batch %u (%s a step), learning rate %g, seed %" PRIu64 ", run folder %s",
             c->batch, app_bytes((double)c->batch * c->seq_len, a_step), c->lr, t->seed,
             t->options->out);
}

static int report(const struct train *t)
{
    char path[4200];

    snprintf(path, sizeof path, "%s/checkpoints/%08" PRIu64, t->options->out, t->saved);
    app_note("done after %" PRIu64 " steps; the model is in %s", t->step, path);
    if (!t->options->json)
        return APP_DONE;
    json_t *val = t->val_bits_per_byte >= 0 ? json_real(t->val_bits_per_byte) : json_null();
    json_t *held = t->held_out < UINT64_MAX ? json_integer((json_int_t)t->held_out) : json_null();
    return app_json(json_pack("{s:I, s:I, s:f, s:o, s:o, s:f, s:s, s:s, s:s}", "steps",
                              (json_int_t)t->step, "bytes", (json_int_t)t->bytes,
                              "train_bits_per_byte", t->bits_per_byte, "val_bits_per_byte", val,
                              "held_out_bytes", held, "bytes_per_second", t->bytes_per_second,
                              "checkpoint", path, "device",
                              tensor_device_info(t->device)->name, "precision",
                              tensor_precision_name(tensor_device_info(t->device)->precision)));
}

/* The same device as before, if one failed. */
static int open_device(struct train *t)
{
    char name[sizeof t->device_name];
    const int status = app_device_open(&t->options->device, &t->device);

    if (status != APP_DONE) {
        t->device_failed = *t->device_name != '\0'; /* it may come back */
        return status;
    }
    const struct tensor_device_info *info = tensor_device_info(t->device);
    snprintf(name, sizeof name, "%s: %s", info->kind, info->name);
    if (*t->device_name && strcmp(t->device_name, name))
        return app_fail(APP_FAILED, "%s is gone, and %s is another device; the same command goes "
                        "on with it", t->device_name, name);
    memcpy(t->device_name, name, sizeof name);
    return APP_DONE;
}

/* Seconds since *then, which becomes now. */
static double lap(double *then)
{
    const double now = app_seconds(), seconds = now - *then;

    *then = now;
    return seconds;
}

static int train(struct train *t)
{
    double then = t->began = app_seconds();
    int status = open_data(t);

    lap(&then);
    if (status == APP_DONE)
        status = open_device(t);
    t->device_seconds = lap(&then);
    if (status == APP_DONE)
        status = train_run_open(t);
    t->model_seconds = lap(&then);
    if (status != APP_DONE)
        return status;
    choose_steps(t);
    describe(t);
    status = train_split_tell(t);
    if (status == APP_DONE)
        status = open_trainer(t);
    t->record_seconds = lap(&then);
    if (status != APP_DONE)
        return status;
    if (t->steps && t->step >= t->steps) {
        app_note("nothing left to do: the run has its %" PRIu64 " steps; give more --steps",
                 t->steps);
        status = train_validate(t);
    } else {
        status = train_loop(t);
    }
    pipeline_loader_destroy(&t->loader); /* its worker uses the stream */
    app_report_damage(pipeline_mix_damaged(t->mix));
    if (status == APP_DONE)
        app_report_texts(&t->options->data, pipeline_mix_seen(t->mix));
    return status == APP_DONE ? report(t) : status;
}

/* Ends everything but the lock of the run folder. */
static void finish(struct train *t)
{
    app_cancels(NULL);
    if (t->io)
        pipeline_io_cancel(t->io); /* the worker may wait for a pipe */
    pipeline_loader_destroy(&t->loader);
    megabyte_evaluator_destroy(&t->evaluator);
    megabyte_trainer_destroy(&t->trainer);
    megabyte_model_destroy(&t->model);
    pipeline_stream_destroy(&t->val_stream);
    pipeline_mix_destroy(&t->mix);
    pipeline_sources_destroy(&t->val_sources);
    pipeline_sources_destroy(&t->sources);
    pipeline_io_destroy(&t->io);
    train_run_close(t);
    tensor_device_close(&t->device);
}

/* Waits a little longer each time: a driver that has reset a device needs some seconds. */
static void pause_before(uint64_t retry)
{
    const double until = app_seconds() + (retry > 1 ? 1 << (retry < 6 ? retry - 2 : 4) : 0);

    while (app_seconds() < until && !app_interrupted())
        usleep(50000);
}

/* Trains, and as often as the device fails and the options allow, again from the last
 * checkpoint, or where there is none from the beginning. */
static int train_to_the_end(struct train *t)
{
    const struct train_options *o = t->options;
    int status = train(t);

    for (uint64_t retry = 1; status == APP_FAILED && !app_interrupted(); retry++) {
        if (!t->device_failed && (!t->device || !tensor_device_failed(t->device)))
            break;
        if (retry > o->device_retries) {
            app_fail(APP_FAILED, "the device failed, and --device-retries %" PRIu64 " are used "
                     "up; the same command goes on after step %" PRIu64, o->device_retries,
                     t->saved);
            break;
        }
        struct train again = {.options = o, .lock = t->lock, .val_bits_per_byte = -1,
                              .held_out = UINT64_MAX, .steps = t->steps};
        memcpy(again.device_name, t->device_name, sizeof again.device_name);
        train_run_settle(t, true);
        app_fail(APP_FAILED, "the device is opened anew (%" PRIu64 " of %" PRIu64 "), and training "
                 "goes on after step %" PRIu64, retry, o->device_retries, t->saved);
        finish(t);
        *t = again;
        pause_before(retry);
        status = train(t);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct train_options options;
    struct train t = {.options = &options, .lock = -1, .metrics = {.fd = -1},
                      .val_bits_per_byte = -1, .held_out = UINT64_MAX};
    int status;

    app_calm_threads(argv);
    status = app_start("mb-train");
    if (status != APP_DONE)
        return status;
    train_listen();
    const int parsed = parse(argc, argv, &options);
    if (parsed != 1)
        status = parsed == 2 ? APP_DONE : APP_USAGE;
    else if (options.dry_run)
        status = train_plan_print(&t);
    else if (options.replay)
        status = train_replay(&options);
    else {
        status = train_run_find(&t, &options);
        if (status == APP_DONE && options.data.choice.val_fraction > 0)
            options.data.choice.side = PIPELINE_SIDE_TRAIN;
        if (status == APP_DONE) {
            app_choose_scan(&options.data, options.config.patch_size);
            status = train_to_the_end(&t);
        }
    }
    if (status == APP_DONE && (fflush(stdout) || ferror(stdout)))
        status = app_fail(APP_FAILED, "standard output: %s", strerror(errno));
    finish(&t);
    megabyte_run_unlock(&t.lock);
    app_data_options_finish(&options.data);
    free(options.val);
    return status;
}
