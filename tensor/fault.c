/* fault.c - a device that stands before another and goes wrong on demand. */
#include "tensor/fault.h"
#include "tensor/storage.h"
#include "tensor/vulkan/hooks.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct injector {
    struct tensor_backend table; /* first: device->backend points here */
    const struct tensor_backend *real;
    struct tensor_fault fault;
    struct tensor_fault_counts counts;
    int dead;                           /* of a device other than vulkan: what all calls return */
    const char *graph, *label, *kernel; /* where it died */
    const char *last_graph;             /* of the last run, whose label and kernel are: */
    const struct tensor_step *last;
};

/* A program of one pass for each step; what they are is the real backend's matter. */
struct tensor_program {
    char *name;
    const struct tensor_step *steps;
    uint32_t count, marked; /* marked: the first step with the fault's label; count: none */
    struct tensor_program **part; /* (count) */
};

static struct injector *injector(const struct tensor_device *device)
{
    return (struct injector *)device->backend;
}

static bool is_vulkan(const struct tensor_device *device)
{
    return strcmp(device->info.kind, "vulkan") == 0;
}

/* What a call on a device that is gone returns; 0: it is well. */
static int gone(struct tensor_device *device)
{
    const struct injector *f = injector(device);
    if (!f->dead)
        return 0;
    return tensor_fail(-f->dead, "%s: %s %s in graph \"%s\", at or after pass \"%s\" (%s)",
                       device->info.kind, device->info.name,
                       f->dead == -EIO ? "was lost" : "has done nothing for a while", f->graph,
                       f->label, f->kernel);
}

/* A point: in front of a step of a graph, or of a wait (step = NULL). */
static int pass_point(struct tensor_device *device, const char *graph,
                      const struct tensor_step *step)
{
    struct injector *f = injector(device);
    const bool strikes = f->fault.kind == TENSOR_FAULT_LOST || f->fault.kind == TENSOR_FAULT_HANG;
    if (++f->counts.points != f->fault.at || !strikes)
        return 0;
    if (is_vulkan(device)) {
        if (f->fault.kind == TENSOR_FAULT_LOST)
            tensor_vulkan_hook_lose(device);
        else
            tensor_vulkan_hook_hang(device);
        return 0;
    }
    f->dead = f->fault.kind == TENSOR_FAULT_LOST ? -EIO : -ETIMEDOUT;
    device->failed = true;
    const struct tensor_step *at = step ? step : f->last;
    f->graph = step ? graph : f->last_graph ? f->last_graph : "";
    f->label = at ? at->pass->label : "";
    f->kernel = at ? at->pass->kernel->name : "no kernel";
    return 0;
}

/* Makes the first element that a step wrote not a number, in any type of floating point. */
static int spoil(struct tensor_device *device, const struct tensor_step *step)
{
    static const uint32_t nan = UINT32_MAX;
    const struct injector *f = injector(device);
    const uint32_t writes = step->pass->kernel->writes;
    uint32_t i = 0;
    while (i < step->pass->kernel->args && (!(writes >> i & 1) || !step->pass->arg[i]))
        i++;
    if (i == step->pass->kernel->args)
        return tensor_fail(EINVAL, "fault: pass \"%s\" writes nothing", step->pass->label);
    const struct tensor *t = step->pass->arg[i];
    const int status = f->real->wait(device);
    return status ? status
                  : f->real->write(device, t->storage->block, t->storage->begin + t->offset, &nan,
                                   sizeof nan);
}

/* ---- the table ---- */

static void fault_close(struct tensor_device *device)
{
    struct injector *f = injector(device);
    device->backend = f->real;
    f->real->close(device);
    tensor_vulkan_hook_refuse(0);
    free(f);
}

static int fault_block_create(struct tensor_device *device, enum tensor_memory memory,
                              uint64_t size, struct tensor_block *block)
{
    struct injector *f = injector(device);
    const int status = gone(device);
    if (status)
        return status;
    f->counts.allocations++;
    if (!is_vulkan(device) && f->fault.kind == TENSOR_FAULT_MEMORY &&
        f->counts.allocations == f->fault.at)
        return tensor_fail(ENOMEM, "no memory for %llu MiB", (unsigned long long)(size >> 20) + 1);
    return f->real->block_create(device, memory, size, block);
}

static void fault_block_destroy(struct tensor_device *device, struct tensor_block *block)
{
    injector(device)->real->block_destroy(device, block);
}

static int fault_write(struct tensor_device *device, struct tensor_block *block, uint64_t offset,
                       const void *from, uint64_t size)
{
    const int status = gone(device);
    return status ? status : injector(device)->real->write(device, block, offset, from, size);
}

