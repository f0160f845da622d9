/*
 * mb-data: look at data the way training sees it.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "apps/common.h"

struct command {
    struct app_data_options data;
    bool json;
    struct pipeline_io *io;
    struct pipeline_sources *sources;
};

static const char usage[] =
    "Usage: mb-data ls|cat|stat [options] DATA...\n"
    "\n"
    "  ls     list the members\n"
    "  cat    write the bytes that training would see, in order, not shuffled\n"
    "  stat   count members and bytes, and measure how fast they decode\n"
    "\n";

static const char more_usage[] =
    "  --side all|train|val   with --val-fraction: which side of the split (train)\n"
    "  --device, --precision, --seed VALUE\n"
    "                         taken, as all programs share these options; no effect here\n"
    "\n"
    "Output:\n"
    "  --json                 one JSON object on standard output (ls and stat)\n"
    "  --quiet                no notes and no progress line\n"
    "  --version              print the version\n"
    "  --help                 print this\n"
    "\n"
    "Exit status: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted.\n";

/* Text for JSON, which must be UTF-8: names that are not are escaped. */
static json_t *json_name(const char *name)
{
    size_t size = 4 * strlen(name) + 8;
    json_t *text = json_string(name);
    char *out = text ? NULL : malloc(size);

    if (out)
        text = json_string(pipeline_printable(name, out, size));
    free(out);
    return text;
}

static int write_all(const uint8_t *data, size_t n)
{
    while (n) {
        ssize_t done = write(STDOUT_FILENO, data, n);

        if (done < 0 && errno == EINTR && !app_interrupted())
            continue;
        if (done < 0)
            return -errno;
        data += done;
        n -= (size_t)done;
    }
    return 0;
}

static void show_progress(const struct pipeline_stream *stream, double began)
{
    struct pipeline_stream_stats s;
    double seconds = app_seconds() - began;
    char done[32], speed[32];

    if (!app_progress_wanted())
        return;
    s = pipeline_stream_stats(stream);
    app_progress("%s, %s/s, %.0f%% of the input", app_bytes((double)s.bytes, done),
                 app_bytes(seconds > 0 ? (double)s.bytes / seconds : 0, speed),
                 s.input_total ? 100.0 * (double)s.input / (double)s.input_total : 0.0);
}

/* Runs the stream to its end; each piece goes to standard output if asked. */
static int drain(struct pipeline_stream *stream, bool write_out, double began)
{
    const uint8_t *data;
    size_t n;

    do {
        int result = pipeline_stream_next(stream, &data, &n);

        if (app_interrupted())
            return app_fail_pipeline(-ECANCELED);
        if (result < 0)
            return app_fail_pipeline(result);
        result = write_out ? write_all(data, n) : 0;
        if (result == -EPIPE)
            return APP_FAILED; /* whoever read us has enough, as with cat */
        if (result < 0)
            return app_interrupted()
                       ? APP_INTERRUPTED
                       : app_fail(APP_FAILED, "standard output: %s", strerror(-result));
        show_progress(stream, began);
    } while (n);
    app_progress_end();
    return APP_DONE;
}

/* That nothing is there is no failure; but who asked for what is not there wants to know. */
static void note_none(const struct command *c, struct pipeline_stream_stats s)
{
    if (s.members || !s.left_out)
        return;
    pipeline_choice_took_none(&c->data.choice, s.left_out);
    app_note("%s", pipeline_error());
}

static int run_cat(struct command *c)
{
    struct pipeline_stream *stream;
    int result;

    if (c->json)
        return app_fail(APP_USAGE, "cat has no JSON: it writes bytes");
    result = pipeline_stream_create(c->io, c->sources, &c->data.choice, &stream);
    if (result < 0)
        return app_fail_pipeline(result);
    result = drain(stream, true, app_seconds());
    if (result == APP_DONE)
        note_none(c, pipeline_stream_stats(stream));
    app_report_damage(pipeline_stream_stats(stream).damaged);
    if (result == APP_DONE)
        app_report_texts(&c->data, pipeline_stream_stats(stream).seen);
    pipeline_stream_destroy(&stream);
    return result;
}

static void print_member(const struct pipeline_member *m)
{
    static char text[65536], target[65536];
    char mode[] = "rwxrwxrwx", size[24] = "?", when[32] = "-";
    time_t t = (time_t)m->time;
    struct tm tm;

    for (int i = 0; i < 9; i++) {
        if (!(m->mode & 0400u >> i))
            mode[i] = '-';
    }
    if (m->size >= 0)
        snprintf(size, sizeof(size), "%" PRId64, m->size);
    if (m->time >= 0 && gmtime_r(&t, &tm))
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
    printf("%c%s %12s %16s %s%s%s\n", m->type, mode, size, when,
           pipeline_printable(m->name, text, sizeof(text)), m->target ? " -> " : "",
           m->target ? pipeline_printable(m->target, target, sizeof(target)) : "");
}

