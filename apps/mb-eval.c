/*
 * mb-eval: bits per byte of data under a trained model.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "apps/common.h"
#include "apps/device.h"
#include "apps/eval_data.h"
#include "apps/eval_tables.h"
#include "apps/room.h"
#include "apps/run.h"
#include "megabyte/error.h"
#include "megabyte/evaluator.h"
#include "megabyte/model_files.h"

static const char usage[] =
    "Usage: mb-eval [options] CHECKPOINT DATA...\n"
    "\n"
    "Scores every byte of DATA once. CHECKPOINT is a checkpoint or a run folder (its latest).\n"
    "DATA is read as the run was trained, unless data options say otherwise; of data that it was\n"
    "trained on, what it held out is scored.\n"
    "\n"
    "Inference:\n"
    "  --window basic|sliding windows end to end, or overlapping by half (basic)\n"
    "  --strided              a second pass with the patch grid half a patch later\n"
    "  --batch N              windows at a time (as in training, 16 at most)\n"
    "  --bytes N              stop after so many bytes\n"
    "  --words N              also word-level perplexity, from the number of words\n"
    "  --side all|train|val   side of the held-out split to score (val); the split is that of\n"
    "                         --val-fraction, else the run's, for data that it was trained on\n"
    "  --ignore-run           take no data options and no split from the run\n"
    "  --by-position[=NAME]   write NAME.csv and the picture NAME.svg: bits per byte by position\n"
    "                         in the window and in the patch (by-position)\n"
    "  --by-member[=FILE]     write FILE: bits per byte of each member (by-member.csv); in names\n"
    "                         \\\\ is a backslash and \\xNN a byte that is not UTF-8\n"
    "  --seed N               taken, as all programs share it; nothing here is random\n"
    "\n";

static const char more_usage[] =
    "\n"
    "Output:\n"
    "  --json                 the result as one JSON object on standard output\n"
    "  --quiet                no notes and no progress\n"
    "  --version              print the version\n"
    "  --help                 print this\n"
    "\n"
    "Exit status: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted.\n";

enum {
    KEY_WINDOW = 0x100, KEY_STRIDED, KEY_BATCH, KEY_BYTES, KEY_WORDS, KEY_SIDE, KEY_IGNORE_RUN,
    KEY_SEED,
    KEY_BY_POSITION, KEY_BY_MEMBER, KEY_JSON, KEY_QUIET, KEY_VERSION, KEY_HELP,
};

static const struct option table[] = {
    APP_DATA_OPTIONS,
    APP_DEVICE_OPTIONS,
    {"window", required_argument, NULL, KEY_WINDOW},
    {"strided", no_argument, NULL, KEY_STRIDED},
    {"batch", required_argument, NULL, KEY_BATCH},
    {"bytes", required_argument, NULL, KEY_BYTES},
    {"words", required_argument, NULL, KEY_WORDS},
    {"side", required_argument, NULL, KEY_SIDE},
    {"ignore-run", no_argument, NULL, KEY_IGNORE_RUN},
    {"seed", required_argument, NULL, KEY_SEED},
    {"by-position", optional_argument, NULL, KEY_BY_POSITION},
    {"by-member", optional_argument, NULL, KEY_BY_MEMBER},
    {"json", no_argument, NULL, KEY_JSON},
    {"quiet", no_argument, NULL, KEY_QUIET},
    {"version", no_argument, NULL, KEY_VERSION},
    {"help", no_argument, NULL, KEY_HELP},
    {0},
};

struct command {
    struct app_data_options data;
    struct app_device_options device_options;
    struct eval_data scored;
    bool sliding, strided, json;
    uint64_t batch, bytes;
    double words;
    const char *by_position, *by_member; /* where to; NULL: not wanted */

    struct tensor_device *device;
    struct megabyte_checkpoint *checkpoint;
    struct megabyte_model *model;
    struct megabyte_evaluator *evaluator;
    struct pipeline_io *io;
    struct pipeline_stream *stream;
    struct eval_tables *tables;
    double began;
    int read_status; /* what the stream said when it failed */
};

