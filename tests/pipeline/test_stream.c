/*
 * The stream: seek from any place gives the same bytes, both engines give the same bytes, and the
 * sides of a split are disjoint and complete.
 */
#include <errno.h>

#include "tests/pipeline/mixed.h"

static void check_seek(const uint8_t *whole, size_t size)
{
    struct opened o = open_data(mixed_data, MIXED, NULL, NULL);
    uint64_t seed = 1;

    for (int cut = 0; cut < 100; cut++) {
        struct opened again = open_data(mixed_data, MIXED, NULL, NULL);
        size_t at = random_next(&seed) % (size + 1), got = 0, n;
        uint8_t *head = malloc(at + 1), *rest;

        /* Forward on the used stream, from the front. */
        CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){0}), 0);
        CHECK_EQUAL(pipeline_stream_read(o.stream, head, at, &got), 0);
        CHECK_EQUAL(got, at);
        CHECK(!memcmp(head, whole, at));
        /* The rest on a fresh one. */
        CHECK_EQUAL(pipeline_stream_seek(again.stream, pipeline_stream_tell(o.stream)), 0);
        rest = read_all(again.stream, &n);
        CHECK_EQUAL(n, size - at);
        CHECK(!memcmp(rest, whole + at, n));
        free(rest);
        free(head);
        close_data(&again);
    }
    CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){1, 500, 0}), -ESTALE);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){1, 0, 1ull << 40}),
                -ESTALE);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){.offset = 1ull << 40}),
                -ESTALE);
    CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){.source = 100}), -ESTALE);
    close_data(&o);
}

static void check_engines(const uint8_t *whole, size_t size)
{
    static const struct pipeline_io_params params[] = {
        {.mode = PIPELINE_IO_THREADS},
        {.mode = PIPELINE_IO_THREADS, .depth = 1, .block_bytes = 4096, .threads = 1},
        {.mode = PIPELINE_IO_AUTO, .depth = 1, .block_bytes = 4096},
        {.mode = PIPELINE_IO_AUTO, .depth = 64, .block_bytes = 4096},
        {.mode = PIPELINE_IO_AUTO, .depth = 3, .block_bytes = 8192},
    };

    for (size_t i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
        struct opened o = open_data(mixed_data, MIXED, NULL, &params[i]);
        size_t n;
        uint8_t *bytes = read_all(o.stream, &n);

        CHECK_EQUAL(n, size);
        CHECK(!memcmp(bytes, whole, n));
        free(bytes);
        close_data(&o);
    }
}

/* Where in the whole the byte at a place is. */
struct place {
    struct pipeline_position at;
    size_t index, n;
};

/* The next run of bytes and its place, with index not set. */
static struct place next_place(struct pipeline_stream *stream, const uint8_t **data)
{
    struct place p = {0};

    CHECK_EQUAL(pipeline_stream_next(stream, data, &p.n), 0);
    p.at = pipeline_stream_tell(stream);
    p.at.offset -= p.n;
    return p;
}

/* Marks the bytes of a side, each at its place in the whole. */
static void mark_side(struct pipeline_stream *stream, const struct place *places, size_t n_places,
                      const uint8_t *whole, uint8_t *marks)
{
    const uint8_t *data;

    for (;;) {
        const struct place p = next_place(stream, &data);
        size_t i = 0;

        if (p.n == 0)
            break;
        for (size_t given = 0; given < p.n;) {
            uint64_t offset = p.at.offset + given;
            size_t skip, n;

            while (i < n_places &&
                   !(places[i].at.source == p.at.source && places[i].at.member == p.at.member &&
                     places[i].at.inner == p.at.inner && places[i].at.offset <= offset &&
                     offset < places[i].at.offset + places[i].n))
                i++;
            CHECK(i < n_places);
            skip = (size_t)(offset - places[i].at.offset);
            n = places[i].n - skip < p.n - given ? places[i].n - skip : p.n - given;
            CHECK(!memcmp(whole + places[i].index + skip, data + given, n));
            for (size_t k = 0; k < n; k++)
                marks[places[i].index + skip + k]++;
            given += n;
        }
    }
}

/* Every byte is on exactly one side. */
static void check_split(const uint8_t *whole, size_t size)
{
    struct pipeline_choice choice = mixed_choice;
    struct opened all = open_data(mixed_data, MIXED, NULL, NULL), train, val;
    struct place *places = calloc(100000, sizeof(*places));
    uint8_t *marks = calloc(size, 1), *b;
    size_t n_places = 0, n_val, index = 0;
    const uint8_t *data;

    CHECK(places && marks);
    do {
        CHECK(n_places < 100000);
        places[n_places] = next_place(all.stream, &data);
        places[n_places].index = index;
        index += places[n_places].n;
    } while (places[n_places++].n);
    CHECK_EQUAL(index, size);
    choice.val_fraction = 0.3;
    choice.side = PIPELINE_SIDE_TRAIN;
    train = open_data(mixed_data, MIXED, &choice, NULL);
    mark_side(train.stream, places, n_places, whole, marks);
    CHECK(memchr(marks, 0, size) && memchr(marks, 1, size));
    choice.side = PIPELINE_SIDE_VAL;
    val = open_data(mixed_data, MIXED, &choice, NULL);
    mark_side(val.stream, places, n_places, whole, marks);
    for (size_t i = 0; i < size; i++)
        CHECK_EQUAL(marks[i], 1);
    CHECK_EQUAL(pipeline_stream_seek(val.stream, (struct pipeline_position){0}), 0);
    b = read_all(val.stream, &n_val);
    /* The same side again, from the same names, whatever else is read. */
    for (size_t d = 0; d < MIXED; d++) {
        struct opened one = open_data(&mixed_data[d], 1, &choice, NULL);
        size_t n;
        uint8_t *c = read_all(one.stream, &n);

        CHECK(n == 0 || memmem(b, n_val, c, n));
        free(c);
        close_data(&one);
    }
    free(b);
    free(marks);
    free(places);
    close_data(&all);
    close_data(&train);
    close_data(&val);
}

