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
    h = nn_linear(g, &b->up, h, TENSOR_RELU | TENSOR_LOW_PRECISION);
    x = nn_linear_residual(g, &b->down, h, x, dropout);
    tensor_graph_pop(g);
    return x;
}

/* Rows that a block takes at a time. */
struct group {
    uint32_t first, count;
    uint32_t context;   /* rows before them whose keys and values are taken, too */
    uint32_t positions; /* rows of a sequence, as far as they are among these */
    uint32_t position;  /* where in its sequence the first of all these rows stands */
};

static struct tensor *attend(struct tensor_graph *g, const struct nn_transformer_config *c,
                             struct tensor *qkv, const struct group *group)
{
    if (c->rope)
        qkv = tensor_rope(g, qkv, &(struct tensor_rope_params){
            .head_dim = c->width / c->heads, .columns = 2 * c->width,
            .positions = group->positions, .first = group->position});
    return tensor_attention(g, qkv, &(struct tensor_attention_params){
        .positions = group->positions, .context_rows = group->context, .heads = c->heads,
        .patch = c->patch, .reach = c->reach, .dropout = c->dropout, .low_precision = !c->rope});
}

/* The rows of the group from those of x. */
static struct tensor *block(struct tensor_graph *g, const struct nn_transformer_config *c,
                            const struct nn_block *b, struct tensor *x, const struct group *group)
{
    const bool all = group->count == tensor_rows(x);
    tensor_graph_segment_begin(g);
    tensor_graph_push(g, "attention");
    struct tensor *seen = all ? x : tensor_slice_rows(g, x, group->first - group->context,
                                                group->context + group->count);
    struct tensor *h = nn_layer_norm(g, &b->attention_norm, seen, true);
    h = nn_linear(g, &b->qkv, h, 0);
    h = attend(g, c, h, group);
    x = group->context ? tensor_slice_rows(g, x, group->first, group->count) : seen;
    x = nn_linear_residual(g, &b->out, h, x, c->dropout);
    tensor_graph_pop(g);
    x = feed_forward(g, b, x, c->dropout);
    tensor_graph_segment_end(g);
    return x;
}

static uint32_t divide_up(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}

/* As many at a time as make turns equal, of which there are as few as with `size` at a time, and at
 * most `most`. */
static uint32_t evenly(uint32_t all, uint32_t size, uint32_t most)
{
    const uint32_t turns = divide_up(all, size ? size : 1);
    return divide_up(all, turns < most ? turns : most);
}

/* How many patches (of `unit` rows) of how many sequences (of `length` patches) are taken at a
 * time: whole sequences, or a part of one. */
static uint32_t group_size(const struct nn_transformer_config *c, uint32_t sequences,
                           uint32_t length, uint32_t unit)
{
    const uint64_t wide = 4ull * c->width * unit, all = (uint64_t)sequences * length;
    uint64_t size = c->group;
    if (!size && all * wide <= INT32_MAX) {
        size = all;
    } else if (!size) {
        size = NN_GROUP_ELEMENTS / wide;
        if (size < length && size > 1 && c->reach) /* one more that it sees */
            size--;
    }
    if (size >= length || sequences > NN_GROUPS_MAX / 2)
        return length * evenly(sequences, (uint32_t)(size / length), NN_GROUPS_MAX);
    return evenly(length, (uint32_t)size, NN_GROUPS_MAX / sequences);
}

static struct tensor *block_in_groups(struct tensor_graph *g, const struct nn_transformer_config *c,
                                      const struct nn_block *b, struct tensor *x,
                                      uint32_t positions)
{
    const uint32_t rows = tensor_rows(x), sequences = rows % positions ? 0 : rows / positions;
    const uint32_t unit = c->patch && positions % c->patch == 0 ? c->patch : positions;
    const uint32_t length = positions / unit, units = sequences * length;
    const uint32_t size = sequences ? group_size(c, sequences, length, unit) : 0;
    struct tensor *part[NN_GROUPS_MAX];
    uint32_t n = 0, count;
    if (size == units) /* 0: of an error, which the graph tells */
        return block(g, c, b, x, &(struct group){.count = rows, .positions = positions});
    for (uint32_t k = 0; k < units; k += count) {
        const uint32_t left = size < length ? length - k % length : units - k;
        const uint32_t context = c->reach && k % length ? 1 : 0;
        count = size < left ? size : left;
        part[n++] = block(g, c, b, x, &(struct group){
            .first = k * unit, .count = count * unit, .context = context * unit,
            .positions = size < length ? (context + count) * unit : positions,
            .position = (k % length - context) * unit});
    }
    return tensor_concat_rows(g, part, n);
}

struct tensor *nn_transformer(struct tensor_graph *g, const struct nn_transformer *t,
                              struct tensor *x, uint32_t positions)
{
    for (uint32_t i = 0; i < t->config.layers; i++)
        x = block_in_groups(g, &t->config, &t->blocks[i], x, positions);
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
                                    struct tensor *qkv, struct tensor *cache, struct tensor *slot)
{
    if (c->rope)
        qkv = tensor_rope(g, qkv, &(struct tensor_rope_params){
            .head_dim = c->width / c->heads, .columns = 2 * c->width, .slot = slot,
            .positions = (uint32_t)(2 * tensor_rows(qkv) / slot->count)});
    return tensor_attention_cached(g, qkv, cache, slot, &(struct tensor_attention_params){
        .heads = c->heads, .patch = c->patch, .reach = c->reach});
}

/* One new position of each sequence: few rows, so that reading the weights is what takes time. */
static struct tensor *step(struct tensor_graph *g, const struct nn_transformer_config *c,
                           const struct nn_block *b, struct tensor *cache, struct tensor *slot,
                           struct tensor *x)
{
    tensor_graph_push(g, "attention");
    struct tensor *h = nn_linear_step(g, &b->attention_norm, &b->qkv, x, false, NULL);
    h = attend_cached(g, c, h, cache, slot);
    x = nn_linear_step(g, NULL, &b->out, h, false, x);
    tensor_graph_pop(g);
    tensor_graph_push(g, "feed_forward");
    h = nn_linear_step(g, &b->feed_forward_norm, &b->up, x, true, NULL);
    x = nn_linear_step(g, NULL, &b->down, h, false, x);
    tensor_graph_pop(g);
    return x;
}

struct tensor *nn_transformer_cached(struct tensor_graph *g, const struct nn_transformer *t,
                                     const struct nn_cache *cache, struct tensor *slot,
                                     struct tensor *x)
{
    const bool one = tensor_rows(x) == slot->count / 2;
    for (uint32_t i = 0; i < t->config.layers; i++) {
        const struct nn_block *b = &t->blocks[i];
        if (one) {
            x = step(g, &t->config, b, cache->layers[i], slot, x);
            continue;
        }
        tensor_graph_push(g, "attention");
        struct tensor *h = nn_layer_norm(g, &b->attention_norm, x, true);
        h = nn_linear(g, &b->qkv, h, 0);
        h = attend_cached(g, &t->config, h, cache->layers[i], slot);
        x = nn_linear_residual(g, &b->out, h, x, 0);
        tensor_graph_pop(g);
        x = feed_forward(g, b, x, 0);
    }
    return nn_layer_norm(g, &t->norm, x, false);
}
