/* run.c - see run.h. */
#include "megabyte/run.h"
#include "megabyte/error.h"
#include "megabyte/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void megabyte_run_step_name(uint64_t step, char name[MEGABYTE_RUN_NAME])
{
    snprintf(name, MEGABYTE_RUN_NAME, "%08" PRIu64, step);
}

void megabyte_run_temporary_name(uint64_t step, char name[MEGABYTE_RUN_NAME * 2])
{
    snprintf(name, MEGABYTE_RUN_NAME * 2, ".tmp-%08" PRIu64 "-%ld", step, (long)getpid());
}

/* "00000500" or "00000500.new", and nothing that is written otherwise. */
static bool parse_step(const char *name, struct megabyte_run_step *step)
{
    char *end;
    if (*name < '0' || *name > '9')
        return false;
    errno = 0;
    step->step = strtoull(name, &end, 10);
    if (errno != 0)
        return false;
    step->fresh = *end != '\0';
    megabyte_run_step_name(step->step, step->name);
    if (step->fresh)
        strcat(step->name, ".new");
    return strcmp(step->name, name) == 0;
}

/* ".tmp-STEP-PID" */
static bool is_temporary(const char *name)
{
    if (strncmp(name, ".tmp-", 5) != 0)
        return false;
    size_t step = strspn(name + 5, "0123456789");
    const char *dash = name + 5 + step;
    size_t pid = *dash == '-' ? strspn(dash + 1, "0123456789") : 0;
    return step >= 8 && pid > 0 && !dash[1 + pid];
}

/* Calls `each` for every name; stops when it returns less than 0. */
static int each_name(int folder, int (*each)(void *user, const char *name), void *user)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *entries = fdopendir(fd);
    int result = entries ? 0 : -errno;
    if (!entries)
        close(fd);
    while (entries && result == 0) {
        errno = 0;
        const struct dirent *entry = readdir(entries);
        if (!entry) {
            result = -errno;
            break;
        }
        result = each(user, entry->d_name);
    }
    if (entries)
        closedir(entries);
    return result;
}

struct names {
    struct megabyte_run_step *step;
    uint32_t count;
};

static int add_step(void *user, const char *name)
{
    struct names *names = user;
    struct megabyte_run_step step;
    if (!parse_step(name, &step))
        return 0;
    void *larger = realloc(names->step, (names->count + 1) * sizeof step);
    if (!larger)
        return -ENOMEM;
    names->step = larger;
    names->step[names->count++] = step;
    return 0;
}

static int newest_first(const void *a, const void *b)
{
    const struct megabyte_run_step *x = a, *y = b;
    if (x->step != y->step)
        return x->step > y->step ? -1 : 1;
    return (int)y->fresh - (int)x->fresh;
}

int megabyte_run_list(int checkpoints, struct megabyte_run_step **list, uint32_t *count)
{
    struct names names = {0};
    int result = each_name(checkpoints, add_step, &names);
    if (result < 0) {
        free(names.step);
        return result;
    }
    if (names.count > 0)
        qsort(names.step, names.count, sizeof *names.step, newest_first);
    *list = names.step;
    *count = names.count;
    return 0;
}

/* Takes a checkpoint away in one step, then removes its files: none is ever seen in part. */
static int remove_checkpoint(int checkpoints, const char *name, uint64_t step)
{
    char hidden[MEGABYTE_RUN_NAME * 2];
    megabyte_run_temporary_name(step, hidden);
    if (renameat(checkpoints, name, checkpoints, hidden) != 0)
        return -errno;
    return megabyte_folder_remove(checkpoints, hidden);
}

/* STEP.new becomes STEP. The old one goes first, as rename() does not replace a folder that is not
 * empty; STEP.new is complete and known to readers, so there is no moment without a checkpoint. */
