/* calls.c - see calls.h. */
#include "calls.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic enum calls_fault fault;
static atomic_int fault_at, calls, made;
static int fault_error;
static const char *only, *hit = "";

void calls_arm(enum calls_fault kind, int error, int at, const char *folder)
{
    fault_error = error;
    fault_at = at;
    calls = made = 0;
    only = folder;
    hit = "";
    fault = kind;
}

int calls_disarm(void)
{
    fault = CALLS_FINE;
    return calls;
}

bool calls_made(void)
{
    return made > 0;
}

const char *calls_hit(void)
{
    return hit;
}

/* ---- the order of things ---- */

#define DIRTY_MAX 512

/* Files and folders that changed since their last fsync. */
static struct {
    dev_t device;
    ino_t inode;
    bool folder;
} dirty[DIRTY_MAX];
static int dirty_count;
static bool watching;

void calls_watch(bool on)
{
    for (int i = 0; i < dirty_count && watching; i++)
        REQUIRE(dirty[i].folder);
    watching = on;
    dirty_count = 0;
}

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
    if (!watching)
        return;
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

/* ---- counting ---- */

static bool begins(const char *path)
{
    const size_t n = strlen(only);
    return strncmp(path, only, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Whether a call on an open file, or on a name in an open folder, counts. */
static bool counts(int fd, const char *name)
{
    char link[64], path[1024];
    if (fault == CALLS_FINE)
        return false;
    if (!only)
        return true;
    if (name && *name == '/')
        return begins(name);
    if (fd == AT_FDCWD)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return begins(path);
}

/* Counts a call. True: it fails now, errno is set. */
static bool fails(int fd, const char *name, const char *call)
{
    if (!counts(fd, name) || atomic_fetch_add(&calls, 1) + 1 != fault_at)
        return false;
    if (fault == CALLS_KILL_HALF || fault == CALLS_HALF)
        return false;
    made++;
    hit = call;
    if (fault == CALLS_KILL)
        raise(SIGKILL);
    errno = fault_error;
    return true;
}

static ssize_t half_write(int fd, const void *from, size_t size, off_t at)
{
    const ssize_t n = at < 0 ? syscall(SYS_write, fd, from, size / 2)
                             : syscall(SYS_pwrite64, fd, from, size / 2, at);
    if (fault == CALLS_KILL_HALF)
        raise(SIGKILL);
    if (fault == CALLS_HALF_FAIL) {
        fault = CALLS_FAIL; /* of the call behind it, which may be the write of the other half */
        fault_at++;
    }
    made++;
    hit = "write";
    return n;
}

static ssize_t any_write(int fd, const void *from, size_t size, off_t at)
{
    const bool halved = fault == CALLS_HALF || fault == CALLS_HALF_FAIL || fault == CALLS_KILL_HALF;
    mark(fd);
    if (halved && size >= 2 && counts(fd, NULL)) {
        if (atomic_fetch_add(&calls, 1) + 1 == fault_at)
            return half_write(fd, from, size, at);
    } else if (fails(fd, NULL, "write")) {
        return -1;
    }
    return at < 0 ? syscall(SYS_write, fd, from, size) : syscall(SYS_pwrite64, fd, from, size, at);
}

ssize_t write(int fd, const void *from, size_t size)
{
    return any_write(fd, from, size, -1);
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at)
{
    return any_write(fd, from, size, at);
}

int fsync(int fd)
{
    if (fails(fd, NULL, "fsync"))
        return -1;
    unmark(fd);
    return 0;
}

int fdatasync(int fd)
{
    if (fails(fd, NULL, "fdatasync"))
        return -1;
    unmark(fd);
    return 0;
}

int ftruncate(int fd, off_t size)
{
    if (fails(fd, NULL, "ftruncate"))
        return -1;
    mark(fd);
    return (int)syscall(SYS_ftruncate, fd, size);
}

/* ThreadSanitizer remembers who used which descriptor until it sees it closed. If it does not, and
 * another thread comes by the same number through opendir() or fdopendir(), their closedir() is a
 * race to it. */
#if defined __SANITIZE_THREAD__
#define SEEN 1
#elif defined __has_feature
#define SEEN __has_feature(thread_sanitizer)
#else
#define SEEN 0
#endif
#if SEEN
int __interceptor_close(int fd);
#define close_seen(fd) __interceptor_close(fd)
#else
#define close_seen(fd) ((int)syscall(SYS_close, fd))
#endif

/* The file is closed all the same, as the system does it. */
int close(int fd)
{
    const bool failed = fails(fd, NULL, "close");
    const int result = close_seen(fd);
    return failed ? (errno = fault_error, -1) : result;
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    if (fails(from_folder, from, "rename"))
        return -1;
    check_order(from_folder, from, to);
    if (strncmp(to, ".tmp-", 5) != 0) { /* what is removed need not be so for good */
        mark(from_folder);
        mark(to_folder);
    }
    return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    if (fails(folder, name, "mkdir"))
        return -1;
    if (folder != AT_FDCWD)
        mark(folder);
    return (int)syscall(SYS_mkdirat, folder, name, mode);
}

int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}

int unlinkat(int folder, const char *name, int flags)
{
    if (fails(folder, name, "unlink"))
        return -1;
    return (int)syscall(SYS_unlinkat, folder, name, flags);
}

static int any_open(int folder, const char *name, int flags, va_list args)
{
    const mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    if (fails(folder, name, "open"))
        return -1;
    const int fd = (int)syscall(SYS_openat, folder, name, flags, mode);
    if (fd >= 0 && flags & O_CREAT) {
        if (folder != AT_FDCWD)
            mark(folder);
        mark(fd);
    }
    return fd;
}

#define OPEN(call, parameters, folder)                                                             \
    int call parameters                                                                            \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        const int fd = any_open(folder, name, flags, args);                                        \
        va_end(args);                                                                              \
        return fd;                                                                                 \
    }
OPEN(open, (const char *name, int flags, ...), AT_FDCWD)
OPEN(openat, (int folder, const char *name, int flags, ...), folder)
