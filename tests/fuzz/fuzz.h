/*
 * For the fuzz targets: a file with the bytes that libFuzzer makes, and what must hold whatever
 * they are. A target is the function LLVMFuzzerTestOneInput; it aborts where something does not
 * hold.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pipeline/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s does not hold (last error: %s)\n", __FILE__, __LINE__,      \
                    #condition, pipeline_error());                                                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static char fuzz_folder[] = "/tmp/fuzz-XXXXXX", fuzz_path[64];
static int fuzz_fd = -1;

static inline void fuzz_leave(void)
{
    unlink(fuzz_path);
    rmdir(fuzz_folder);
}

/* The path of a file called `name` with these bytes, in memory; one a process. */
static inline const char *fuzz_file(const char *name, const uint8_t *data, size_t size)
{
    char target[32];

    if (fuzz_fd < 0) {
        fuzz_fd = memfd_create("fuzz", 0);
        HOLDS(fuzz_fd >= 0 && mkdtemp(fuzz_folder));
        snprintf(fuzz_path, sizeof(fuzz_path), "%s/%s", fuzz_folder, name);
        snprintf(target, sizeof(target), "/proc/self/fd/%d", fuzz_fd);
        HOLDS(symlink(target, fuzz_path) == 0);
        atexit(fuzz_leave);
    }
    HOLDS(ftruncate(fuzz_fd, 0) == 0 && pwrite(fuzz_fd, data, size, 0) == (ssize_t)size);
    return fuzz_path;
}

/* One line, without a break, and not empty. */
static inline void fuzz_error(int result)
{
    const char *line = pipeline_error();

    HOLDS(result == -EBADMSG || result == -EPROTONOSUPPORT || result == -ESTALE ||
          result == -EFBIG || result == -ENOMEM);
    HOLDS(*line && !strchr(line, '\n'));
}

enum { FUZZ_ENOUGH = 1 << 24 }; /* bytes that are read of what may unfold without end */

/* Reads on to the end, a failure, or until it is enough. Returns the bytes. */
static inline uint64_t fuzz_read(struct pipeline_stream *stream, bool skip)
{
    uint64_t total = 0;
    const uint8_t *data;
    size_t n;

    do {
        int result = pipeline_stream_next(stream, &data, &n);

        if (result < 0) {
            fuzz_error(result);
            HOLDS(!skip || result == -ENOMEM);
            break;
        }
        for (size_t i = 0; i < n; i += 4096)
            total += data[i] & 0; /* they can be read */
        total += n;
    } while (n && total < FUZZ_ENOUGH);
    return total;
}

/* A stream over one file. Destroy it before the next call, which takes away what it leans on. */
static inline struct pipeline_stream *fuzz_open(const char *path,
                                                const struct pipeline_choice *choice)
{
    static struct pipeline_io *io;
    static struct pipeline_sources *sources;
    struct pipeline_stream *stream;

    if (!io)
        HOLDS(pipeline_io_create(
                  &(struct pipeline_io_params){.mode = PIPELINE_IO_THREADS, .threads = 1}, &io) ==
              0);
    pipeline_sources_destroy(&sources);
    HOLDS(pipeline_sources_create(&path, 1, &sources) == 0);
    HOLDS(pipeline_stream_create(io, sources, choice, &stream) == 0);
    return stream;
}

/* Reads the bytes as they come to training, stopping at damage and passing over it. */
static inline void fuzz_content(const char *name, const uint8_t *data, size_t size,
                                struct pipeline_choice choice)
{
    const char *path = fuzz_file(name, data, size);

    for (int skip = 0; skip < 2; skip++) {
        struct pipeline_stream *stream;

        choice.on_corrupt = skip ? PIPELINE_CORRUPT_SKIP : PIPELINE_CORRUPT_STOP;
        stream = fuzz_open(path, &choice);
        fuzz_read(stream, skip);
        pipeline_stream_destroy(&stream);
    }
}

#endif
