/* local.c - equations 4 and 5: the model within a patch. */
#include "megabyte/model.h"

int megabyte_local_declare(struct megabyte_local *l, struct nn_parameters *p,
                           const struct megabyte_config *c)
{
    const uint32_t byte_width = c->global.dim / c->patch_size; /* D_G */
    l->length = c->seq_len;
    const float deviation = (float)c->init_embedding;
    if (c->model == MEGABYTE_WHOLE)
        l->projection =
            nn_parameter(p, NN_NORMAL, (float)c->init, 2, (uint32_t[]){c->local.dim, byte_width},
                         "local.projection.weight");
    l->embedding = nn_parameter(p, NN_NORMAL, deviation, 2,
                                (uint32_t[]){MEGABYTE_SYMBOLS, c->local.dim}, "local.embedding");
    l->position = nn_parameter(p, NN_NORMAL, deviation, 2,
                               (uint32_t[]){c->patch_size, c->local.dim}, "local.position");
    l->pad = nn_parameter(p, NN_NORMAL, deviation, 2, (uint32_t[]){1, c->local.dim}, "local.pad");
    return nn_transformer_init(&l->transformer, p, "local", &(struct nn_transformer_config){
        .width = c->local.dim, .layers = c->local.layers, .heads = c->local.heads,
        .patch = c->cross_patch ? c->patch_size : 0, .reach = c->cross_patch,
        .group = c->local_group, .rope = c->cross_patch > 0,
        .deviation = (float)c->init, .dropout = (float)c->dropout});
}

/* Equation 4: h (R·P, E) and the projection of all slices of global (R, D) */
static struct tensor *project(struct tensor_graph *g, const struct megabyte_local *l,
                              struct tensor *global, struct tensor *h)
{
    const uint32_t width = l->projection->shape[1]; /* D_G: slices are rows in memory already */
    struct tensor *slices =
        tensor_reshape(g, global, 2, (uint32_t[]){(uint32_t)(global->count / width), width});
    return tensor_linear_residual(g, slices, l->projection->weight, NULL, h, 0);
}

struct tensor *megabyte_local(struct tensor_graph *g, const struct megabyte_local *l,
                              struct tensor *global, struct tensor *bytes)
{
    const uint32_t patch = l->position->shape[0];
    struct tensor *h = tensor_embedding(g, bytes, l->embedding->weight); /* (B·T, E) */
    h = tensor_shift(g, h, l->pad->weight, patch);
    h = tensor_add_rows(g, h, l->position->weight);
    if (global)
        h = project(g, l, global, h);
    /* Patches are sequences of their own, unless something of the one before is seen. */
    return nn_transformer(g, &l->transformer, h, l->transformer.config.reach ? l->length : patch);
}
