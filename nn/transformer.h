/* transformer.h - a causal pre-norm decoder: blocks of attention and feed-forward (A.1, section 7).
 *
 *     x ← x + dropout(out(attention(qkv(norm(x)))))
 *     x ← x + dropout(down(relu(up(norm(x)))))          feed-forward width 4·C
 *     y = norm(x) after the last block
 *
 * Dropout acts on attention probabilities and on both residual branches. Letters: N sequences,
 * S positions, C columns (the width), H heads, L layers.
 */
#ifndef NN_TRANSFORMER_H
#define NN_TRANSFORMER_H

#include "nn/linear.h"

struct nn_transformer_config {
    uint32_t width;   /* C */
    uint32_t layers;  /* L */
    uint32_t heads;   /* H, divides C */
    uint32_t patch;   /* P: patches within a sequence see nothing of each other but …; 0: whole */
    uint32_t reach;   /* … the last so many positions of the one before (tensor_attention) */
    uint32_t group;   /* patches, or where there are none sequences, that a block takes at a time;
                           0: all of them, or as nn_transformer() says */
    bool rope;        /* rotary positions (tensor_rope); an even width of heads */
    float deviation;  /* of first values; the ends of residual branches get deviation / sqrt(2 L) */
    float dropout;    /* in [0, 1) */
};

struct nn_block {
    struct nn_layer_norm attention_norm, feed_forward_norm;
    struct nn_linear qkv;  /* C → 3·C: q, k, v, each head after head */
    struct nn_linear out;  /* C → C */
    struct nn_linear up;   /* C → 4·C */
    struct nn_linear down; /* 4·C → C */
};

struct nn_transformer {
    struct nn_transformer_config config;
    struct nn_block *blocks; /* (L), owned */
    struct nn_layer_norm norm;
};

/* Declares <name>.blocks.<i>.… and <name>.norm.…. -ENOMEM, -EINVAL (heads do not divide the width).
 * End with nn_transformer_finish(). */
int nn_transformer_init(struct nn_transformer *transformer, struct nn_parameters *parameters,
                        const char *name, const struct nn_transformer_config *config);
void nn_transformer_finish(struct nn_transformer *transformer);

#define NN_GROUP_ELEMENTS (1u << 29) /* of a block's widest tensor */
#define NN_GROUPS_MAX     64

/* x (N·S, C) → (N·S, C), causal within each sequence of `positions` = S rows.
 *
 * A block takes its rows as a whole, or in groups of whole patches (whole sequences, where it has
 * no patches), one after another: then nothing that it makes within, of up to 4·C columns, is
 * larger than for one group, and only its x and its result are as large as all rows. Where patches
 * reach back, a group also takes the keys and values of the patch before it, for which it computes
 * that patch's a second time. config.group says how many patches, and groups are made as equal as
 * that allows; at most NN_GROUPS_MAX, if need be larger ones. With 0 a block takes all, unless a
 * tensor would then have more elements than one can (tensor.h), and then so many that none has
 * more than NN_GROUP_ELEMENTS. So the groups, and with them the bits, are a matter of settings
 * alone. Groups change results within rounding, and which of them dropout drops.
 *
 * Each group of each block is a segment (tensor_graph_segment_begin). */
struct tensor *nn_transformer(struct tensor_graph *g, const struct nn_transformer *transformer,
                              struct tensor *x, uint32_t positions);

/* Keys and values of what a transformer has seen, for generation. */
struct nn_cache {
    struct tensor **layers; /* (L) of (N, capacity, 2·C) */
};

/* Takes the cache's tensors from an arena, which keeps them. End with nn_cache_finish().
 * -ENOMEM. */
int nn_cache_init(struct nn_cache *cache, const struct nn_transformer *transformer,
                  struct tensor_arena *arena, uint32_t sequences, uint32_t capacity);
void nn_cache_finish(struct nn_cache *cache);

/* The next rows of N sequences: x (N·n, C) → (N·n, C). slot (N, 2) U32, read at run time, says of
 * each which sequence of the cache it is and how many positions it has there; the new rows see
 * these, and are added to them. With n = 1 a sequence's result is the same to the last bit whatever
 * others there are. No gradient. */
struct tensor *nn_transformer_cached(struct tensor_graph *g,
                                     const struct nn_transformer *transformer,
                                     const struct nn_cache *cache, struct tensor *slot,
                                     struct tensor *x);

#endif
