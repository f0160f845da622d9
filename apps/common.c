#include "apps/common.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    const char *name;
    _Atomic bool quiet;
    bool terminal;
    bool shown;  /* a progress line stands */
    double when; /* the last one */
    pthread_mutex_t lock;
} app = {.name = "mb", .lock = PTHREAD_MUTEX_INITIALIZER};

static _Atomic bool interrupted;

static struct {
    sigset_t set; /* SIGINT, SIGTERM */
    pthread_mutex_t lock;
    struct pipeline_io *to_cancel;
} signals = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A thread of its own takes the signals, which are blocked in all others: no call of theirs is cut
 * short, and what is done about a signal may take locks. */
static void *take_signals(void *unused)
{
    static const char line[] = "\nstopping; press Ctrl-C again to stop at once\n";
    const struct timespec now = {0};
    int number;

    (void)unused;
    if (sigwait(&signals.set, &number))
        return NULL;
    /* Whoever presses Ctrl-C twice means it; if that has happened, nothing is begun any more. */
    if (sigtimedwait(&signals.set, NULL, &now) >= 0)
        _exit(APP_INTERRUPTED);
    /* Before the line, whose reader may be held up. */
    atomic_store(&interrupted, true);
    pthread_mutex_lock(&signals.lock);
    if (signals.to_cancel)
        pipeline_io_cancel(signals.to_cancel);
    pthread_mutex_unlock(&signals.lock);
    if (!app.quiet && write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
        errno = 0; /* nobody listens; nothing to do about it */
    if (sigwait(&signals.set, &number) == 0)
        _exit(APP_INTERRUPTED);
    return NULL;
}

static int listen_to_signals(void)
{
    const struct sigaction usual = {.sa_handler = SIG_DFL}; /* also where they were ignored */
    pthread_attr_t detached;
    pthread_t thread;
    sigset_t all, others;

    sigaction(SIGINT, &usual, NULL);
    sigaction(SIGTERM, &usual, NULL);
    sigemptyset(&signals.set);
    sigaddset(&signals.set, SIGINT);
    sigaddset(&signals.set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals.set, NULL);
    /* Other signals are the other threads'. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &others);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    const int error = pthread_create(&thread, &detached, take_signals, NULL);
    pthread_attr_destroy(&detached);
    pthread_sigmask(SIG_SETMASK, &others, NULL);
    return error ? app_fail(APP_FAILED, "cannot start a thread: %s", strerror(error)) : APP_DONE;
}

static void on_note(void *user, const char *line)
{
    (void)user;
    app_note("%s", line);
}

/* Takes the place of standard streams that the program was started without, so that no file gets
 * their numbers and with them what is meant for people; writing there fails, as it should. */
static void fill_standard_streams(void)
{
    int fd = open("/dev/null", O_RDONLY);

    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDONLY);
    if (fd >= 0)
        close(fd);
}

int app_start(const char *name)
{
    fill_standard_streams();
    app.name = name;
    app.terminal = isatty(STDERR_FILENO);
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        setlocale(LC_CTYPE, "");
    pipeline_log_to(on_note, NULL);
    return listen_to_signals();
}

void app_set_quiet(bool quiet)
{
    app.quiet = quiet;
}

/* With the lock held. */
static void clear_progress(void)
{
    if (app.shown)
        fputs("\r\033[K", stderr);
    app.shown = false;
}

static void say(const char *format, va_list args)
{
    pthread_mutex_lock(&app.lock);
    clear_progress();
    fprintf(stderr, "%s: ", app.name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    pthread_mutex_unlock(&app.lock);
}

int app_fail(int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
    return status;
}

int app_fail_pipeline(int result)
{
    if (result == -ECANCELED) {
        app_progress_end();
        return APP_INTERRUPTED;
    }
    return app_fail(result == -EINVAL ? APP_USAGE : APP_FAILED, "%s", pipeline_error());
}

void app_note(const char *format, ...)
{
    va_list args;

    if (app.quiet)
        return;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

bool app_interrupted(void)
{
    return atomic_load(&interrupted);
}

void app_cancels(struct pipeline_io *io)
{
    pthread_mutex_lock(&signals.lock);
    signals.to_cancel = io;
    pthread_mutex_unlock(&signals.lock);
}

double app_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool app_progress_wanted(void)
{
    return app.terminal && !app.quiet && app_seconds() - app.when >= 0.2;
}

void app_progress(const char *format, ...)
{
    va_list args;

    if (!app_progress_wanted())
        return;
    va_start(args, format);
    pthread_mutex_lock(&app.lock);
    fputc('\r', stderr);
    vfprintf(stderr, format, args);
    fputs("\033[K", stderr);
    app.shown = true;
    app.when = app_seconds();
    pthread_mutex_unlock(&app.lock);
    va_end(args);
}

void app_progress_end(void)
{
    pthread_mutex_lock(&app.lock);
    clear_progress();
    pthread_mutex_unlock(&app.lock);
}

const char *app_bytes(double bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;

    while (bytes >= 1024 && unit < 6) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, 32, unit && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return out;
}

int app_size(const char *text, uint64_t *out)
{
    static const char suffixes[] = "KMGT";
    const char *suffix;
    char *end;
    double value;

    if (!isdigit((unsigned char)*text))
        return -1;
    /* Whole numbers exactly, and up to the last of 64 bits. */
    errno = 0;
    if (text[strspn(text, "0123456789")] == 0) {
        uint64_t whole = strtoull(text, &end, 10);

        if (errno)
            return -1;
        *out = whole;
        return 0;
    }
    value = strtod(text, &end);
    suffix = *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    if (!suffix || end[1] || !isfinite(value))
        return -1;
    value = floor(ldexp(value, 10 * (int)(suffix - suffixes + 1)));
    if (value >= 0x1p63)
        return -1;
    *out = (uint64_t)value;
    return 0;
}

int app_number(const char *text, double low, double high, double *out)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || isspace((unsigned char)*text) || !(value >= low && value <= high))
        return -1;
    *out = value;
    return 0;
}

int app_take_whole(const char *option, const char *value, uint64_t low, uint64_t high,
                   uint64_t *out)
{
    if (app_size(value, out) == 0 && *out >= low && *out <= high)
        return 1;
    if (high == UINT64_MAX)
        return app_fail(-1, "--%s wants a whole number from %" PRIu64 " up, not '%s'", option, low,
                        value);
    return app_fail(-1, "--%s wants a whole number from %" PRIu64 " to %" PRIu64 ", not '%s'",
                    option, low, high, value);
}

int app_take_number(const char *option, const char *value, double low, double high, double *out)
{
    if (app_number(value, low, high, out) == 0)
        return 1;
    if (isinf(high))
        return app_fail(-1, "--%s wants a number from %g up, or inf, not '%s'", option, low, value);
    return app_fail(-1, "--%s wants a number from %.10g to %.10g, not '%s'", option, low, high,
                    value);
}

void app_json_set(json_t **object, const char *key, json_t *value)
{
    if (json_object_set_new(*object, key, value) == 0)
        return;
    json_decref(*object);
    *object = NULL;
}

void app_json_append(json_t **array, json_t *value)
{
    if (json_array_append_new(*array, value) == 0)
        return;
    json_decref(*array);
    *array = NULL;
}

int app_json(json_t *object)
{
    if (!object)
        return app_fail(APP_FAILED, "out of memory");
    int failed = json_dumpf(object, stdout, JSON_INDENT(2)) < 0 || putchar('\n') < 0;

    json_decref(object);
    if (fflush(stdout) || failed)
        return app_fail(APP_FAILED, "standard output: %s", strerror(errno));
    return APP_DONE;
}

const char app_data_help[] =
    "Data:\n"
    "  DATA is an archive (tar, cpio, zip, 7z, ar, iso) or any file, also under gzip, bzip2, xz,\n"
    "  lzma, lzip, zstd, lz4 or compress; a folder; or a glob.\n"
    "  --jsonl-field NAME     of JSON lines take the text under NAME, of other files all bytes\n"
    "  --images SIZE          take PNG and JPEG only, as RGB of SIZE by SIZE pixels\n"
    "  --image-patch N        order of the pixels: in squares of N by N; 1 is row by row (the N\n"
    "                         with 3 N^2 = the model's patch_size; 1 if there is none)\n"
    "  --audio                take WAV and FLAC only, as 16-bit samples of one channel\n"
    "  --audio-rate N         ... N of them a second (16000)\n"
    "  --nested N             open archives inside archives to this depth (3; 0: as they are)\n"
    "  --include GLOB         take only members whose name matches (* also matches /); repeatable\n"
    "  --exclude GLOB         take no member whose name matches; repeatable\n"
    "  --val-fraction F       hold out this share (0 to 1) of the members, by a hash of the name\n"
    "  --on-corrupt stop|skip stop at a damaged member or line, or pass it over and count it\n"
    "                         (stop)\n"
    "  --max-ratio X          refuse an archive that unpacks to more than X times its size, once\n"
    "                         that is over 8 GiB (1000)\n"
    "  --max-size SIZE        refuse an archive that unpacks to more than this (no limit)\n"
    "  --io auto|uring|threads how to read (auto)\n"
    "  --direct               read past the page cache: for data larger than memory\n";

const char app_mix_help[] =
    "  --at-once N            archives that are read at the same time (4); the order of the data\n"
    "                         depends on it\n"
    "  --shuffle SIZE         shuffle the windows of so many bytes together (mb-train\n"
    "                         64M, mb-bench 2M)\n"
    "  DATA=WEIGHT mixes: each DATA gives its share of the windows and starts over at its end.\n";

/* Lists grow by doubling at powers of two. */
int app_data_add_pattern(const char *const **list, size_t *n, const char *pattern)
{
    const char **grown = (const char **)*list;

    if ((*n & (*n - 1)) == 0)
        grown = realloc(grown, (*n ? 2 * *n : 1) * sizeof(*grown));
    if (!grown)
        return app_fail(-1, "out of memory");
    grown[(*n)++] = pattern;
    *list = grown;
    return 1;
}

static int take_whole(const char *option, const char *argument, uint32_t low, uint32_t high,
                      uint32_t *out)
{
    double number;

    if (app_number(argument, low, high, &number) < 0 || number != floor(number))
        return app_fail(-1, "--%s %s: it is a whole number from %u to %u", option, argument, low,
                        high);
    *out = (uint32_t)number;
    return 1;
}

static int take_data_option(struct app_data_options *o, int key, const char *argument)
{
    static const char *const modes[] = {"auto", "uring", "threads"};

    switch (key) {
    case APP_KEY_INCLUDE:
        return app_data_add_pattern(&o->choice.include, &o->choice.n_include, argument);
    case APP_KEY_EXCLUDE:
        return app_data_add_pattern(&o->choice.exclude, &o->choice.n_exclude, argument);
    case APP_KEY_ON_CORRUPT:
        if (strcmp(argument, "stop") && strcmp(argument, "skip"))
            return app_fail(-1, "--on-corrupt %s: it is stop or skip", argument);
        o->choice.on_corrupt =
            strcmp(argument, "skip") ? PIPELINE_CORRUPT_STOP : PIPELINE_CORRUPT_SKIP;
        return 1;
    case APP_KEY_VAL_FRACTION:
        if (app_number(argument, 0, 1, &o->choice.val_fraction) < 0)
            return app_fail(-1, "--val-fraction %s: it is a number from 0 to 1", argument);
        return 1;
    case APP_KEY_NESTED:
        return take_whole("nested", argument, 0, PIPELINE_MAX_NESTED, &o->choice.nested);
    case APP_KEY_AT_ONCE:
        return take_whole("at-once", argument, 1, PIPELINE_MAX_LANES, &o->at_once);
    case APP_KEY_SHUFFLE:
        if (app_size(argument, &o->shuffle_bytes) < 0 || o->shuffle_bytes < 1 ||
            o->shuffle_bytes > 1ull << 40)
            return app_fail(-1, "--shuffle %s: it is a number of bytes from 1 to 1T", argument);
        return 1;
    case APP_KEY_MAX_RATIO:
        if (app_number(argument, 1, HUGE_VAL, &o->choice.max_ratio) < 0)
            return app_fail(-1, "--max-ratio %s: it is a number from 1 up, or inf", argument);
        return 1;
    case APP_KEY_MAX_SIZE:
        if (app_size(argument, &o->choice.max_bytes) < 0 || !o->choice.max_bytes)
            return app_fail(-1, "--max-size %s: it is a number of bytes from 1 up, as in 20G",
                            argument);
        return 1;
    case APP_KEY_JSONL_FIELD:
        if (!*argument)
            return app_fail(-1, "--jsonl-field: it is the name of a field, as in "
                                "--jsonl-field text");
        o->choice.content.jsonl_field = argument;
        return 1;
    case APP_KEY_IMAGES:
        return take_whole("images", argument, 1, PIPELINE_MAX_IMAGE_SIZE,
                          &o->choice.content.image_size);
    case APP_KEY_IMAGE_PATCH:
        return take_whole("image-patch", argument, 1, PIPELINE_MAX_IMAGE_SIZE,
                          &o->choice.content.image_patch);
    case APP_KEY_AUDIO:
        if (!o->choice.content.audio_rate)
            o->choice.content.audio_rate = 16000;
        return 1;
    case APP_KEY_AUDIO_RATE:
        return take_whole("audio-rate", argument, 1000, 384000, &o->choice.content.audio_rate);
    case APP_KEY_DIRECT:
        o->direct = true;
        return 1;
    case APP_KEY_IO:
        for (int i = 0; i < 3; i++) {
            if (!strcmp(argument, modes[i])) {
                o->io = (enum pipeline_io_mode)i;
                return 1;
            }
        }
        return app_fail(-1, "--io %s: it is auto, uring or threads", argument);
    default:
        return 0;
    }
}

int app_data_option(struct app_data_options *o, int key, const char *argument)
{
    const int taken = take_data_option(o, key, argument);

    if (taken == 1)
        o->given |= APP_DATA_BIT(key);
    return taken;
}

void app_choose_scan(struct app_data_options *o, uint64_t patch_size)
{
    struct pipeline_content *c = &o->choice.content;

    if (!c->image_size)
        return;
    for (uint32_t p = 2; p <= c->image_size && !c->image_patch; p++) {
        if (3ull * p * p == patch_size && c->image_size % p == 0)
            c->image_patch = p;
    }
    if (!c->image_patch)
        c->image_patch = 1;
    if (c->image_patch > 1)
        app_note("images: %u by %u pixels, in patches of %u by %u", c->image_size, c->image_size,
                 c->image_patch, c->image_patch);
    else
        app_note("images: %u by %u pixels, row by row", c->image_size, c->image_size);
}

void app_data_options_finish(struct app_data_options *options)
{
    free((void *)options->choice.include);
    free((void *)options->choice.exclude);
    json_decref(options->run);
    *options = (struct app_data_options){0};
}

void app_report_damage(uint64_t n)
{
    if (n)
        app_note("%llu damaged %s passed over", (unsigned long long)n,
                 n == 1 ? "member or part of one was" : "members or parts of them were");
}

void app_report_texts(const struct app_data_options *options, struct pipeline_seen seen)
{
    pipeline_choice_note_texts(&options->choice, &seen);
}
