/*
 * Nothing grows: descriptors, threads and memory over a thousand rounds of opening, reading a
 * little and closing, and over ten epochs.
 */
#include <dirent.h>
#include <malloc.h>

#include "tests/every.h"
#include "tests/pipeline/mixed.h"

#ifndef __has_feature /* clang's way to tell; gcc's are the macros below */
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
static const bool own_memory = false; /* a sanitizer keeps what was freed */
#else
static const bool own_memory = true;
#endif

struct use {
    long descriptors, threads, kib;
};

static long entries(const char *path)
{
    DIR *folder = opendir(path);
    long n = 0;

    CHECK(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

static struct use used(void)
{
    struct use u = {.descriptors = entries("/proc/self/fd"), .threads = entries("/proc/self/task")};
    FILE *f = fopen("/proc/self/statm", "r");
    long pages = 0;

    malloc_trim(0); /* what was freed goes back */
    CHECK(f && fscanf(f, "%*d %ld", &pages) == 1);
    fclose(f);
    u.kib = pages * (sysconf(_SC_PAGESIZE) / 1024);
    return u;
}

static void compare(const char *what, struct use before, struct use now)
{
    CHECK_EQUAL(now.descriptors, before.descriptors);
    CHECK_EQUAL(now.threads, before.threads);
    if (own_memory && now.kib > before.kib + 512) {
        fprintf(stderr, "%s: memory grew from %ld to %ld KiB\n", what, before.kib, now.kib);
        exit(1);
    }
}

/* Opens everything, reads on from a place that differs each time, and leaves in the middle. */
static void round_of(uint64_t i, enum pipeline_io_mode mode)
{
    struct opened o =
        open_data(mixed_data, MIXED, NULL, &(struct pipeline_io_params){.mode = mode});
    struct pipeline_loader_params p = {
        .window_bytes = 64 + (uint32_t)(i % 5) * 1000, .seed = i, .shuffle_bytes = 1 << 17};
    struct pipeline_mix *mix;
    struct pipeline_loader *loader;
    static uint8_t batch[8 * 4064];
    uint32_t lengths[8];

    CHECK_EQUAL(pipeline_mix_create(o.io, o.sources, &mixed_choice, 1 + (uint32_t)(i % 8), &mix),
                0);
    p.mix = mix;
    CHECK_EQUAL(pipeline_loader_create(&p, &loader), 0);
    for (uint64_t k = 0; k < i % 4; k++)
        CHECK(pipeline_loader_next(loader, 8, batch, lengths, NULL) > 0);
    pipeline_loader_destroy(&loader);
    pipeline_mix_destroy(&mix);
    close_data(&o);
}

static void check_rounds(enum pipeline_io_mode mode)
{
    const uint64_t rounds = 1000 / (uint64_t)tests_every();
    struct use before = {0};

    for (uint64_t i = 0; i < 50 + rounds; i++) {
        if (i == 50) /* first uses are over: libraries loaded, caches filled */
            before = used();
        round_of(i, mode);
    }
    compare("many rounds", before, used());
}

static void check_epochs(void)
{
    struct opened o = open_data(mixed_data, MIXED, NULL, NULL);
    struct pipeline_loader_params p = {.window_bytes = 1000, .shuffle_bytes = 1 << 17};
    struct pipeline_mix *mix;
    struct pipeline_loader *loader;
    struct pipeline_cursor c = {0};
    static uint8_t batch[16 * 1000];
    uint32_t lengths[16];
    struct use before = {0};

    CHECK_EQUAL(pipeline_mix_create(o.io, o.sources, &mixed_choice, 3, &mix), 0);
    p.mix = mix;
    CHECK_EQUAL(pipeline_loader_create(&p, &loader), 0);
    while (c.epoch < 11) {
        uint64_t epoch = c.epoch;

        CHECK(pipeline_loader_next(loader, 16, batch, lengths, &c) > 0);
        if (epoch == 0 && c.epoch == 1)
            before = used();
    }
    {
        struct use now = used();

        /* Which files are open at this moment depends on how far the workers are ahead. */
        CHECK(labs(now.descriptors - before.descriptors) <= 3 * 3);
        now.descriptors = before.descriptors;
        compare("ten epochs", before, now);
    }
    pipeline_loader_destroy(&loader);
    pipeline_mix_destroy(&mix);
    close_data(&o);
}

int main(void)
{
    /* With an arena for each thread, what is freed in one is not there for others: the allocator's
     * own growth would hide ours. */
    mallopt(M_ARENA_MAX, 1);
    enter_scratch();
    make_mixed();
    check_rounds(PIPELINE_IO_AUTO);
    check_rounds(PIPELINE_IO_THREADS);
    check_epochs();
    return 0;
}