/* ---- options ---- */

static int take_choice(const char *value, const char *option, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(value, names[i]))
            return i;
    return app_fail(-1, "--%s cannot be '%s'; see mb-eval --help", option, value);
}

static int take_own(struct command *c, int key, const char *value)
{
    static const char *const windows[] = {"basic", "sliding"}, *const sides[] = {"all", "train",
                                                                                 "val"};
    int chosen;

    switch (key) {
    case KEY_WINDOW:
        chosen = take_choice(value, "window", windows, 2);
        c->sliding = chosen == 1;
        return chosen < 0 ? -1 : 1;
    case KEY_SIDE:
        chosen = take_choice(value, "side", sides, 3);
        c->data.choice.side = chosen > 0 ? (enum pipeline_side)chosen : PIPELINE_SIDE_ALL;
        c->scored.side_given = true;
        return chosen < 0 ? -1 : 1;
    case KEY_IGNORE_RUN:
        return c->scored.ignore_run = true;
    case KEY_SEED:
        if (app_take_whole("seed", value, 0, INT64_MAX, &(uint64_t){0}) < 0)
            return -1;
        app_note("--seed has no effect: mb-eval draws no random numbers");
        return 1;
    case KEY_STRIDED:
        return c->strided = true;
    case KEY_BY_POSITION:
        c->by_position = value ? value : "by-position";
        return 1;
    case KEY_BY_MEMBER:
        c->by_member = value ? value : "by-member.csv";
        return 1;
    case KEY_BATCH:
        return app_take_whole("batch", value, 1, 1 << 20, &c->batch);
    case KEY_BYTES:
        return app_take_whole("bytes", value, 1, UINT64_MAX, &c->bytes);
    case KEY_WORDS:
        return app_take_number("words", value, 1, 1e18, &c->words);
    default:
        return 0;
    }
}

static int take_option(struct command *c, int key, const char *value)
{
    int taken = app_data_option(&c->data, key, value);

    if (!taken)
        taken = app_device_option(&c->device_options, key, value);
    if (!taken)
        taken = take_own(c, key, value);
    if (taken)
        return taken;
    switch (key) {
    case KEY_JSON:
        return c->json = true;
    case KEY_QUIET:
        app_set_quiet(true);
        return 1;
    case KEY_VERSION:
        puts("mb-eval " MEGABYTE_VERSION);
        return 2;
    case KEY_HELP:
        printf("%s%s\n%s%s", usage, app_data_help, app_device_help, more_usage);
        return 2;
    default:
        return -1; /* getopt has said what is wrong */
    }
}

/* ---- work ---- */

static int read_stream(void *user, uint8_t *to, size_t size, size_t *got)
{
    struct command *c = user;

    return c->read_status = pipeline_stream_read(c->stream, to, size, got);
}

static bool show(void *user, uint64_t bytes, double nats)
{
    struct command *c = user;
    const struct pipeline_stream_stats s = pipeline_stream_stats(c->stream);
    const double seconds = app_seconds() - c->began;
    const double share = c->bytes ? (double)bytes / (double)c->bytes
                         : s.input_total ? (double)s.input / (double)s.input_total : 0;
    char done[32], speed[32];

    app_progress("%s scored, %.0f%% | %.4f bits per byte | %s/s", app_bytes((double)bytes, done),
                 100 * share, megabyte_bits_per_byte(nats, (double)bytes),
                 app_bytes((double)bytes / seconds, speed));
    return !app_interrupted();
}

static void score(void *user, uint64_t at, uint32_t position, uint32_t count, const float *nats)
{
    eval_tables_scored(((struct command *)user)->tables, at, position, count, nats);
}

