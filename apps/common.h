/*
 * What all programs share: how they start, complain, note, show progress, stop, and read options
 * about data. Not a library: every program is linked with common.c.
 *
 * Conventions: a program's main calls app_start first and returns one of enum app_status. What a
 * user asked for goes to standard output, everything else to standard error.
 */
#ifndef APPS_COMMON_H
#define APPS_COMMON_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "pipeline/loader.h"

/* Exit statuses. */
enum app_status {
    APP_DONE = 0,
    APP_FAILED = 1,        /* the work failed; the line says what and what to do */
    APP_USAGE = 2,         /* wrong usage */
    APP_INTERRUPTED = 130, /* stopped by a signal, after saving what had to be saved */
};

/*
 * First call of main, before there are other threads: names the program for messages ("mb-data"),
 * sets the character locale, sends the pipeline's notes to standard error, and starts a thread that
 * waits for SIGINT and SIGTERM, which this thread and all that it starts have blocked from now on.
 * The first makes app_interrupted() true, a second ends the program at once, with APP_INTERRUPTED.
 * Returns an exit status: not APP_DONE where the thread cannot be started, which it has said.
 */
int app_start(const char *name);

/* --quiet: no notes and no progress. Failures are still told. */
void app_set_quiet(bool quiet);

/* Prints "NAME: ..." on standard error (after ending a progress line) and returns status, so that
 * one can write `return app_fail(APP_USAGE, "...")`. */
int app_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* app_fail with pipeline_error(): APP_USAGE for -EINVAL, APP_INTERRUPTED for -ECANCELED, else
 * APP_FAILED. An interruption is not worth a line. */
int app_fail_pipeline(int result);

/* Prints "NAME: ..." on standard error unless --quiet. Any thread. */
void app_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether SIGINT or SIGTERM came. */
bool app_interrupted(void);

/* Waiting reads of this engine end when a signal comes; NULL takes that back, and must be called
 * before the engine is destroyed. */
void app_cancels(struct pipeline_io *io);

/*
 * A line on standard error that replaces the one before, if standard error is a terminal and not
 * --quiet; at most five a second, others are dropped. app_fail and app_note move it out of the way.
 */
void app_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool app_progress_wanted(void);

/* Removes the progress line. */
void app_progress_end(void);

/* A size in words, "1.5 GiB"; returns out. */
const char *app_bytes(double bytes, char out[32]);

/* Seconds on a clock that only goes forward. */
double app_seconds(void);

/*
 * Numbers in options. 0, or -1 without touching *out if text is not wholly a number in range.
 * app_size: bytes or counts, with K, M, G or T (powers of 1024) behind, as in 64K or 1.5G.
 */
int app_size(const char *text, uint64_t *out);
int app_number(const char *text, double low, double high, double *out);

/*
 * The value of --OPTION, a whole number as app_size() takes it, or any number, in a range. 1, or -1
 * after a line that tells the range. high: UINT64_MAX and HUGE_VAL are no bound.
 */
int app_take_whole(const char *option, const char *value, uint64_t low, uint64_t high,
                   uint64_t *out);
int app_take_number(const char *option, const char *value, double low, double high, double *out);

/* Prints one JSON object on standard output, for --json; steals it. NULL (no memory to make it) is
 * a failure. Returns an exit status. */
int app_json(json_t *object);

/* Puts a value, which they steal, into an object or array; where there is no memory, or was none
 * for the value, that becomes NULL, and with it all that it is put into. */
void app_json_set(json_t **object, const char *key, json_t *value);
void app_json_append(json_t **array, json_t *value);

/* Options about data that programs have in common. */
struct app_data_options {
    struct pipeline_choice choice; /* its lists belong to these options */
    enum pipeline_io_mode io;
    bool direct;            /* for pipeline_io_create */
    uint32_t at_once;       /* for pipeline_mix_create */
    uint32_t given;         /* bit APP_DATA_BIT(key) for each that was given */
    json_t *run;            /* apps/run.h: owns texts that come from a run; or NULL */
    uint64_t shuffle_bytes; /* for pipeline_loader_create */
};

