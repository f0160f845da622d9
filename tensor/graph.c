/* graph.c - creates, finishes, runs and times a graph. */
#include "tensor/recording.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int tensor_graph_create(struct tensor_device *device, const struct tensor_graph_params *params,
                        struct tensor_graph **graph)
{
    struct tensor_graph *g = calloc(1, sizeof *g);
    if (!g || !(g->name = strdup(params->name ? params->name : "graph"))) {
        free(g);
        return tensor_fail(ENOMEM, "no host memory for a graph");
    }
    g->device = device;
    g->params = *params;
    g->dummy_storage = (struct tensor_storage){.device = device, .temporary = true};
    tensor_describe(&g->dummy, TENSOR_F32, 1, (uint32_t[]){1});
    g->dummy.storage = &g->dummy_storage;
    *graph = g;
    return 0;
}

void tensor_graph_destroy(struct tensor_graph **graph)
{
    struct tensor_graph *g = *graph;
    if (!g)
        return;
    if (g->program)
        g->device->backend->program_destroy(g->device, g->program);
    for (uint32_t i = 0; i < g->block_count; i++)
        if (g->blocks[i].block.handle)
            g->device->backend->block_destroy(g->device, &g->blocks[i].block);
    for (struct tensor_chunk *c = g->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(g->blocks);
    free(g->steps);
    free(g->seconds);
    free(g->casts);
    free(g->storages);
    free(g->nodes);
    free(g->segments);
    free(g->passes);
    free(g->name);
    free(g);
    *graph = NULL;
}

static int check_recording(struct tensor_graph *g)
{
    return g->error ? tensor_fail(g->error, "%s", g->error_line) : 0;
}

uint64_t tensor_graph_memory(struct tensor_graph *g)
{
    if (check_recording(g) < 0 || tensor_plan(g) < 0)
        return 0;
    uint64_t size = 0;
    for (uint32_t i = 0; i < g->block_count; i++)
        size += g->blocks[i].size;
    return size;
}

/* What a pass may touch of a tensor. Strided views reach beyond their own elements, so of an
 * intermediate tensor it is the whole storage; of an arena, where all is dense, just the tensor. */
static struct tensor_range range_of(const struct tensor *t, bool write)
{
    if (!t)
        return (struct tensor_range){0};
    const struct tensor_storage *s = t->storage;
    const uint64_t begin = s->temporary ? s->block->address + s->begin : tensor_address(t);
    const uint64_t size = s->temporary ? s->size : (tensor_size(t) + 3) / 4 * 4; /* whole words */
    return (struct tensor_range){begin, begin + size, write};
}

/* What stands in for a tensor that a pass does without: some drivers (lavapipe of Mesa 26) read
 * through an address even where the branch around it is not taken, so it must be a real one; and
 * rather one of what the pass writes, which is as large as what an invocation may ask for. */
static const struct tensor *stand_in(const struct tensor_pass *pass)
{
    const struct tensor *any = NULL;
    for (uint32_t i = 0; i < pass->kernel->args; i++) {
        if (pass->arg[i] && pass->kernel->writes >> i & 1)
            return pass->arg[i];
        any = any ? any : pass->arg[i];
    }
    return any;
}

static int fill_step(struct tensor_graph *g, const struct tensor_pass *pass,
                     struct tensor_step *step)
{
    step->pass = pass;
    step->autotune = g->params.autotune;
    memcpy(step->params, pass->params, sizeof step->params);
    for (uint32_t i = 0; i < pass->kernel->args; i++) {
        const struct tensor *t = pass->arg[i];
        if (t && !t->storage->block)
            return tensor_fail(EINVAL,
                               "%s: %s: tensor %s lies in an arena without memory; commit it "
                               "before the graph is finished",
                               g->name, pass->kernel->name, t->name ? t->name : "");
        const uint64_t address = tensor_address(t ? t : stand_in(pass));
        memcpy(step->params + 8 * i, &address, sizeof address);
        step->range[i] = range_of(t, pass->kernel->writes >> i & 1);
    }
    return 0;
}

int tensor_graph_finish(struct tensor_graph *g)
{
    int status = check_recording(g);
    if (status < 0 || (status = tensor_plan(g)) < 0)
        return status;
    const struct tensor_backend *backend = g->device->backend;
    for (uint32_t i = 0; i < g->block_count; i++) {
        struct tensor_plan_block *b = &g->blocks[i];
        status = backend->block_create(g->device, TENSOR_DEVICE, b->size, &b->block);
        if (status == -ENOMEM)
            return tensor_fail(ENOMEM,
                               "%s: no room for %llu MiB of activations on %s; take a smaller "
                               "batch or model",
                               g->name, (unsigned long long)(tensor_graph_memory(g) >> 20) + 1,
                               g->device->info.name);
        if (status < 0)
            return status;
    }
    for (uint32_t i = 0; i < g->storage_count; i++)
        if (g->storages[i]->first <= g->storages[i]->last)
            g->storages[i]->block = &g->blocks[g->storages[i]->index].block;
    g->steps = calloc(g->pass_count + 1u, sizeof *g->steps);
    g->seconds = calloc(g->pass_count + 1u, sizeof *g->seconds);
    if (!g->steps || !g->seconds)
        return tensor_fail(ENOMEM, "%s: no host memory for its passes", g->name);
    for (uint32_t i = 0; i < g->pass_count; i++)
        if ((status = fill_step(g, &g->passes[i], &g->steps[i])) < 0)
            return status;
    status = backend->program_create(g->device, g->name, g->steps, g->pass_count, g->params.timing,
                                     &g->program);
    g->finished = status == 0;
    return status;
}

uint64_t tensor_graph_scratch(const struct tensor_graph *g)
{
    const struct tensor_backend *backend = g->device->backend;
    uint64_t most = 0;
    for (uint32_t i = 0; backend->pass_scratch && i < g->pass_count; i++) {
        const uint64_t bytes = backend->pass_scratch(g->device, &g->passes[i]);
        most = bytes > most ? bytes : most;
    }
    return most;
}

double tensor_graph_flops(const struct tensor_graph *g)
{
    double flops = 0;
    for (uint32_t i = 0; i < g->pass_count; i++)
        flops += g->passes[i].flops;
    return flops;
}

int tensor_graph_run(struct tensor_graph *g)
{
    if (!g->finished)
        return tensor_fail(EINVAL, "%s: run before it was finished", g->name);
    return g->device->backend->program_run(g->device, g->program);
}

static int by_seconds(const void *a, const void *b)
{
    const double x = ((const struct tensor_time *)a)->seconds;
    const double y = ((const struct tensor_time *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

uint32_t tensor_graph_times(struct tensor_graph *g, struct tensor_time *times, uint32_t capacity)
{
    const struct tensor_backend *backend = g->device->backend;
    if (!g->finished || backend->wait(g->device) < 0)
        return 0;
    backend->program_times(g->device, g->program, g->seconds);
    struct tensor_time *all = calloc(g->pass_count + 1u, sizeof *all);
    uint32_t count = 0;
    for (uint32_t i = 0; all && i < g->pass_count; i++) {
        const struct tensor_pass *pass = &g->passes[i];
        const char *kernel = backend->step_kernel(g->device, &g->steps[i]);
        uint32_t j = 0;
        while (j < count && (strcmp(all[j].label, pass->label) || strcmp(all[j].kernel, kernel)))
            j++;
        if (j == count)
            all[count++] = (struct tensor_time){.label = pass->label, .kernel = kernel};
        all[j].passes++;
        all[j].seconds += g->seconds[i];
        all[j].flops += pass->flops;
        all[j].bytes += pass->bytes;
    }
    if (all)
        qsort(all, count, sizeof *all, by_seconds);
    if (all && capacity)
        memcpy(times, all, (capacity < count ? capacity : count) * sizeof *times);
    free(all);
    return count;
}

void tensor_graph_times_reset(struct tensor_graph *g)
{
    tensor_graph_times(g, NULL, 0);
    memset(g->seconds, 0, (g->pass_count + 1u) * sizeof *g->seconds);
}
