/*
 * mb-bench op, step and generate: what the device does in a second.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "apps/bench.h"
#include "apps/products.h"
#include "megabyte/error.h"
#include "megabyte/generator.h"
#include "megabyte/trainer.h"
#include "nn/sampling.h"
#include "tensor/op.h"
#include "tensor/random.h"

#define TIMES_MAX 256

/* ---- tables of operations ---- */

struct times {
    struct tensor_time time[TIMES_MAX];
    char label[TIMES_MAX][96]; /* of each: what a graph gives ends with the graph */
    uint32_t count;
    double seconds;
};

static void add_times(struct times *all, struct tensor_graph *graph, double runs)
{
    struct tensor_time some[TIMES_MAX];
    uint32_t n = tensor_graph_times(graph, some, TIMES_MAX);

    n = n < TIMES_MAX ? n : TIMES_MAX;
    for (uint32_t i = 0; i < n && all->count < TIMES_MAX; i++) {
        snprintf(all->label[all->count], sizeof *all->label, "%s", some[i].label);
        struct tensor_time *t = &all->time[all->count];
        *t = some[i];
        t->label = all->label[all->count++];
        t->seconds /= runs;
        all->seconds += t->seconds;
    }
}

/* ---- what the device can do at most, as it shows in this run ---- */

struct ceilings {
    uint32_t size;       /* of a matrix product, rows and columns */
    uint64_t copied;     /* bytes of a copy */
    double flops, bytes; /* a second; bytes count what is read and what is written */
};

enum { CEILING_SIZE_MAX = 4096, CEILING_RUNS = 5 };

/* The best of some runs of a product of n by n by n, or of a copy of n by n floats. */
static int time_large(struct tensor_device *device, uint32_t n, bool copy, double *seconds)
{
    const struct tensor_graph_params params = {
        .name = "ceiling", .timing = true, .autotune = tensor_device_autotune(device)};
    const uint32_t square[2] = {n, n};
    struct tensor_arena *arena = NULL;
    struct tensor_graph *graph = NULL;
    int status = tensor_arena_create(device, TENSOR_DEVICE, "ceiling", &arena);

    if (status < 0)
        return status;
    struct tensor *x = tensor_arena_take(arena, "x", TENSOR_F32, 2, square);
    struct tensor *y = tensor_arena_take(arena, "y", TENSOR_F32, 2, square);
    status = tensor_arena_commit(arena);
    if (status == 0)
        status = tensor_graph_create(device, &params, &graph);
    if (status == 0) {
        if (copy)
            tensor_copy(graph, x, y);
        else
            tensor_graph_keep(graph, tensor_linear(graph, x, y, NULL, 0));
        status = tensor_graph_finish(graph);
    }
    for (int i = 0; i < CEILING_RUNS && status == 0; i++) {
        struct tensor_time time;
        tensor_graph_times_reset(graph);
        status = tensor_graph_run(graph);
        if (status == 0)
            status = tensor_device_wait(device);
        if (status == 0 && tensor_graph_times(graph, &time, 1) &&
            (i == 0 || time.seconds < *seconds))
            *seconds = time.seconds;
    }
    tensor_graph_destroy(&graph);
    tensor_arena_destroy(&arena);
    return status;
}

/* As large as takes a while, so that beginnings and ends do not count: on a software device of
 * Vulkan that is small, on a GPU 4096. */
static int measure_ceilings(struct tensor_device *device, struct ceilings *c)
{
    const uint64_t room = tensor_device_info(device)->memory_bytes / 32;

    for (int copy = 0; copy < 2; copy++) {
        uint32_t n = 256;
        double seconds = 0;
        for (;; n *= 2) {
            const int status = time_large(device, n, copy, &seconds);
            if (status < 0)
                return status;
            if (n == CEILING_SIZE_MAX || 16ull * n * n > room || seconds > (copy ? 0.1 : 0.05))
                break;
        }
        if (copy) {
            c->copied = 4ull * n * n;
            c->bytes = 2.0 * (double)c->copied / seconds;
        } else {
            c->size = n;
            c->flops = 2.0 * n * n * n / seconds;
        }
        app_progress("measuring what the device can do");
    }
    return 0;
}