#define APP_DATA_BIT(key) (1u << ((key) - APP_KEY_INCLUDE))

/* The values without any option. */
#define APP_DATA_DEFAULTS \
    {.choice = {.nested = 3, .max_ratio = 1000}, .at_once = PIPELINE_AT_ONCE, \
     .shuffle_bytes = PIPELINE_SHUFFLE_BYTES}

/* Rows for a table of getopt_long, with keys of their own ... */
enum {
    APP_KEY_INCLUDE = 0x1000,
    APP_KEY_EXCLUDE,
    APP_KEY_ON_CORRUPT,
    APP_KEY_VAL_FRACTION,
    APP_KEY_IO,
    APP_KEY_DIRECT,
    APP_KEY_NESTED,
    APP_KEY_MAX_RATIO,
    APP_KEY_MAX_SIZE,
    APP_KEY_JSONL_FIELD,
    APP_KEY_IMAGES,
    APP_KEY_IMAGE_PATCH,
    APP_KEY_AUDIO,
    APP_KEY_AUDIO_RATE,
    APP_KEY_AT_ONCE, /* programs that read through pipeline/loader.h: APP_MIX_OPTIONS */
    APP_KEY_SHUFFLE,
};
#define APP_DATA_OPTIONS \
    {"include", required_argument, NULL, APP_KEY_INCLUDE}, \
        {"exclude", required_argument, NULL, APP_KEY_EXCLUDE}, \
        {"on-corrupt", required_argument, NULL, APP_KEY_ON_CORRUPT}, \
        {"val-fraction", required_argument, NULL, APP_KEY_VAL_FRACTION}, \
        {"io", required_argument, NULL, APP_KEY_IO}, \
        {"direct", no_argument, NULL, APP_KEY_DIRECT}, \
        {"nested", required_argument, NULL, APP_KEY_NESTED}, \
        {"max-ratio", required_argument, NULL, APP_KEY_MAX_RATIO}, \
        {"max-size", required_argument, NULL, APP_KEY_MAX_SIZE}, \
        {"jsonl-field", required_argument, NULL, APP_KEY_JSONL_FIELD}, \
        {"images", required_argument, NULL, APP_KEY_IMAGES}, \
        {"image-patch", required_argument, NULL, APP_KEY_IMAGE_PATCH}, \
        {"audio", no_argument, NULL, APP_KEY_AUDIO}, \
        {"audio-rate", required_argument, NULL, APP_KEY_AUDIO_RATE}

#define APP_MIX_OPTIONS \
    {"at-once", required_argument, NULL, APP_KEY_AT_ONCE}, \
        {"shuffle", required_argument, NULL, APP_KEY_SHUFFLE}

/* ... and the text about them for --help. */
extern const char app_data_help[], app_mix_help[];

/*
 * Takes one of these options; argument is borrowed for the life of the options. 1: taken. 0: key is
 * none of them. -1: the argument is wrong, and a line was printed.
 */
int app_data_option(struct app_data_options *options, int key, const char *argument);

/*
 * Fills in how images are read where --image-patch does not say: in patches of p by p pixels for a
 * model whose patch_size is 3 p^2, and else in raster order; and tells.
 */
void app_choose_scan(struct app_data_options *options, uint64_t patch_size);

/* Adds to a list of patterns; 1, or -1 after a line. */
int app_data_add_pattern(const char *const **list, size_t *n, const char *pattern);

/* Frees the lists. */
void app_data_options_finish(struct app_data_options *options);

/* Reports that n damaged members or parts of them were passed over, if there were any. */
void app_report_damage(uint64_t n);

/* Reports that no member had texts under --jsonl-field, if that was asked for. */
void app_report_texts(const struct app_data_options *options, struct pipeline_seen seen);

#endif
