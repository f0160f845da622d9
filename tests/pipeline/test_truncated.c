/*
 * Every way to cut a file short is an error that names it, or loses nothing: never a silent short
 * read. And damaged members are passed over and counted when that was asked for.
 */
#include <errno.h>

#include "tests/every.h"
#include "tests/pipeline/mixed.h"

static struct pipeline_io *io; /* one for thousands of small reads */

static uint8_t *load(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = malloc(8 << 20);

    CHECK(f && bytes);
    *size = fread(bytes, 1, 8 << 20, f);
    fclose(f);
    return bytes;
}

/* Reads a file to its end or to its first failure. */
static int try_read(const char *path, enum pipeline_on_corrupt policy, uint8_t *to, size_t room,
                    size_t *size, uint64_t *damaged)
{
    struct pipeline_choice choice = {.on_corrupt = policy};
    const uint8_t *data;
    struct opened o = {.io = io};
    size_t n = 1;
    int result = 0;

    CHECK_EQUAL(pipeline_sources_create(&path, 1, &o.sources), 0);
    CHECK_EQUAL(pipeline_stream_create(o.io, o.sources, &choice, &o.stream), 0);
    *size = 0;
    while (result == 0 && n) {
        result = pipeline_stream_next(o.stream, &data, &n);
        if (result == 0) {
            CHECK(*size + n <= room);
            if (n) /* at the end there are no bytes to copy, and no address */
                memcpy(to + *size, data, n);
            *size += n;
        }
    }
    *damaged = pipeline_stream_stats(o.stream).damaged;
    pipeline_stream_destroy(&o.stream);
    pipeline_sources_destroy(&o.sources);
    return result;
}

/* whole_parts: prefixes that end where a frame ends are whole files of their own (allowed once). */
static void check_prefixes(const char *name, int whole_parts)
{
    size_t size, n, full_size;
    uint8_t *file = load(name, &size), *full = malloc(8 << 20), *part = malloc(8 << 20);
    size_t step = size / 100 + 1;
    uint64_t damaged;
    char cut[80];
    int lost = 0, due = 0;

    CHECK_EQUAL(try_read(name, PIPELINE_CORRUPT_STOP, full, 8 << 20, &full_size, &damaged), 0);
    CHECK(full_size > 0);
    snprintf(cut, sizeof(cut), "cut-%s", name);
    for (size_t k = 1; k < size; k++) {
        int result;

        /* All very short prefixes, all that miss little, those that end where a tar or cpio header
         * or a sector may, and every hundredth part. */
        if (k > 64 && k + 32 < size && k % step && (k > 20480 || k % 512) && (k > 600 || k % 7))
            continue;
        if (due++ % tests_every())
            continue;
        write_file(cut, file, k);
        result = try_read(cut, PIPELINE_CORRUPT_STOP, part, 8 << 20, &n, &damaged);
        if (result == 0 && (n != full_size || memcmp(part, full, n))) {
            if (lost++ >= whole_parts) {
                fprintf(stderr, "%s: the first %zu of %zu bytes gave %zu of %zu silently\n", name,
                        k, size, n, full_size);
                exit(1);
            }
        } else if (result < 0) {
            CHECK_EQUAL(result, -EBADMSG);
            CHECK(strstr(pipeline_error(), cut));
            CHECK_EQUAL(try_read(cut, PIPELINE_CORRUPT_SKIP, part, 8 << 20, &n, &damaged), 0);
            CHECK(damaged >= 1 && n <= full_size);
        }
    }
    free(file);
    free(full);
    free(part);
}

/* One damaged member of a zip: the others are read. */
static void check_skip(void)
{
    size_t size, n, full_size;
    uint8_t *file, *full = malloc(8 << 20), *part = malloc(8 << 20), *at;
    uint64_t damaged;

    run_or_skip("mkdir z && seq 1 20000 > z/1 && seq 20001 40000 > z/2 && seq 40001 60000 > z/3 && "
                "zip -q z.zip z/1 z/2 z/3");
    CHECK_EQUAL(try_read("z.zip", PIPELINE_CORRUPT_STOP, full, 8 << 20, &full_size, &damaged), 0);
    file = load("z.zip", &size);
    at = memmem(file, size, "z/2", 3);
    CHECK(at);
    memset(at + 3000, 0x55, 200);
    write_file("bad.zip", file, size);
    CHECK_EQUAL(try_read("bad.zip", PIPELINE_CORRUPT_STOP, part, 8 << 20, &n, &damaged), -EBADMSG);
    CHECK(strstr(pipeline_error(), "z/2") && strstr(pipeline_error(), "bad.zip"));
    CHECK_EQUAL(try_read("bad.zip", PIPELINE_CORRUPT_SKIP, part, 8 << 20, &n, &damaged), 0);
    CHECK_EQUAL(damaged, 1);
    /* The last member is there whole. */
    CHECK(n > 120000 && !memcmp(part + n - 120000, full + full_size - 120000, 120000));
    free(file);
    free(full);
    free(part);
}

int main(void)
{
    enter_scratch();
    run_or_skip("mkdir m && seq 1 1500 > m/a && head -c 20000 /dev/urandom > m/b && : > m/c && "
                "seq 1 100 > m/d && seq 9 9000 > big");
    run_or_skip(
        "tar -cf t.tar m && bsdtar -cf p.tar --format=pax m && bsdtar -cf t.zip --format=zip m"
        " && bsdtar -cf t.7z --format=7zip --options=compression-level=0 m && "
        "bsdtar -cf t.cpio --format=newc m && "
        "bsdtar -cf t.iso --format=iso9660 m && bsdtar -cf t.ar --format=ar -C m a b d");
    run_or_skip(
        "for f in gz:gzip bz2:bzip2 xz:xz zst:zstd lz4:lz4 lzma:xz; do "
        "o=; [ $f = lzma:xz ] && o=--format=lzma; ${f#*:} $o -q -c < t.tar > t.tar.${f%:*} && "
        "${f#*:} $o -q -c < big > b.${f%:*} && cat b.${f%:*} b.${f%:*} > m.${f%:*} || exit 1; "
        "done");
    run_or_skip("lz4 -q -B4 -c < /dev/null > e.lz4 && head -c 300000 /dev/urandom > r && "
                "lz4 -q -B4 -c r > blocks.lz4 && lz4 -q -l -c r > legacy.lz4 && "
                "bsdtar -cf t.tar.lz --lzip m && bsdtar -cf t.ar.gz --gzip --format=ar -C m a b d");
    static const char *const whole[] = {
        "t.tar",    "p.tar",     "t.zip",    "t.7z",      "t.cpio",    "t.iso",      "t.ar.gz",
        "t.tar.gz", "t.tar.bz2", "t.tar.xz", "t.tar.zst", "t.tar.lz4", "t.tar.lzma", "b.gz",
        "b.bz2",    "b.xz",      "b.zst",    "b.lz4",     "b.lzma",    "blocks.lz4",
#ifdef PIPELINE_HAVE_LZMA
        "t.tar.lz",
#endif
    };
    static const char *const frames[] = {"m.gz", "m.bz2", "m.xz", "m.zst", "m.lz4"};

    CHECK_EQUAL(pipeline_io_create(NULL, &io), 0);
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
        check_prefixes(whole[i], 0);
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++)
        check_prefixes(frames[i], 1);
    /* An ar has no end: after 0, 1 or 2 of its members it is a whole one. */
    check_prefixes("t.ar", 3 + 2);
    check_skip();
    pipeline_io_destroy(&io);
    return 0;
}
