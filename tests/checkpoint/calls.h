/* calls.h - the system calls of this program that change files, counted: the one that is next in
 * turn fails, writes half, or is the last before a SIGKILL.
 *
 * write, pwrite, fsync, fdatasync, ftruncate, close, open, openat, mkdir, mkdirat, renameat and
 * unlinkat of what is linked into the program are those of calls.c. fsync and fdatasync are not
 * done for real, which would only take time: no power is cut here.
 */
#ifndef TESTS_CHECKPOINT_CALLS_H
#define TESTS_CHECKPOINT_CALLS_H

#include <stdbool.h>

enum calls_fault {
    CALLS_FINE,
    CALLS_FAIL,      /* with `error` */
    CALLS_HALF,      /* a write of half: no failure, the rest is to follow */
    CALLS_HALF_FAIL, /* a write of half, and the next call fails */
    CALLS_KILL,      /* before it is done */
    CALLS_KILL_HALF, /* after half of a write; nothing for other calls */
};

/* From now on calls are counted, and number `at` (from 1) has the fault. `folder`: only those on
 * files in that folder, which has no links in its path, and below count; NULL: all. */
void calls_arm(enum calls_fault fault, int error, int at, const char *folder);
/* No fault from now on. Returns how many calls there were. */
int calls_disarm(void);
/* Whether the fault came to pass since calls_arm(). */
bool calls_made(void);
/* What it hit, as "fsync"; "" where it did not come. */
const char *calls_hit(void);

/* Watches the order of things from now on, or no more: nothing takes its name, and no old
 * checkpoint loses its, before what it names is durable. (A kill shows that nothing half-done is
 * ever taken for a checkpoint; what a power cut needs is that order.) A failed check ends the
 * test. */
void calls_watch(bool on);

#endif
