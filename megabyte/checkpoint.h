/* checkpoint.h - saves a run to its folder and opens it again (docs/checkpoints.md has the layout).
 *
 *     DIR/checkpoints/00000500/
 *         model.safetensors       weights; its metadata holds the settings, so that it stands alone
 *         optimizer.safetensors   moments and whatever else training needs; not there without any
 *         state.json              written last: format version, digests of the others, and the
 *                                 caller's state
 *
 * A checkpoint is complete or absent, at every moment and after every crash or failing write, and
 * an earlier one is removed only when a later one is complete and durable.
 *
 * Errors are negative errno values with one line in megabyte_error(). Thread-safety: calls on
 * different objects may run at the same time, and saving needs only the tensors it is given, so a
 * copy of them may be saved by another thread while training goes on; but one save at a time for a
 * run.
 */
#ifndef MEGABYTE_CHECKPOINT_H
#define MEGABYTE_CHECKPOINT_H

#include "megabyte/run.h"
#include "tensor/safetensors.h"

/* Of state.json and the tensor files; newer ones are refused. */
#define MEGABYTE_CHECKPOINT_VERSION 1

enum megabyte_checkpoint_file {
    MEGABYTE_CHECKPOINT_MODEL,
    MEGABYTE_CHECKPOINT_OPTIMIZER,
};

/* What to save. Everything stays the caller's. */
struct megabyte_checkpoint_write {
    uint64_t step;                    /* names the checkpoint; one with the same is replaced */
    const char *config;               /* all settings: the text of a JSON object (tensor/json.h) */
    const char *state;                /* the text of a JSON object; NULL: "{}". Whole numbers up to
                                         2^63 - 1; larger ones (seeds) as text */
    const struct tensor_named *model; /* model.safetensors */
    uint32_t model_count;
    const struct tensor_named *optimizer; /* optimizer.safetensors; NULL: no such file */
    uint32_t optimizer_count;
    uint32_t keep;               /* this and the newest before it that stay; 0: all */
    uint64_t keep_every;         /* steps that are a multiple of it stay; 0: none */
    struct megabyte_run_log log; /* hears of old checkpoints that cannot be removed */
};

/* Saves a checkpoint of a run whose lock the caller holds (megabyte_run_lock), brings config.json
 * and `latest` up to date, and then removes old checkpoints. With `path`, *path is the new folder,
 * the caller's to free(). Needs room for one checkpoint more than are kept.
 *
 * Errors: -EINVAL config or state is no JSON object; -ENOSPC, -EDQUOT, -EFBIG, -EROFS, -EIO and
 * others as the system says: earlier checkpoints are as they were. If only `latest` or the last
 * fsync failed, the new one may be there too, complete. A program that sets a limit on file sizes
 * ignores SIGXFSZ to see -EFBIG. */
int megabyte_checkpoint_save(const char *run_folder, const struct megabyte_checkpoint_write *w,
                             char **path);

struct megabyte_checkpoint_params {
    bool model_only;             /* neither check nor need the optimizer's file: to evaluate */
    struct megabyte_run_log log; /* hears when an older checkpoint is taken, and why:
                                    the newest is damaged, or what `latest` names is gone */
};

struct megabyte_checkpoint;

/* Opens a checkpoint folder, or the newest checkpoint of a run folder that verifies: state.json by
 * its own digest, the other files by theirs, which reads them whole. Never writes. The caller owns
 * *c. `params` may be NULL: no log, everything is checked.
 *
 * Errors: -ENOENT no such folder, or a run without a checkpoint; -ENOTDIR a file; -EINVAL neither a
 * checkpoint nor a run; -EBADMSG damaged or cut short (the line names the file); -ENOTSUP from a
 * newer version, also where older checkpoints could be read; -ENOMEM; others as the system says. */
int megabyte_checkpoint_open(const char *path, const struct megabyte_checkpoint_params *params,
                             struct megabyte_checkpoint **c);
/* Ends it and sets NULL. NULL is fine. */
void megabyte_checkpoint_close(struct megabyte_checkpoint **c);

/* The checkpoint's own folder, its step, its settings, its state; texts are owned by c. */
const char *megabyte_checkpoint_path(const struct megabyte_checkpoint *c);
uint64_t megabyte_checkpoint_step(const struct megabyte_checkpoint *c);
const char *megabyte_checkpoint_config(const struct megabyte_checkpoint *c);
const char *megabyte_checkpoint_state(const struct megabyte_checkpoint *c);

/* Its files, open, owned by c; NULL for an optimizer that is not there or was not asked for. */
struct tensor_safetensors *megabyte_checkpoint_file(const struct megabyte_checkpoint *c,
                                                    enum megabyte_checkpoint_file which);

/* Fills tensors from a file that holds exactly these: same names, types and shapes, none missing
 * and none over. Errors: -ENOENT a name or the file is missing, -EINVAL one too many, or another
 * type or shape (the line has both): nothing is changed then; -EIO, -EBADMSG while reading. */
int megabyte_checkpoint_load(struct megabyte_checkpoint *c, enum megabyte_checkpoint_file which,
                             const struct tensor_named *list, uint32_t count);

#endif
