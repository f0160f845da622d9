/* decoder.c - models one unit at a time, with their caches (decoder.h). */
#include "megabyte/decoder.h"
#include "megabyte/error.h"
#include "tensor/autotune.h"
#include <errno.h>
#include <stdlib.h>

#define CHUNK 64 /* units that prefill reads at a time, at most */

/* Tensors of the shared arena and where the host finds them, once it is committed. */
struct shared {
    struct tensor *prefill_slot, *prefill_local_slot, *prefill_symbols, *slot, *local_slots,
        *previous, *settings, *given, *symbols, *columns;
};

static enum megabyte_kind kind_of(const struct megabyte_decoder *d)
{
    return (enum megabyte_kind)d->model->config.model;
}

/* Whether units are single bytes. */
static bool by_bytes(const struct megabyte_config *c)
{
    return c->model == MEGABYTE_PERCEIVER ||
           (c->model == MEGABYTE_LOCAL && c->patch_size == c->seq_len);
}

static bool has_global(const struct megabyte_decoder *d)
{
    return kind_of(d) == MEGABYTE_WHOLE || kind_of(d) == MEGABYTE_GLOBAL;
}

static struct tensor *take(struct tensor_arena *arena, const char *name, uint32_t rows,
                           uint32_t columns)
{
    return tensor_arena_take(arena, name, TENSOR_U32, 2, (uint32_t[]){rows, columns});
}

static void take_shared(struct megabyte_decoder *d, struct shared *s)
{
    const uint32_t n = d->sequences, p = d->patch_size;
    s->prefill_slot = take(d->shared, "prefill slot", 1, 2);
    s->prefill_local_slot = take(d->shared, "prefill local slot", 1, 2);
    s->prefill_symbols = take(d->shared, "prefill symbols", d->chunk, p);
    s->slot = take(d->shared, "slot", n, 2);
    s->local_slots = take(d->shared, "local slots", p, 2 * n);
    s->previous = take(d->shared, "previous patch", n, p);
    s->settings = take(d->shared, "sampling", n, TENSOR_SAMPLE_SETTINGS);
    s->given = take(d->shared, "given", n, p);
    s->symbols = take(d->shared, "symbols", n, p);
    s->columns = take(d->shared, "columns", p, 1);
}

/* Positions of the local cache: of whole windows where units are bytes, of the latents of a
 * PerceiverAR as many as the rows of a chunk see, of a patch and what it reaches. */
static uint32_t local_capacity(const struct megabyte_decoder *d, uint32_t window)
{
    const struct megabyte_config *c = &d->model->config;
    if (kind_of(d) == MEGABYTE_PERCEIVER)
        return c->patch_size + d->chunk;
    return by_bytes(c) ? window : c->patch_size + c->cross_patch;
}

/* The convolutions go on behind the rows of a chunk, and behind patches that are replayed. */
static void take_conv_caches(struct megabyte_decoder *d)
{
    const struct megabyte_patch_embedder *e = &d->model->embedder;
    for (uint32_t i = 0; i < e->convs; i++) {
        const uint32_t rows = (d->chunk + d->replay) * d->patch_size;
        const uint32_t columns = e->conv[i].weight->shape[0];
        const uint32_t shape[3] = {d->sequences, rows + e->conv[i].weight->shape[1] / columns - 1,
                                   columns};
        d->conv_cache[i] = tensor_arena_take(d->caches, "convolution", TENSOR_F32, 3, shape);
    }
}