static int take_place(int checkpoints, const struct megabyte_run_step *fresh)
{
    char name[MEGABYTE_RUN_NAME];
    megabyte_run_step_name(fresh->step, name);
    int result = remove_checkpoint(checkpoints, name, fresh->step);
    if (result < 0 && faccessat(checkpoints, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return result;
    if (renameat(checkpoints, fresh->name, checkpoints, name) != 0)
        return -errno;
    return megabyte_folder_sync(checkpoints);
}

static int remove_temporary(void *user, const char *name)
{
    int checkpoints = *(int *)user;
    /* What cannot be removed (a folder that someone put within) is no reason to stop. */
    if (is_temporary(name))
        megabyte_folder_remove(checkpoints, name);
    return 0;
}

int megabyte_run_settle(int checkpoints)
{
    struct megabyte_run_step *list = NULL;
    uint32_t count = 0;
    int result = each_name(checkpoints, remove_temporary, &checkpoints);
    int listed = megabyte_run_list(checkpoints, &list, &count);
    if (result == 0)
        result = listed;
    for (uint32_t i = 0; i < count; i++) {
        int placed = list[i].fresh ? take_place(checkpoints, &list[i]) : 0;
        if (result == 0)
            result = placed;
    }
    free(list);
    return result;
}

static void prune_one(int checkpoints, const struct megabyte_run_step *step,
                      const struct megabyte_run_log *log)
{
    char line[256];
    int result = remove_checkpoint(checkpoints, step->name, step->step);
    if (result == 0 || !log || !log->line)
        return;
    snprintf(line, sizeof line, "cannot remove the old checkpoint %s: %s", step->name,
             strerror(-result));
    log->line(log->user, line);
}

void megabyte_run_prune(int checkpoints, uint64_t step, uint32_t keep, uint64_t keep_every,
                        const struct megabyte_run_log *log)
{
    struct megabyte_run_step *list = NULL;
    uint32_t count = 0, seen = 0;
    int result = keep == 0 ? 0 : megabyte_run_list(checkpoints, &list, &count);
    if (result < 0 && log && log->line)
        log->line(log->user, "cannot list the checkpoints; no old one is removed this time");
    for (uint32_t i = 0; i < count; i++) {
        if (list[i].step > step || seen++ < keep)
            continue;
        if (keep_every > 0 && list[i].step % keep_every == 0)
            continue;
        prune_one(checkpoints, &list[i], log);
    }
    free(list);
}

/* Opens DIR/lock and takes it; sure that the file locked is the one with that name now. */
static int take_lock(int folder, int *lock)
{
    for (;;) {
        struct stat held, named;
        int fd = openat(folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0)
            return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int reason = errno;
            *lock = fd;
            return -reason;
        }
        if (fstat(fd, &held) == 0 && fstatat(folder, "lock", &named, 0) == 0 &&
            held.st_ino == named.st_ino && held.st_dev == named.st_dev) {
            *lock = fd;
            return 0;
        }
        close(fd);
    }
}

static int busy(const char *run_folder, int lock)
{
    char pid[32] = "";
    ssize_t n = pread(lock, pid, sizeof pid - 1, 0);
    pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
    return megabyte_fail(EBUSY,
                         "another process%s%s is training in %s; wait for it or choose another "
                         "folder",
                         *pid ? ", number " : "", *pid ? pid : "", run_folder);
}

/* Only for the message of whoever comes next: where it fails, that message has no number. */
static void write_pid(int lock)
{
    char pid[32];
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(lock, 0) != 0 || pwrite(lock, pid, (size_t)n, 0) != n)
        return;
}

int megabyte_run_lock(const char *run_folder, int *lock)
{
    int folder = -1, fd = -1;
    int result = megabyte_folder_create(run_folder, &folder);
    if (result < 0)
        return result;
    result = take_lock(folder, &fd);
    if (result == -EWOULDBLOCK)
        result = busy(run_folder, fd);
    else if (result == -ENOLCK || result == -EOPNOTSUPP || result == -ENOSYS)
        result = megabyte_fail(-result, "cannot lock %s: its file system has no locks (%s); take a "
                               "folder on another one", run_folder, strerror(-result));
    else if (result < 0)
        result = megabyte_fail(-result, "cannot lock %s: %s", run_folder, strerror(-result));
    if (result < 0) {
        if (fd >= 0)
            close(fd);
        close(folder);
        return result;
    }
    write_pid(fd);
    int checkpoints = openat(folder, "checkpoints", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (checkpoints >= 0) {
        megabyte_run_settle(checkpoints);
        close(checkpoints);
    }
    close(folder);
    *lock = fd;
    return 0;
}

void megabyte_run_unlock(int *lock)
{
    if (*lock >= 0)
        close(*lock);
    *lock = -1;
}

int megabyte_run_config(const char *run_folder, char **text)
{
    int folder = open(run_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return megabyte_fail(errno, "cannot open folder %s: %s", run_folder, strerror(errno));
    int result = megabyte_file_read(folder, "config.json", 16u << 20, text, NULL);
    close(folder);
    if (result < 0)
        return megabyte_fail(-result, "%s: %s", run_folder, megabyte_error());
    return 0;
}
