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

    for (int cut = 0; cut < 60; cut++) {
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
    CHECK_EQUAL(pipeline_stream_seek(o.stream, (struct pipeline_position){100, 0, 0}), -ESTALE);
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

/* Both sides together are a merge of the whole: walk it and take each byte from one of them. */
static void check_split(const uint8_t *whole, size_t size)
{
    struct pipeline_choice choice = {.val_fraction = 0.3, .side = PIPELINE_SIDE_TRAIN};
    struct opened train = open_data(mixed_data, MIXED, &choice, NULL), val;
    size_t n_train, n_val, i = 0, j = 0;
    uint8_t *a = read_all(train.stream, &n_train), *b;

    choice.side = PIPELINE_SIDE_VAL;
    val = open_data(mixed_data, MIXED, &choice, NULL);
    b = read_all(val.stream, &n_val);
    CHECK_EQUAL(n_train + n_val, size);
    CHECK(n_train > 0 && n_val > 0);
    /* Pieces are members and blocks: match 16 bytes at a time to know which side goes on. */
    while (i + j < size) {
        size_t left = size - i - j, probe = left < 16 ? left : 16;
        bool from_a = i < n_train && n_train - i >= 1 && a[i] == whole[i + j];

        if (from_a && n_train - i >= probe && memcmp(a + i, whole + i + j, probe))
            from_a = j >= n_val || b[j] != whole[i + j];
        CHECK((from_a ? a[i] : j < n_val ? b[j] : -1) == whole[i + j]);
        if (from_a)
            i++;
        else
            j++;
    }
    /* The same side again, from the same names, whatever else is read. */
    for (size_t d = 0; d < MIXED; d++) {
        struct opened one = open_data(&mixed_data[d], 1, &choice, NULL);
        size_t n;
        uint8_t *c = read_all(one.stream, &n);

        CHECK(n == 0 || memmem(b, n_val, c, n));
        free(c);
        close_data(&one);
    }
    free(a);
    free(b);
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
    CHECK_EQUAL(pipeline_sources_create((const char *const[]){"d.tar=0.7"}, 1, &s), -ENOTSUP);
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
    size_t size;

    enter_scratch();
    make_mixed();
    o = open_data(mixed_data, MIXED, NULL, NULL);
    whole = read_all(o.stream, &size);
    CHECK_EQUAL(size, 4 * 499096 + 400001 + 333333);
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
