/* decoder.c - MEGABYTE one patch at a time, with a cache on each level. */
#include "megabyte/decoder.h"
#include "megabyte/error.h"
#include <errno.h>
#include <stdlib.h>

#define CHUNK 64 /* patches that prefill reads at a time, at most */

/* Tensors of the shared arena and where the host finds them, once it is committed. */
struct shared {
    struct tensor *prefill_place, *prefill_symbols, *place, *local_places, *previous, *settings,
        *given, *symbols;
};

static struct tensor *take(struct tensor_arena *arena, const char *name, uint32_t rows,
                           uint32_t columns)
{
    return tensor_arena_take(arena, name, TENSOR_U32, 2, (uint32_t[]){rows, columns});
}

static void take_shared(struct megabyte_decoder *d, struct shared *s)
{
    const uint32_t n = d->sequences, p = d->patch_size;
    s->prefill_place = take(d->shared, "prefill place", 1, 2);
    s->prefill_symbols = take(d->shared, "prefill symbols", d->chunk, p);
    s->place = take(d->shared, "place", n, 2);
    s->local_places = take(d->shared, "local places", p, 2 * n);
    s->previous = take(d->shared, "previous patch", n, p);
    s->settings = take(d->shared, "sampling", n, TENSOR_SAMPLE_SETTINGS);
    s->given = take(d->shared, "given", n, p);
    s->symbols = take(d->shared, "symbols", n, p);
}

/* Places them; there is no memory yet. */
static int take_tensors(struct megabyte_decoder *d, struct shared *s)
{
    const uint32_t n = d->sequences, p = d->patch_size;
    const uint32_t capacity = (d->patches + d->chunk - 1) / d->chunk * d->chunk;
    int status = tensor_arena_create(d->model->device, TENSOR_HOST, "staging", &d->shared);
    if (status == 0)
        status = tensor_arena_create(d->model->device, TENSOR_DEVICE, "cache", &d->caches);
    if (status < 0)
        return status;
    take_shared(d, s);
    d->local_places = take(d->caches, "local places", p, 2 * n);
    d->place_here = take(d->caches, "place", n, 2);
    d->settings_here = take(d->caches, "sampling", n, TENSOR_SAMPLE_SETTINGS);
    d->patch = take(d->caches, "patch", n, p);
    status = nn_cache_init(&d->global_cache, &d->model->global, d->caches, n, capacity);
    if (status == 0)
        status = nn_cache_init(&d->local_cache, &d->model->local.transformer, d->caches, n,
                               p + d->model->config.cross_patch);
    return status;
}

static void find_shared(struct megabyte_decoder *d, const struct shared *s)
{
    d->prefill_place = tensor_host(s->prefill_place);
    d->prefill_symbols = tensor_host(s->prefill_symbols);
    d->place = tensor_host(s->place);
    d->local_place = tensor_host(s->local_places);
    d->previous = tensor_host(s->previous);
    d->settings = tensor_host(s->settings);
    d->given = tensor_host(s->given);
    d->symbols = tensor_host(s->symbols);
}

/* Where the positions of each sequence's patch stand in the local cache. What sees nothing of the
 * patch before begins anew with every patch. */
static void fill_local_places(struct megabyte_decoder *d)
{
    const uint32_t n = d->sequences, size = d->patch_size;
    for (uint32_t i = 0; i < size * n; i++) {
        const uint32_t patch = d->model->config.cross_patch ? d->place[2 * (i % n) + 1] : 0;
        d->local_place[2 * i] = i % n;
        d->local_place[2 * i + 1] = patch * size + i / n;
    }
}

/* Equations 1 to 3 for the patches at `place`, of which `symbols` are the ones before. */
static struct tensor *record_global(struct tensor_graph *g, const struct megabyte_decoder *d,
                                    struct tensor *symbols, struct tensor *place)
{
    const struct megabyte_patch_embedder *e = &d->model->embedder;
    tensor_graph_push(g, "embed");
    struct tensor *h = tensor_embedding_patches(g, symbols, e->embedding->weight,
                                                e->position->weight, e->pad->weight, place);
    const uint32_t patches = tensor_rows(h) / d->patch_size;
    h = tensor_reshape(g, h, 2, (uint32_t[]){patches, d->model->config.global.dim});
    tensor_graph_pop(g);
    tensor_graph_push(g, "global");
    h = nn_transformer_cached(g, &d->model->global, &d->global_cache, place, h);
    tensor_graph_pop(g);
    return h;
}