static void check_empty_sides(void)
{
    static const char *const one[] = {"d.tar"};
    static const char *const all[] = {"*"}, *const none[] = {"*nothing*"};
    struct pipeline_choice choice = {.include = none, .n_include = 1};
    struct opened o = open_data(one, 1, &choice, NULL);

    CHECK_EQUAL(pipeline_stream_probe(o.stream), -ENODATA);
    CHECK(strstr(pipeline_error(), "--include"));
    close_data(&o);
    choice = (struct pipeline_choice){.exclude = all, .n_exclude = 1};
    o = open_data(one, 1, &choice, NULL);
    CHECK_EQUAL(pipeline_stream_probe(o.stream), -ENODATA);
    close_data(&o);
    choice = (struct pipeline_choice){.val_fraction = 1e-9, .side = PIPELINE_SIDE_VAL};
    o = open_data(one, 1, &choice, NULL);
    CHECK_EQUAL(pipeline_stream_probe(o.stream), -ENODATA);
    CHECK(strstr(pipeline_error(), "--val"));
    close_data(&o);
    choice.val_fraction = 2;
    CHECK_EQUAL(pipeline_stream_create(NULL, NULL, &choice, &o.stream), -EINVAL);
}

static void check_identity(void)
{
    struct pipeline_identity ids[MIXED];
    struct pipeline_sources *s;

    CHECK_EQUAL(pipeline_sources_create(mixed_data, MIXED, &s), 0);
    for (size_t i = 0; i < MIXED; i++)
        CHECK_EQUAL(pipeline_source_identify(&s->list[i], &ids[i]), 0);
    CHECK_EQUAL(pipeline_sources_check(s, ids, MIXED), 0);
    CHECK_EQUAL(pipeline_sources_check(s, ids, MIXED - 1), -ESTALE);
    /* One byte near the end. */
    write_noise("plain.bin", 333333, 8);
    CHECK_EQUAL(pipeline_sources_check(s, ids, MIXED), 0);
    write_noise("plain.bin", 333333, 9);
    CHECK_EQUAL(pipeline_sources_check(s, ids, MIXED), -ESTALE);
    CHECK(strstr(pipeline_error(), "plain.bin"));
    write_noise("plain.bin", 333333, 8);
    pipeline_sources_destroy(&s);
    pipeline_sources_destroy(&s);
    write_noise("folder/new", 5, 1);
    CHECK_EQUAL(pipeline_sources_create(mixed_data, MIXED, &s), 0);
    CHECK_EQUAL(pipeline_sources_check(s, ids, MIXED), -ESTALE);
    CHECK(strstr(pipeline_error(), "folder"));
    pipeline_sources_destroy(&s);
}

static void check_arguments(void)
{
    struct pipeline_sources *s;

    write_file("x=2", "literal", 7);
    CHECK_EQUAL(pipeline_sources_create((const char *const[]){"x=2"}, 1, &s), 0);
    CHECK(s->list[0].weight == 1 && s->list[0].size == 7);
    pipeline_sources_destroy(&s);
    CHECK_EQUAL(pipeline_sources_create((const char *const[]){"d.tar=1"}, 1, &s), 0);
    CHECK(!strcmp(s->list[0].path, "d.tar"));
    pipeline_sources_destroy(&s);
    CHECK_EQUAL(pipeline_sources_create((const char *const[]){"a.tar.zst", "[bd].*=0.7"}, 2, &s),
                0);
    CHECK(s->mixed && s->arguments == 2 && s->n == 3 && s->list[0].weight == 1);
    CHECK(s->list[1].weight == 0.7 && s->list[2].argument == 1);
    pipeline_sources_destroy(&s);
    CHECK_EQUAL(pipeline_sources_create((const char *const[]){"d.tar=0"}, 1, &s), -EINVAL);
    CHECK_EQUAL(pipeline_sources_create((const char *const[]){"d.tar=-1"}, 1, &s), -EINVAL);
    CHECK_EQUAL(pipeline_sources_create((const char *const[]){"d.tar=nan"}, 1, &s), -EINVAL);
    CHECK_EQUAL(pipeline_sources_create((const char *const[]){"none"}, 1, &s), -ENOENT);
    CHECK_EQUAL(pipeline_sources_create((const char *const[]){"none*"}, 1, &s), -ENOENT);
    CHECK_EQUAL(pipeline_sources_create(NULL, 0, &s), -ENOENT);
    CHECK_EQUAL(pipeline_sources_create((const char *const[]){"[ad].tar*"}, 1, &s), 0);
    CHECK(s->n == 2 && !strcmp(s->list[0].path, "a.tar.zst") && !strcmp(s->list[1].path, "d.tar"));
    pipeline_sources_destroy(&s);
}

int main(void)
{
    struct opened o;
    uint8_t *whole;
    size_t size, expected;

    enter_scratch();
    expected = make_mixed();
    o = open_data(mixed_data, MIXED, NULL, NULL);
    whole = read_all(o.stream, &size);
    CHECK_EQUAL(size, expected);
    close_data(&o);
    check_engines(whole, size);
    check_seek(whole, size);
    check_split(whole, size);
    check_empty_sides();
    check_identity();
    check_arguments();
    free(whole);
    return 0;
}
