/*
 * Resuming: what lies before a place is not decoded where the format allows that, which shows in
 * damage there going unnoticed; and data that was changed before a place is refused.
 */
#include <errno.h>
#include <sys/stat.h>

#include "tests/pipeline/mixed.h"

static uint8_t *read_file(const char *path, size_t *size)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    uint8_t *bytes;

    CHECK(f && fstat(fileno(f), &st) == 0);
    *size = (size_t)st.st_size;
    bytes = malloc(*size + 1);
    CHECK(bytes);
    CHECK_EQUAL(fread(bytes, 1, *size, f), *size);
    fclose(f);
    return bytes;
}

/* The position at byte `cut` of a stream over one source. */
static struct pipeline_position position_at(const char *path, size_t cut)
{
    struct opened o = open_data(&path, 1, NULL, NULL);
    struct pipeline_position at;
    uint8_t *bytes = malloc(cut + 1);
    size_t got;

    CHECK(bytes);
    CHECK_EQUAL(pipeline_stream_read(o.stream, bytes, cut, &got), 0);
    CHECK_EQUAL(got, cut);
    at = pipeline_stream_tell(o.stream);
    free(bytes);
    close_data(&o);
    return at;
}

/* Whether going to a place and reading `want` bytes from there gives those of the whole. */
static bool resumes(const char *path, struct pipeline_position at, const uint8_t *want, size_t n)
{
    struct opened o = open_data(&path, 1, NULL, NULL);
    uint8_t *bytes = malloc(n + 1);
    size_t got = 0;
    int result = pipeline_stream_seek(o.stream, at);

    CHECK(bytes);
    if (result == 0)
        result = pipeline_stream_read(o.stream, bytes, n, &got);
    CHECK(result != 0 || (got == n && !memcmp(bytes, want, n)));
    free(bytes);
    close_data(&o);
    return result == 0;
}

/* Places in the last half are reached although the file is damaged at a byte, its tenth part if it
 * is 0; without the hint, if one is needed, they are not. */
static void check_seeks(const char *path, size_t damage, bool needs_hint)
{
    size_t size, n;
    struct opened o = open_data(&path, 1, NULL, NULL);
    uint8_t *whole = read_all(o.stream, &size), *file = read_file(path, &n);
    uint64_t seed = 5;

    close_data(&o);
    damage = damage ? damage : n / 10;
    for (int i = 0; i < 4; i++) {
        size_t cut = size / 2 + random_next(&seed) % (size / 2 - 20000);
        struct pipeline_position at = position_at(path, cut);

        CHECK(resumes(path, at, whole + cut, size - cut));
        for (size_t k = 0; k < 64; k++)
            file[damage + k] ^= 0x5a;
        write_file(path, file, n);
        if (!resumes(path, at, whole + cut, 20000)) {
            fprintf(stderr, "%s: place %zu was not reached directly: %s\n", path, cut,
                    pipeline_error());
            exit(1);
        }
        at.hint = (struct pipeline_hint){0};
        if (needs_hint)
            CHECK(!resumes(path, at, whole + cut, 20000));
        for (size_t k = 0; k < 64; k++)
            file[damage + k] ^= 0x5a;
        write_file(path, file, n);
        CHECK(resumes(path, at, whole + cut, size - cut));
    }
    free(whole);
    free(file);
}

/* Places among the bytes that were looked at to tell the format, and right behind them. */
static void check_beginning(const char *path)
{
    static const size_t cuts[] = {1, 511, 4096, 4097, 9000, 32768, 65535, 65536, 65537, 131072};
    size_t size;
    struct opened o = open_data(&path, 1, NULL, NULL);
    uint8_t *whole = read_all(o.stream, &size);
    const uint8_t *data;

    close_data(&o);
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct pipeline_position at = position_at(path, cuts[i]);
        size_t n;

        if (!resumes(path, at, whole + cuts[i], size - cuts[i])) {
            fprintf(stderr, "%s: place %zu was not reached: %s\n", path, cuts[i], pipeline_error());
            exit(1);
        }
        /* Also where the stream has begun already. */
        o = open_data(&path, 1, NULL, NULL);
        CHECK_EQUAL(pipeline_stream_probe(o.stream), 0);
        CHECK_EQUAL(pipeline_stream_seek(o.stream, at), 0);
        CHECK_EQUAL(pipeline_stream_next(o.stream, &data, &n), 0);
        CHECK(n > 0 && !memcmp(data, whole + cuts[i], n));
        close_data(&o);
    }
    free(whole);
}

/* One byte shortly before the place is another now. */
static void check_changed(void)
{
    static const char *const path = "plain";
    size_t size;
    uint8_t *file = read_file(path, &size);
    struct pipeline_position at = position_at(path, 200000);

    CHECK_EQUAL(at.check_bytes, PIPELINE_CHECK_BYTES);
    CHECK(resumes(path, at, file + 200000, size - 200000));
    for (size_t back = 1; back <= PIPELINE_CHECK_BYTES; back += 455) {
        file[200000 - back] ^= 1;
        write_file(path, file, size);
        CHECK(!resumes(path, at, file, 0));
        CHECK(strstr(pipeline_error(), "plain: the bytes before byte 200000"));
        file[200000 - back] ^= 1;
    }
    file[200000 - PIPELINE_CHECK_BYTES - 1] ^= 1;
    write_file(path, file, size);
    CHECK(resumes(path, at, file + 200000, 1000));
    at.check_bytes = 1ull << 40;
    CHECK(!resumes(path, at, file, 0));
    free(file);
}

int main(void)
{
    char path[32];

    enter_scratch();
    run_or_skip("mkdir r");
    for (int i = 0; i < 40; i++) {
        snprintf(path, sizeof(path), "r/%d", i);
        write_noise(path, 50000, 300 + (uint64_t)i);
    }
    write_noise("plain", 2000000, 1);
    run_or_skip("tar -cf r.tar r && bsdtar -cf r.zip --format=zip r && bsdtar -cf r.cpio "
                "--format=cpio r && gzip -k r.tar && gzip -k plain && bzip2 -k plain");
    check_changed();
    check_beginning("plain");
    check_beginning("plain.gz");
    check_beginning("plain.bz2");
    check_beginning("r.tar.gz");
    check_beginning("r.zip");
    check_seeks("r.tar", 512 + 3 * 50688, true); /* a header */
    check_seeks("r.zip", 0, false);
    run_or_skip("{ printf '#!/bin/sh\\n'; cat plain r.zip plain; } > run.zip");
    check_beginning("run.zip");
    check_seeks("run.zip", 2500000, false);
#ifdef PIPELINE_HAVE_ZSTD
    run_or_skip("split -b 300000 r.tar p. && for p in p.*; do zstd -q -c $p; done > r.tar.zst && "
                "split -b 300000 plain q. && for q in q.*; do zstd -q -c $q; done > one.zst");
    check_seeks("r.tar.zst", 0, true);
    check_seeks("one.zst", 0, true);
#else
    fprintf(stderr, "built without libzstd: frames are not tried\n");
#endif
#ifdef PIPELINE_HAVE_LZMA
    run_or_skip("xz -0 -k --block-size=300000 r.tar && xz -0 -k --block-size=300000 plain && "
                "cat plain.xz plain.xz > two.xz");
    check_seeks("r.tar.xz", 0, true);
    check_seeks("plain.xz", 0, false);
    check_seeks("two.xz", 0, false);
#else
    fprintf(stderr, "built without liblzma: blocks are not tried\n");
#endif
    return 0;
}
