/* program.c - steps recorded once into command buffers, with barriers, slices and timestamps
 *
 * A slice is a command buffer that is submitted by itself. Slices are short, as some drivers reset
 * the GPU when a submission takes seconds; a step that is too long for one is dispatched in parts.
 * Steps wait for each other only where their memory overlaps and one of them writes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "tensor/vulkan/device.h"

/* A weak GPU, by which the time of a step is estimated: better too short than too long. */
#define FLOPS_PER_SECOND 0.5e12
#define BYTES_PER_SECOND 50e9
#define STEP_SECONDS     5e-6
/* A step with fewer invocations leaves most of even that GPU idle. */
#define INVOCATIONS_FULL 4096.0

struct slice {
    VkCommandBuffer commands;
    struct vulkan_submission first; /* the first step, for messages */
};

struct tensor_program {
    char *name;
    const struct tensor_step *steps;
    uint32_t count;
    VkCommandPool pool;
    struct slice *slices;
    uint32_t slice_count, slice_capacity;
    VkQueryPool queries; /* two timestamps a step; null: not timed */
    uint64_t *stamps;    /* room for them */
    double *seconds;     /* by step, of runs that were collected */
    bool collected;      /* no run has written the queries since */
    uint64_t last;       /* timeline value of the end of the last run */
};

/* Where the recording of a program stands. */
struct recorder {
    struct vulkan_device *d;
    struct tensor_program *p;
    VkCommandBuffer commands;     /* of the slice at hand, or null */
    double spent;                 /* estimated seconds in it */
    struct tensor_range *touched; /* since the last barrier */
    uint32_t touched_count;
    VkPipeline bound;
};

/* One step, ready to be dispatched. */
struct work {
    const struct tensor_step *step;
    const char *kernel;
    struct tensor_launch launch;
    VkPipeline pipeline;
    uint32_t parts, axis; /* in how many parts, along which axis of the grid */
    double seconds;       /* estimate */
};

static const char *pass_label(const struct tensor_step *step)
{
    return step->pass->label ? step->pass->label : step->pass->kernel->name;
}

/* ---- slices ---- */

static int slice_end(struct recorder *r, bool last)
{
    if (!r->commands)
        return 0;
    if (last)
        tensor_vulkan_barrier(r->d, r->commands, true);
    const int err = VK(r->d->vk.vkEndCommandBuffer(r->commands));
    r->commands = VK_NULL_HANDLE;
    return err;
}

static struct slice *slice_add(struct tensor_program *p)
{
    if (p->slice_count == p->slice_capacity) {
        const uint32_t capacity = p->slice_capacity ? 2 * p->slice_capacity : 16;
        struct slice *more = realloc(p->slices, capacity * sizeof(*more));
        if (!more)
            return NULL;
        p->slices = more;
        p->slice_capacity = capacity;
    }
    return &p->slices[p->slice_count++];
}

static int slice_begin(struct recorder *r, const struct work *w)
{
    struct vulkan_device *d = r->d;
    struct tensor_program *p = r->p;
    struct slice *slice = slice_add(p);
    if (!slice)
        return tensor_fail(ENOMEM, "vulkan: out of memory");

    slice->first = (struct vulkan_submission){p->name, pass_label(w->step), w->kernel};
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = p->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    /* A run may be submitted while earlier ones are pending. */
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT,
    };
    int err = VK(d->vk.vkAllocateCommandBuffers(d->device, &info, &slice->commands));
    if (!err)
        err = VK(d->vk.vkBeginCommandBuffer(slice->commands, &begin));
    if (err)
        return err;

    r->commands = slice->commands;
    r->spent = 0;
    r->touched_count = 0;
    r->bound = VK_NULL_HANDLE;
    if (p->queries && p->slice_count == 1)
        d->vk.vkCmdResetQueryPool(r->commands, p->queries, 0, 2 * p->count);
    tensor_vulkan_barrier(d, r->commands, false);
    return 0;
}

/* ---- barriers ---- */

static bool conflicts(const struct recorder *r, const struct tensor_step *step)
{
    for (uint32_t i = 0; i < step->pass->kernel->args; i++) {
        const struct tensor_range *a = &step->range[i];
        for (uint32_t k = 0; a->begin < a->end && k < r->touched_count; k++) {
            const struct tensor_range *b = &r->touched[k];
            if ((a->write || b->write) && a->begin < b->end && b->begin < a->end)
                return true;
        }
    }
    return false;
}

static void touch(struct recorder *r, const struct tensor_step *step)
{
    for (uint32_t i = 0; i < step->pass->kernel->args; i++)
        if (step->range[i].begin < step->range[i].end)
            r->touched[r->touched_count++] = step->range[i];
}

/* ---- steps ---- */

