/* trace.c - runs a graph pass by pass, looking for values that are not finite (graph.h). */
#include "tensor/recording.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define PIECE 65536 /* elements that are read back at a time */

/* Looks through one tensor that a pass wrote. */
static int look(const struct tensor *t, struct tensor_trace *trace, float *piece)
{
    for (uint64_t at = 0; at < t->count && !trace->found; at += PIECE) {
        const uint64_t count = t->count - at < PIECE ? t->count - at : PIECE;
        const int status = tensor_read(t, at * sizeof *piece, piece, count * sizeof *piece);
        if (status < 0)
            return status;
        for (uint64_t i = 0; i < count && !trace->found; i++) {
            trace->found = !isfinite(piece[i]);
            trace->element = at + i;
            trace->value = (double)piece[i];
        }
    }
    return 0;
}

static int trace_pass(struct tensor_graph *g, uint32_t number, struct tensor_trace *trace,
                      float *piece)
{
    const struct tensor_backend *backend = g->device->backend;
    const struct tensor_pass *pass = g->steps[number].pass;
    struct tensor_program *program = NULL;
    int status =
        backend->program_create(g->device, g->name, &g->steps[number], 1, false, &program);
    if (status < 0)
        return status;
    status = backend->program_run(g->device, program);
    if (status == 0)
        status = backend->wait(g->device);
    for (uint32_t i = 0; i < pass->kernel->args && status == 0 && !trace->found; i++) {
        const struct tensor *t = pass->arg[i];
        if (t && pass->kernel->writes >> i & 1 && t->type == TENSOR_F32)
            status = look(t, trace, piece);
        if (!trace->found)
            continue;
        trace->pass = number;
        trace->label = pass->label;
        trace->kernel = backend->step_kernel(g->device, &g->steps[number]);
    }
    backend->program_destroy(g->device, program);
    return status;
}

int tensor_graph_trace(struct tensor_graph *g, struct tensor_trace *trace)
{
    struct tensor_trace found = {.found = false};
    if (!g->finished)
        return tensor_fail(EINVAL, "%s: traced before it was finished", g->name);
    float *piece = malloc(PIECE * sizeof *piece);
    if (!piece)
        return tensor_fail(ENOMEM, "%s: no host memory to trace", g->name);
    int status = 0;
    for (uint32_t i = 0; i < g->pass_count && status == 0; i++)
        status = trace_pass(g, i, &found, piece);
    free(piece);
    if (status == 0)
        *trace = found;
    return status;
}
