/* model_files.h - a model in checkpoints: which tensor is which file's (docs/model-format.md). */
#ifndef MEGABYTE_MODEL_FILES_H
#define MEGABYTE_MODEL_FILES_H

#include "megabyte/checkpoint.h"
#include "megabyte/model.h"
#include "megabyte/saver.h"

/* Saves weights, and the moments of a model made for training, as megabyte_checkpoint_save() does;
 * `write` brings step, state, keep and log, the rest is filled in. */
int megabyte_model_save(const struct megabyte_model *model, const char *run_folder,
                        const struct megabyte_checkpoint_write *write);

/* The same in the background, as megabyte_saver_start() does. */
int megabyte_model_save_beside(const struct megabyte_model *model, struct megabyte_saver *saver,
                               const struct megabyte_checkpoint_write *write, int sync);

/* Opens a checkpoint's model on a device: settings from the file, weights loaded, and for training
 * the moments too. The caller owns *model. Errors: those of checkpoint.h and model.h. */
int megabyte_model_load(struct megabyte_checkpoint *checkpoint, struct tensor_device *device,
                        bool training, struct megabyte_model **model);

/* Only the settings. */
int megabyte_model_settings(struct megabyte_checkpoint *checkpoint, struct megabyte_config *config);

#endif
