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

static int one_pass(struct pipeline_stream *stream, struct pass *p)
{
    const struct pipeline_position start = {0};
    const double began = app_seconds(), processor = processor_seconds();
    const uint8_t *data;
    size_t n = 1;
    int status = pipeline_stream_seek(stream, start);

    p->bytes = 0;
    while (status == 0 && n && !app_interrupted()) {
        status = pipeline_stream_next(stream, &data, &n);
        p->bytes += n;
        app_progress("%" PRIu64 " bytes", p->bytes);
    }
    p->seconds = app_seconds() - began;
    p->processor = processor_seconds() - processor;
    if (app_interrupted())
        return APP_INTERRUPTED;
    return status < 0 ? app_fail_pipeline(status) : APP_DONE;
}

static int measure(const struct bench_options *o, struct pipeline_stream *stream, const char *how)
{
    double *seconds = calloc(o->steps, sizeof *seconds),
           *processor = calloc(o->steps, sizeof *processor);
    struct pass p = {0};
    int status = seconds && processor ? APP_DONE : app_fail(APP_FAILED, "out of memory");

    for (uint64_t i = 0; i < o->warm_up + o->steps && status == APP_DONE; i++) {
        status = one_pass(stream, &p);
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
                "{s:I, s:f, s:f, s:f, s:s, s:I}", "bytes", (json_int_t)p.bytes, "bytes_per_second",
                (double)p.bytes / wall, "seconds", wall, "processor_seconds_per_gigabyte",
                busy / (double)p.bytes * 1e9, "reading", how, "passes", (json_int_t)o->steps));
        else
            printf("%s, %s/s, %.2f processor seconds a gigabyte, %s\n",
                   app_bytes((double)p.bytes, size), app_bytes((double)p.bytes / wall, speed),
                   busy / (double)p.bytes * 1e9, how);
    }
    free(seconds);
    free(processor);
    return status;
}

int bench_pipeline(const struct bench_options *o)
{
    const struct pipeline_io_params params = {.mode = o->data.io};
    struct pipeline_io *io = NULL;
    struct pipeline_sources *sources = NULL;
    struct pipeline_stream *stream = NULL;
    int status = pipeline_io_create(&params, &io);

    if (!o->n_paths) {
        pipeline_io_destroy(&io);
        return app_fail(APP_USAGE, "pipeline wants DATA");
    }
    if (status == 0)
        status = pipeline_sources_create((const char *const *)o->paths, o->n_paths, &sources);
    if (status == 0)
        status = pipeline_stream_create(io, sources, &o->data.choice, &stream);
    if (status == 0)
        status = pipeline_stream_probe(stream);
    if (status < 0)
        status = app_fail_pipeline(status);
    else
        status = measure(o, stream, pipeline_io_name(io));
    pipeline_stream_destroy(&stream);
    pipeline_sources_destroy(&sources);
    pipeline_io_destroy(&io);
    return status;
}
