/*
 * A set of data of every kind, for tests that must hold on all of them.
 */
#ifndef TESTS_PIPELINE_MIXED_H
#define TESTS_PIPELINE_MIXED_H

#include "pipeline/loader.h"
#include "tests/pipeline/check.h"

static const char *const mixed_data[] = {"a.tar.zst", "b.zip", "c.gz",
                                         "folder",    "d.tar", "plain.bin"};
enum { MIXED = sizeof(mixed_data) / sizeof(mixed_data[0]) };

/* n bytes that compress somewhat and repeat nowhere. */
static inline void write_noise(const char *path, size_t n, uint64_t seed)
{
    uint8_t *bytes = malloc(n + 8);

    CHECK(bytes);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t r = random_next(&seed) & 0x3f3f7f3f0f3f1fffull;

        memcpy(bytes + i, &r, 8);
    }
    write_file(path, bytes, n);
    free(bytes);
}

/* Makes mixed_data in the present folder. */
static inline void make_mixed(void)
{
    static const size_t sizes[] = {0, 1, 511, 512, 513, 70000, 300000, 4096, 7, 0, 123456};
    char path[64];

    run_or_skip("mkdir -p m/sub folder/sub/deep");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        snprintf(path, sizeof(path), "m/%sfile %zu", i % 2 ? "sub/" : "", i);
        write_noise(path, sizes[i], i);
        snprintf(path, sizeof(path), "folder/%s%zu", i % 3 ? "sub/deep/" : "", i);
        write_noise(path, sizes[i], 100 + i);
    }
    write_noise("c", 400001, 7);
    write_noise("plain.bin", 333333, 8);
    run_or_skip(
        "tar -cf d.tar m && zstd -q d.tar -o a.tar.zst && bsdtar -cf b.zip --format=zip m && "
        "gzip -f c");
}

/* A stream with all that it needs. */
struct opened {
    struct pipeline_io *io;
    struct pipeline_sources *sources;
    struct pipeline_stream *stream;
};

static inline struct opened open_data(const char *const *data, size_t n,
                                      const struct pipeline_choice *choice,
                                      const struct pipeline_io_params *io)
{
    static const struct pipeline_choice all;
    struct opened o;

    CHECK_EQUAL(pipeline_io_create(io, &o.io), 0);
    CHECK_EQUAL(pipeline_sources_create(data, n, &o.sources), 0);
    CHECK_EQUAL(pipeline_stream_create(o.io, o.sources, choice ? choice : &all, &o.stream), 0);
    return o;
}

static inline void close_data(struct opened *o)
{
    pipeline_stream_destroy(&o->stream);
    pipeline_sources_destroy(&o->sources);
    pipeline_io_destroy(&o->io);
}

/* All bytes that a stream still has; the caller frees them. */
static inline uint8_t *read_all(struct pipeline_stream *stream, size_t *size)
{
    size_t room = 1 << 20, have = 0, got;
    uint8_t *bytes = malloc(room);

    for (;;) {
        CHECK(bytes);
        CHECK_EQUAL(pipeline_stream_read(stream, bytes + have, room - have, &got), 0);
        have += got;
        if (have < room)
            break;
        room *= 2;
        bytes = realloc(bytes, room);
    }
    *size = have;
    return bytes;
}

#endif