/* The two floors of an operation's time: its operations, and its bytes, at the ceilings. */
static double flops_floor(const struct ceilings *c, const struct tensor_time *t)
{
    return t->flops / c->flops;
}

static double bytes_floor(const struct ceilings *c, const struct tensor_time *t)
{
    return t->bytes / c->bytes;
}

/* How near an operation comes to the higher of them. */
static double of_ceiling(const struct ceilings *c, const struct tensor_time *t)
{
    const double flops = flops_floor(c, t), bytes = bytes_floor(c, t);

    return (flops > bytes ? flops : bytes) / (t->seconds > 0 ? t->seconds : 1e-12);
}

static void print_ceilings(FILE *out, const struct ceilings *c)
{
    char size[32];

    fprintf(out, "ceilings, measured in this run: %.1f GFLOP/s (a product of %u x %u x %u), %.1f "
                 "GB/s (a copy of %s)\n", c->flops * 1e-9, c->size, c->size, c->size,
            c->bytes * 1e-9, app_bytes((double)c->copied, size));
}

static int by_seconds(const void *a, const void *b)
{
    const double x = ((const struct tensor_time *)a)->seconds;
    const double y = ((const struct tensor_time *)b)->seconds;

    return x < y ? 1 : x > y ? -1 : 0;
}

static void print_times(FILE *out, const struct times *all, const struct ceilings *c)
{
    fprintf(out, "%-28s %-22s %7s %10s %6s %9s %8s %8s\n", "label", "kernel", "passes", "ms",
            "share", "GFLOP/s", "GB/s", "of peak");
    for (uint32_t i = 0; i < all->count; i++) {
        const struct tensor_time *t = &all->time[i];
        const double s = t->seconds > 0 ? t->seconds : 1e-12;
        fprintf(out, "%-28s %-22s %7u %10.3f %5.1f%% %9.1f %8.1f %7.0f%%\n", t->label, t->kernel,
                t->passes, 1e3 * t->seconds, 100 * t->seconds / all->seconds, t->flops / s * 1e-9,
                t->bytes / s * 1e-9, 100 * of_ceiling(c, t));
    }
}

static json_t *json_times(const struct times *all, const struct ceilings *c)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < all->count; i++) {
        const struct tensor_time *t = &all->time[i];
        const double s = t->seconds > 0 ? t->seconds : 1e-12;
        app_json_append(
            &list, json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "label", t->label,
                            "kernel", t->kernel, "passes", (int)t->passes, "seconds", t->seconds,
                            "flops_per_second", t->flops / s, "bytes_per_second", t->bytes / s,
                            "flops_floor_seconds", flops_floor(c, t), "bytes_floor_seconds",
                            bytes_floor(c, t), "share_of_ceiling", of_ceiling(c, t)));
    }
    return list;
}

static void random_bytes(uint8_t *bytes, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)tensor_random((uint32_t)i, (uint32_t)(i >> 32), 0, 0, (uint32_t)seed,
                                          (uint32_t)(seed >> 32)).word[0];
}

static int fail_here(struct tensor_device **device)
{
    const char *line = *megabyte_error() ? megabyte_error() : tensor_error();
    const int status = app_fail(APP_FAILED, "%s", line);

    tensor_device_close(device);
    return status;
}

/* ---- step ---- */

/* Runs steps on random bytes; seconds[i] is the time of step i behind the warm-up, host[i] what of
 * it the device had nothing to do. */
