/* transformer.c - pre-norm decoder blocks. */
#include "nn/transformer.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct nn_block declare_block(struct nn_parameters *parameters, const char *name,
                                     uint32_t index, const struct nn_transformer_config *c)
{
    const float inner = c->deviation, last = c->deviation / sqrtf(2 * (float)c->layers);
    char part[6][96];
    static const char *const parts[6] = {"attention_norm",  "attention.qkv",
                                         "attention.out",   "feed_forward_norm",
                                         "feed_forward.up", "feed_forward.down"};
    for (int i = 0; i < 6; i++)
        snprintf(part[i], sizeof part[i], "%s.blocks.%u.%s", name, index, parts[i]);
    return (struct nn_block){
        .attention_norm = nn_layer_norm_declare(parameters, part[0], c->width),
        .qkv = nn_linear_declare(parameters, part[1], c->width, 3 * c->width, true, inner),
        .out = nn_linear_declare(parameters, part[2], c->width, c->width, true, last),
        .feed_forward_norm = nn_layer_norm_declare(parameters, part[3], c->width),
        .up = nn_linear_declare(parameters, part[4], c->width, 4 * c->width, true, inner),
        .down = nn_linear_declare(parameters, part[5], 4 * c->width, c->width, true, last),
    };
}

int nn_transformer_init(struct nn_transformer *t, struct nn_parameters *parameters,
                        const char *name, const struct nn_transformer_config *config)
{
    if (!config->heads || config->width % config->heads || !config->layers)
        return -EINVAL;
    *t = (struct nn_transformer){.config = *config};
    t->blocks = calloc(config->layers, sizeof *t->blocks);
    if (!t->blocks)
        return -ENOMEM;
    for (uint32_t i = 0; i < config->layers; i++)
        t->blocks[i] = declare_block(parameters, name, i, config);
    char norm[96];
    snprintf(norm, sizeof norm, "%s.norm", name);
    t->norm = nn_layer_norm_declare(parameters, norm, config->width);
    return 0;
}

void nn_transformer_finish(struct nn_transformer *t)
{
    free(t->blocks);
    t->blocks = NULL;
}

static struct tensor *feed_forward(struct tensor_graph *g, const struct nn_block *b,
                                   struct tensor *x, float dropout)
{
    tensor_graph_push(g, "feed_forward");
    struct tensor *h = nn_layer_norm(g, &b->feed_forward_norm, x, true);
    h = nn_linear(g, &b->up, h, TENSOR_RELU | TENSOR_NARROW);
    h = nn_linear(g, &b->down, h, 0);
    x = tensor_residual(g, x, h, dropout);
    tensor_graph_pop(g);
    return x;
}

static struct tensor *attend(struct tensor_graph *g, const struct nn_transformer_config *c,
                             struct tensor *qkv, uint32_t positions)
{
    if (c->rope)
        qkv = tensor_rope(g, qkv, &(struct tensor_rope_params){
            .head_dim = c->width / c->heads, .columns = 2 * c->width, .positions = positions});
    return tensor_attention(g, qkv, &(struct tensor_attention_params){
        .positions = positions, .heads = c->heads, .patch = c->patch, .reach = c->reach,
        .dropout = c->dropout, .narrow = !c->rope});
}

struct tensor *nn_transformer(struct tensor_graph *g, const struct nn_transformer *t,
                              struct tensor *x, uint32_t positions)
{
    const struct nn_transformer_config *c = &t->config;
    for (uint32_t i = 0; i < c->layers; i++) {
        const struct nn_block *b = &t->blocks[i];
        tensor_graph_segment_begin(g);
        tensor_graph_push(g, "attention");
        struct tensor *h = nn_layer_norm(g, &b->attention_norm, x, true);
        h = nn_linear(g, &b->qkv, h, 0);
        h = attend(g, c, h, positions);
        h = nn_linear(g, &b->out, h, 0);
        x = tensor_residual(g, x, h, c->dropout);
        tensor_graph_pop(g);
        x = feed_forward(g, b, x, c->dropout);
        tensor_graph_segment_end(g);
    }
    return nn_layer_norm(g, &t->norm, x, false);
}

int nn_cache_init(struct nn_cache *cache, const struct nn_transformer *t,
                  struct tensor_arena *arena, uint32_t sequences, uint32_t capacity)
{
    cache->layers = calloc(t->config.layers, sizeof(void *));
    if (!cache->layers)
        return -ENOMEM;
    const uint32_t shape[3] = {sequences, capacity, 2 * t->config.width};
    for (uint32_t i = 0; i < t->config.layers; i++)
        cache->layers[i] = tensor_arena_take(arena, "cache", TENSOR_F32, 3, shape);
    return 0;
}

void nn_cache_finish(struct nn_cache *cache)
{
    free(cache->layers);
    cache->layers = NULL;
}

static struct tensor *attend_cached(struct tensor_graph *g, const struct nn_transformer_config *c,
                                    struct tensor *qkv, struct tensor *cache, struct tensor *place)
{
    if (c->rope)
        qkv = tensor_rope(g, qkv, &(struct tensor_rope_params){
            .head_dim = c->width / c->heads, .columns = 2 * c->width, .place = place,
            .positions = (uint32_t)(2 * tensor_rows(qkv) / place->count)});
    return tensor_attention_cached(g, qkv, cache, place, &(struct tensor_attention_params){
        .heads = c->heads, .patch = c->patch, .reach = c->reach});
}

/* One new position of each sequence: few rows, so that reading the weights is what takes time. */
static struct tensor *step(struct tensor_graph *g, const struct nn_transformer_config *c,
                           const struct nn_block *b, struct tensor *cache, struct tensor *place,
                           struct tensor *x)
{
    tensor_graph_push(g, "attention");
    struct tensor *h = nn_linear_step(g, &b->attention_norm, &b->qkv, x, false, NULL);
    h = attend_cached(g, c, h, cache, place);
    x = nn_linear_step(g, NULL, &b->out, h, false, x);
    tensor_graph_pop(g);
    tensor_graph_push(g, "feed_forward");
    h = nn_linear_step(g, &b->feed_forward_norm, &b->up, x, true, NULL);
    x = nn_linear_step(g, NULL, &b->down, h, false, x);
    tensor_graph_pop(g);
    return x;
}

struct tensor *nn_transformer_cached(struct tensor_graph *g, const struct nn_transformer *t,
                                     const struct nn_cache *cache, struct tensor *place,
                                     struct tensor *x)
{
    const bool one = tensor_rows(x) == place->count / 2;
    for (uint32_t i = 0; i < t->config.layers; i++) {
        const struct nn_block *b = &t->blocks[i];
        if (one) {
            x = step(g, &t->config, b, cache->layers[i], place, x);
            continue;
        }
        tensor_graph_push(g, "attention");
        struct tensor *h = nn_layer_norm(g, &b->attention_norm, x, true);
        h = nn_linear(g, &b->qkv, h, 0);
        h = attend_cached(g, &t->config, h, cache->layers[i], place);
        h = nn_linear(g, &b->out, h, 0);
        x = tensor_residual(g, x, h, 0);
        tensor_graph_pop(g);
        x = feed_forward(g, b, x, 0);
    }
    return nn_layer_norm(g, &t->norm, x, false);
}
