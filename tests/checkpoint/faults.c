/* faults.c - every step of saving fails or is the last one before a SIGKILL, in turn.
 *
 * write, fsync, renameat, mkdirat and openat of this program are the ones below: they count, and
 * the one that is next in turn fails, writes half, or kills. They also watch the order of things:
 * no rename of what is not yet durable. (A kill shows that nothing half-done is ever taken for a
 * checkpoint; what a power cut needs is that order.)
 */
#include "fixture.h"
#include "megabyte/error.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum fault {
    NONE,
    FAIL,      /* with `fault_error` */
    HALF,      /* a write of half: no failure, the rest is to follow */
    HALF_FAIL, /* a write of half, and the next one fails */
    KILL_BEFORE,
    KILL_HALF, /* after half of a write; as KILL_BEFORE for all else */
    KILL_AFTER,
    FAULTS
};

static enum fault fault;
static int fault_error, fault_at, calls, faults_made;

#define DIRTY_MAX 512

/* Files and folders that changed since their last fsync. */
static struct {
    dev_t device;
    ino_t inode;
    bool folder;
} dirty[DIRTY_MAX];
static int dirty_count;
static bool watching;

static void mark(int fd)
{
    struct stat info;
    if (!watching || fstat(fd, &info) != 0)
        return;
    for (int i = 0; i < dirty_count; i++)
        if (dirty[i].inode == info.st_ino && dirty[i].device == info.st_dev)
            return;
    REQUIRE(dirty_count < DIRTY_MAX);
    dirty[dirty_count].device = info.st_dev;
    dirty[dirty_count].folder = S_ISDIR(info.st_mode);
    dirty[dirty_count++].inode = info.st_ino;
}

static void unmark(int fd)
{
    struct stat info;
    REQUIRE(fstat(fd, &info) == 0);
    for (int i = 0; i < dirty_count; i++)
        if (dirty[i].inode == info.st_ino && dirty[i].device == info.st_dev)
            dirty[i] = dirty[--dirty_count];
}

static bool is_dirty(const struct stat *info)
{
    for (int i = 0; i < dirty_count; i++)
        if (dirty[i].inode == info->st_ino && dirty[i].device == info->st_dev)
            return true;
    return false;
}

/* A folder takes its name when all that is in it is durable, a file likewise; and an old checkpoint
 * loses its name when the new one's is durable. */
static void check_order(int folder, const char *from, const char *to)
{
    struct stat info;
    if (!watching || fstatat(folder, from, &info, 0) != 0)
        return;
    REQUIRE(!is_dirty(&info));
    if (strncmp(to, ".tmp-", 5) == 0) {
        REQUIRE(fstat(folder, &info) == 0 && !is_dirty(&info));
        return;
    }
    for (int i = 0; i < dirty_count && S_ISDIR(info.st_mode); i++)
        REQUIRE(dirty[i].folder);
}

/* Counts a call. True: it fails now, errno is set. */
static bool before(void)
{
    if (fault == NONE || ++calls != fault_at)
        return false;
    faults_made++;
    if (fault == KILL_BEFORE || fault == KILL_HALF)
        raise(SIGKILL);
    errno = fault_error;
    return fault == FAIL || fault == HALF_FAIL;
}

static long after(long result)
{
    if (fault == KILL_AFTER && calls == fault_at)
        raise(SIGKILL);
    return result;
}

ssize_t write(int fd, const void *from, size_t size)
{
    bool halved = fault == HALF || fault == HALF_FAIL || fault == KILL_HALF;
    mark(fd);
    if (!halved || size < 2)
        return before() ? -1 : after(syscall(SYS_write, fd, from, size));
    if (calls + 1 != fault_at)
        return calls++, syscall(SYS_write, fd, from, size);
    ssize_t n = syscall(SYS_write, fd, from, size / 2);
    if (fault == KILL_HALF)
        raise(SIGKILL);
    if (fault == HALF_FAIL)
        fault = FAIL, fault_at++; /* that is the write of the other half */
    faults_made++;
    calls++;
    return n;
}

/* Not done for real, which would only take time: no power is cut here. */
int fsync(int fd)
{
    if (before())
        return -1;
    unmark(fd);
    return (int)after(0);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    if (before())
        return -1;
    check_order(from_folder, from, to);
    mark(from_folder);
    mark(to_folder);
    return (int)after(syscall(SYS_renameat2, from_folder, from, to_folder, to, 0));
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    if (before())
        return -1;
    mark(folder);
    return (int)after(syscall(SYS_mkdirat, folder, name, mode));
}

int openat(int folder, const char *name, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    if (!(flags & O_CREAT))
        return (int)syscall(SYS_openat, folder, name, flags, mode);
    if (before())
        return -1;
    int fd = (int)syscall(SYS_openat, folder, name, flags, mode);
    mark(folder);
    if (fd >= 0)
        mark(fd);
    return (int)after(fd);
}

