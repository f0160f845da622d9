/*
 * Cursors that do not come from here: places that are none, counts that cannot be, data that is not
 * what it was, memory that runs out. Each is refused or leads to where it says; together with the
 * other tests every branch that reads a cursor is taken (tools/coverage).
 */
#include <errno.h>
#include <sys/stat.h>

#include "pipeline/archive.h"
#include "tests/checkpoint/allocations.h"
#include "tests/pipeline/mixed.h"

static const char *const plain[] = {"plain"};
static const char *const members[] = {"members.tar"};

/* Going there gives that result; a stream is made for it alone. */
static void refuse(const char *const *data, const struct pipeline_choice *choice,
                   struct pipeline_position to, int want)
{
    struct opened o = open_data(data, 1, choice, NULL);

    CHECK_EQUAL(pipeline_stream_seek(o.stream, to), want);
    if (want)
        CHECK(*pipeline_error() && !strchr(pipeline_error(), '\n'));
    close_data(&o);
}

static void places(void)
{
    const struct pipeline_choice held = {.val_fraction = 0.5, .side = PIPELINE_SIDE_TRAIN};
    const struct pipeline_choice held_out = {.val_fraction = 0.5, .side = PIPELINE_SIDE_VAL};
    const char *const only[] = {"*2"};
    const struct pipeline_choice some = {.include = only, .n_include = 1};
    struct pipeline_position at;

    refuse(plain, NULL, (struct pipeline_position){.check_bytes = 4097, .offset = 5000}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.check_bytes = 10, .offset = 9}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.source = 2}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.source = UINT64_MAX}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.source = 1}, 0);
    refuse(plain, NULL, (struct pipeline_position){.source = 1, .member = 1}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.source = 1, .inner = 1}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.source = 1, .offset = 1}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.member = 1}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.inner = 1}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.offset = 10001}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.offset = UINT64_MAX}, -ESTALE);
    /* The bytes to look at end, or are others. */
    refuse(plain, NULL, (struct pipeline_position){.offset = 10020, .check_bytes = 100}, -ESTALE);
    refuse(plain, NULL, (struct pipeline_position){.offset = 5000, .check_bytes = 100}, -ESTALE);
    refuse(plain, &held, (struct pipeline_position){.offset = 100}, 0);
    refuse(plain, &held_out, (struct pipeline_position){.offset = 9000}, 0);
    /* A folder of the archive has no bytes; a member that is not taken has none for us. */
    refuse(members, NULL, (struct pipeline_position){.member = 0, .offset = 0}, 0);
    for (uint64_t member = 1; member < 6; member++) {
        at = (struct pipeline_position){.member = member};
        refuse(members, NULL, at, 0);
        refuse(members, &some, at, 0);
    }
    refuse(members, NULL, (struct pipeline_position){.member = 99}, -ESTALE);
    refuse(members, NULL, (struct pipeline_position){.member = 1, .inner = 3}, -ESTALE);
}

/* To and fro on one stream: the very place, and ones that differ in a single number. */
static void to_and_fro(void)
{
    struct opened o = open_data(members, 1, NULL, NULL);
    struct pipeline_position at;
    uint8_t bytes[4000];
    size_t got;

    CHECK_EQUAL(pipeline_stream_read(o.stream, bytes, sizeof(bytes), &got), 0);
    at = pipeline_stream_tell(o.stream);
    CHECK(got == sizeof(bytes) && at.member > 0 && at.offset > 0 && at.check_bytes > 0);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, at), 0);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){.member = at.member,
                                                                          .inner = 1}), -ESTALE);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, at), 0); /* behind what failed */
    CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){.member = at.member}), 0);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){.source = 1}), 0);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, at), 0);
    CHECK_EQUAL(pipeline_stream_read(o.stream, bytes, 10, &got), 0);
    CHECK_EQUAL(got, 10);
    /* The file goes. */
    CHECK_EQUAL(rename("members.tar", "away"), 0);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){.member = 1}), -ENOENT);
    CHECK_EQUAL(rename("away", "members.tar"), 0);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, at), 0);
    close_data(&o);
}

/* A stream that has come upon damage goes back all the same, and stops at damage on its way. */
static void damaged(void)
{
    static const char *const data[] = {"cut.gz"};
    struct opened o = open_data(data, 1, NULL, NULL);
    struct pipeline_position at = {.offset = 0}, far = {.offset = 300000, .check_bytes = 4096};
    const uint8_t *bytes;
    size_t n;
    int result;

    do {
        result = pipeline_stream_next(o.stream, &bytes, &n);
        if (result == 0 && n)
            at = pipeline_stream_tell(o.stream);
    } while (result == 0 && n);
    CHECK_EQUAL(result, -EBADMSG);
    CHECK(at.offset > 4096);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, at), 0);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, far), -EBADMSG);
    far = (struct pipeline_position){.offset = at.offset + 1000, .check_bytes = 2000};
    CHECK_EQUAL(pipeline_stream_seek(o.stream, far), -EBADMSG);
    close_data(&o);
    /* The same where damage is passed over, which is the last thing that was read. */
    const struct pipeline_choice skip = {.on_corrupt = PIPELINE_CORRUPT_SKIP};
    o = open_data(data, 1, &skip, NULL);
    do {
        at = pipeline_stream_tell(o.stream);
        result = pipeline_stream_next(o.stream, &bytes, &n);
    } while (result == 0 && n);
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, pipeline_stream_tell(o.stream)), 0);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, at), 0);
    close_data(&o);
}

