/*
 * The loader: every byte exactly once an epoch, an order that depends on seed and data alone, and
 * a cursor that goes on at the exact next window.
 */
#include <errno.h>

#include "tests/pipeline/mixed.h"

enum { T = 1000, N = 200, MAX_ROWS = 40 };

struct run {
    struct opened data;
    struct pipeline_loader *loader;
};

static struct run start(const struct pipeline_loader_params *params)
{
    struct pipeline_loader_params p = *params;
    struct run r = {.data = open_data(mixed_data, MIXED, NULL, NULL)};

    p.stream = r.data.stream;
    CHECK_EQUAL(pipeline_loader_create(&p, &r.loader), 0);
    return r;
}

static void stop(struct run *r)
{
    pipeline_loader_destroy(&r->loader);
    CHECK(!r->loader);
    pipeline_loader_destroy(&r->loader);
    close_data(&r->data);
}

/* The first `windows` rows of a run, with the cursor behind each batch; B is drawn anew each time
 * if rows is 0. */
static void record(struct run *r, uint64_t windows, uint32_t rows, uint64_t seed, uint8_t *to,
                   uint32_t *lengths, struct pipeline_cursor *after)
{
    for (uint64_t have = 0; have < windows;) {
        uint32_t B = rows ? rows : 1 + (uint32_t)(random_next(&seed) % MAX_ROWS);
        struct pipeline_cursor c;

        B = B > windows - have ? (uint32_t)(windows - have) : B;
        CHECK_EQUAL(pipeline_loader_next(r->loader, B, to + have * T, lengths + have, &c), B);
        have += B;
        if (after)
            after[have] = c;
    }
}

static void check_shuffle(void)
{
    for (uint32_t n = 1; n < 3000; n = n * 3 / 2 + 1) {
        uint8_t *seen = calloc(n, 1);
        uint32_t moved = 0;

        for (uint32_t i = 0; i < n; i++) {
            uint32_t j = pipeline_shuffle(5, n, 7, n, i);

            CHECK(j < n && !seen[j]);
            seen[j] = 1;
            moved += i != j;
        }
        CHECK(n < 16 || moved > n / 2);
        free(seen);
    }
    CHECK(pipeline_shuffle(1, 0, 0, 1 << 20, 9) != pipeline_shuffle(2, 0, 0, 1 << 20, 9));
    CHECK(pipeline_shuffle(1, 0, 0, 1 << 20, 9) != pipeline_shuffle(1, 1, 0, 1 << 20, 9));
    CHECK(pipeline_shuffle(1, 0, 0, 1 << 20, 9) != pipeline_shuffle(1, 0, 1, 1 << 20, 9));
}

static int compare_windows(const void *a, const void *b)
{
    return memcmp(a, b, T);
}

/* In order and once, the windows are the stream itself; shuffled, they are the same windows. */
static void check_epoch(const uint8_t *whole, size_t size)
{
    uint64_t n = (size + T - 1) / T, bytes = 0;
    uint8_t *a = malloc((n + MAX_ROWS) * T), *b = malloc((n + MAX_ROWS) * T);
    uint32_t *lengths = malloc((n + MAX_ROWS) * sizeof(*lengths));
    struct run r = start(&(struct pipeline_loader_params){
        .window_bytes = T, .block_windows = N, .in_order = true, .once = true});
    struct pipeline_cursor c;

    record(&r, n, 0, 1, a, lengths, NULL);
    CHECK(!memcmp(a, whole, size));
    CHECK_EQUAL(lengths[n - 1], size % T);
    CHECK_EQUAL(a[n * T - 1], 0);
    memset(a + n * T, 1, T);
    CHECK_EQUAL(pipeline_loader_next(r.loader, 3, a + n * T, lengths, &c), 0);
    CHECK(lengths[0] == 0 && lengths[2] == 0 && a[n * T] == 0);
    CHECK_EQUAL(pipeline_loader_stats(r.loader).bytes, size);
    stop(&r);
    r = start(&(struct pipeline_loader_params){.window_bytes = T, .block_windows = N, .seed = 3});
    record(&r, n, 0, 2, b, lengths, NULL);
    for (uint64_t i = 0; i < n; i++)
        bytes += lengths[i];
    CHECK_EQUAL(bytes, size);
    CHECK(memcmp(a, b, n * T));
    qsort(a, n, T, compare_windows);
    qsort(b, n, T, compare_windows);
    CHECK(!memcmp(a, b, n * T));
    /* The next epoch follows by itself, in another order. */
    record(&r, n, 7, 0, a, lengths, NULL);
    qsort(a, n, T, compare_windows);
    CHECK(!memcmp(a, b, n * T));
    stop(&r);
    free(a);
    free(b);
    free(lengths);
}

