/* refuse.c - makes one allocation of a program fail, for tests/apps/allocations.py.
 *
 * The linker puts these in the place of malloc() and its like in what is linked into the program
 * (meson.build), and jansson comes by them too. An allocation is known by its
 * place: a digest of the calls that led to it, which is the same in every process and whatever the
 * threads do. With PLACES in the environment, the digest of each new place is appended to that
 * file; with REFUSE, the first allocation at that place fails, and the file that REFUSED names gets
 * a line with the addresses of those calls, for addr2line.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH 10    /* calls that make a place */
#define ROOM  65536 /* places */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *places, *refused;
static _Atomic uint64_t refuse; /* read by every thread, before the lock is taken */
static uint64_t known[ROOM];
static _Thread_local bool inside;

static __attribute__((constructor)) void begin(void)
{
    void *frame[2];
    places = getenv("PLACES");
    refused = getenv("REFUSED");
    if (getenv("REFUSE"))
        refuse = strtoull(getenv("REFUSE"), NULL, 16);
    backtrace(frame, 2); /* loads what it needs now */
    json_set_alloc_funcs(__wrap_malloc, free);
}

static void append(const char *path, const char *line)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, line, strlen(line)) < 0)
        _exit(99);
    close(fd);
}

static uint64_t digest_of_place(void)
{
    void *frame[DEPTH + 2];
    const int n = backtrace(frame, DEPTH + 2);
    uint64_t digest = 14695981039346656037u;
    for (int i = 2; i < n; i++) {
        Dl_info info = {.dli_fbase = NULL};
        if (!dladdr(frame[i], &info))
            info.dli_fbase = NULL;
        digest = (digest ^ ((uintptr_t)frame[i] - (uintptr_t)info.dli_fbase)) * 1099511628211u;
    }
    return digest ? digest : 1;
}

/* Addresses for addr2line, innermost first. */
static void tell_place(void)
{
    void *frame[DEPTH + 4];
    const int n = backtrace(frame, DEPTH + 4);
    char line[400] = "refused at";
    size_t at = strlen(line);
    for (int i = 3; i < n && at < sizeof line - 20; i++) {
        Dl_info info = {.dli_fbase = NULL};
        if (dladdr(frame[i], &info))
            at += (size_t)snprintf(line + at, sizeof line - at, " %" PRIxPTR,
                                   (uintptr_t)frame[i] - (uintptr_t)info.dli_fbase - 1);
    }
    snprintf(line + at, sizeof line - at, "\n");
    append(refused, line);
}

/* Whether the allocation at hand is to fail. */
static __attribute__((noinline)) bool fails(void)
{
    if (inside || (!places && !refuse))
        return false;
    inside = true;
    const uint64_t place = digest_of_place();
    bool strikes = false;
    pthread_mutex_lock(&lock);
    if (place == refuse) {
        strikes = true;
        refuse = 0;
        tell_place();
    } else if (places) {
        uint64_t slot = place % ROOM;
        while (known[slot] && known[slot] != place)
            slot = (slot + 1) % ROOM;
        if (!known[slot]) {
            char line[24];
            known[slot] = place;
            snprintf(line, sizeof line, "%016" PRIx64 "\n", place);
            append(places, line);
        }
    }
    pthread_mutex_unlock(&lock);
    inside = false;
    if (strikes)
        errno = ENOMEM;
    return strikes;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return fails() ? NULL : __real_strndup(text, size);
}

int __wrap_asprintf(char **text, const char *format, ...)
{
    va_list args;
    if (fails())
        return -1;
    va_start(args, format);
    const int n = vasprintf(text, format, args);
    va_end(args);
    return n;
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    return fails() ? ENOMEM : __real_posix_memalign(memory, alignment, size);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument)
{
    return fails() ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}
