/* run.h - the folder of one training run: who owns it, and which checkpoints it has.
 *
 *     DIR/lock                         held by the process that trains here; its text is its id
 *     DIR/config.json                  the settings of the newest checkpoint
 *     DIR/latest                       one line, "checkpoints/00000500": the newest complete one
 *     DIR/checkpoints/00000500/        complete (megabyte/checkpoint.h); steps: 8 digits or more
 *     DIR/checkpoints/00000500.new/    complete too, about to take the place of 00000500
 *     DIR/checkpoints/.tmp-00000500-1234/
 *                                      being written or removed by process 1234, or left by a
 *                                      crash; never read
 *
 * Only the owner of the lock writes; anyone may read at any time. Nothing else in these folders is
 * touched, however it is called.
 */
#ifndef MEGABYTE_RUN_H
#define MEGABYTE_RUN_H

#include <stdbool.h>
#include <stdint.h>

/* Makes the run folder with its parents where missing, takes its lock, and clears away what a crash
 * left behind. The lock ends with the process, however that ends, or with megabyte_run_unlock();
 * children of fork() hold it too until they exec or end. Errors: -EBUSY another process trains here
 * (the line says which, where it can be known), others as the system says. */
int megabyte_run_lock(const char *run_folder, int *lock);
/* Gives the lock back and sets -1. A negative one is fine. */
void megabyte_run_unlock(int *lock);

/* The text of config.json, the caller's to free(). -ENOENT: a run without one. */
int megabyte_run_config(const char *run_folder, char **text);

/* ---- the folder of checkpoints, for checkpoint.c and tests ---- */

#define MEGABYTE_RUN_NAME 32 /* bytes of a checkpoint folder's name, with the final zero */

struct megabyte_run_step {
    uint64_t step;
    bool fresh; /* STEP.new */
    char name[MEGABYTE_RUN_NAME];
};

/* Who hears of what went wrong without stopping the work; NULL: nobody. */
struct megabyte_run_log {
    void (*line)(void *user, const char *line);
    void *user;
};

void megabyte_run_step_name(uint64_t step, char name[MEGABYTE_RUN_NAME]);
void megabyte_run_temporary_name(uint64_t step, char name[MEGABYTE_RUN_NAME * 2]);

/* The checkpoints in an open folder, newest first, and STEP.new before STEP. *list is the caller's
 * to free(), and NULL where there are none. Errors: as the system says, -ENOMEM; no error line. */
int megabyte_run_list(int checkpoints, struct megabyte_run_step **list, uint32_t *count);

/* Removes what dead runs left and finishes replacements that they began. Only for the owner of the
 * lock. Returns the first failure (no error line); what could be done is done. */
int megabyte_run_settle(int checkpoints);

/* Removes checkpoints up to `step` but the newest `keep` (0: all stay) and those whose step is a
 * multiple of `keep_every` (0: none). Later ones than `step` stay: they are what an earlier process
 * could not read, and training will pass them. Failures are logged. */
void megabyte_run_prune(int checkpoints, uint64_t step, uint32_t keep, uint64_t keep_every,
                        const struct megabyte_run_log *log);

#endif