static int open_tables(struct command *c)
{
    const struct eval_tables_params params = {
        .seq_len = c->model->config.seq_len, .patch_size = c->model->config.patch_size,
        .positions = c->by_position, .members = c->by_member, .sources = c->scored.sources};

    if (eval_tables_create(&params, &c->tables) < 0)
        return app_fail(APP_FAILED, "out of memory for tables of %u positions", params.seq_len);
    pipeline_stream_watch(c->stream, eval_tables_entered, c->tables);
    return APP_DONE;
}

static int open_data(struct command *c)
{
    const struct pipeline_io_params params = {.mode = c->data.io, .direct = c->data.direct};
    int status = pipeline_io_create(&params, &c->io);

    app_cancels(c->io);
    if (status == 0)
        status = pipeline_stream_create(c->io, c->scored.sources, &c->data.choice, &c->stream);
    if (status < 0)
        return app_fail_pipeline(status);
    if (open_tables(c) != APP_DONE) /* before the first member is come to */
        return APP_FAILED;
    status = pipeline_stream_probe(c->stream);
    return status < 0 ? app_fail_pipeline(status) : APP_DONE;
}

static int plan(const struct megabyte_model *model, uint32_t batch, struct app_room *room)
{
    struct megabyte_evaluator_plan p;
    const int status = megabyte_evaluator_plan(model, batch, &p);

    if (status == 0)
        *room = (struct app_room){.device = p.device, .host = p.host + p.scratch};
    return status;
}

static int load(struct command *c, uint32_t batch)
{
    int status = megabyte_model_load(c->checkpoint, c->device, false, &c->model);

    if (status == 0) {
        app_note("model: %s, step %" PRIu64 ", %.3g M parameters", c->model->config.preset,
                 megabyte_checkpoint_step(c->checkpoint),
                 (double)nn_parameters_size(c->model->parameters) / 1e6);
        status = megabyte_evaluator_create(c->model, batch, &c->evaluator);
    }
    return status < 0 ? app_fail(APP_FAILED, "%s", megabyte_error()) : APP_DONE;
}

