/*
 * What programs take from a run folder or a checkpoint.
 */
#ifndef APPS_RUN_H
#define APPS_RUN_H

#include "megabyte/checkpoint.h"

/* Tells notes of megabyte/ to people. */
extern const struct megabyte_run_log app_run_log;

/* megabyte_checkpoint_open() with a line where another checkpoint than the newest is taken.
 * `model_only`: the optimizer's file is not needed. */
int app_checkpoint_open(const char *path, bool model_only, struct megabyte_checkpoint **checkpoint);

#endif