static int record_prefill(struct megabyte_decoder *d, const struct shared *s, bool timing)
{
    const struct tensor_graph_params params = {.name = "prefill", .timing = timing};
    const int status = tensor_graph_create(d->model->device, &params, &d->prefill);
    if (status < 0)
        return status;
    record_global(d->prefill, d, s->prefill_symbols, s->prefill_place);
    return 0;
}

/* Equation 4 for all P positions, but for the byte before each. */
static struct tensor *record_projection(struct tensor_graph *g, const struct megabyte_decoder *d,
                                        struct tensor *global)
{
    const struct megabyte_local *l = &d->model->local;
    const uint32_t width = l->projection->shape[1]; /* D_G */
    struct tensor *h =
        tensor_reshape(g, global, 2, (uint32_t[]){(uint32_t)(global->count / width), width});
    h = tensor_gemv(g, h, &(struct tensor_gemv){.weight = l->projection->weight});
    return tensor_add_rows(g, h, l->position->weight);
}

/* Equations 4 to 6 for position p, and the choice of its byte. */
static void record_byte(struct tensor_graph *g, struct megabyte_decoder *d,
                        struct tensor *projected, uint32_t p)
{
    const struct megabyte_local *l = &d->model->local;
    tensor_graph_push(g, "local");
    struct tensor *h = tensor_embedding_next(
        g, projected, d->patch, p ? l->embedding->weight : l->pad->weight, p);
    h = nn_transformer_cached(g, &l->transformer, &d->local_cache,
                              tensor_row(g, d->local_places, p), h);
    tensor_graph_pop(g);
    tensor_graph_push(g, "head");
    d->logits[p] = tensor_gemv(g, h, &(struct tensor_gemv){.weight = d->model->head->weight});
    tensor_graph_keep(g, d->logits[p]);
    tensor_graph_pop(g);
    tensor_graph_push(g, "sample");
    tensor_sample(g, d->logits[p], d->settings_here, d->patch, p);
    tensor_graph_pop(g);
}

static int record_advance(struct megabyte_decoder *d, const struct shared *s, bool timing)
{
    const struct tensor_graph_params params = {.name = "advance", .timing = timing};
    const int status = tensor_graph_create(d->model->device, &params, &d->advance);
    if (status < 0)
        return status;
    struct tensor_graph *g = d->advance;
    tensor_graph_push(g, "input");
    tensor_copy(g, d->place_here, s->place);
    tensor_copy(g, d->local_places, s->local_places);
    tensor_copy(g, d->settings_here, s->settings);
    tensor_copy(g, d->patch, s->given);
    tensor_graph_pop(g);
    struct tensor *h = record_global(g, d, s->previous, d->place_here);
    tensor_graph_push(g, "project");
    struct tensor *projected = record_projection(g, d, h);
    tensor_graph_pop(g);
    for (uint32_t p = 0; p < d->patch_size; p++)
        record_byte(g, d, projected, p);
    tensor_graph_push(g, "output");
    tensor_copy(g, s->symbols, d->patch);
    tensor_graph_pop(g);
    return 0;
}

static int record_cached(struct megabyte_decoder *d, struct shared *s, bool timing)
{
    int status = take_tensors(d, s);
    if (status == 0 && d->patches > 1)
        status = record_prefill(d, s, timing);
    if (status == 0)
        status = record_advance(d, s, timing);
    return status;
}

static int told(int status)
{
    return status < 0 ? megabyte_fail(-status, "generation cannot be set up: %s", tensor_error())
                      : 0;
}

