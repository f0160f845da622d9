/* generator.c - generation with a cache on each level. */
#include "megabyte/generator.h"
#include "megabyte/error.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct megabyte_generator {
    const struct megabyte_model *model;
    uint32_t patch, patches;             /* P, K */
    struct tensor_arena *shared, *arena; /* seen by host and device; caches */
    struct nn_cache global_cache, local_cache;

    /* Inputs that graphs read when they run. */
    struct tensor *patch_bytes;   /* (P) the patch before the one at hand */
    struct tensor *byte;          /* (1) the byte before the one at hand */
    struct tensor *slot;          /* (1, 2) 0, number of the patch at hand: the global cache */
    struct tensor *previous;      /* (1) number of the patch before it: its place among positions */
    struct tensor *place;         /* (1) position within the patch … */
    struct tensor *local_slot;    /* (1, 2) … and 0 before it: the local cache */
    struct tensor *projected;     /* (P, E) what the global model says of the patch at hand */
    struct tensor *logits;        /* (V) */

    struct tensor_graph *first, *next; /* global model: patch 0, later patches */
    struct tensor_graph **local;       /* (P) local model, one a position */

    uint8_t *window;    /* (T) bytes so far */
    uint32_t length;    /* how many */
    uint32_t done;      /* local positions of the patch at hand that are in the cache */
    bool patch_ready;   /* the global model has run for the patch at hand */
    bool logits_ready;
};

static int take_tensors(struct megabyte_generator *t)
{
    const struct megabyte_config *c = &t->model->config;
    int status = tensor_arena_create(t->model->device, TENSOR_HOST, "staging", &t->shared);
    if (status == 0)
        status = tensor_arena_create(t->model->device, TENSOR_DEVICE, "cache", &t->arena);
    if (status < 0)
        return status;
    const uint32_t one = 1;
    t->patch_bytes = tensor_arena_take(t->shared, "patch", TENSOR_U8, 1, &t->patch);
    t->byte = tensor_arena_take(t->shared, "byte", TENSOR_U8, 1, &one);
    t->slot = tensor_arena_take(t->shared, "slot", TENSOR_U32, 2, (uint32_t[]){1, 2});
    t->local_slot = tensor_arena_take(t->shared, "slot", TENSOR_U32, 2, (uint32_t[]){1, 2});
    t->previous = tensor_arena_take(t->shared, "previous", TENSOR_U32, 1, &one);
    t->place = tensor_arena_take(t->shared, "place", TENSOR_U32, 1, &one);
    t->logits =
        tensor_arena_take(t->shared, "logits", TENSOR_F32, 1, (uint32_t[]){MEGABYTE_SYMBOLS});
    t->projected = tensor_arena_take(t->arena, "projected", TENSOR_F32, 2,
                                     (uint32_t[]){t->patch, c->local.dim});
    status = nn_cache_init(&t->global_cache, &t->model->global, t->arena, 1, t->patches);
    if (status == 0)
        status =
            nn_cache_init(&t->local_cache, &t->model->local.transformer, t->arena, 1, t->patch);
    if (status == 0)
        status = tensor_arena_commit(t->shared);
    return status < 0 ? status : tensor_arena_commit(t->arena);
}

static int record_global(struct megabyte_generator *t, bool first, struct tensor_graph **graph)
{
    const struct tensor_graph_params params = {.name = first ? "first patch" : "next patch"};
    const int status = tensor_graph_create(t->model->device, &params, graph);
    if (status < 0)
        return status;
    struct tensor_graph *g = *graph;
    const struct megabyte_model *m = t->model;
    struct tensor *h = first
        ? megabyte_patch_embedder_pad(g, &m->embedder)
        : megabyte_patch_embedder_next(g, &m->embedder, t->patch_bytes, t->previous);
    h = nn_transformer_cached(g, &m->global, &t->global_cache, t->slot, h);
    tensor_copy(g, t->projected, megabyte_local_project(g, &m->local, h));
    return tensor_graph_finish(g);
}

static int record_local(struct megabyte_generator *t, uint32_t p)
{
    const struct tensor_graph_params params = {.name = "next byte"};
    const int status = tensor_graph_create(t->model->device, &params, &t->local[p]);
    if (status < 0)
        return status;
    struct tensor_graph *g = t->local[p];
    struct tensor *h = megabyte_local_next(g, &t->model->local, &t->local_cache, t->projected,
                                           t->byte, t->place, t->local_slot, p);
    tensor_copy(g, t->logits, megabyte_head(g, t->model, h));
    return tensor_graph_finish(g);
}

static int record(struct megabyte_generator *t)
{
    int status = record_global(t, true, &t->first);
    if (status == 0)
        status = record_global(t, false, &t->next);
    for (uint32_t p = 0; p < t->patch && status == 0; p++)
        status = record_local(t, p);
    return status;
}