static json_t *member_json(const struct pipeline_source *source, const struct pipeline_member *m)
{
    json_t *o = json_pack("{s:o, s:o, s:s#}", "source", json_name(source->path), "name",
                          json_name(m->name), "type", &m->type, 1);

    app_json_set(&o, "size", m->size < 0 ? json_null() : json_integer(m->size));
    app_json_set(&o, "time", m->time < 0 ? json_null() : json_integer(m->time));
    if (m->target)
        app_json_set(&o, "target", json_name(m->target));
    return o;
}

static int run_ls(struct command *c)
{
    json_t *list = c->json ? json_array() : NULL;
    struct pipeline_stream *stream;
    struct pipeline_member m;
    struct pipeline_stream_stats stats;
    uint64_t source;
    int result = pipeline_stream_create(c->io, c->sources, &c->data.choice, &stream);

    if (result < 0)
        return app_fail_pipeline(result);
    while ((result = pipeline_stream_list(stream, &m, &source)) > 0) {
        if (app_interrupted()) {
            result = -ECANCELED;
            break;
        }
        if (c->json)
            app_json_append(&list, member_json(&c->sources->list[source], &m));
        else
            print_member(&m);
    }
    stats = pipeline_stream_stats(stream);
    pipeline_stream_destroy(&stream);
    app_report_damage(stats.damaged);
    if (result < 0) {
        fflush(stdout);
        json_decref(list);
        return app_fail_pipeline(result);
    }
    note_none(c, stats);
    app_report_texts(&c->data, stats.seen);
    if (c->json)
        return app_json(json_pack("{s:o, s:I}", "members", list, "damaged",
                                  (json_int_t)stats.damaged));
    if (fflush(stdout) && errno != EPIPE)
        return app_fail(APP_FAILED, "standard output: %s", strerror(errno));
    return APP_DONE;
}

static json_t *stats_json(const struct pipeline_stream_stats *s, double seconds)
{
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:o, s:f, s:f}", "bytes", (json_int_t)s->bytes, "members",
        (json_int_t)s->members, "left_out", (json_int_t)s->left_out, "damaged",
        (json_int_t)s->damaged, "input_bytes", (json_int_t)s->input_total, "ratio",
        s->input_total ? json_real((double)s->bytes / (double)s->input_total) : json_null(),
        "seconds", seconds, "bytes_per_second", seconds > 0 ? (double)s->bytes / seconds : 0.0);
}

static void print_stats(const char *what, const struct pipeline_stream_stats *s, double seconds)
{
    char bytes[32], input[32], speed[32];

    printf("%s\n  %" PRIu64 " bytes (%s) in %" PRIu64 " members, from %s on disk", what, s->bytes,
           app_bytes((double)s->bytes, bytes), s->members,
           app_bytes((double)s->input_total, input));
    if (s->input_total)
        printf(" (ratio %.2f)", (double)s->bytes / (double)s->input_total);
    if (s->format)
        printf(", %s%s%s", s->format, strcmp(s->filter, "none") ? " under " : "",
               strcmp(s->filter, "none") ? s->filter : "");
    printf("\n  decoded in %.2f s: %s/s\n", seconds,
           app_bytes(seconds > 0 ? (double)s->bytes / seconds : 0, speed));
    if (s->left_out)
        printf("  %" PRIu64 " members not taken\n", s->left_out);
    if (s->damaged)
        printf("  %" PRIu64 " damaged and passed over\n", s->damaged);
}

/* One source, as a list of one. Adds to total, and to list if there is one. */
static int stat_source(struct command *c, const struct pipeline_source *source,
                       struct pipeline_stream_stats *total, json_t **list)
{
    struct pipeline_sources one = {(struct pipeline_source *)source, 1};
    struct pipeline_stream *stream;
    struct pipeline_stream_stats s;
    double began = app_seconds(), seconds;
    char name[1024];
    int result = pipeline_stream_create(c->io, &one, &c->data.choice, &stream);

    if (result < 0)
        return app_fail_pipeline(result);
    result = drain(stream, false, began);
    seconds = app_seconds() - began;
    s = pipeline_stream_stats(stream);
    total->bytes += s.bytes;
    total->members += s.members;
    total->left_out += s.left_out;
    total->damaged += s.damaged;
    total->input_total += s.input_total;
    pipeline_seen_add(&total->seen, &s.seen);
    if (result == APP_DONE && c->json) {
        json_t *o = stats_json(&s, seconds);

        app_json_set(&o, "path", json_name(source->path));
        app_json_set(&o, "format", s.format ? json_string(s.format) : json_null());
        app_json_set(&o, "filter", s.filter ? json_string(s.filter) : json_null());
        app_json_append(list, o);
    } else if (result == APP_DONE) {
        print_stats(pipeline_printable(source->path, name, sizeof(name)), &s, seconds);
    }
    pipeline_stream_destroy(&stream);
    return result;
}

