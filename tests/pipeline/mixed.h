/*
 * A set of data of every kind, for tests that must hold on all of them.
 */
#ifndef TESTS_PIPELINE_MIXED_H
#define TESTS_PIPELINE_MIXED_H

#include "pipeline/loader.h"
#include "tests/pipeline/check.h"

static const char *const mixed_data[] = {"a.tar.zst", "b.zip",     "c.gz",       "folder",
                                         "d.tar",     "plain.bin", "e.jsonl.gz", "nested.tar.xz"};
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

/* What the programs choose without options, and the texts of JSON lines. */
static const struct pipeline_choice mixed_choice = {
    .nested = 3,
    .content = {.jsonl_field = "text"},
};

/* JSON lines with 0 to 3000 bytes of text each, in one of several places of an object. Returns the
 * bytes of text in all. */
static inline size_t write_jsonl(const char *path, int lines, uint64_t seed)
{
    static const char *const shapes[] = {"{\"text\": \"%s\"}\n",
                                         "{\"meta\": {\"text\": 1}, \"text\":\"%s\"}\r\n\n",
                                         "{\"text\":\"%s\", \"n\": [1, 2.5, null]}\n"};
    FILE *f = fopen(path, "wb");
    size_t total = 0;

    CHECK(f);
    for (int i = 0; i < lines; i++) {
        char text[3001];
        size_t n = i % 7 ? random_next(&seed) % sizeof(text) : 0;

        for (size_t j = 0; j < n; j++)
            text[j] = (char)('a' + random_next(&seed) % 26);
        text[n] = 0;
        CHECK(fprintf(f, shapes[i % 3], text) > 0);
        total += n;
    }
    CHECK_EQUAL(fclose(f), 0);
    return total;
}

/* Bytes of text in e.jsonl.gz, once it was made. */
static size_t jsonl_bytes;

/* Makes mixed_data in the present folder; returns the bytes that a stream over it gives. */
static inline size_t make_mixed(void)
{
    static const size_t sizes[] = {0, 1, 511, 512, 513, 70000, 300000, 4096, 7, 0, 123456};
    const size_t members = 499096;
    size_t nested = 0;
    char path[64];

    run_or_skip("mkdir -p m/sub folder/sub/deep n");
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
    jsonl_bytes = write_jsonl("e.jsonl", 300, 9);
    for (size_t i = 0; i < 6; i++) {
        snprintf(path, sizeof(path), "n/%zu", i);
        write_noise(path, i * 10001, 20 + i);
        nested += i * 10001;
    }
    run_or_skip(
        "gzip -f e.jsonl && cd n && gzip 5 && tar -cf in.tar 0 1 2 && tar -cJf in.tar.xz 3 && "
        "bsdtar -cf in.zip --format=zip in.tar 4 && tar -cJf ../nested.tar.xz 5.gz in.zip "
        "in.tar.xz");
    return 4 * members + 400001 + 333333 + jsonl_bytes + nested;
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
    struct opened o;

    CHECK_EQUAL(pipeline_io_create(io, &o.io), 0);
    CHECK_EQUAL(pipeline_sources_create(data, n, &o.sources), 0);
    CHECK_EQUAL(pipeline_stream_create(o.io, o.sources, choice ? choice : &mixed_choice, &o.stream),
                0);
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