static int run_steps(const struct bench_options *o, const struct megabyte_model *model, bool timing,
                     double *seconds, double *host, struct times *times)
{
    const struct megabyte_config *c = &model->config;
    const struct megabyte_trainer_params params = {.seed = o->seed, .timing = timing};
    struct megabyte_trainer *trainer = NULL;
    struct megabyte_trainer_result result;
    int status = megabyte_trainer_create(model, &params, &trainer);

    for (uint64_t i = 0; i < o->warm_up + o->steps && status == 0; i++) {
        if (timing && i == o->warm_up)
            for (unsigned j = 0; j < 3; j++)
                tensor_graph_times_reset(megabyte_trainer_graph(trainer, j));
        const struct megabyte_batch batch = megabyte_trainer_batch(trainer);
        random_bytes(batch.bytes, (size_t)c->batch * c->seq_len, o->seed + i);
        for (uint32_t b = 0; b < c->batch; b++)
            batch.lengths[b] = c->seq_len;
        const double began = app_seconds(), busy = tensor_device_busy(model->device);
        status = megabyte_trainer_submit(trainer, i + 1, 1e-4);
        if (status == 0)
            status = megabyte_trainer_collect(trainer, &result);
        if (i >= o->warm_up) {
            seconds[i - o->warm_up] = app_seconds() - began;
            host[i - o->warm_up] =
                seconds[i - o->warm_up] - (tensor_device_busy(model->device) - busy);
        }
        app_progress("%s step %" PRIu64 " of %" PRIu64, timing ? "timed" : "measured", i + 1,
                     o->warm_up + o->steps);
    }
    for (unsigned j = 0; timing && status == 0 && j < 3; j++)
        add_times(times, megabyte_trainer_graph(trainer, j), (double)o->steps);
    megabyte_trainer_destroy(&trainer);
    return status;
}

/* What a step took. */
struct step_figures {
    double seconds, host; /* medians: from submitting it to its result; without work for the
                             device */
    double timed;         /* means of steps whose operations were timed, which is a little slower:
                             the step ... */
    double bubbles;       /* ... and what of it is left beside the operations */
};

static int json_step(const struct bench_options *o, const struct tensor_device_info *info,
                     const struct step_figures *f, const struct times *times,
                     const struct ceilings *ceilings, const struct app_products *products,
                     double peak)
{
    const struct megabyte_config *c = &o->config;
    const double bytes = (double)c->batch * c->seq_len / f->seconds;
    const double flops = megabyte_config_flops(c), rate = megabyte_config_training_flops(c) * bytes;
    json_t *object = json_pack(
        "{s:f, s:f, s:f, s:f, s:s, s:s, s:s, s:s, s:I, s:I}", "bytes_per_second", bytes,
        "flops_per_byte", flops, "flops_per_second", rate, "seconds_per_step", f->seconds, "device",
        info->name, "driver", info->driver, "precision", tensor_precision_name(info->precision),
        "preset", c->preset, "batch", (json_int_t)c->batch, "steps", (json_int_t)o->steps);
    json_t *more = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o, s:o, s:o}", "host_seconds", f->host,
        "host_share", f->host / f->seconds, "bubble_seconds", f->bubbles, "bubble_share",
        f->bubbles / f->timed, "ceiling_flops_per_second", ceilings->flops,
        "ceiling_bytes_per_second", ceilings->bytes, "model_flops_utilization",
        rate / ceilings->flops, "stated_flops_per_second", peak > 0 ? json_real(peak) : json_null(),
        "model_flops_utilization_stated", peak > 0 ? json_real(rate / peak) : json_null(), "ops",
        json_times(times, ceilings), "products", app_products_json(products));

    if (json_object_update(object, more)) {
        json_decref(object);
        object = NULL;
    }
    json_decref(more);
    return app_json(object);
}