/* Memory runs out while damage is passed over; the stream goes back to where it stood. */
static void without_memory(void)
{
    static const char *const data[] = {"cut.gz"};
    const struct pipeline_choice skip = {.on_corrupt = PIPELINE_CORRUPT_SKIP};
    int failures = 0;

    for (long at = 1, more = 1; more; at++) {
        struct opened o = open_data(data, 1, &skip, NULL);
        const uint8_t *bytes;
        size_t n;
        int result;

        allocations_fail_at(at);
        do
            result = pipeline_stream_next(o.stream, &bytes, &n);
        while (result == 0 && n);
        more = allocations_failed();
        CHECK(result == 0 || (more && result == -ENOMEM));
        failures += result < 0;
        if (result < 0)
            CHECK_EQUAL(pipeline_stream_seek(o.stream, pipeline_stream_tell(o.stream)), 0);
        close_data(&o);
    }
    CHECK(failures > 0);
}

/* ---- what the loader makes of a cursor ---- */

/* What a loader that begins there gives first: rows, or what is wrong. */
static int first(struct pipeline_loader_params params, struct pipeline_mix *mix)
{
    struct pipeline_loader *loader = NULL;
    uint8_t to[64];
    uint32_t lengths[1];
    int result;

    params.mix = mix;
    result = pipeline_loader_create(&params, &loader);
    if (result == 0)
        result = pipeline_loader_next(loader, 1, to, lengths, NULL);
    pipeline_loader_destroy(&loader);
    CHECK(result >= 0 || (*pipeline_error() && !strchr(pipeline_error(), '\n')));
    return result;
}

static void counts(void)
{
    const struct pipeline_choice choice = {.nested = 0};
    const char *const data[] = {"plain", "members.tar"};
    struct pipeline_cursor cursor = {.n = 1};
    struct pipeline_loader_params p = {.window_bytes = 64, .shuffle_bytes = 640, .start = &cursor};
    struct pipeline_sources *sources, *both;
    struct pipeline_mix *mix, *two;
    struct pipeline_io *io;

    CHECK_EQUAL(pipeline_io_create(NULL, &io), 0);
    CHECK_EQUAL(pipeline_sources_create(data, 1, &sources), 0);
    CHECK_EQUAL(pipeline_mix_create(io, sources, &choice, 1, &mix), 0);
    CHECK_EQUAL(first(p, mix), 1);
    cursor.lanes[0].window = 9;
    CHECK_EQUAL(first(p, mix), 1);
    cursor.lanes[0].window = 11;
    CHECK_EQUAL(first(p, mix), -ESTALE);
    cursor.lanes[0].window = UINT64_MAX;
    CHECK_EQUAL(first(p, mix), -ESTALE);
    cursor.lanes[0].window = 0;
    cursor.lanes[0].block = UINT64_MAX;
    cursor.lanes[0].epoch = 1;
    cursor.lanes[0].given = UINT64_MAX;
    cursor.epoch = 1;
    CHECK_EQUAL(first(p, mix), 1);
    cursor = (struct pipeline_cursor){.n = 1};
    cursor.lanes[0].at.member = 3;
    CHECK_EQUAL(first(p, mix), -ESTALE);
    for (uint32_t n = 0; n < 4; n++) {
        cursor = (struct pipeline_cursor){.n = n};
        CHECK_EQUAL(first(p, mix), n > 1 ? -ESTALE : 1);
    }
    p.start = NULL;
    CHECK_EQUAL(first(p, mix), 1);
    p.shuffle_bytes = 1; /* less than a window */
    CHECK_EQUAL(first(p, mix), 1);
    p.shuffle_bytes = 64ull << 32;
    CHECK_EQUAL(first(p, mix), -EINVAL);
    p.window_bytes = 0;
    CHECK_EQUAL(first(p, mix), -EINVAL);
    p.window_bytes = UINT32_MAX; /* more than there are addresses */
    p.shuffle_bytes = UINT64_MAX / 2;
    CHECK_EQUAL(first(p, mix), -ENOMEM);
    CHECK_EQUAL(pipeline_sources_create(data, 2, &both), 0);
    CHECK_EQUAL(pipeline_mix_create(io, both, &choice, 2, &two), 0);
    CHECK_EQUAL(first(p, two), -ENOMEM);
    pipeline_mix_destroy(&two);
    pipeline_sources_destroy(&both);
    p.window_bytes = 64;
    p.shuffle_bytes = 640;
    for (int at = 1; at <= 2; at++) {
        struct pipeline_loader *loader = NULL;
        p.mix = mix;
        allocations_fail_at(at);
        CHECK_EQUAL(pipeline_loader_create(&p, &loader), -ENOMEM);
        CHECK(allocations_failed() && !loader);
    }
    pipeline_mix_destroy(&mix);
    pipeline_sources_destroy(&sources);
    pipeline_io_destroy(&io);
}

int main(void)
{
    enter_scratch();
    write_noise("plain", 10000, 1);
    write_noise("long", 300000, 2);
    run_or_skip("mkdir d && tar -cf members.tar d && gzip long && head -c 100000 long.gz > cut.gz");
    for (int i = 0; i < 4; i++) {
        char path[20];
        snprintf(path, sizeof(path), "d/%d", i);
        write_noise(path, 1500 * (size_t)i, 3 + (uint64_t)i);
    }
    run_or_skip("ln -s 1 d/link && tar --sort=name -cf members.tar d");
    places();
    to_and_fro();
    damaged();
    without_memory();
    counts();
    return 0;
}
