/*
 * Which bytes mb-eval scores: what the run was trained with unless told otherwise, and of data that
 * the run trained on the side that it held out.
 */
#ifndef APPS_EVAL_DATA_H
#define APPS_EVAL_DATA_H

#include "apps/run.h"

struct eval_data {
    struct app_data_options *options; /* borrowed; become those that hold */
    bool side_given;                  /* --side; options->choice.side is which */
    bool ignore_run;                  /* --ignore-run */

    struct pipeline_sources *sources; /* owned */
    bool *own;                        /* (sources->n), owned: the run trained on it */
    size_t n_own;
};

/* From the options, the run and the DATA arguments finds out what is to be scored, and tells where
 * that is not plain. Returns an exit status; eval_data_finish() in any case. */
int eval_data_settle(struct eval_data *data, const struct megabyte_checkpoint *checkpoint,
                     size_t n, const char *const *paths);
void eval_data_finish(struct eval_data *data);

/* "val", "train" or "all": which side of a source is scored. */
const char *eval_data_side(const struct eval_data *data, size_t source);

/* Adds what was scored to the result, whose "sources" is an array with an element for each. */
void eval_data_report(const struct eval_data *data, json_t **result);

#endif