static int report_step(const struct bench_options *o, const struct tensor_device_info *info,
                       const struct step_figures *f, struct times *times,
                       const struct ceilings *ceilings, const struct app_products *products)
{
    const struct megabyte_config *c = &o->config;
    const double bytes = (double)c->batch * c->seq_len / f->seconds;
    const double flops = megabyte_config_flops(c), rate = megabyte_config_training_flops(c) * bytes;
    const double peak = o->peak > 0
                            ? o->peak
                            : bench_stated_peak(info->name, tensor_precision_name(info->precision));
    char speed[32], stated[64] = "the stated peak is unknown (--peak)";

    qsort(times->time, times->count, sizeof *times->time, by_seconds);
    if (o->json)
        return json_step(o, info, f, times, ceilings, products, peak);
    print_times(stdout, times, ceilings);
    printf("%-28s %-22s %7s %10.3f %5.1f%%\n\n", "between operations", "", "", 1e3 * f->bubbles,
           100 * f->bubbles / f->timed);
    app_products_print(products);
    print_ceilings(stdout, ceilings);
    if (peak > 0)
        snprintf(stated, sizeof stated, "%.1f%% of the stated %.4g TFLOP/s", 100 * rate / peak,
                 peak * 1e-12);
    printf("%s, %s, %s: %.4f s a step, %s/s, %.1f GFLOP/s (3 x %.4g FLOPs a byte)\n"
           "utilization: %.1f%% of the ceiling, %s\n"
           "host: %.3f ms of a step in which the device has nothing to do, %.2f%%\n",
           c->preset, info->name, tensor_precision_name(info->precision), f->seconds,
           app_bytes(bytes, speed), rate * 1e-9, flops, 100 * rate / ceilings->flops, stated,
           1e3 * f->host, 100 * f->host / f->seconds);
    return APP_DONE;
}

/* `steps` steps, plain ones and timed ones. */
static int measure_steps(const struct bench_options *o, const struct megabyte_model *model,
                         struct step_figures *f, struct times *times)
{
    double *seconds = calloc(2 * o->steps, sizeof *seconds);
    int status = seconds ? 0 : megabyte_fail(ENOMEM, "out of memory");

    if (status == 0)
        status = run_steps(o, model, false, seconds, seconds + o->steps, NULL);
    if (status == 0) {
        f->seconds = bench_median(seconds, o->steps);
        f->host = bench_median(seconds + o->steps, o->steps);
        status = run_steps(o, model, true, seconds, seconds + o->steps, times);
    }
    f->timed = 0;
    for (uint64_t i = 0; i < o->steps && status == 0; i++)
        f->timed += seconds[i] / (double)o->steps;
    f->bubbles = f->timed - times->seconds;
    free(seconds);
    return status;
}

int bench_step(const struct bench_options *o)
{
    struct tensor_device *device = NULL;
    struct megabyte_model *model = NULL;
    struct times times = {.count = 0};
    struct ceilings ceilings = {.size = 0};
    static struct app_products products;
    struct step_figures figures;
    int status = app_device_open(&o->device, &device);

    if (status != APP_DONE)
        return status;
    int result = megabyte_model_create(device, &o->config, true, &model);
    if (result == 0)
        result = nn_parameters_commit(model->parameters);
    if (result == 0)
        result = nn_parameters_initialise(model->parameters, o->seed);
    if (result == 0)
        result = measure_steps(o, model, &figures, &times);
    if (result == 0)
        result = measure_ceilings(device, &ceilings);
    app_progress_end();
    if (result == 0)
        status = app_products_of_step(model, &products);
    if (result == 0 && status == APP_DONE)
        status = report_step(o, tensor_device_info(device), &figures, &times, &ceilings,
                             &products);
    megabyte_model_destroy(&model);
    if (result < 0)
        return fail_here(&device);
    tensor_device_close(&device);
    return status;
}

/* ---- op ---- */

