/*
 * Big in either way: a member of 5 GB and a sound of 4.4 GB in bounded memory, and an archive of
 * 100,000 members.
 */
#include <archive.h>
#include <archive_entry.h>
#include <sys/resource.h>

#include "tests/every.h"
#include "tests/pipeline/mixed.h"

enum { MEMBERS = 100000 };

static const uint64_t FIVE_GB = 5000000000ull;

#ifndef __has_feature /* clang's way to tell; gcc's are the macros below */
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
static const long LIMIT_KIB = 1L << 40; /* a sanitizer's own memory is not ours to bound */
#else
static const long LIMIT_KIB = 64 * 1024;
#endif

static struct archive *begin(const char *path, int (*format)(struct archive *),
                             int (*filter)(struct archive *))
{
    struct archive *a = archive_write_new();

    CHECK(a && format(a) == ARCHIVE_OK);
    if (!filter || filter(a) != ARCHIVE_OK) {
        fprintf(stderr, "skipped: libarchive cannot write %s\n", path);
        exit(SKIP_STATUS);
    }
    CHECK_EQUAL(archive_write_open_filename(a, path), ARCHIVE_OK);
    return a;
}

static void add(struct archive *a, const char *name, uint64_t size)
{
    struct archive_entry *e = archive_entry_new();

    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (la_int64_t)size);
    CHECK_EQUAL(archive_write_header(a, e), ARCHIVE_OK);
    archive_entry_free(e);
}

static void end(struct archive *a)
{
    CHECK_EQUAL(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
}

static void check_huge_member(void)
{
    static const char *const data[] = {"five.tar.zst"};
    static uint8_t zeros[1 << 20];
    struct archive *a =
        begin(data[0], archive_write_set_format_gnutar, archive_write_add_filter_zstd);
    struct pipeline_position at;
    struct rusage usage;
    struct opened o;
    const uint8_t *bytes;
    uint64_t total = 0;
    size_t n;

    add(a, "five", FIVE_GB);
    for (uint64_t left = FIVE_GB - 3; left; left -= n) {
        n = left < sizeof(zeros) ? left : sizeof(zeros);
        CHECK_EQUAL(archive_write_data(a, zeros, n), n);
    }
    CHECK_EQUAL(archive_write_data(a, "end", 3), 3);
    end(a);
    o = open_data(data, 1, NULL, NULL);
    do {
        CHECK_EQUAL(pipeline_stream_next(o.stream, &bytes, &n), 0);
        CHECK(n <= sizeof(zeros));
        total += n;
        CHECK(total + 3 > FIVE_GB || !memcmp(bytes, zeros, n));
        if (n && total == FIVE_GB)
            CHECK(n >= 3 && !memcmp(bytes + n - 3, "end", 3));
        if (n)
            at = pipeline_stream_tell(o.stream);
    } while (n);
    CHECK_EQUAL(total, FIVE_GB);
    CHECK_EQUAL(at.offset, FIVE_GB);
    close_data(&o);
    getrusage(RUSAGE_SELF, &usage);
    CHECK(usage.ru_maxrss < LIMIT_KIB);
}

static void check_many(const char *path, int (*format)(struct archive *))
{
    struct archive *a = begin(path, format, archive_write_add_filter_none);
    struct opened o;
    char text[32];
    uint8_t *bytes, *at;
    size_t size;

    for (int i = 0; i < MEMBERS; i++) {
        size_t n = (size_t)sprintf(text, "%d\n", i);

        add(a, text, n);
        CHECK_EQUAL(archive_write_data(a, text, n), n);
    }
    end(a);
    o = open_data(&path, 1, NULL, NULL);
    at = bytes = read_all(o.stream, &size);
    for (int i = 0; i < MEMBERS; i++) {
        size_t n = (size_t)sprintf(text, "%d\n", i);

        CHECK(at + n <= bytes + size && !memcmp(at, text, n));
        at += n;
    }
    CHECK(at == bytes + size);
    CHECK_EQUAL(pipeline_stream_stats(o.stream).members, MEMBERS);
    /* The last member, reached again from the front. */
    CHECK_EQUAL(pipeline_stream_seek(
                    o.stream, (struct pipeline_position){.member = MEMBERS - 1, .offset = 2}),
                0);
    free(bytes);
    bytes = read_all(o.stream, &size);
    CHECK(size == 4 && !memcmp(bytes, "999\n", 4));
    free(bytes);
    close_data(&o);
}

#ifdef PIPELINE_HAVE_AUDIO

enum { CHANNELS = 1024, FRAME = 8 * CHANNELS, SOUND_FRAMES = 537200 }; /* 4.4 GB: wide, so few */

/* A hole with a last frame behind it, in a WAV whose sizes are d and r, or an RF64. Beyond 4 GiB
 * they mean: not known (0xffffffff), or as many modulo 2^32. */
static void check_huge_sound(bool wide, uint32_t d, uint32_t r)
{
    static const char *const data[] = {"sound.wav"};
    struct pipeline_choice choice = {.content = {.audio_rate = 16000}};
    const uint64_t size = (uint64_t)FRAME * SOUND_FRAMES;
    const double last = 0.5 * CHANNELS;
    uint8_t head[80], *bytes;
    uint64_t r64 = size + sizeof(head) - 8;
    struct opened o;
    FILE *f = fopen(data[0], "wb");
    size_t n = 44, got;

    memcpy(head, wide ? "RF64\377\377\377\377WAVE" : "RIFF....WAVE", 12);
    if (wide) {
        memset(head + 12, 0, 36);
        memcpy(head + 12, "ds64\34", 5);
        memcpy(head + 20, &r64, 8); /* on machines with the lowest byte first, as all ours */
        memcpy(head + 28, &size, 8);
        n = sizeof(head);
    } else {
        memcpy(head + 4, &r, 4);
    }
    memcpy(head + n - 32, "fmt \20\0\0\0\3\0\0\4\200\76\0\0\0\0\0\0\0\40\100\0data", 28);
    memcpy(head + n - 4, &d, 4);
    CHECK(f && fwrite(head, 1, n, f) == n && fseeko(f, (off_t)(size - 8), SEEK_CUR) == 0);
    CHECK(fwrite(&last, 8, 1, f) == 1 && fclose(f) == 0);
    o = open_data(data, 1, &choice, NULL);
    bytes = malloc(2 * SOUND_FRAMES + 1);
    CHECK(bytes);
    CHECK_EQUAL(pipeline_stream_read(o.stream, bytes, 2 * SOUND_FRAMES + 1, &got), 0);
    CHECK_EQUAL(got, 2 * SOUND_FRAMES);
    CHECK(bytes[got - 3] == 0 && bytes[got - 2] == 0 && bytes[got - 1] == 0x40);
    free(bytes);
    close_data(&o);
    unlink(data[0]);
}

static void check_huge_sounds(void)
{
    const uint64_t size = (uint64_t)FRAME * SOUND_FRAMES;

    check_huge_sound(false, UINT32_MAX, UINT32_MAX);
    if (tests_every() > 1)
        return;
    check_huge_sound(false, (uint32_t)size, (uint32_t)(size + 36));
    check_huge_sound(true, UINT32_MAX, UINT32_MAX);
}

#else

static void check_huge_sounds(void)
{
    fprintf(stderr, "no sounds: built without audio\n");
}

#endif

int main(void)
{
    enter_scratch();
    check_huge_sounds();
    check_many("many.tar", archive_write_set_format_pax_restricted);
    check_many("many.zip", archive_write_set_format_zip);
    check_huge_member();
    return 0;
}
