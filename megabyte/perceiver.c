/* perceiver.c - PerceiverAR (Hawthorne et al. 2022), with which the paper compares: P latents, the
 * places of the bytes that are predicted, look once at all bytes of the span before them, and then
 * go through L blocks of causal attention among themselves.
 *
 * A position carries the vector of the byte before it and its own vector, so that, as in the other
 * models, row t says what is expected at byte t. */
#include "megabyte/model.h"
#include <math.h>

int megabyte_perceiver_declare(struct megabyte_perceiver *m, struct nn_parameters *p,
                               const struct megabyte_config *c)
{
    const uint32_t width = c->local.dim; /* E */
    const float vectors = (float)c->init_embedding, inner = (float)c->init;
    const float last = inner / sqrtf(2 * (float)c->local.layers);
    m->embedding = nn_parameter(p, NN_NORMAL, vectors, 2, (uint32_t[]){MEGABYTE_SYMBOLS, width},
                                "perceiver.embedding");
    m->position = nn_parameter(p, NN_NORMAL, vectors, 2, (uint32_t[]){c->seq_len, width},
                               "perceiver.position");
    m->pad = nn_parameter(p, NN_NORMAL, vectors, 2, (uint32_t[]){1, width}, "perceiver.pad");
    m->latent_norm = nn_layer_norm_declare(p, "perceiver.latent_norm", width);
    m->span_norm = nn_layer_norm_declare(p, "perceiver.span_norm", width);
    m->query = nn_linear_declare(p, "perceiver.query", width, width, true, inner);
    m->key_value = nn_linear_declare(p, "perceiver.key_value", width, 2 * width, true, inner);
    m->out = nn_linear_declare(p, "perceiver.out", width, width, true, last);
    m->feed_forward_norm = nn_layer_norm_declare(p, "perceiver.feed_forward_norm", width);
    m->up = nn_linear_declare(p, "perceiver.feed_forward.up", width, 4 * width, true, inner);
    m->down = nn_linear_declare(p, "perceiver.feed_forward.down", 4 * width, width, true, last);
    return nn_transformer_init(&m->transformer, p, "perceiver", &(struct nn_transformer_config){
        .width = width, .layers = c->local.layers, .heads = c->local.heads,
        .patch = c->patch_size, .deviation = inner, .dropout = (float)c->dropout});
}

/* The look: span (B·T, E) → latents (B·P, E), those at positions begin[0] … Each sees all places of
 * the span up to its own. */
static struct tensor *look(struct tensor_graph *g, const struct megabyte_perceiver *m,
                           const struct megabyte_config *c, struct tensor *span,
                           struct tensor *begin)
{
    const float dropout = (float)c->dropout;
    tensor_graph_push(g, "attention");
    struct tensor *latents = tensor_slice(g, span, c->seq_len, begin, c->patch_size);
    struct tensor *norm = nn_layer_norm(g, &m->latent_norm, latents, true);
    struct tensor *q = nn_linear(g, &m->query, norm, 0);
    struct tensor *kv = nn_linear(g, &m->key_value, nn_layer_norm(g, &m->span_norm, span, true), 0);
    struct tensor *h = tensor_attention_cross(g, q, kv, begin, &(struct tensor_attention_params){
        .positions = c->seq_len, .heads = c->local.heads, .dropout = dropout});
    latents = nn_linear_residual(g, &m->out, h, latents, dropout);
    tensor_graph_pop(g);
    tensor_graph_push(g, "feed_forward");
    h = nn_linear(g, &m->up, nn_layer_norm(g, &m->feed_forward_norm, latents, true),
                  TENSOR_RELU | TENSOR_LOW_PRECISION);
    h = nn_linear_residual(g, &m->down, h, latents, dropout);
    tensor_graph_pop(g);
    return h;
}

struct tensor *megabyte_perceiver_look_cached(struct tensor_graph *g,
                                              const struct megabyte_perceiver *m, uint32_t heads,
                                              struct tensor *cache, struct tensor *slot,
                                              struct tensor *span)
{
    const struct tensor_attention_params attention = {.heads = heads};
    const bool one = tensor_rows(span) == slot->count / 2; /* few rows, each by itself */
    tensor_graph_push(g, "attention");
    struct tensor *q =
        one ? nn_linear_step(g, &m->latent_norm, &m->query, span, false, NULL)
            : nn_linear(g, &m->query, nn_layer_norm(g, &m->latent_norm, span, true), 0);
    struct tensor *kv =
        one ? nn_linear_step(g, &m->span_norm, &m->key_value, span, false, NULL)
            : nn_linear(g, &m->key_value, nn_layer_norm(g, &m->span_norm, span, true), 0);
    struct tensor *h =
        tensor_attention_cached(g, tensor_concat_columns(g, q, kv), cache, slot, &attention);
    struct tensor *latents = one ? nn_linear_step(g, NULL, &m->out, h, false, span)
                                 : nn_linear_residual(g, &m->out, h, span, 0);
    tensor_graph_pop(g);
    tensor_graph_push(g, "feed_forward");
    if (one) {
        h = nn_linear_step(g, &m->feed_forward_norm, &m->up, latents, true, NULL);
        h = nn_linear_step(g, NULL, &m->down, h, false, latents);
    } else {
        h = nn_layer_norm(g, &m->feed_forward_norm, latents, true);
        h = nn_linear(g, &m->up, h, TENSOR_RELU);
        h = nn_linear_residual(g, &m->down, h, latents, 0);
    }
    tensor_graph_pop(g);
    return h;
}

struct tensor *megabyte_perceiver(struct tensor_graph *g, const struct megabyte_perceiver *m,
                                  const struct megabyte_config *c, struct tensor *bytes,
                                  struct tensor *begin)
{
    tensor_graph_push(g, "perceiver");
    struct tensor *span = tensor_embedding(g, bytes, m->embedding->weight); /* (B·T, E) */
    span = tensor_shift(g, span, m->pad->weight, c->seq_len);
    span = tensor_add_rows(g, span, m->position->weight);
    struct tensor *h = look(g, m, c, span, begin); /* (B·P, E) */
    h = nn_transformer(g, &m->transformer, h, c->patch_size);
    tensor_graph_pop(g);
    return h;
}
