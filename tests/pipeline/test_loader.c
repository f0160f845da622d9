/*
 * The loader: every byte exactly once an epoch, an order that depends on seed and data alone, and
 * a cursor that goes on at the exact next window.
 */
#include <errno.h>

#include "tests/every.h"
#include "tests/pipeline/mixed.h"

enum { T = 1000, N = 200, MAX_ROWS = 40 };

struct run {
    struct opened data; /* its stream is not used */
    struct pipeline_mix *mix;
    int probed; /* what pipeline_mix_probe said */
    struct pipeline_loader *loader;
};

/* What runs read; changed between checks. */
static const char *const *data = mixed_data;
static size_t n_data = MIXED;
static uint32_t at_once = 1;
static char why[1024]; /* the last probe's line */

static struct run start(const struct pipeline_loader_params *params)
{
    struct pipeline_loader_params p = *params;
    /* Threads of every number read in turn with io_uring: the bytes are the same. */
    static uint32_t runs;
    const struct pipeline_io_params io = {.mode = runs % 2 ? PIPELINE_IO_THREADS : PIPELINE_IO_AUTO,
                                          .threads = 1 + runs % 5};
    struct run r = {.data = open_data(data, n_data, NULL, &io)};

    runs++;
    CHECK_EQUAL(pipeline_mix_create(r.data.io, r.data.sources, &mixed_choice, at_once, &r.mix), 0);
    r.probed = pipeline_mix_probe(r.mix);
    snprintf(why, sizeof(why), "%s", r.probed < 0 ? pipeline_error() : "");
    p.mix = r.mix;
    CHECK_EQUAL(pipeline_loader_create(&p, &r.loader), 0);
    return r;
}

