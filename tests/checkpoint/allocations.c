/* allocations.c - see allocations.h. */
#include "allocations.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

static long fail_at, fail_from, count;
static size_t fail_of;
static bool came;

static bool fails(size_t size)
{
    count++;
    if (count != fail_at && !(fail_from && count >= fail_from) && !(fail_of && size >= fail_of))
        return false;
    came = true;
    errno = ENOMEM;
    return true;
}

static void begin(long at, long from, size_t of)
{
    count = 0;
    fail_at = at;
    fail_from = from;
    fail_of = of;
    came = false;
}

void *__wrap_malloc(size_t size)
{
    return fails(size) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails(n * size) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails(size) ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return fails(strlen(text) + 1) ? NULL : __real_strdup(text);
}

void allocations_fail_at(long n)
{
    begin(n, 0, 0);
}

void allocations_fail_of(size_t size)
{
    begin(0, 0, size);
}

void allocations_fail_from(long n)
{
    begin(0, n, 0);
}

bool allocations_failed(void)
{
    fail_at = fail_from = 0;
    fail_of = 0;
    return came;
}
