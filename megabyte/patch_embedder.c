/* patch_embedder.c - equations 1 and 2: byte and position embeddings, concatenated to patches,
 * shifted by one patch. Concatenation is free: P rows of D_G lie in memory as one row of D =
 * P·D_G.
 *
 * Between the position and the shift there may be convolutions (section 2.1): three, causal and
 * dense, of 3, 5 and 7 bytes, each with ReLU and a residual around it (decision 19). The shift by a
 * patch behind them keeps the bytes that are to be predicted out of sight. */
#include "megabyte/model.h"
#include <stdio.h>

static const uint32_t taps[3] = {3, 5, 7};

void megabyte_patch_embedder_declare(struct megabyte_patch_embedder *e, struct nn_parameters *p,
                                     const struct megabyte_config *c)
{
    const uint32_t width = c->global.dim / c->patch_size; /* D_G */
    const float deviation = (float)c->init_embedding;
    e->embedding = nn_parameter(p, NN_NORMAL, deviation, 2, (uint32_t[]){MEGABYTE_SYMBOLS, width},
                                "global.embedding");
    e->position = nn_parameter(p, NN_NORMAL, deviation, 2, (uint32_t[]){c->seq_len, width},
                               "global.position");
    e->pad =
        nn_parameter(p, NN_NORMAL, deviation, 2, (uint32_t[]){c->patch_size, width}, "global.pad");
    e->convs = c->conv ? 3 : 0;
    for (uint32_t i = 0; i < e->convs; i++) {
        char name[32];
        snprintf(name, sizeof name, "global.conv.%u", i);
        e->conv[i] = nn_linear_declare(p, name, taps[i] * width, width, true, (float)c->init);
    }
}

/* h (G·n, D_G), groups of n bytes → the same shape */
static struct tensor *convolve(struct tensor_graph *g, const struct megabyte_patch_embedder *e,
                               struct tensor *h, uint32_t n)
{
    for (uint32_t i = 0; i < e->convs; i++)
        h = tensor_add(g, h,
                       nn_linear(g, &e->conv[i], tensor_unfold(g, h, n, taps[i]), TENSOR_RELU));
    return h;
}

/* The same of the next rows of sequences, whose patches are of P = `unit`. Where there is one patch
 * of each, these are few rows, of which each is computed by itself. */
static struct tensor *convolve_cached(struct tensor_graph *g,
                                      const struct megabyte_patch_embedder *e,
                                      struct tensor *const *cache, struct tensor *slot,
                                      uint32_t unit, struct tensor *h)
{
    const bool few = tensor_rows(h) == unit * slot->count / 2;
    for (uint32_t i = 0; i < e->convs; i++) {
        struct tensor *taken = tensor_unfold_cached(g, h, cache[i], slot, unit, taps[i]);
        h = few ? nn_linear_step(g, NULL, &e->conv[i], taken, true, h)
                : tensor_add(g, h, nn_linear(g, &e->conv[i], taken, TENSOR_RELU));
    }
    return h;
}

struct tensor *megabyte_patch_embedder_cached(struct tensor_graph *g,
                                              const struct megabyte_patch_embedder *e,
                                              struct tensor *const *cache, struct tensor *symbols,
                                              struct tensor *slot)
{
    const uint32_t patch = e->pad->shape[0], width = e->pad->shape[1]; /* P, D_G */
    struct tensor *h = tensor_embedding_patches(g, symbols, e->embedding->weight,
                                                e->position->weight, e->pad->weight, slot, false);
    if (e->convs) {
        h = convolve_cached(g, e, cache, slot, patch, h);
        h = tensor_pad_patches(g, h, e->pad->weight, slot);
    }
    return tensor_reshape(g, h, 2, (uint32_t[]){tensor_rows(h) / patch, patch * width});
}

struct tensor *megabyte_patch_embedder(struct tensor_graph *g,
                                       const struct megabyte_patch_embedder *e,
                                       const struct megabyte_config *c, struct tensor *bytes)
{
    struct tensor *h = tensor_embedding(g, bytes, e->embedding->weight); /* (B·T, D_G) */
    h = tensor_add_rows(g, h, e->position->weight);
    h = convolve(g, e, h, c->seq_len);
    h = tensor_shift(g, h, e->pad->weight, c->seq_len);
    const uint32_t patches = (uint32_t)(bytes->count / c->patch_size);
    return tensor_reshape(g, h, 2, (uint32_t[]){patches, c->global.dim}); /* (B·K, D) */
}