static int take_caches(struct megabyte_decoder *d)
{
    const struct megabyte_model *m = d->model;
    const uint32_t n = d->sequences, window = (d->patches + d->chunk - 1) / d->chunk * d->chunk;
    const struct nn_transformer *local = kind_of(d) == MEGABYTE_PERCEIVER
        ? &m->perceiver.transformer : &m->local.transformer;
    int status = 0;
    if (has_global(d)) {
        take_conv_caches(d);
        status = nn_cache_init(&d->global_cache, &m->global, d->caches, n, window);
    }
    if (kind_of(d) == MEGABYTE_PERCEIVER) /* chunks that are `turned` begin anywhere */
        d->look_cache = tensor_arena_take(d->caches, "look", TENSOR_F32, 3,
                                          (uint32_t[]){n, window + (d->turn ? d->chunk : 0),
                                                       2 * m->config.local.dim});
    if (status == 0 && kind_of(d) != MEGABYTE_GLOBAL)
        status = nn_cache_init(&d->local_cache, local, d->caches, n, local_capacity(d, window));
    return status;
}

/* Places them; there is no memory yet. */
static int take_tensors(struct megabyte_decoder *d, struct shared *s)
{
    const uint32_t n = d->sequences, p = d->patch_size;
    int status = tensor_arena_create(d->model->device, TENSOR_HOST, "staging", &d->shared);
    if (status == 0)
        status = tensor_arena_create(d->model->device, TENSOR_DEVICE, "cache", &d->caches);
    if (status < 0)
        return status;
    take_shared(d, s);
    d->local_slots = take(d->caches, "local slots", p, 2 * n);
    d->slot_here = take(d->caches, "slot", n, 2);
    d->settings_here = take(d->caches, "sampling", n, TENSOR_SAMPLE_SETTINGS);
    d->patch = take(d->caches, "patch", n, p);
    return take_caches(d);
}

static void find_shared(struct megabyte_decoder *d, const struct shared *s)
{
    d->prefill_slot = tensor_host(s->prefill_slot);
    d->prefill_local_slot = tensor_host(s->prefill_local_slot);
    d->prefill_symbols = tensor_host(s->prefill_symbols);
    d->slot = tensor_host(s->slot);
    d->local_slot = tensor_host(s->local_slots);
    d->previous = tensor_host(s->previous);
    d->settings = tensor_host(s->settings);
    d->given = tensor_host(s->given);
    d->symbols = tensor_host(s->symbols);
    for (uint32_t i = 0; i < d->patch_size; i++)
        ((uint32_t *)tensor_host(s->columns))[i] = i;
}

/* Where byte `unit` of a model by bytes stands in the local cache: patches, in which latents see
 * each other, begin at multiples of P. */
static uint32_t byte_position(const struct megabyte_decoder *d, uint32_t unit, bool turned)
{
    return turned ? unit - d->turned_from + d->turn : unit;
}

/* Where the positions of each sequence's unit stand in the local cache. Of patches, what sees
 * nothing of the one before begins anew with every one. */
static void fill_local_places(struct megabyte_decoder *d)
{
    const uint32_t n = d->sequences, size = d->patch_size;
    const bool bytes = by_bytes(&d->model->config), reaches = d->model->config.cross_patch;
    for (uint32_t i = 0; i < size * n; i++) {
        const uint32_t unit = d->slot[2 * (i % n) + 1];
        d->local_slot[2 * i] = i % n;
        d->local_slot[2 * i + 1] = bytes ? byte_position(d, unit, d->turn && unit >= d->turn)
                                         : (reaches ? unit * size : 0) + i / n;
    }
}

/* Equations 1 to 3 for the patches at `slot`, of which `symbols` are the ones before. */
static struct tensor *record_global(struct tensor_graph *g, const struct megabyte_decoder *d,
                                    struct tensor *symbols, struct tensor *slot)
{
    tensor_graph_push(g, "embed");
    struct tensor *h = megabyte_patch_embedder_cached(g, &d->model->embedder, d->conv_cache,
                                                      symbols, slot);
    tensor_graph_pop(g);
    tensor_graph_push(g, "global");
    h = nn_transformer_cached(g, &d->model->global, &d->global_cache, slot, h);
    tensor_graph_pop(g);
    return h;
}

