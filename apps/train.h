/*
 * The parts of mb-train: options (mb-train.c), the run folder (train_run.c), which kernels a run
 * takes (train_choices.c), the loop (train_loop.c), what is held out (train_split.c), steps that go
 * wrong (train_fault.c) and how to look at them (train_replay.c).
 */
#ifndef APPS_TRAIN_H
#define APPS_TRAIN_H

#include <jansson.h>
#include <stdio.h>

#include "apps/common.h"
#include "apps/device.h"
#include "apps/train_state.h"
#include "megabyte/evaluator.h"
#include "megabyte/model_files.h"
#include "megabyte/trainer.h"
#include "pipeline/loader.h"

/* What the command line says. */
struct train_options {
    struct app_data_options data;
    struct app_device_options device;
    const char *out;                /* run folder */
    struct megabyte_config config; /* of preset and --set; for a run that exists, what it must be */
    bool config_given;              /* --preset or --set was there */
    uint64_t seed;
    bool seed_given;
    uint64_t steps, bytes;          /* 0: not given */
    double minutes;                 /* 0: not given */
    const char **val;               /* (n_val) DATA of --val */
    size_t n_val;
    uint64_t val_bytes, val_every;
    uint64_t save_every, keep, keep_every, log_every;
    double save_minutes;            /* 0: no checkpoints by time */
    uint64_t stop_after;            /* steps that are not finite; the last of them ends the run */
    double skip_outliers;           /* --skip-outliers: standard deviations; 0: none are skipped */
    uint64_t device_retries;        /* how often a device that failed is opened anew */
    const char *replay;             /* --replay; NULL: train */
    uint64_t save_memory;           /* of a copy to save from; UINT64_MAX: what there is */
    bool tune;                      /* try kernels for products that have no choice yet */
    bool dry_run, json;
    const char *const *paths;       /* (n_paths) DATA */
    size_t n_paths;
};

/* metrics.jsonl, and what of it is not written yet. */
struct train_metrics {
    int fd; /* -1: not open */
    char *waiting;
    size_t waiting_size;
    int told; /* errno that kept it from being written last, and was told; 0 */
};

/* A run: what is open, and where it stands. */
struct train {
    const struct train_options *options;
    struct tensor_device *device;
    struct megabyte_model *model;
    struct megabyte_trainer *trainer;
    struct megabyte_evaluator *evaluator; /* NULL without validation */

    struct pipeline_io *io;
    struct pipeline_sources *sources, *val_sources; /* val_sources: of --val, else NULL */
    struct pipeline_mix *mix;
    struct pipeline_stream *val_stream; /* NULL without validation */
    struct pipeline_loader *loader;
    struct pipeline_identity *identities;           /* (sources->n) */

    double began;                   /* when train() was, on app_seconds()' clock; then seconds: */
    double device_seconds, model_seconds, record_seconds;

    struct megabyte_checkpoint *checkpoint; /* of the run, until it goes on from it; or NULL */
    int lock;                       /* of the run folder; -1: none */
    struct train_metrics metrics;
    uint64_t seed;
    uint64_t step, bytes;           /* done */
    uint64_t steps;                 /* to do in all; 0: not known yet (--minutes) */
    struct megabyte_saver *saver;   /* NULL: saves in the foreground */
    uint64_t saved;                 /* step of the newest checkpoint */
    uint64_t asked;                 /* step whose save SIGUSR1 asked for; UINT64_MAX: none */
    bool device_failed;             /* the run ended because the device did */
    char device_name[280];          /* "cpu: ..."; "": none was opened yet */
    int save_failed;                /* what the last save failed with, a negative errno; 0 */
    struct pipeline_cursor cursor;  /* behind the last batch that was trained on */
    double bits_per_byte;           /* of training, over the last steps */
    double line_nats;               /* since the last line of the metrics ... */
    uint64_t line_bytes;            /* ... over so many bytes */
    uint64_t nonfinite, outliers;   /* steps that were not applied for their values */
    struct train_losses losses;     /* for --skip-outliers, else empty */
    struct megabyte_loss_scale
        loss_scale;                 /* of a run that goes on, for its trainer; scale 0: none */
    uint64_t validated;             /* step of the last validation in the metrics */
    double val_bits_per_byte;       /* -1: not measured */
    bool held_out_told;             /* how much is held out, and ... */
    uint64_t held_out;              /* ... bytes, where that is known; UINT64_MAX: it is not */
    double bytes_per_second;
};

#define TRAIN_STEPS 2000 /* where nothing says how many */

/* ---- train_plan.c ---- */

/* Bytes that a run takes, part by part. */
struct train_plan {
    uint64_t parameters; /* how many numbers; no memory */
    /* of the device: */
    uint64_t weights, gradients;
    uint64_t optimizer;   /* moments, and what the update takes */
    uint64_t activations; /* of the step's graph */
    uint64_t staging;     /* batches and results; copies between host and device */
    uint64_t evaluation;  /* of the evaluator, if there is held-out data */
    /* of the host, at most: */
    uint64_t products;    /* scratch memory of the cpu device */
    uint64_t scoring;     /* of megabyte_evaluate() */
    uint64_t saving;      /* the copy that is saved while training goes on */
    uint64_t data;        /* the loader's blocks, and what is being read */
    uint64_t program;     /* the process itself */
    uint64_t device, host; /* sums of the two */
    uint64_t total;       /* of the device's memory; on the cpu that is both */
};