static int fault_read(struct tensor_device *device, struct tensor_block *block, uint64_t offset,
                      void *to, uint64_t size)
{
    const int status = gone(device);
    return status ? status : injector(device)->real->read(device, block, offset, to, size);
}

static void fault_program_destroy(struct tensor_device *device, struct tensor_program *p)
{
    for (uint32_t i = 0; p->part && i < p->count; i++)
        if (p->part[i])
            injector(device)->real->program_destroy(device, p->part[i]);
    free(p->part);
    free(p->name);
    free(p);
}

static int fault_program_create(struct tensor_device *device, const char *name,
                                const struct tensor_step *steps, uint32_t count, bool timing,
                                struct tensor_program **program)
{
    const struct injector *f = injector(device);
    struct tensor_program *p = calloc(1, sizeof *p);
    if (p)
        *p = (struct tensor_program){.name = strdup(name), .steps = steps, .count = count,
                                     .part = calloc(count + 1u, sizeof(struct tensor_program *))};
    int status = p && p->name && p->part ? gone(device) : tensor_fail(ENOMEM, "no host memory");
    while (status == 0 && p->marked < count &&
           (!f->fault.label || strcmp(steps[p->marked].pass->label, f->fault.label)))
        p->marked++;
    for (uint32_t i = 0; status == 0 && i < count; i++)
        status = f->real->program_create(device, name, steps + i, 1, timing, &p->part[i]);
    if (status && p)
        fault_program_destroy(device, p);
    if (status == 0)
        *program = p;
    return status;
}

static int fault_program_run(struct tensor_device *device, struct tensor_program *p)
{
    struct injector *f = injector(device);
    int status = 0;
    for (uint32_t i = 0; status == 0 && i < p->count; i++) {
        status = pass_point(device, p->name, &p->steps[i]);
        if (status == 0)
            status = gone(device);
        if (status == 0)
            status = f->real->program_run(device, p->part[i]);
        f->last_graph = p->name;
        f->last = &p->steps[i];
        if (status == 0 && i == p->marked && ++f->counts.runs == f->fault.at &&
            f->fault.kind == TENSOR_FAULT_VALUE)
            status = spoil(device, &p->steps[i]);
    }
    return status;
}

static int fault_program_times(struct tensor_device *device, struct tensor_program *p,
                               double *seconds)
{
    int status = gone(device);
    for (uint32_t i = 0; status == 0 && i < p->count; i++)
        status = injector(device)->real->program_times(device, p->part[i], seconds + i);
    return status;
}

static const char *fault_step_kernel(struct tensor_device *device, const struct tensor_step *step)
{
    return injector(device)->real->step_kernel(device, step);
}

static int fault_wait(struct tensor_device *device)
{
    int status = pass_point(device, NULL, NULL);
    if (status == 0)
        status = gone(device);
    return status ? status : injector(device)->real->wait(device);
}

int tensor_fault_arm(struct tensor_device *device, const struct tensor_fault *fault)
{
    struct injector *f;
    if (device->backend->close == fault_close) {
        f = injector(device);
        f->fault = *fault;
        f->counts = (struct tensor_fault_counts){0};
        return 0;
    }
    f = malloc(sizeof *f);
    if (!f)
        return tensor_fail(ENOMEM, "no host memory");
    *f = (struct injector){
        .table = {.close = fault_close,
                  .block_create = fault_block_create,
                  .block_destroy = fault_block_destroy,
                  .write = fault_write,
                  .read = fault_read,
                  .program_create = fault_program_create,
                  .program_destroy = fault_program_destroy,
                  .program_run = fault_program_run,
                  .program_times = fault_program_times,
                  .step_kernel = fault_step_kernel,
                  .wait = fault_wait},
        .real = device->backend,
        .fault = *fault};
    device->backend = &f->table;
    return 0;
}

int tensor_fault_open(const struct tensor_device_params *params, const struct tensor_fault *fault,
                      struct tensor_device **device)
{
    struct tensor_device *d = NULL;
    tensor_vulkan_hook_refuse(fault->kind == TENSOR_FAULT_MEMORY ? fault->at : UINT64_MAX);
    int status = tensor_device_open(params, &d);
    if (status == 0)
        status = tensor_fault_arm(d, fault);
    if (status == 0)
        *device = d;
    else
        tensor_device_close(&d);
    if (status)
        tensor_vulkan_hook_refuse(0);
    return status;
}

struct tensor_fault_counts tensor_fault_counts(const struct tensor_device *device)
{
    struct tensor_fault_counts counts = injector(device)->counts;
    if (is_vulkan(device))
        counts.allocations = tensor_vulkan_hook_made();
    return counts;
}