/* The model over bytes at `slot`, of which `symbols` are the ones before → (N·n, E) */
static struct tensor *record_bytes(struct tensor_graph *g, const struct megabyte_decoder *d,
                                   struct tensor *symbols, struct tensor *slot,
                                   struct tensor *local_slot)
{
    const struct megabyte_model *m = d->model;
    const bool perceiver = kind_of(d) == MEGABYTE_PERCEIVER;
    const struct nn_parameter *table = perceiver ? m->perceiver.embedding : m->local.embedding;
    const struct nn_parameter *position = perceiver ? m->perceiver.position : m->local.position;
    const struct nn_parameter *pad = perceiver ? m->perceiver.pad : m->local.pad;
    tensor_graph_push(g, perceiver ? "perceiver" : "local");
    struct tensor *h = tensor_embedding_patches(g, symbols, table->weight, position->weight,
                                                pad->weight, slot, true);
    if (perceiver)
        h = megabyte_perceiver_look_cached(g, &m->perceiver, m->config.local.heads, d->look_cache,
                                           slot, h);
    h = nn_transformer_cached(g, perceiver ? &m->perceiver.transformer : &m->local.transformer,
                              &d->local_cache, local_slot, h);
    tensor_graph_pop(g);
    return h;
}

static int record_prefill(struct megabyte_decoder *d, const struct shared *s, bool timing)
{
    const struct tensor_graph_params params = {
        .name = "prefill", .timing = timing, .autotune = tensor_device_autotune(d->model->device)};
    const int status = tensor_graph_create(d->model->device, &params, &d->prefill);
    if (status < 0)
        return status;
    if (by_bytes(&d->model->config))
        record_bytes(d->prefill, d, s->prefill_symbols, s->prefill_slot, s->prefill_local_slot);
    else
        record_global(d->prefill, d, s->prefill_symbols, s->prefill_slot);
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

/* Equations 4 and 5 for position p; `projected` may be the same for all sequences. */
static struct tensor *record_local(struct tensor_graph *g, struct megabyte_decoder *d,
                                   struct tensor *projected, uint32_t p)
{
    const struct megabyte_local *l = &d->model->local;
    tensor_graph_push(g, "local");
    struct tensor *h = tensor_embedding_next(
        g, projected, d->patch, p ? l->embedding->weight : l->pad->weight, p);
    h = nn_transformer_cached(g, &l->transformer, &d->local_cache,
                              tensor_slice_rows(g, d->local_slots, p, 1), h);
    tensor_graph_pop(g);
    return h;
}

/* Equation 6 for position p, and the choice of its byte. */
static void record_choice(struct tensor_graph *g, struct megabyte_decoder *d, struct tensor *h,
                          uint32_t p)
{
    tensor_graph_push(g, "head");
    d->logits[p] = tensor_gemv(g, h, &(struct tensor_gemv){.weight = d->model->head->weight});
    tensor_graph_keep(g, d->logits[p]);
    tensor_graph_pop(g);
    tensor_graph_push(g, "sample");
    tensor_sample(g, d->logits[p], d->settings_here, d->patch, p);
    tensor_graph_pop(g);
}

/* The P positions of a patch. */
static void record_patch(struct tensor_graph *g, struct megabyte_decoder *d, const struct shared *s)
{
    const uint32_t size = d->patch_size;
    struct tensor *h = has_global(d) ? record_global(g, d, s->previous, d->slot_here) : NULL;
    if (kind_of(d) == MEGABYTE_GLOBAL) { /* slices are rows in memory already */
        const uint32_t shape[2] = {d->sequences * size, tensor_columns(h) / size};
        h = tensor_reshape(g, h, 2, shape);
        for (uint32_t p = 0; p < size; p++)
            record_choice(g, d, tensor_slice(g, h, size, tensor_slice_rows(g, s->columns, p, 1), 1),
                          p);
        return;
    }
    if (h) {
        tensor_graph_push(g, "project");
        h = record_projection(g, d, h);
        tensor_graph_pop(g);
    } else {
        h = d->model->local.position->weight;
    }
    for (uint32_t p = 0; p < size; p++)
        record_choice(g, d, record_local(g, d, h, p), p);
}

static int record_advance(struct megabyte_decoder *d, const struct shared *s, bool timing)
{
    const struct tensor_graph_params params = {
        .name = "advance", .timing = timing, .autotune = tensor_device_autotune(d->model->device)};
    const int status = tensor_graph_create(d->model->device, &params, &d->advance);
    if (status < 0)
        return status;
    struct tensor_graph *g = d->advance;
    tensor_graph_push(g, "input");
    tensor_copy(g, d->slot_here, s->slot);
    tensor_copy(g, d->local_slots, s->local_slots);
    tensor_copy(g, d->settings_here, s->settings);
    tensor_copy(g, d->patch, s->given);
    tensor_graph_pop(g);
    if (by_bytes(&d->model->config))
        record_choice(g, d, record_bytes(g, d, s->previous, d->slot_here,
                                         tensor_slice_rows(g, d->local_slots, 0, 1)), 0);
    else
        record_patch(g, d, s);
    tensor_graph_push(g, "output");
    tensor_copy(g, s->symbols, d->patch);
    tensor_graph_pop(g);
    return 0;
}

static int record(struct megabyte_decoder *d, struct shared *s, bool timing)
{
    int status = take_tensors(d, s);
    if (status == 0 && d->patches > 1 && (has_global(d) || by_bytes(&d->model->config)))
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
    const struct megabyte_config *c = &model->config;
    struct megabyte_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return megabyte_fail(ENOMEM, "no host memory for generation");
    d->model = model;
    d->sequences = sequences;
    d->patch_size = by_bytes(c) ? 1 : c->patch_size;
    d->patches = c->seq_len / d->patch_size;
    d->chunk = d->patches < CHUNK ? d->patches : CHUNK;
    if (c->cross_patch && !by_bytes(c) && c->model != MEGABYTE_GLOBAL)
        d->replay = c->local.layers;
    if (c->model == MEGABYTE_PERCEIVER && c->seq_len % c->patch_size) {
        d->turn = c->seq_len / c->patch_size * c->patch_size;
        d->turned_from = c->seq_len - c->patch_size;
    }
    d->logits = calloc(d->patch_size, sizeof *d->logits);
    int status;
    if (!d->logits)
        status = megabyte_fail(ENOMEM, "no host memory for generation");
    else
        status = told(record(d, shared, timing));
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
    plan->device = advance + prefill + tensor_arena_size(d->shared) + tensor_arena_size(d->caches);
    plan->host = 0;
    /* One graph runs at a time. */
    plan->scratch = tensor_graph_scratch(d->advance);
    if (d->prefill && tensor_graph_scratch(d->prefill) > plan->scratch)
        plan->scratch = tensor_graph_scratch(d->prefill);
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
    if (status == 0)
        status = tensor_arena_commit(d->caches);
    if (status == 0 && d->prefill)
        status = tensor_graph_finish(d->prefill);
    if (status == 0)
        status = tensor_graph_finish(d->advance);
    if (status < 0) {
        megabyte_decoder_destroy(&d);
        return told(status);
    }
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

int megabyte_decoder_prefill(struct megabyte_decoder *d, bool turned)
{
    if (!d->prefill)
        return 0;
    d->prefill_local_slot[0] = d->prefill_slot[0];
    d->prefill_local_slot[1] = byte_position(d, d->prefill_slot[1], turned);
    const int status = run(d, d->prefill);
    return status < 0 ? megabyte_fail(-status, "%s", tensor_error()) : 0;
}

int megabyte_decoder_advance(struct megabyte_decoder *d)
{
    fill_local_places(d);
    const int status = run(d, d->advance);
    return status < 0 ? megabyte_fail(-status, "%s", tensor_error()) : 0;
}