/* Plans a run with these settings on t->device, without allocating; with t->mix if that is open.
 * `resumes`: it does not begin at the first byte. Returns an exit status, as all of these. */
int train_plan(const struct train *t, const struct megabyte_config *config, bool resumes,
               struct train_plan *plan);

/* Refuses a run that the device has no room for, with a line that says what would fit. */
int train_plan_check(const struct train *t, const struct megabyte_config *config, bool resumes);

/* --dry-run: opens t->device and prints the plan. */
int train_plan_print(struct train *t);

/* ---- train_run.c ---- */

/* Where the run folder has checkpoints: takes it, opens the newest for train_run_open(), and gives
 * the data options that the command line leaves out the values that the run was begun with. Returns
 * an exit status. */
int train_run_find(struct train *t, struct train_options *options);

/* What the run held of its data: splits of t->sources as it was begun. Fills in t->identities. */
int train_run_sources(struct train *t);

/* Takes the run folder, and either begins a run or resumes it from its newest checkpoint: model,
 * seed, position. Returns an exit status. */
int train_run_open(struct train *t);

/* Saves a checkpoint of where the run stands: beside the training that goes on, or, if this is the
 * `last` of it, or there is no memory for a copy, before it returns. One that is in flight is
 * waited for first. What fails is told at once, loses no earlier checkpoint, and is no reason to
 * stop: the next save may succeed. t->saved and t->save_failed say how the run stands. */
void train_run_save(struct train *t, bool last);

/* The text of state.json as the run stands, the caller's to free. NULL: no memory. */
char *train_run_state(const struct train *t);

/* Takes notice of a save in flight that has ended, or with `wait` waits for it. */
void train_run_settle(struct train *t, bool wait);

/* Ends all that train_run_open() began, but for the lock of the run folder. */
void train_run_close(struct train *t);

/* ---- train_choices.c ---- */

/* Settles which kernels compute the run's products (tensor/autotune.h), before its trainer is made.
 * Those of `made_on`, of its checkpoint, if that is of this device and driver. Else, as for a new
 * run (NULL), those of the device's cache, with --tune after measuring. Keeps only what the model's
 * step needs. Returns an exit status. */
int train_choices_settle(const struct train *t, const json_t *made_on);
/* Takes what `made_on` says. */
int train_choices_again(struct tensor_device *device, const json_t *made_on);

/* Device and driver as in `made_on`, and the choices in use; NULL: no memory. */
json_t *train_choices_machine(const struct tensor_device *device);
json_t *train_choices_json(const struct tensor_device *device);

/* ---- train_metrics.c ---- */

/* Opens metrics.jsonl, and takes away the lines behind the step at which the run goes on. Returns
 * an exit status. */
int train_metrics_open(struct train *t);

/* Appends a line to it; steals the object. A line that cannot be written is told of and waits.
 * Returns an exit status: it fails only where there is no memory for it. */
int train_run_log(struct train *t, json_t *line);

/* Writes the lines that wait. 0, or a negative errno: some still do. */
int train_metrics_flush(struct train *t);

void train_metrics_close(struct train *t);

/* ---- train_loop.c ---- */

/* From now on SIGUSR1 waits for the training loop, which saves a checkpoint behind the step at
 * hand, and a reader of the notes that has gone away is no reason to end. To be called before
 * threads are started that are not to get SIGUSR1, which is all but app_start()'s. */
void train_listen(void);

/* Trains from where the run stands to its end. Returns an exit status. */
int train_loop(struct train *t);

/* Scores the held-out bytes, if there are any, and logs that unless the metrics have it for this
 * step. Returns an exit status. */
int train_validate(struct train *t);

/* ---- train_split.c ---- */

/* Says how many bytes are held out, where that is known before they are read, and warns where they
 * are less than a window. Returns an exit status. */
int train_split_tell(struct train *t);

/* Says it, unless it was said, after a validation of so many bytes; `all`: there are no more. */
void train_split_scored(struct train *t, uint64_t bytes, bool all);

/* ---- train_fault.c ---- */

/* A step that was done. */
struct train_step {
    uint64_t number;
    double rate, limit; /* limit: train_outlier_limit() before it */
    struct megabyte_trainer_result result;
};

/* With --skip-outliers Z: the mean of the last TRAIN_LOSSES losses and Z of their standard
 * deviations; infinity until there are so many. It depends on earlier steps alone, so the device
 * decides about a step when it is done, and a resumed run decides alike. Nats a byte. */
double train_outlier_limit(const struct train *t);
/* Takes a finite loss, that of a skipped step too: what stays high is no outlier for long. */
void train_outlier_note(struct train *t, double nats);

/* What is to be done about a step that was not applied, while t stands before it: says so, and
 * where its batch lies; for values that are not finite saves the weights and writes a replay file.
 * APP_DONE: training goes on behind it. */
int train_not_applied(struct train *t, const struct train_step *step);

/* ---- train_replay.c ---- */

#define TRAIN_REPLAY_FORMAT  "megabyte-replay"
#define TRAIN_REPLAY_VERSION 1

/* Does the step of a replay file again. Returns an exit status: APP_DONE where it is not finite
 * again. */
int train_replay(const struct train_options *options);

#endif