static double estimate(const struct work *w)
{
    const struct tensor_pass *pass = w->step->pass;
    double invocations = w->launch.workgroup;
    for (int i = 0; i < 3; i++)
        invocations *= w->launch.groups[i];
    const double idle = invocations < INVOCATIONS_FULL ? INVOCATIONS_FULL / (invocations + 64) : 1;
    return STEP_SECONDS + idle * (pass->flops / FLOPS_PER_SECOND + pass->bytes / BYTES_PER_SECOND);
}

static int check_launch(const struct vulkan_device *d, const struct work *w)
{
    const VkPhysicalDeviceLimits *limits = &d->found.limits;
    const struct tensor_launch *l = &w->launch;
    for (int i = 0; i < 3; i++)
        if (l->groups[i] > limits->maxComputeWorkGroupCount[i])
            return tensor_fail(
                EINVAL,
                "vulkan: pass \"%s\" (%s) wants %u x %u x %u workgroups, more than %s allows",
                pass_label(w->step), w->kernel, l->groups[0], l->groups[1], l->groups[2],
                d->base.info.name);
    if (l->workgroup == 0 || l->workgroup > d->base.info.workgroup)
        return tensor_fail(EINVAL,
                           "vulkan: pass \"%s\" (%s) wants workgroups of %u, and %s allows %u",
                           pass_label(w->step), w->kernel, l->workgroup, d->base.info.name,
                           d->base.info.workgroup);
    return 0;
}

static int prepare(struct vulkan_device *d, const struct tensor_step *step, struct work *w)
{
    *w = (struct work){.step = step, .parts = 1};
    tensor_vulkan_launch(d, step, &w->launch);
    w->kernel = step->pass->kernel->variant[w->launch.variant];
    const int err = check_launch(d, w);
    if (err)
        return err;

    const uint32_t *groups = w->launch.groups;
    w->axis = groups[2] > groups[1] ? 2 : 1;
    w->axis = groups[0] > groups[w->axis] ? 0 : w->axis;
    w->seconds = estimate(w);
    if (w->seconds > d->slice_seconds) {
        const double parts = w->seconds / d->slice_seconds + 1;
        w->parts = parts < groups[w->axis] ? (uint32_t)parts : groups[w->axis];
    }
    return tensor_vulkan_pipeline(d, step->pass->kernel, &w->launch, w->parts > 1, &w->pipeline);
}

/* Dispatches part number `part` into the slice at hand. */
static void dispatch(struct recorder *r, const struct work *w, uint32_t part)
{
    struct vulkan_device *d = r->d;
    const uint64_t whole = w->launch.groups[w->axis];
    const uint32_t begin = (uint32_t)(whole * part / w->parts);
    const uint32_t end = (uint32_t)(whole * (part + 1) / w->parts);
    uint32_t base[3] = {0}, groups[3];

    memcpy(groups, w->launch.groups, sizeof(groups));
    base[w->axis] = begin;
    groups[w->axis] = end - begin;
    if (d->label_begin) {
        const VkDebugUtilsLabelEXT label = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT,
                                            .pLabelName = pass_label(w->step)};
        d->label_begin(r->commands, &label);
    }
    if (r->bound != w->pipeline)
        d->vk.vkCmdBindPipeline(r->commands, VK_PIPELINE_BIND_POINT_COMPUTE, w->pipeline);
    r->bound = w->pipeline;
    d->vk.vkCmdPushConstants(r->commands, d->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                             (w->step->pass->kernel->params_size + 3) / 4 * 4, w->step->params);
    if (w->parts > 1)
        d->vk.vkCmdDispatchBase(r->commands, base[0], base[1], base[2], groups[0], groups[1],
                                groups[2]);
    else
        d->vk.vkCmdDispatch(r->commands, groups[0], groups[1], groups[2]);
    if (d->label_end)
        d->label_end(r->commands);
}

static void stamp(struct recorder *r, uint32_t query)
{
    if (r->p->queries)
        r->d->vk.vkCmdWriteTimestamp(r->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                                     r->p->queries, query);
}

static int record_step(struct recorder *r, uint32_t index)
{
    struct work w;
    int err = prepare(r->d, &r->p->steps[index], &w);
    const double seconds = w.seconds / w.parts;

    for (uint32_t part = 0; !err && part < w.parts; part++) {
        if (!r->commands || r->spent + seconds > r->d->slice_seconds) {
            err = slice_end(r, false);
            if (!err)
                err = slice_begin(r, &w);
            if (err)
                return err;
        } else if (part == 0 && (r->p->queries || conflicts(r, w.step))) {
            /* With timing one step at a time, so that each second is counted once. */
            tensor_vulkan_barrier(r->d, r->commands, false);
            r->touched_count = 0;
        }
        if (part == 0)
            stamp(r, 2 * index);
        if (w.launch.groups[0] && w.launch.groups[1] && w.launch.groups[2])
            dispatch(r, &w, part);
        r->spent += seconds;
        if (part == 0 || r->touched_count == 0)
            touch(r, w.step);
    }
    if (!err)
        stamp(r, 2 * index + 1);
    return err;
}

