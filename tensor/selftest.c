/* selftest.c - some drivers claim what they cannot do: variants of kernels are tried once when a
 * device opens, against the plain ones, and switched off when they fail. */
#include "tensor/backend.h"
#include <math.h>

#define ROWS    77 /* odd sizes, more than one tile each way */
#define INPUTS  93
#define OUTPUTS 69
#define RESULTS (ROWS * INPUTS + OUTPUTS * INPUTS)

/* A linear layer with its gradients, which is all three transposes of the product: d(x) and
 * d(weight) into `results`. */
static int products(struct tensor_device *device, float *results)
{
    const struct tensor_graph_params params = {.name = "self-test", .training = true};
    const uint32_t xs[2] = {ROWS, INPUTS}, ws[2] = {OUTPUTS, INPUTS}, one = 1;
    struct tensor_arena *arena = NULL;
    struct tensor_graph *graph = NULL;
    int status = tensor_arena_create(device, TENSOR_HOST, "self-test", &arena);
    if (status < 0)
        return status;
    struct tensor *x = tensor_arena_take(arena, "x", TENSOR_F32, 2, xs);
    struct tensor *w = tensor_arena_take(arena, "w", TENSOR_F32, 2, ws);
    struct tensor *factor = tensor_arena_take(arena, "factor", TENSOR_F32, 1, &one);
    x->gradient = tensor_arena_take(arena, "d(x)", TENSOR_F32, 2, xs);
    w->gradient = tensor_arena_take(arena, "d(w)", TENSOR_F32, 2, ws);
    x->needs_gradient = w->needs_gradient = true;
    status = tensor_arena_commit(arena);
    if (status == 0)
        status = tensor_graph_create(device, &params, &graph);
    if (status == 0) {
        *(float *)tensor_host(factor) = 1;
        for (uint32_t i = 0; i < ROWS * INPUTS; i++)
            ((float *)tensor_host(x))[i] = (float)((int)(i * 7919 % 1009) - 504) / 504;
        for (uint32_t i = 0; i < OUTPUTS * INPUTS; i++)
            ((float *)tensor_host(w))[i] = (float)((int)(i * 6151 % 997) - 498) / 498;
        tensor_graph_backward(graph,
                              tensor_sum(graph, tensor_linear(graph, x, w, NULL, true), factor));
        status = tensor_graph_finish(graph);
    }
    if (status == 0)
        status = tensor_graph_run(graph);
    if (status == 0)
        status = tensor_read(x->gradient, 0, results, ROWS * INPUTS * sizeof *results);
    if (status == 0)
        status = tensor_read(w->gradient, 0, results + ROWS * INPUTS,
                             OUTPUTS * INPUTS * sizeof *results);
    tensor_graph_destroy(&graph);
    tensor_arena_destroy(&arena);
    return status;
}

static bool agree(const float *a, const float *b)
{
    for (uint32_t i = 0; i < RESULTS; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-3f * (1 + fabsf(b[i]))))
            return false;
    return true;
}

int tensor_selftest(struct tensor_device *device)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } features[] = {{TENSOR_SHARED_TILES, "shared-tiles"}};
    static float with[RESULTS], without[RESULTS];
    const uint32_t all = device->info.features;
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        const uint32_t bit = features[i].bit;
        if (!(all & bit))
            continue;
        device->info.features = 0;
        int status = products(device, without);
        if (status == 0) {
            device->info.features = bit;
            status = products(device, with);
        }
        device->info.features = all;
        if (status < 0)
            return status;
        if (!agree(with, without)) {
            device->info.features &= ~bit;
            tensor_log(device, "%s computes wrong results with %s; that is switched off",
                       device->info.name, features[i].name);
        }
    }
    return 0;
}