/* Cut after any batch, also more than once, and go on with other batch sizes. */
static void check_resume(size_t size)
{
    uint64_t n = 5 * ((size + T - 1) / T) / 2, seed = 11; /* two and a half epochs */
    uint8_t *whole = malloc(n * T), *part = malloc(n * T);
    uint32_t *lengths = malloc(n * sizeof(*lengths)), *again = malloc(n * sizeof(*again));
    struct pipeline_cursor *after = calloc(n + 1, sizeof(*after));
    struct pipeline_loader_params p = {.window_bytes = T, .block_windows = N, .seed = 42};
    struct run r = start(&p);

    record(&r, n, 1, 0, whole, lengths, after);
    stop(&r);
    for (int cut = 0; cut < 100; cut++) {
        uint64_t from = random_next(&seed) % n, count = 1 + random_next(&seed) % (n - from);

        count = count > 300 ? 300 : count;
        p.start = after[from];
        r = start(&p);
        memset(part, 0xaa, count * T);
        record(&r, count, cut % 3 ? 0 : 8, seed, part, again, NULL);
        CHECK(!memcmp(part, whole + from * T, count * T));
        CHECK(!memcmp(again, lengths + from, count * sizeof(*again)));
        /* A second resume, from a cursor of the resumed run. */
        CHECK_EQUAL(pipeline_loader_next(r.loader, 1, part, again, &p.start), 1);
        stop(&r);
        if (from + count + 2 < n) {
            r = start(&p);
            CHECK_EQUAL(pipeline_loader_next(r.loader, 1, part, again, NULL), 1);
            CHECK(!memcmp(part, whole + (from + count + 1) * T, T));
            stop(&r);
        }
    }
    free(whole);
    free(part);
    free(lengths);
    free(again);
    free(after);
}

static void check_failures(void)
{
    static const char *const nothing[] = {"nothing.tar"};
    static const char *const cut[] = {"cut.tar.zst"};
    struct pipeline_loader_params p = {.window_bytes = T};
    uint8_t row[T];
    uint32_t length;
    struct opened o;
    struct pipeline_loader *loader;
    int result;

    run_or_skip("tar -cf nothing.tar -T /dev/null && head -c 200000 a.tar.zst > cut.tar.zst");
    for (int once = 0; once < 2; once++) {
        o = open_data(nothing, 1, NULL, NULL);
        p.stream = o.stream;
        p.once = once;
        CHECK_EQUAL(pipeline_loader_create(&p, &loader), 0);
        CHECK_EQUAL(pipeline_loader_next(loader, 1, row, &length, NULL), -ENODATA);
        CHECK_EQUAL(pipeline_loader_next(loader, 1, row, &length, NULL), -ENODATA);
        pipeline_loader_destroy(&loader);
        close_data(&o);
    }
    o = open_data(cut, 1, NULL, NULL);
    p.stream = o.stream;
    CHECK_EQUAL(pipeline_loader_create(&p, &loader), 0);
    while ((result = pipeline_loader_next(loader, 1, row, &length, NULL)) == 1)
        continue;
    CHECK_EQUAL(result, -EBADMSG);
    CHECK(strstr(pipeline_error(), "cut.tar.zst"));
    pipeline_loader_destroy(&loader);
    close_data(&o);
    /* Leaving at once must not hang, whatever the worker is doing. */
    for (int i = 0; i < 20; i++) {
        struct run r = start(&(struct pipeline_loader_params){.window_bytes = T});

        stop(&r);
    }
}

int main(void)
{
    struct opened o;
    uint8_t *whole;
    size_t size;

    check_shuffle();
    enter_scratch();
    make_mixed();
    o = open_data(mixed_data, MIXED, NULL, NULL);
    whole = read_all(o.stream, &size);
    close_data(&o);
    check_epoch(whole, size);
    check_resume(size);
    check_failures();
    free(whole);
    return 0;
}
