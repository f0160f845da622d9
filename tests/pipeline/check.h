/*
 * For the pipeline's tests: checks that say what they saw, and a scratch folder.
 */
#ifndef TESTS_PIPELINE_CHECK_H
#define TESTS_PIPELINE_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pipeline/pipeline.h"

#define SKIP_STATUS 77

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s does not hold (last error: %s)\n", __FILE__, __LINE__,      \
                    #condition, pipeline_error());                                                 \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_EQUAL(left, right)                                                                   \
    do {                                                                                           \
        long long left_ = (long long)(left), right_ = (long long)(right);                          \
        if (left_ != right_) {                                                                     \
            fprintf(stderr, "%s:%d: %s is %lld, %s is %lld (last error: %s)\n", __FILE__,          \
                    __LINE__, #left, left_, #right, right_, pipeline_error());                     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static char scratch[64];

static void leave_scratch(void)
{
    char command[128];

    if (chdir("/") == 0) {
        snprintf(command, sizeof(command), "rm -rf '%s'", scratch);
        if (system(command) != 0)
            fprintf(stderr, "%s was left behind\n", scratch);
    }
}

/* Goes to a new folder that is removed at the end. */
static inline void enter_scratch(void)
{
    strcpy(scratch, "/tmp/pipeline-test-XXXXXX");
    CHECK(mkdtemp(scratch) && chdir(scratch) == 0);
    atexit(leave_scratch);
    /* Small files, read thousands of times, need no windows of 8 MiB to be cleared each time. */
    CHECK(setenv("XZ_OPT", "-0", 1) == 0);
    /* Archivers want UTF-8 for the names of files. */
    CHECK(setenv("LC_ALL", "C.UTF-8", 1) == 0);
}

static inline void run_or_skip(const char *command)
{
    if (system(command) != 0) {
        fprintf(stderr, "skipped: cannot run: %s\n", command);
        exit(SKIP_STATUS);
    }
}

static inline void write_file(const char *path, const void *data, size_t n)
{
    FILE *f;

    unlink(path); /* some file systems flush a file that is written over, which takes long */
    f = fopen(path, "wb");
    CHECK(f);
    CHECK_EQUAL(fwrite(data, 1, n, f), n);
    CHECK_EQUAL(fclose(f), 0);
}

/* The same numbers on every machine. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

#endif