/* A linear layer of size n with its gradients, and a copy as large as its output. */
static int record_op(const struct bench_options *o, struct tensor_device *device,
                     struct tensor_arena *arena, struct tensor_graph **graph)
{
    const uint32_t n = (uint32_t)o->size, square[2] = {n, n};
    const struct tensor_graph_params params = {
        .name = "op", .training = true, .timing = true,
        .autotune = tensor_device_autotune(device)};
    struct tensor *x = tensor_arena_take(arena, "x", TENSOR_F32, 2, square);
    struct tensor *weight = tensor_arena_take(arena, "weight", TENSOR_F32, 2, square);
    struct tensor *factor = tensor_arena_take(arena, "factor", TENSOR_F32, 1, (uint32_t[]){1});
    x->gradient = tensor_arena_take(arena, "d(x)", TENSOR_F32, 2, square);
    weight->gradient = tensor_arena_take(arena, "d(weight)", TENSOR_F32, 2, square);
    x->needs_gradient = weight->needs_gradient = true;
    int status = tensor_arena_commit(arena);
    if (status == 0)
        status = tensor_graph_create(device, &params, graph);
    if (status < 0)
        return status;
    tensor_graph_push(*graph, "linear");
    struct tensor *y = tensor_linear(*graph, x, weight, NULL, 0);
    tensor_graph_pop(*graph);
    tensor_graph_push(*graph, "copy");
    tensor_copy(*graph, x->gradient, y);
    tensor_graph_pop(*graph);
    tensor_graph_push(*graph, "sum");
    struct tensor *loss = tensor_sum(*graph, y, factor);
    tensor_graph_pop(*graph);
    tensor_graph_backward(*graph, loss);
    return tensor_graph_finish(*graph);
}

int bench_op(const struct bench_options *o)
{
    struct tensor_device *device = NULL;
    struct tensor_arena *arena = NULL;
    struct tensor_graph *graph = NULL;
    struct times times = {.count = 0};
    struct ceilings ceilings = {.size = 0};
    int status = app_device_open(&o->device, &device);

    if (status != APP_DONE)
        return status;
    int result = tensor_arena_create(device, TENSOR_DEVICE, "op", &arena);
    if (result == 0)
        result = record_op(o, device, arena, &graph);
    for (uint64_t i = 0; i < o->warm_up + o->steps && result == 0; i++) {
        if (i == o->warm_up)
            tensor_graph_times_reset(graph);
        result = tensor_graph_run(graph);
        if (result == 0)
            result = tensor_device_wait(device);
    }
    if (result == 0)
        result = measure_ceilings(device, &ceilings);
    app_progress_end();
    if (result == 0) {
        const struct tensor_device_info *info = tensor_device_info(device);
        static struct app_products products;
        app_products_of(graph, &products);
        add_times(&times, graph, (double)o->steps);
        if (o->json)
            status = app_json(
                json_pack("{s:f, s:f, s:s, s:s, s:s, s:I, s:I, s:o, s:o}",
                          "ceiling_flops_per_second", ceilings.flops,
                          "ceiling_bytes_per_second", ceilings.bytes, "device", info->name,
                          "driver", info->driver, "precision",
                          tensor_precision_name(info->precision), "size", (json_int_t)o->size,
                          "steps", (json_int_t)o->steps, "ops", json_times(&times, &ceilings),
                          "products", app_products_json(&products)));
        else {
            print_times(stdout, &times, &ceilings);
            putchar('\n');
            app_products_print(&products);
            print_ceilings(stdout, &ceilings);
        }
    }
    tensor_graph_destroy(&graph);
    tensor_arena_destroy(&arena);
    if (result < 0)
        return fail_here(&device);
    tensor_device_close(&device);
    return status;
}

/* ---- generate ---- */

/* What generation took; seconds are of patches that every sequence advances by. */
struct generation {
    uint64_t patches;
    double seconds, prompt_seconds; /* of all patches; of one prompt that fills a window but for a
                                       byte */
};

/* Advances past `bytes` bytes of every sequence, each from the start of a window on. */
static int generate(const struct bench_options *o, const struct megabyte_model *model, bool timing,
                    struct generation *result, struct times *times)
{
    const struct nn_sampling sampling = {.temperature = 1, .top_p = 1, .seed = o->seed};
    const struct megabyte_generator_params params = {.sequences = (uint32_t)o->sequences,
                                                     .timing = timing};
    const uint32_t patch = model->config.patch_size, window = model->config.seq_len;
    struct megabyte_generator *generator = NULL;
    uint8_t *prompt = malloc(window);
    int status = prompt ? megabyte_generator_create(model, &params, &generator)
                        : megabyte_fail(12, "out of memory");