static void arm(enum fault kind, int error, int at)
{
    fault_error = error;
    fault_at = at;
    calls = faults_made = 0;
    fault = kind;
}

static const char *run_path(void)
{
    static char path[600];
    if (!*path)
        snprintf(path, sizeof path, "%s", fixture_path("run"));
    return path;
}

static const char *run_file(const char *name)
{
    static char path[700];
    snprintf(path, sizeof path, "%s/%s", run_path(), name);
    return path;
}

/* What is saved where a checkpoint of step 100 and seed 1 is there already, keeping one. */
static const struct scenario {
    const char *name;
    uint64_t step, seed;
} scenarios[] = {
    {"the next step, and the first is pruned", 200, 2},
    {"the same step once more", 100, 3},
};

/* Whatever happened: there is one of the two, whole, and saving goes on. `saved` says that the new
 * one was reported to be there. */
static void check_run(struct fixture *f, const struct scenario *s, bool saved)
{
    uint64_t seed = 0, step = fixture_open(f, run_path(), &seed);
    REQUIRE((step == 100 && seed == 1 && !saved) || (step == s->step && seed == s->seed));
    int lock = -1;
    REQUIRE_OK(megabyte_run_lock(run_path(), &lock));
    uint64_t locked_seed = 0, locked_step = fixture_open(f, run_path(), &locked_seed);
    REQUIRE(locked_step == step && locked_seed == seed);
    REQUIRE(fixture_count(run_file("checkpoints"), ".") == 0);
    REQUIRE_OK(fixture_save(f, run_path(), 300, 4, 1));
    REQUIRE(fixture_open(f, run_path(), &seed) == 300 && seed == 4);
    REQUIRE(fixture_count(run_file("checkpoints"), "") == 1);
    REQUIRE(fixture_count(run_path(), ".tmp") == 0);
    megabyte_run_unlock(&lock);
}

static void begin(struct fixture *f)
{
    fixture_remove(run_path());
    REQUIRE_OK(fixture_save(f, run_path(), 100, 1, 1));
}

/* Returns how many calls a save makes that can fail; checks the order of things meanwhile. */
static int count_calls(struct fixture *f, const struct scenario *s)
{
    begin(f);
    watching = true;
    dirty_count = 0;
    arm(FAIL, EIO, -1);
    REQUIRE_OK(fixture_save(f, run_path(), s->step, s->seed, 1));
    fault = NONE;
    watching = false;
    for (int i = 0; i < dirty_count; i++)
        REQUIRE(dirty[i].folder);
    check_run(f, s, true);
    return calls;
}

static void fail(struct fixture *f, const struct scenario *s, enum fault kind, int error, int at)
{
    begin(f);
    arm(kind, error, at);
    int result = fixture_save(f, run_path(), s->step, s->seed, 1);
    fault = NONE;
    /* What failed has cleaned up behind itself. */
    REQUIRE(result == 0 || fixture_count(run_file("checkpoints"), ".tmp") == 0);
    REQUIRE(result == 0 || fixture_count(run_path(), ".tmp") == 0);
    REQUIRE(faults_made == 1 || kind == HALF || kind == HALF_FAIL);
    if (result < 0)
        REQUIRE(result == -error && strstr(megabyte_error(), strerror(error)) &&
                strstr(megabyte_error(), run_path()));
    /* Half a write and a failing removal are no reason to fail. */
    REQUIRE(result == 0 || kind != HALF);
    check_run(f, s, result == 0);
}

static void kill_at(struct fixture *f, const struct scenario *s, enum fault kind, int at)
{
    int status;
    begin(f);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        arm(kind, 0, at);
        _exit(fixture_save(f, run_path(), s->step, s->seed, 1) == 0 ? 0 : 3);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    check_run(f, s, !WIFSIGNALED(status));
}

int main(void)
{
    struct fixture f;
    int kills = 0, failures = 0;
    fixture_create(&f, 30, 300);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        const struct scenario *s = &scenarios[i];
        int count = count_calls(&f, s);
        REQUIRE(count > 70);
        for (int at = 1; at <= count; at++, failures += 4, kills += 3) {
            fail(&f, s, FAIL, ENOSPC, at);
            fail(&f, s, FAIL, EIO, at);
            fail(&f, s, HALF, ENOSPC, at);
            fail(&f, s, HALF_FAIL, ENOSPC, at);
            kill_at(&f, s, KILL_BEFORE, at);
            kill_at(&f, s, KILL_HALF, at);
            kill_at(&f, s, KILL_AFTER, at);
        }
        printf("%s: %d calls\n", s->name, count);
    }
    printf("%d failures, %d kills\n", failures, kills);
    fixture_destroy(&f);
    return 0;
}