static int run_stat(struct command *c)
{
    struct pipeline_stream_stats total = {0};
    json_t *list = c->json ? json_array() : NULL;
    double began = app_seconds(), seconds;
    int result = APP_DONE;

    for (size_t i = 0; i < c->sources->n && result == APP_DONE; i++)
        result = stat_source(c, &c->sources->list[i], &total, &list);
    seconds = app_seconds() - began;
    if (result != APP_DONE) {
        json_decref(list);
        return result;
    }
    note_none(c, total);
    app_report_texts(&c->data, total.seen);
    if (c->json) {
        json_t *o = stats_json(&total, seconds);

        app_json_set(&o, "io", json_string(pipeline_io_name(c->io)));
        app_json_set(&o, "sources", list);
        return app_json(o);
    }
    if (c->sources->n > 1)
        print_stats("all", &total, seconds);
    if (fflush(stdout))
        return app_fail(APP_FAILED, "standard output: %s", strerror(errno));
    return APP_DONE;
}

static int set_side(struct command *c, const char *text)
{
    static const char *const sides[] = {"all", "train", "val"};

    for (int i = 0; i < 3; i++) {
        if (!strcmp(text, sides[i])) {
            c->data.choice.side = (enum pipeline_side)i;
            return 0;
        }
    }
    app_fail(APP_USAGE, "--side %s: it is all, train or val", text);
    return -1;
}

/* Reads the options. -1 to go on, else an exit status. */
static int parse(struct command *c, int argc, char **argv)
{
    enum { KEY_SIDE = 0x100, KEY_JSON, KEY_QUIET, KEY_VERSION, KEY_HELP, KEY_FOREIGN };
    static const struct option options[] = {
        APP_DATA_OPTIONS,
        {"side", required_argument, NULL, KEY_SIDE},
        {"device", required_argument, NULL, KEY_FOREIGN},
        {"precision", required_argument, NULL, KEY_FOREIGN},
        {"seed", required_argument, NULL, KEY_FOREIGN},
        {"json", no_argument, NULL, KEY_JSON},
        {"quiet", no_argument, NULL, KEY_QUIET},
        {"version", no_argument, NULL, KEY_VERSION},
        {"help", no_argument, NULL, KEY_HELP},
        {0},
    };
    bool side_given = false;
    int key, index;

    argv[0] = "mb-data"; /* for getopt's messages */
    while ((key = getopt_long(argc, argv, "", options, &index)) != -1) {
        int taken = app_data_option(&c->data, key, optarg);

        if (taken < 0 || (key == KEY_SIDE && set_side(c, optarg) < 0))
            return APP_USAGE;
        if (key == KEY_JSON)
            c->json = true;
        else if (key == KEY_QUIET)
            app_set_quiet(true);
        else if (key == KEY_VERSION)
            return printf("mb-data %s\n", MEGABYTE_VERSION) < 0;
        else if (key == KEY_HELP)
            return printf("%s%s%s", usage, app_data_help, more_usage) < 0;
        else if (key == KEY_FOREIGN)
            app_note("--%s has no effect: mb-data neither computes nor shuffles",
                     options[index].name);
        else if (key == KEY_SIDE)
            side_given = true;
        else if (key == '?')
            return APP_USAGE; /* getopt has named the option */
    }
    if (c->data.choice.side != PIPELINE_SIDE_ALL && c->data.choice.val_fraction == 0)
        return app_fail(APP_USAGE, "--side needs --val-fraction");
    if (!side_given && c->data.choice.val_fraction != 0)
        c->data.choice.side = PIPELINE_SIDE_TRAIN;
    else if (c->data.choice.side == PIPELINE_SIDE_ALL)
        c->data.choice.val_fraction = 0;
    return -1;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct command *);
    } commands[] = {{"ls", run_ls}, {"cat", run_cat}, {"stat", run_stat}};
    struct command c = {.data = APP_DATA_DEFAULTS};
    int (*run)(struct command *) = NULL;
    int status, result;

    status = app_start("mb-data");
    if (status != APP_DONE)
        return status;
    status = parse(&c, argc, argv);
    argc -= optind;
    argv += optind;
    for (size_t i = 0; argc > 0 && i < 3; i++) {
        if (!strcmp(argv[0], commands[i].name))
            run = commands[i].run;
    }
    if (status < 0 && !run)
        status = app_fail(APP_USAGE, "the first word is ls, cat or stat; see mb-data --help");
    if (status < 0 && argc < 2)
        status = app_fail(APP_USAGE, "name some DATA; see mb-data --help");
    if (status < 0) {
        result =
            pipeline_sources_create((const char *const *)argv + 1, (size_t)argc - 1, &c.sources);
        if (result == 0)
            result = pipeline_io_create(
                &(struct pipeline_io_params){.mode = c.data.io, .direct = c.data.direct}, &c.io);
        app_cancels(c.io);
        status = result < 0 ? app_fail_pipeline(result) : run(&c);
    }
    app_cancels(NULL);
    pipeline_sources_destroy(&c.sources);
    pipeline_io_destroy(&c.io);
    app_data_options_finish(&c.data);
    return status;
}
