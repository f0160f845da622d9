/*
 * Random changes to a file: reading it ends, with what was there, with an error that names the
 * file, or with damage that was counted; never endlessly, and where a format has checksums, never
 * with less than was there and not a word.
 */
#ifndef TESTS_PIPELINE_FLIPS_H
#define TESTS_PIPELINE_FLIPS_H

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/every.h"
#include "tests/pipeline/mixed.h"

enum { FLIPS = 10000, ENDLESS = 1 << 26 };

/* How much a format can know about itself. */
enum flips_promise {
    FLIPS_ENDS,   /* no checksum everywhere: it ends, and tells what it could not read */
    FLIPS_LENGTH, /* what is silently other has the same length */
    FLIPS_BYTES,  /* what is read without a word is what was there */
};

struct flips_outcome {
    int result;
    uint64_t size, damaged, hash;
};

static inline struct flips_outcome flips_read(struct pipeline_io *io, const char *path,
                                              const struct pipeline_choice *choice)
{
    struct flips_outcome out = {.hash = 0xcbf29ce484222325ull};
    struct opened o = {.io = io};
    const uint8_t *data;
    size_t n = 1;

    CHECK_EQUAL(pipeline_sources_create(&path, 1, &o.sources), 0);
    CHECK_EQUAL(pipeline_stream_create(o.io, o.sources, choice, &o.stream), 0);
    while (n && out.size < ENDLESS &&
           (out.result = pipeline_stream_next(o.stream, &data, &n)) == 0) {
        out.size += n;
        for (size_t i = 0; i < n; i++)
            out.hash = (out.hash ^ data[i]) * 0x100000001b3ull;
    }
    out.damaged = pipeline_stream_stats(o.stream).damaged;
    pipeline_stream_destroy(&o.stream);
    pipeline_sources_destroy(&o.sources);
    return out;
}

static inline void flips_fail(const char *path, uint64_t round, off_t at,
                              const struct flips_outcome *got, const struct flips_outcome *whole,
                              const char *what)
{
    fprintf(stderr,
            "%s, change %llu at %lld: %s: result %d, %llu of %llu bytes, damage %llu; line: %s\n",
            path, (unsigned long long)round, (long long)at, what, got->result,
            (unsigned long long)got->size, (unsigned long long)whole->size,
            (unsigned long long)got->damaged, pipeline_error());
    exit(1);
}

/* FLIPS changes of 1 to 8 bytes; every other one is read with damage passed over. */
static inline void flips_try(const char *path, struct pipeline_choice choice,
                             enum flips_promise promise)
{
    struct pipeline_io *io;
    struct flips_outcome whole, got;
    uint64_t seed = 77;
    struct stat st;
    int fd = open(path, O_RDWR);

    CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 20);
    CHECK_EQUAL(pipeline_io_create(NULL, &io), 0);
    whole = flips_read(io, path, &choice);
    CHECK(whole.result == 0 && whole.size > 0);
    for (uint64_t round = 0; round < FLIPS / (uint64_t)tests_every(); round++) {
        size_t count = round % 4 ? 1 : 1 + random_next(&seed) % 8;
        off_t at = (off_t)(random_next(&seed) % ((uint64_t)st.st_size - count));
        uint8_t before[8], after[8];
        bool skip = round % 2;

        if (round % 8 == 5 && st.st_size > 1000)
            at %= 600; /* headers, where most is decided */
        CHECK_EQUAL(pread(fd, before, count, at), count);
        for (size_t i = 0; i < count; i++)
            after[i] = before[i] ^ (uint8_t)(1 + random_next(&seed) % 255);
        CHECK_EQUAL(pwrite(fd, after, count, at), count);
        choice.on_corrupt = skip ? PIPELINE_CORRUPT_SKIP : PIPELINE_CORRUPT_STOP;
        got = flips_read(io, path, &choice);
        CHECK_EQUAL(pwrite(fd, before, count, at), count);
        if (got.size >= ENDLESS)
            flips_fail(path, round, at, &got, &whole, "it does not end");
        if (got.result < 0 && (skip || (got.result != -EBADMSG && got.result != -EPROTONOSUPPORT)))
            flips_fail(path, round, at, &got, &whole, "not the error it may be");
        if (got.result < 0 && !strstr(pipeline_error(), path))
            flips_fail(path, round, at, &got, &whole, "the file is not named");
        /* Without the mark at its beginning it is a plain file. */
        if (got.result < 0 || got.damaged || promise == FLIPS_ENDS || at < 10)
            continue;
        if (got.size != whole.size || (promise == FLIPS_BYTES && got.hash != whole.hash))
            flips_fail(path, round, at, &got, &whole, "not a word about what is missing or wrong");
    }
    got = flips_read(io, path, &choice);
    CHECK(got.result == 0 && got.hash == whole.hash);
    pipeline_io_destroy(&io);
    close(fd);
}

#endif