/* ---- programs ---- */

static int queries_create(struct vulkan_device *d, struct tensor_program *p)
{
    if (d->found.timestamp_bits == 0) {
        tensor_log(&d->base, "vulkan: %s cannot measure time; the times of graph \"%s\" will be 0",
                   d->base.info.name, p->name);
        return 0;
    }
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = 2 * p->count,
    };
    p->stamps = calloc(2 * (size_t)p->count, sizeof(*p->stamps));
    p->seconds = calloc(p->count, sizeof(*p->seconds));
    if (!p->stamps || !p->seconds)
        return tensor_fail(ENOMEM, "vulkan: out of memory");
    return VK(d->vk.vkCreateQueryPool(d->device, &info, NULL, &p->queries));
}

static int record(struct vulkan_device *d, struct tensor_program *p)
{
    struct recorder r = {.d = d, .p = p};
    r.touched = calloc((size_t)p->count * TENSOR_PASS_ARGS, sizeof(*r.touched));
    int err = r.touched ? 0 : tensor_fail(ENOMEM, "vulkan: out of memory");
    for (uint32_t i = 0; !err && i < p->count; i++)
        err = record_step(&r, i);
    if (!err)
        err = slice_end(&r, true);
    free(r.touched);
    return err;
}

int tensor_vulkan_program_create(struct tensor_device *device, const char *name,
                                 const struct tensor_step *steps, uint32_t count, bool timing,
                                 struct tensor_program **program)
{
    struct vulkan_device *d = vulkan_device(device);
    struct tensor_program *p = calloc(1, sizeof(*p));
    if (!p)
        return tensor_fail(ENOMEM, "vulkan: out of memory");
    *p = (struct tensor_program){
        .name = strdup(name ? name : "?"), .steps = steps, .count = count, .collected = true};

    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = d->found.family,
    };
    int err = p->name ? 0 : tensor_fail(ENOMEM, "vulkan: out of memory");
    if (!err)
        err = VK(d->vk.vkCreateCommandPool(d->device, &pool, NULL, &p->pool));
    if (!err && timing && count)
        err = queries_create(d, p);
    if (!err && count)
        err = record(d, p);
    if (err) {
        tensor_vulkan_program_destroy(device, p);
        return err;
    }
    *program = p;
    return 0;
}

void tensor_vulkan_program_destroy(struct tensor_device *device, struct tensor_program *p)
{
    struct vulkan_device *d = vulkan_device(device);
    if (!p || !tensor_vulkan_settle(d)) /* left as it is: the GPU still works on it */
        return;
    d->vk.vkDestroyQueryPool(d->device, p->queries, NULL);
    d->vk.vkDestroyCommandPool(d->device, p->pool, NULL);
    free(p->slices);
    free(p->stamps);
    free(p->seconds);
    free(p->name);
    free(p);
}

/* Adds the times of the last run to p->seconds. */
static int collect(struct vulkan_device *d, struct tensor_program *p)
{
    if (!p->queries || p->collected)
        return 0;
    int err = tensor_vulkan_wait_for(d, p->last);
    if (!err)
        err = VK(d->vk.vkGetQueryPoolResults(d->device, p->queries, 0, 2 * p->count,
                                             2 * (size_t)p->count * sizeof(*p->stamps), p->stamps,
                                             sizeof(*p->stamps), VK_QUERY_RESULT_64_BIT));
    if (err)
        return err;

    const uint32_t bits = d->found.timestamp_bits;
    const uint64_t mask = bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    const double period = (double)d->found.limits.timestampPeriod * 1e-9;
    for (uint32_t i = 0; i < p->count; i++)
        p->seconds[i] += (double)((p->stamps[2 * i + 1] - p->stamps[2 * i]) & mask) * period;
    p->collected = true;
    return 0;
}

int tensor_vulkan_program_run(struct tensor_device *device, struct tensor_program *p)
{
    struct vulkan_device *d = vulkan_device(device);
    int err = collect(d, p); /* before the next run overwrites it */
    for (uint32_t i = 0; !err && i < p->slice_count; i++)
        err = tensor_vulkan_submit(d, p->slices[i].commands, &p->slices[i].first);
    if (err)
        return err;
    p->last = d->submitted;
    p->collected = p->slice_count == 0;
    return 0;
}

int tensor_vulkan_program_times(struct tensor_device *device, struct tensor_program *p,
                                double *seconds)
{
    const int err = collect(vulkan_device(device), p);
    for (uint32_t i = 0; !err && p->queries && i < p->count; i++) {
        seconds[i] += p->seconds[i];
        p->seconds[i] = 0;
    }
    return err;
}

uint32_t tensor_vulkan_hook_slices(const struct tensor_device *device,
                                   const struct tensor_program *program)
{
    return strcmp(device->info.kind, "vulkan") == 0 ? program->slice_count : 0;
}