int megabyte_generator_create(const struct megabyte_model *model,
                              struct megabyte_generator **generator)
{
    const struct megabyte_config *c = &model->config;
    if (c->model != MEGABYTE_WHOLE || c->cross_patch || c->conv || c->rope)
        return megabyte_fail(ENOTSUP, "generation from a model with model = local, global or "
                             "perceiver, cross_patch, conv or rope is not done yet");
    struct megabyte_generator *t = calloc(1, sizeof *t);
    if (!t)
        return megabyte_fail(ENOMEM, "no host memory for the generator");
    t->model = model;
    t->patch = model->config.patch_size;
    t->patches = model->config.seq_len / t->patch;
    t->window = malloc(model->config.seq_len);
    t->local = calloc(t->patch, sizeof *t->local);
    int status = t->window && t->local ? 0 : -ENOMEM;
    if (status == 0)
        status = take_tensors(t);
    if (status == 0)
        status = record(t);
    if (status < 0) {
        megabyte_generator_destroy(&t);
        return megabyte_fail(-status, "%s", tensor_error());
    }
    *generator = t;
    return 0;
}

void megabyte_generator_destroy(struct megabyte_generator **generator)
{
    struct megabyte_generator *t = *generator;
    if (!t)
        return;
    tensor_graph_destroy(&t->first);
    tensor_graph_destroy(&t->next);
    for (uint32_t p = 0; t->local && p < t->patch; p++)
        tensor_graph_destroy(&t->local[p]);
    nn_cache_finish(&t->global_cache);
    nn_cache_finish(&t->local_cache);
    tensor_arena_destroy(&t->shared);
    tensor_arena_destroy(&t->arena);
    free(t->local);
    free(t->window);
    free(t);
    *generator = NULL;
}

void megabyte_generator_reset(struct megabyte_generator *t)
{
    t->length = 0;
    t->done = 0;
    t->patch_ready = false;
    t->logits_ready = false;
}

static int run(struct megabyte_generator *t, struct tensor_graph *graph)
{
    int status = tensor_graph_run(graph);
    if (status == 0)
        status = tensor_device_wait(t->model->device);
    return status < 0 ? megabyte_fail(-status, "%s", tensor_error()) : 0;
}

/* The global model's step for patch k, of which all bytes before are in the window. */
static int run_patch(struct megabyte_generator *t, uint32_t k)
{
    ((uint32_t *)tensor_host(t->slot))[1] = k;
    if (k == 0)
        return run(t, t->first);
    *(uint32_t *)tensor_host(t->previous) = k - 1;
    memcpy(tensor_host(t->patch_bytes), t->window + (size_t)(k - 1) * t->patch, t->patch);
    return run(t, t->next);
}

/* Makes room in a full window: its later half is read again as the start of a new one. */
static int slide(struct megabyte_generator *t)
{
    const uint32_t kept = t->patches / 2;
    memmove(t->window, t->window + (size_t)(t->patches - kept) * t->patch, (size_t)kept * t->patch);
    megabyte_generator_reset(t);
    t->length = kept * t->patch;
    for (uint32_t k = 0; k < kept; k++) {
        const int status = run_patch(t, k);
        if (status < 0)
            return status;
    }
    return 0;
}

/* Brings both caches up to the byte at hand. */
static int catch_up(struct megabyte_generator *t)
{
    int status = 0;
    if (t->length == t->patches * t->patch)
        status = slide(t);
    if (status == 0 && !t->patch_ready)
        status = run_patch(t, t->length / t->patch);
    if (status < 0)
        return status;
    t->patch_ready = true;
    const uint32_t begin = t->length / t->patch * t->patch, at = t->length - begin;
    for (; t->done <= at; t->done++) {
        *(uint32_t *)tensor_host(t->place) = ((uint32_t *)tensor_host(t->local_slot))[1] = t->done;
        if (t->done)
            *(uint8_t *)tensor_host(t->byte) = t->window[begin + t->done - 1];
        if ((status = run(t, t->local[t->done])) < 0)
            return status;
    }
    t->logits_ready = true;
    return 0;
}

int megabyte_generator_logits(struct megabyte_generator *t, const float **logits)
{
    const int status = t->logits_ready ? 0 : catch_up(t);
    if (status == 0)
        *logits = tensor_host(t->logits);
    return status;
}

int megabyte_generator_feed(struct megabyte_generator *t, uint8_t byte)
{
    int status = 0;
    if (t->length == t->patches * t->patch)
        status = slide(t);
    /* Every patch must pass through the global model, also where nobody asked for logits. */
    if (status == 0 && !t->patch_ready)
        status = run_patch(t, t->length / t->patch);
    if (status < 0)
        return status;
    t->patch_ready = true;
    t->window[t->length++] = byte;
    t->logits_ready = false;
    if (t->length % t->patch == 0) {
        t->patch_ready = false;
        t->done = 0;
    }
    return 0;
}