static int open_model(struct command *c)
{
    static const struct app_room_work work = {"scoring", "windows", plan};
    struct megabyte_config config;
    uint32_t batch = (uint32_t)c->batch;

    if (megabyte_model_settings(c->checkpoint, &config) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    if (!batch) {
        batch = config.micro_batch ? config.micro_batch : config.batch;
        batch = batch < 16 ? batch : 16;
    }
    const int status = app_room_check(&work, c->checkpoint, c->device, batch);
    return status == APP_DONE ? load(c, batch) : status;
}

static int report(const struct command *c, const struct megabyte_evaluation *e)
{
    const double bits = megabyte_bits_per_byte(e->nats, (double)e->bytes);
    const double seconds = app_seconds() - c->began;
    const double perplexity =
        c->words > 0 ? megabyte_word_perplexity(bits, (double)e->bytes, c->words) : 0;

    if (!c->json) {
        printf("%.4f bits per byte over %" PRIu64 " bytes\n", bits, e->bytes);
        if (c->words > 0)
            printf("%.4g word-level perplexity over %.0f words\n", perplexity, c->words);
        eval_tables_print_sources(c->tables);
        return APP_DONE;
    }
    json_t *object = json_pack(
        "{s:f, s:I, s:f, s:s, s:b, s:s, s:I, s:f, s:s, s:s}", "bits_per_byte", bits, "bytes",
        (json_int_t)e->bytes, "nats", e->nats, "window", c->sliding ? "sliding" : "basic",
        "strided", c->strided, "checkpoint", megabyte_checkpoint_path(c->checkpoint), "step",
        (json_int_t)megabyte_checkpoint_step(c->checkpoint), "bytes_per_second",
        (double)e->bytes / seconds, "device", tensor_device_info(c->device)->name, "precision",
        tensor_precision_name(tensor_device_info(c->device)->precision));
    if (c->words > 0) {
        app_json_set(&object, "words", json_real(c->words));
        app_json_set(&object, "word_perplexity", json_real(perplexity));
    }
    app_json_set(&object, "sources", eval_tables_sources(c->tables));
    eval_data_report(&c->scored, &object);
    return app_json(object);
}

static int write_tables(const struct command *c)
{
    int status = c->by_position ? eval_tables_write_positions(c->tables, c->by_position) : APP_DONE;

    if (status == APP_DONE && c->by_position)
        app_note("bits per byte by position: %s.csv and %s.svg", c->by_position, c->by_position);
    if (status == APP_DONE && c->by_member)
        status = eval_tables_write_members(c->tables, c->by_member);
    if (status == APP_DONE && c->by_member)
        app_note("bits per byte of each member: %s", c->by_member);
    return status;
}

static int evaluate(struct command *c)
{
    const struct megabyte_evaluation_params params = {
        .sliding = c->sliding, .strided = c->strided, .limit = c->bytes, .read = read_stream,
        .progress = show, .scored = score, .user = c};
    struct megabyte_evaluation result;
    int status;

    c->began = app_seconds();
    status = megabyte_evaluate(c->evaluator, &params, &result);
    app_progress_end();
    app_report_damage(pipeline_stream_stats(c->stream).damaged);
    if (status >= 0 && c->read_status >= 0)
        app_report_texts(&c->data, pipeline_stream_stats(c->stream).seen);
    if (status == -EINTR || app_interrupted())
        return APP_INTERRUPTED;
    if (c->read_status < 0)
        return app_fail_pipeline(c->read_status);
    if (status < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    status = write_tables(c);
    return status == APP_DONE ? report(c, &result) : status;
}

static void finish(struct command *c)
{
    app_cancels(NULL);
    megabyte_evaluator_destroy(&c->evaluator);
    megabyte_model_destroy(&c->model);
    megabyte_checkpoint_close(&c->checkpoint);
    pipeline_stream_destroy(&c->stream);
    eval_tables_destroy(&c->tables);
    eval_data_finish(&c->scored);
    pipeline_io_destroy(&c->io);
    tensor_device_close(&c->device);
    app_data_options_finish(&c->data);
}

static int run(struct command *c, int argc, char **argv)
{
    int key, taken = 1;

    argv[0] = "mb-eval"; /* for getopt's messages */
    while (taken == 1 && (key = getopt_long(argc, argv, "", table, NULL)) != -1)
        taken = take_option(c, key, optarg);
    if (taken != 1)
        return taken == 2 ? APP_DONE : APP_USAGE;
    if (argc - optind < 2)
        return app_fail(APP_USAGE, "a CHECKPOINT and DATA are needed; mb-eval --help shows how");
    if (app_checkpoint_open(argv[optind], true, &c->checkpoint) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    int status = eval_data_settle(&c->scored, c->checkpoint, (size_t)(argc - optind - 1),
                                  (const char *const *)argv + optind + 1);
    if (status == APP_DONE)
        status = app_device_open(&c->device_options, &c->device);
    if (status == APP_DONE)
        status = open_model(c); /* before the data: it may say how images are read */
    if (status == APP_DONE) {
        app_choose_scan(&c->data, c->model->config.patch_size);
        status = open_data(c);
    }
    return status == APP_DONE ? evaluate(c) : status;
}

int main(int argc, char **argv)
{
    struct command c = {.data = APP_DATA_DEFAULTS};

    c.scored.options = &c.data;
    app_calm_threads(argv);
    int status = app_start("mb-eval");
    if (status != APP_DONE)
        return status;
    status = run(&c, argc, argv);
    if (status == APP_DONE && (fflush(stdout) || ferror(stdout)))
        status = app_fail(APP_FAILED, "standard output: %s", strerror(errno));
    finish(&c);
    return status;
}
