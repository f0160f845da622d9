/* model.h - MEGABYTE (Yu et al. 2023, section 2): a global model over patches, a local one within;
 * and what the paper compares it with (config.h: enum megabyte_kind).
 *
 *     bytes (B·T) ── patch_embedder.c, eq. 1, 2 ──> (B·K, D) ── nn_transformer, eq. 3 ──> (B·K, D)
 *          │                                                                 split: (B·T, D_G) │
 *          └── local.c, eq. 4: shifted by one within the patch, plus the projection <───────────┘
 *                  (B·T, E) ── eq. 5: local model ──> (B·T, E) ── eq. 6: model.c ──> (B·T, V)
 *
 * What the paper leaves open is decided in section 7 of the sheet of facts; docs/model-format.md
 * has the parameters' names and shapes and the formulas. Letters: config.h.
 */
#ifndef MEGABYTE_MODEL_H
#define MEGABYTE_MODEL_H

#include "megabyte/config.h"
#include "nn/transformer.h"

/* Equations 1 and 2: bytes to patches. */
struct megabyte_patch_embedder {
    struct nn_parameter *embedding; /* (V, D_G) */
    struct nn_parameter *position;  /* (T, D_G) */
    struct nn_parameter *pad;       /* (P, D_G): the patch before the first */
    struct nn_linear conv[3];       /* (D_G, taps·D_G) with bias: 3, 5 and 7 taps (setting conv) */
    uint32_t convs;                 /* 3, or 0 without them */
};

/* Equations 4 and 5: what the global model says of a byte, the bytes before it in the patch. */
struct megabyte_local {
    uint32_t length;                 /* T */
    struct nn_parameter *projection; /* w^GL: (E, D_G), shared by all P slices, no bias; NULL
                                        without a global model */
    struct nn_parameter *embedding;  /* (V, E) */
    struct nn_parameter *position;   /* (P, E) */
    struct nn_parameter *pad;        /* (1, E): the byte before the first of a patch */
    struct nn_transformer transformer;
};

/* PerceiverAR (Hawthorne et al. 2022), a baseline: P latents, the places of the bytes to predict,
 * look at all bytes of their span once, and then at each other. */
struct megabyte_perceiver {
    struct nn_parameter *embedding; /* (V, E) */
    struct nn_parameter *position;  /* (T, E) */
    struct nn_parameter *pad;       /* (1, E): the byte before the first */
    struct nn_layer_norm latent_norm, span_norm, feed_forward_norm;
    struct nn_linear query;         /* E → E, of the latents */
    struct nn_linear key_value;     /* E → 2·E: k, v of the span */
    struct nn_linear out, up, down; /* as in a block */
    struct nn_transformer transformer;
};

struct megabyte_model {
    struct megabyte_config config;
    struct tensor_device *device;
    struct nn_parameters *parameters;
    struct megabyte_patch_embedder embedder;
    struct nn_transformer global;
    struct megabyte_local local;
    struct megabyte_perceiver perceiver;
    struct nn_parameter *head; /* equation 6: (V, E), the embedding of the model that ends with it,
                                  or where not tied head.weight; without a local model (V, D_G) */
};

/* Declares and places the parameters; no device memory yet, so that plans can be made for models
 * that do not fit. `training`: with gradients and moments. Then nn_parameters_commit() and
 * nn_parameters_initialise() or megabyte_model_load(). Errors: -EINVAL, -ENOMEM. */
int megabyte_model_create(struct tensor_device *device, const struct megabyte_config *config,
                          bool training, struct megabyte_model **model);
void megabyte_model_destroy(struct megabyte_model **model);

/* megabyte_config_adapt() of a model that is there already: for what is recorded from now on. */
void megabyte_model_adapt(struct megabyte_model *model, const struct megabyte_config *from);

/* Records the whole model: bytes (B·T) U8 → logits (B·T, V); row t holds what the model expects at
 * byte t, having seen the bytes before it. Of a PerceiverAR (B·P, V): row p is byte begin[0] + p,
 * begin (1) U32 read at run time, begin[0] + P <= T; other models do not look at begin. */
struct tensor *megabyte_model_forward(struct tensor_graph *g, const struct megabyte_model *model,
                                      struct tensor *bytes, struct tensor *begin);

/* ---- its parts, for the model and for generation ---- */

void megabyte_patch_embedder_declare(struct megabyte_patch_embedder *e, struct nn_parameters *p,
                                     const struct megabyte_config *config);
/* bytes (B·T) → (B·K, D): row k is the patch before patch k, the pad for k = 0. */
struct tensor *megabyte_patch_embedder(struct tensor_graph *g,
                                       const struct megabyte_patch_embedder *e,
                                       const struct megabyte_config *config, struct tensor *bytes);

/* The same in generation, of some patches in a row of each of N sequences: symbols (N·S·P) U32, the
 * patch before each, slot (N, 2) U32 as tensor_embedding_patches has them; cache: of each
 * convolution (M, L, D_G) (tensor_unfold_cached) → (N·S, D) */
struct tensor *megabyte_patch_embedder_cached(struct tensor_graph *g,
                                              const struct megabyte_patch_embedder *e,
                                              struct tensor *const *cache, struct tensor *symbols,
                                              struct tensor *slot);

int megabyte_local_declare(struct megabyte_local *l, struct nn_parameters *p,
                           const struct megabyte_config *config);
/* Equations 4 and 5: global (B·K, D), or NULL without a global model, and bytes (B·T)
 * → (B·T, E). */
struct tensor *megabyte_local(struct tensor_graph *g, const struct megabyte_local *l,
                              struct tensor *global, struct tensor *bytes);
/* Equation 6: (R, E), or slices (R, D_G) without a local model → logits (R, V). */
struct tensor *megabyte_head(struct tensor_graph *g, const struct megabyte_model *model,
                             struct tensor *h);

int megabyte_perceiver_declare(struct megabyte_perceiver *perceiver, struct nn_parameters *p,
                               const struct megabyte_config *config);
/* bytes (B·T) and begin (1) U32 → (B·P, E) */
struct tensor *megabyte_perceiver(struct tensor_graph *g,
                                  const struct megabyte_perceiver *perceiver,
                                  const struct megabyte_config *config, struct tensor *bytes,
                                  struct tensor *begin);
/* Its look in generation: span (N·n, E), the next places of each of N sequences, of which the cache
 * (M, L, 2·E) keeps keys and values; slot (N, 2) U32 as tensor_attention_cached has it → the
 * latents at these places (N·n, E), before the blocks in which they look at each other. */
struct tensor *megabyte_perceiver_look_cached(struct tensor_graph *g,
                                              const struct megabyte_perceiver *perceiver,
                                              uint32_t heads, struct tensor *cache,
                                              struct tensor *slot, struct tensor *span);

#endif