static void stop(struct run *r)
{
    pipeline_loader_destroy(&r->loader);
    CHECK(!r->loader);
    pipeline_loader_destroy(&r->loader);
    pipeline_mix_destroy(&r->mix);
    pipeline_mix_destroy(&r->mix);
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
        .window_bytes = T, .shuffle_bytes = N * T, .in_order = true, .once = true});
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
    r = start(
        &(struct pipeline_loader_params){.window_bytes = T, .shuffle_bytes = N * T, .seed = 3});
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
static void check_resume(uint64_t n)
{
    uint64_t seed = 11;
    uint8_t *whole = malloc(n * T), *part = malloc(n * T);
    uint32_t *lengths = malloc(n * sizeof(*lengths)), *again = malloc(n * sizeof(*again));
    struct pipeline_cursor *after = calloc(n + 1, sizeof(*after)), then;
    struct pipeline_loader_params p = {.window_bytes = T, .shuffle_bytes = N * T, .seed = 42};
    struct run r = start(&p);

    record(&r, n, 1, 0, whole, lengths, after);
    stop(&r);
    for (int cut = 0; cut < 100; cut += tests_every()) {
        uint64_t from = random_next(&seed) % n, count = 1 + random_next(&seed) % (n - from);

        count = count > 300 ? 300 : count;
        p.start = &after[from];
        r = start(&p);
        memset(part, 0xaa, count * T);
        record(&r, count, cut % 3 ? 0 : 8, seed, part, again, NULL);
        CHECK(!memcmp(part, whole + from * T, count * T));
        CHECK(!memcmp(again, lengths + from, count * sizeof(*again)));
        /* A second resume, from a cursor of the resumed run. */
        CHECK_EQUAL(pipeline_loader_next(r.loader, 1, part, again, &then), 1);
        stop(&r);
        p.start = &then;
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

/* Every byte once an epoch from all lanes, however many they are. */
static void check_lanes(size_t size)
{
    static const uint32_t lanes[] = {2, 3, 4, 8, 60};
    struct pipeline_loader_params p = {.window_bytes = T, .shuffle_bytes = 150 * T, .seed = 4};

    for (size_t k = 0; k < sizeof(lanes) / sizeof(lanes[0]); k++) {
        uint32_t n = lanes[k] < n_data ? lanes[k] : (uint32_t)n_data;
        uint64_t bytes = 0, windows = 0;
        struct pipeline_cursor c = {0};
        struct run r;
        uint8_t row[T];
        uint32_t length;
        uint64_t sum = 0, sums[3] = {0};

        at_once = lanes[k];
        r = start(&p);
        CHECK_EQUAL(r.mix->n, n);
        CHECK_EQUAL(r.probed, 0);
        for (int epoch = 0; epoch < 3; epoch++) {
            bytes = windows = sum = 0;
            while (bytes < size) {
                CHECK_EQUAL(pipeline_loader_next(r.loader, 1, row, &length, &c), 1);
                CHECK_EQUAL(c.epoch, (uint64_t)epoch);
                bytes += length;
                windows++;
                for (uint32_t i = 0; i < length; i++)
                    sum += row[i] * 2654435761u % 65521;
            }
            CHECK_EQUAL(bytes, size);
            CHECK(windows >= (size + T - 1) / T && windows <= (size + T - 1) / T + n);
            sums[epoch] = sum;
        }
        CHECK(sums[0] == sums[1] && sums[1] == sums[2]);
        stop(&r);
    }
    at_once = 3;
    check_resume(5 * (size / T) / 2);
    at_once = 1;
}

/* A mixture: exact shares at every moment, small things begin again, resume at any place. */
static void check_mixture(void)
{
    static const char *const mixture[] = {"plain.bin=2", "b.zip=0.5", "c.gz", "[de].*=1.5"};
    static const double weights[] = {2, 0.5, 1, 1.5};
    struct pipeline_loader_params p = {.window_bytes = T, .shuffle_bytes = 256 * T, .seed = 4};
    struct pipeline_cursor c;
    struct run r;
    uint8_t row[T];
    uint32_t length;

    data = mixture;
    n_data = 4;
    r = start(&p);
    CHECK(r.mix->mixed && r.mix->n == 4 && r.mix->lanes[3].sources.n == 2);
    CHECK_EQUAL(r.probed, 0);
    for (uint64_t given = 1; given < 6000; given++) {
        CHECK_EQUAL(pipeline_loader_next(r.loader, 1, row, &length, &c), 1);
        for (int i = 0; i < 4; i++) {
            double share = (double)given * weights[i] / 5;

            CHECK((double)c.lanes[i].given > share - 2 && (double)c.lanes[i].given < share + 2);
        }
    }
    CHECK(c.lanes[0].epoch >= 7 && c.lanes[1].epoch == 1 && c.epoch == 1);
    stop(&r);
    check_resume(2000);
    /* Once: each a single time. */
    p.once = true;
    r = start(&p);
    while (pipeline_loader_next(r.loader, 1, row, &length, NULL) == 1)
        continue;
    CHECK_EQUAL(pipeline_loader_stats(r.loader).bytes,
                333333 + 499096 + 400001 + 499096 + jsonl_bytes);
    stop(&r);
    data = mixed_data;
    n_data = MIXED;
}

/* A lane without bytes has no turn, and is no failure unless all are. */
static void check_empty_lane(void)
{
    static const char *const some[] = {"nothing.tar", "c.gz"}, *const mixture[] = {"nothing.tar=1",
                                                                                   "c.gz=1"};
    struct pipeline_loader_params p = {.window_bytes = T};
    struct run r;
    uint8_t row[T];
    uint32_t length;
    uint64_t bytes = 0;

    data = some;
    n_data = 2;
    at_once = 2;
    r = start(&p);
    for (int i = 0; i < 802; i++) {
        CHECK_EQUAL(pipeline_loader_next(r.loader, 1, row, &length, NULL), 1);
        bytes += length;
    }
    CHECK_EQUAL(bytes, 2 * 400001);
    stop(&r);
    data = mixture;
    r = start(&p);
    CHECK_EQUAL(r.probed, -ENODATA);
    CHECK(strstr(why, "nothing.tar"));
    stop(&r);
    data = mixed_data;
    n_data = MIXED;
    at_once = 1;
}

static void check_failures(void)
{
    static const char *const nothing[] = {"nothing.tar", "nothing.tar"};
    static const char *const cut[] = {"cut.tar.zst", "plain.bin"};
    struct pipeline_loader_params p = {.window_bytes = T};
    uint64_t first = 0;
    uint8_t row[T];
    uint32_t length;
    int result;

    data = nothing;
    for (int i = 0; i < 4; i++) {
        struct run r;

        p.once = i % 2;
        n_data = at_once = 1 + i / 2;
        r = start(&p);
        CHECK_EQUAL(pipeline_loader_next(r.loader, 1, row, &length, NULL), -ENODATA);
        CHECK_EQUAL(pipeline_loader_next(r.loader, 1, row, &length, NULL), -ENODATA);
        stop(&r);
    }
    data = cut;
    for (int i = 0; i < 4; i++) {
        struct run r;
        uint64_t windows;

        n_data = at_once = 1 + i / 2;
        r = start(&p);
        while ((result = pipeline_loader_next(r.loader, 1, row, &length, NULL)) == 1)
            continue;
        CHECK_EQUAL(result, -EBADMSG);
        CHECK(strstr(pipeline_error(), "cut.tar.zst"));
        CHECK_EQUAL(pipeline_loader_next(r.loader, 1, row, &length, NULL), -EBADMSG);
        windows = pipeline_loader_stats(r.loader).windows;
        CHECK(i % 2 == 0 || windows == first); /* always at the same place */
        first = windows;
        stop(&r);
    }
    data = mixed_data;
    n_data = MIXED;
    at_once = 1;
    p.once = false;
    p.start = &(struct pipeline_cursor){.n = 2};
    {
        struct opened o = open_data(data, n_data, NULL, NULL);
        struct pipeline_loader *loader;
        struct pipeline_mix *mix;

        CHECK_EQUAL(pipeline_mix_create(o.io, o.sources, &mixed_choice, 3, &mix), 0);
        p.mix = mix;
        CHECK_EQUAL(pipeline_loader_create(&p, &loader), -ESTALE);
        pipeline_mix_destroy(&mix);
        CHECK_EQUAL(pipeline_mix_create(o.io, o.sources, &mixed_choice, 65, &mix), -EINVAL);
        close_data(&o);
    }
    /* Leaving at once must not hang, whatever the worker is doing. */
    for (int i = 0; i < 20; i++) {
        struct run r;

        at_once = 1 + i % 5;
        r = start(&(struct pipeline_loader_params){.window_bytes = T});
        stop(&r);
    }
    at_once = 1;
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
    check_resume(5 * ((size + T - 1) / T) / 2); /* two and a half epochs */
    run_or_skip("tar -cf nothing.tar -T /dev/null && head -c 200000 a.tar.zst > cut.tar.zst");
    check_lanes(size);
    check_mixture();
    check_empty_lane();
    check_failures();
    free(whole);
    return 0;
}