/* Everything but memory of the device. */
static int prepare(const struct megabyte_model *model, uint32_t sequences, bool timing,
                   struct shared *shared, struct megabyte_decoder **decoder)
{
    struct megabyte_decoder *d = calloc(1, sizeof *d);
    const bool window = megabyte_window_wanted(&model->config);
    const bool bytes = model->config.model == MEGABYTE_PERCEIVER ||
                       model->config.patch_size == model->config.seq_len;
    if (!d)
        return megabyte_fail(ENOMEM, "no host memory for generation");
    d->model = model;
    d->sequences = sequences;
    d->patch_size = window && bytes ? 1 : model->config.patch_size;
    d->patches = model->config.seq_len / d->patch_size;
    d->chunk = d->patches < CHUNK ? d->patches : CHUNK;
    d->replay = !window && model->config.cross_patch ? model->config.local.layers : 0;
    d->logits = calloc(d->patch_size, sizeof *d->logits);
    int status;
    if (!d->logits)
        status = megabyte_fail(ENOMEM, "no host memory for generation");
    else if (window)
        status = megabyte_window_create(d, timing);
    else
        status = told(record_cached(d, shared, timing));
    if (status < 0)
        megabyte_decoder_destroy(&d);
    *decoder = d;
    return status;
}

int megabyte_decoder_plan(const struct megabyte_model *model, uint32_t sequences,
                          struct megabyte_generator_plan *plan)
{
    struct shared shared;
    struct megabyte_decoder *d;
    const int status = prepare(model, sequences, false, &shared, &d);
    if (status < 0)
        return status;
    const uint64_t advance = tensor_graph_memory(d->advance);
    const uint64_t prefill = d->prefill ? tensor_graph_memory(d->prefill) : 0;
    const bool planned = advance && (prefill || !d->prefill);
    plan->device = advance + prefill + tensor_arena_size(d->shared) +
                   (d->caches ? tensor_arena_size(d->caches) : 0);
    plan->host = d->window ? (uint64_t)sequences * model->config.seq_len : 0;
    plan->scratch = tensor_graph_scratch(d->advance);
    megabyte_decoder_destroy(&d);
    return planned ? 0 : megabyte_fail(ENOMEM, "%s", tensor_error());
}

int megabyte_decoder_create(const struct megabyte_model *model, uint32_t sequences, bool timing,
                            struct megabyte_decoder **decoder)
{
    struct shared shared;
    struct megabyte_decoder *d;
    int status = prepare(model, sequences, timing, &shared, &d);
    if (status < 0)
        return status;
    status = tensor_arena_commit(d->shared);
    if (status == 0 && d->caches)
        status = tensor_arena_commit(d->caches);
    if (status == 0 && d->prefill)
        status = tensor_graph_finish(d->prefill);
    if (status == 0)
        status = tensor_graph_finish(d->advance);
    if (status < 0) {
        megabyte_decoder_destroy(&d);
        return told(status);
    }
    if (!d->window)
        find_shared(d, &shared);
    *decoder = d;
    return 0;
}

void megabyte_decoder_destroy(struct megabyte_decoder **decoder)
{
    struct megabyte_decoder *d = *decoder;
    if (!d)
        return;
    tensor_graph_destroy(&d->prefill);
    tensor_graph_destroy(&d->advance);
    megabyte_window_destroy(&d->window);
    nn_cache_finish(&d->global_cache);
    nn_cache_finish(&d->local_cache);
    tensor_arena_destroy(&d->shared);
    tensor_arena_destroy(&d->caches);
    free(d->logits);
    free(d);
    *decoder = NULL;
}

static int run(struct megabyte_decoder *d, struct tensor_graph *graph)
{
    const int status = tensor_graph_run(graph);
    return status < 0 ? status : tensor_device_wait(d->model->device);
}

int megabyte_decoder_prefill(struct megabyte_decoder *d)
{
    int status = 0;
    if (d->window)
        megabyte_window_prefill(d);
    else
        status = run(d, d->prefill);
    return status < 0 ? megabyte_fail(-status, "%s", tensor_error()) : 0;
}

int megabyte_decoder_advance(struct megabyte_decoder *d)
{
    int status;
    if (!d->window)
        fill_local_places(d);
    status = d->window ? megabyte_window_advance(d) : run(d, d->advance);
    return status < 0 ? megabyte_fail(-status, "%s", tensor_error()) : 0;
}
