/* saver.h - saves checkpoints beside the training that they are of.
 *
 *     megabyte_saver_start    copies the tensors into host memory, and a thread begins to write the
 *                             copy: digests, files, fsync, rename, `latest`, pruning
 *     megabyte_saver_poll     whether that has ended, and how
 *     megabyte_saver_wait     the same, and waits for it
 *
 * The checkpoint holds the bits that the tensors had when megabyte_saver_start() was called,
 * whatever is done to them afterwards; all that checkpoint.h promises holds of it. The copy stays
 * for the next save and is freed with the saver.
 *
 * One save at a time, and each is asked about: poll or wait until one of them told what came of it,
 * then start the next. Thread-safety: a saver belongs to one thread at a time; the log is called
 * from the thread that writes.
 */
#ifndef MEGABYTE_SAVER_H
#define MEGABYTE_SAVER_H

#include "megabyte/checkpoint.h"

struct megabyte_saver;

/* What came of one save. */
struct megabyte_save {
    uint64_t step;
    int result;      /* of megabyte_checkpoint_save() ... */
    char line[1024]; /* ... and its error line, "" where it is 0 */
};

/* For a run whose lock the caller holds until the saver is destroyed. `memory`: bytes that the copy
 * may take; UINT64_MAX: what the system can give without being left with too little. Errors:
 * -ENOMEM. */
int megabyte_saver_create(const char *run_folder, uint64_t memory, struct megabyte_saver **saver);

/* Waits for the save in flight, frees everything, sets NULL. NULL is fine. */
void megabyte_saver_destroy(struct megabyte_saver **saver);

/* Starts saving what megabyte_checkpoint_save() would save now; returns when the tensors are
 * copied. All of *w may change afterwards but who hears of its log. `sync` is an open file that is
 * made durable before the checkpoint, one that belongs to the run; -1: none.
 *
 * Errors, after which nothing is in flight: -ENOMEM no memory for the copy, -EAGAIN no thread: the
 * caller may save in the foreground; -EBUSY the one before was not asked about; -EIO and others of
 * the device. */
int megabyte_saver_start(struct megabyte_saver *saver, const struct megabyte_checkpoint_write *w,
                         int sync);

/* True, once for each save: it has ended and *save tells how. False: it is in flight still, or
 * there is none. */
bool megabyte_saver_poll(struct megabyte_saver *saver, struct megabyte_save *save);
/* The same, and waits for the one in flight. False: there is none. */
bool megabyte_saver_wait(struct megabyte_saver *saver, struct megabyte_save *save);

#endif
