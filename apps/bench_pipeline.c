/*
 * mb-bench pipeline: bytes a second out of DATA.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "apps/bench.h"

/* One pass over everything: bytes, seconds, and processor seconds of all threads. */
struct pass {
    uint64_t bytes;
    double seconds, processor;
};

static double processor_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* From the archives to batches, through all that training reads through. Windows of the paper's
 * length for text; the batch is small, so that it stays in the cache as a trainer's would. */
static int one_pass(struct pipeline_mix *mix, const struct bench_options *o, struct pass *p)
{
    enum { T = 8192, ROWS = 8 };
    static uint8_t batch[ROWS * T];
    const struct pipeline_loader_params params = {.mix = mix, .window_bytes = T,
                                                  .shuffle_bytes = o->data.shuffle_bytes,
                                                  .seed = o->seed, .once = true};
    const double began = app_seconds(), processor = processor_seconds();
    struct pipeline_loader *loader = NULL;
    uint32_t lengths[ROWS];
    int status = pipeline_loader_create(&params, &loader);

    if (status == 0)
        status = 1;
    p->bytes = 0;
    while (status > 0 && !app_interrupted()) {
        status = pipeline_loader_next(loader, ROWS, batch, lengths, NULL);
        p->bytes = pipeline_loader_stats(loader).bytes;
        app_progress("%" PRIu64 " bytes", p->bytes);
    }
    if (status < 0 && !app_interrupted())
        status = app_fail_pipeline(status);
    pipeline_loader_destroy(&loader);
    p->seconds = app_seconds() - began;
    p->processor = processor_seconds() - processor;
    return app_interrupted() ? APP_INTERRUPTED : status;
}

static int measure(const struct bench_options *o, struct pipeline_mix *mix, const char *how)
{
    double *seconds = calloc(o->steps, sizeof *seconds),
           *processor = calloc(o->steps, sizeof *processor);
    struct pass p = {0};
    int status = seconds && processor ? APP_DONE : app_fail(APP_FAILED, "out of memory");

    for (uint64_t i = 0; i < o->warm_up + o->steps && status == APP_DONE; i++) {
        status = one_pass(mix, o, &p);
        if (i >= o->warm_up && status == APP_DONE) {
            seconds[i - o->warm_up] = p.seconds;
            processor[i - o->warm_up] = p.processor;
        }
    }
    app_progress_end();
    if (status == APP_DONE) {
        const double wall = bench_median(seconds, o->steps),
                     busy = bench_median(processor, o->steps);
        char speed[32], size[32];
        if (o->json)
            status = app_json(json_pack(
                "{s:I, s:f, s:f, s:f, s:s, s:I, s:I}", "bytes", (json_int_t)p.bytes,
                "bytes_per_second", (double)p.bytes / wall, "seconds", wall,
                "processor_seconds_per_gigabyte", busy / (double)p.bytes * 1e9, "reading", how,
                "passes", (json_int_t)o->steps, "lanes", (json_int_t)mix->n));
        else
            printf("%s, %s/s, %.2f processor seconds a gigabyte, %u at once, %s\n",
                   app_bytes((double)p.bytes, size), app_bytes((double)p.bytes / wall, speed),
                   busy / (double)p.bytes * 1e9, mix->n, how);
    }
    free(seconds);
    free(processor);
    return status;
}

int bench_pipeline(const struct bench_options *o)
{
    const struct pipeline_io_params params = {.mode = o->data.io, .direct = o->data.direct};
    struct pipeline_io *io = NULL;
    struct pipeline_sources *sources = NULL;
    struct pipeline_mix *mix = NULL;
    int status;

    if (!o->n_paths)
        return app_fail(APP_USAGE, "pipeline wants DATA");
    status = pipeline_io_create(&params, &io);
    if (status == 0)
        status = pipeline_sources_create((const char *const *)o->paths, o->n_paths, &sources);
    if (status == 0)
        status = pipeline_mix_create(io, sources, &o->data.choice, o->data.at_once, &mix);
    if (status < 0)
        status = app_fail_pipeline(status);
    else
        status = measure(o, mix, pipeline_io_name(io));
    pipeline_mix_destroy(&mix);
    pipeline_sources_destroy(&sources);
    pipeline_io_destroy(&io);
    return status;
}