    result->patches = (o->bytes + patch - 1) / patch;
    for (int warm = 1; warm >= 0 && status == 0; warm--) { /* kernels are made in the first run */
        const double began = app_seconds();
        random_bytes(prompt, window, o->seed);
        status = megabyte_generator_start(generator, 0, prompt, window - 1u, &sampling, 0);
        result->prompt_seconds = app_seconds() - began;
        for (uint32_t n = 0; n < o->sequences && status == 0; n++)
            status = megabyte_generator_start(generator, n, NULL, 0, &sampling, n);
        if (status == 0 && warm)
            status = megabyte_generator_advance(generator);
    }
    if (timing && status == 0)
        tensor_graph_times_reset(megabyte_generator_graph(generator, 1));
    const double began = app_seconds();
    for (uint64_t i = 0; i < result->patches && status == 0; i++)
        status = megabyte_generator_advance(generator);
    result->seconds = app_seconds() - began;
    if (timing && status == 0)
        add_times(times, megabyte_generator_graph(generator, 1), (double)result->patches);
    megabyte_generator_destroy(&generator);
    free(prompt);
    return status;
}

/* timed: of patches whose operations were timed, which are a little slower. */
static int report_generation(const struct bench_options *o, const struct tensor_device_info *info,
                             const struct generation *g, double timed, struct times *times,
                             const struct ceilings *ceilings)
{
    const struct megabyte_config *c = &o->config;
    const double patch = g->seconds / (double)g->patches;
    const double speed = (double)o->sequences * c->patch_size / patch;
    const double prompt = (c->seq_len - 1) / g->prompt_seconds, outside = timed - times->seconds;

    qsort(times->time, times->count, sizeof *times->time, by_seconds);
    if (o->json)
        return app_json(json_pack(
            "{s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:s, s:s, s:s, s:s, s:o}", "bytes_per_second",
            speed, "seconds_per_patch", patch, "prompt_bytes_per_second", prompt, "outside_share",
            outside / timed, "ceiling_flops_per_second", ceilings->flops,
            "ceiling_bytes_per_second", ceilings->bytes, "bytes",
            (json_int_t)(g->patches * c->patch_size * o->sequences), "sequences",
            (json_int_t)o->sequences, "device", info->name, "driver", info->driver, "precision",
            tensor_precision_name(info->precision), "preset", c->preset, "ops",
            json_times(times, ceilings)));
    print_times(stdout, times, ceilings);
    printf("%-28s %-22s %7s %10.3f\n\n", "outside of operations", "", "", 1e3 * outside);
    print_ceilings(stdout, ceilings);
    printf("%s, %s, %s, %" PRIu64 " at once: %.1f bytes a second, %.3f ms a patch; a prompt is "
           "read at %.0f bytes a second\n",
           c->preset, info->name, tensor_precision_name(info->precision), o->sequences, speed,
           1e3 * patch, prompt);
    return APP_DONE;
}

int bench_generate(const struct bench_options *o)
{
    struct tensor_device *device = NULL;
    struct megabyte_model *model = NULL;
    struct times times = {.count = 0};
    struct ceilings ceilings = {.size = 0};
    struct generation result, timed;
    int status = app_device_open(&o->device, &device);

    if (status != APP_DONE)
        return status;
    int error = megabyte_model_create(device, &o->config, false, &model);
    if (error == 0)
        error = nn_parameters_commit(model->parameters);
    if (error == 0)
        error = nn_parameters_initialise(model->parameters, o->seed);
    if (error == 0)
        error = generate(o, model, false, &result, NULL);
    if (error == 0)
        error = generate(o, model, true, &timed, &times);
    if (error == 0)
        error = measure_ceilings(device, &ceilings);
    app_progress_end();
    if (error == 0)
        status = report_generation(o, tensor_device_info(device), &result,
                                   timed.seconds / (double)timed.patches, &times, &ceilings);
    megabyte_model_destroy(&model);
    if (error < 0)
        return fail_here(&device);
    tensor_device_close(&device);
    return status;
}
