/*
 * What programs take from a run folder or a checkpoint of mb-train.
 */
#ifndef APPS_RUN_H
#define APPS_RUN_H

#include <jansson.h>

#include "apps/common.h"
#include "megabyte/checkpoint.h"

/* Tells notes of megabyte/ to people. */
extern const struct megabyte_run_log app_run_log;

/* megabyte_checkpoint_open() with a line where another checkpoint than the newest is taken.
 * `model_only`: the optimizer's file is not needed. */
int app_checkpoint_open(const char *path, bool model_only, struct megabyte_checkpoint **checkpoint);

/* What a run was trained on, by the state of its checkpoint (apps/train_state.h). */
struct app_run_data {
    json_t *state;       /* owned; NULL: the checkpoint is not of mb-train and says nothing */
    double val_fraction; /* what it held out; 0: nothing */
};

/* Returns an exit status; *data is ended with app_run_data_finish() in any case. */
int app_run_data_read(const struct megabyte_checkpoint *checkpoint, struct app_run_data *data);
void app_run_data_finish(struct app_run_data *data);

/*
 * Gives each data option that was not given the value with which the run was trained, and tells
 * which, if any is not the usual one. JSON lines, images and audio are one choice: of a run that
 * read images nothing is taken where audio was asked for. `split`: --val-fraction too. The side is
 * the caller's business. Returns an exit status.
 */
int app_run_data_take(const struct app_run_data *data, bool split,
                      struct app_data_options *options);

/* The same for the order in which the run reads: --at-once and --shuffle. Tells nothing. */
void app_run_order_take(const struct app_run_data *data, struct app_data_options *options);

/*
 * Finds out which sources are data of the run, by their identity, and has those split in blocks as
 * the run had them. identities and own have an element for each source. Returns how many are.
 */
size_t app_run_data_own(const struct app_run_data *data, struct pipeline_sources *sources,
                        const struct pipeline_identity *identities, bool *own);

#endif
