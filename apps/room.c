#include "apps/room.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "apps/common.h"
#include "megabyte/error.h"

uint64_t app_room_taken(const struct tensor_device *device)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f && fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    const uint64_t bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t blocks = strcmp(tensor_device_info(device)->kind, "cpu")
                                ? 0 : tensor_device_allocated(device);
    return bytes > blocks ? bytes - blocks : 0;
}

/* A model on a device, and what both have. */
struct place {
    const struct app_room_work *work;
    const struct megabyte_model *model;
    const struct tensor_device_info *device;
    uint64_t weights, program;
    uint64_t has; /* memory in all */
};

/* Bytes that so many at a time take in all; UINT64_MAX: they are too many even for a plan. */
static uint64_t needed(const struct place *p, uint32_t batch)
{
    struct app_room room;

    if (p->work->plan(p->model, batch, &room) < 0)
        return UINT64_MAX;
    const uint64_t device = p->weights + room.device + p->device->copy_bytes;
    return strcmp(p->device->kind, "cpu") ? device : device + room.host + p->program;
}

/* The most that fit, less than `batch`; 0: none. The more, the more memory. A little is left free:
 * the next process may take a few pages more. */
static uint32_t most_that_fit(const struct place *p, uint32_t batch)
{
    const uint64_t has = p->has - p->has / 64;
    uint32_t fit = 0, not = batch;

    while (not - fit > 1) {
        const uint32_t middle = fit + (not - fit) / 2;
        if (needed(p, middle) <= has)
            fit = middle;
        else
            not = middle;
    }
    return fit;
}

static int check(const struct place *p, uint32_t batch)
{
    const char *const verb = p->work->verb, *const noun = p->work->noun;
    const uint64_t all = needed(p, batch);
    char takes[64] = "more memory than can be planned", needs[32], has[32], fits[32], advice[256];

    if (all <= p->has)
        return APP_DONE;
    const uint32_t most = most_that_fit(p, batch);
    if (all < UINT64_MAX)
        snprintf(takes, sizeof takes, "%s of memory", app_bytes((double)all, needs));
    const uint64_t least = needed(p, most ? most : 1);
    if (least == UINT64_MAX)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    app_bytes((double)least, fits);
    if (most)
        snprintf(advice, sizeof advice, "--batch %u would fit (%s)", most, fits);
    else
        snprintf(advice, sizeof advice, "%stakes %s, so that it needs another device or a smaller "
                 "model", batch > 1 ? "even --batch 1 " : "it ", fits);
    return app_fail(APP_FAILED, "%s %u %s at a time takes %s, and %s has %s; %s", verb, batch, noun,
                    takes, p->device->name, app_bytes((double)p->has, has), advice);
}

int app_room_check(const struct app_room_work *work, struct megabyte_checkpoint *checkpoint,
                   struct tensor_device *device, uint32_t batch)
{
    struct megabyte_config config;
    struct megabyte_model *model = NULL;
    struct place p = {.work = work, .device = tensor_device_info(device)};
    char takes[32], has[32];
    int status = megabyte_model_settings(checkpoint, &config);

    if (status == 0)
        status = megabyte_model_create(device, &config, false, &model);
    if (status < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    p.model = model;
    p.weights = nn_parameters_memory(model->parameters).weights;
    p.program = app_room_taken(device);
    p.has = p.device->memory_bytes;
    /* Of memory that is shared with others, what they have left. */
    const bool one = !strcmp(p.device->kind, "cpu");
    const uint64_t left = p.program + tensor_host_available();
    if (one && left >= p.program && left < p.has)
        p.has = left;
    const uint64_t least = p.weights + (one ? p.program : 0);
    if (least > p.has)
        status = app_fail(APP_FAILED, "the weights of this model%s take %s, and %s has %s of "
                          "memory; it needs another device or a smaller model",
                          one ? ", and this program without them," : "",
                          app_bytes((double)least, takes), p.device->name,
                          app_bytes((double)p.has, has));
    else
        status = check(&p, batch);
    megabyte_model_destroy(&model);
    return status;
}
