/* model.h - MEGABYTE (Yu et al. 2023, section 2): a global model over patches, a local one within.
 *
 *     bytes (B·T) ── patch_embedder.c, eq. 1, 2 ──> (B·K, D) ── nn_transformer, eq. 3 ──> (B·K, D)
 *          │                                                                 split: (B·T, D_G) │
 *          └── local.c, eq. 4: shifted by one within the patch, plus the projection <───────────┘
 *                  (B·T, E) ── eq. 5: local model ──> (B·T, E) ── eq. 6: tied head ──> (B·T, V)
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
};

/* Equations 4 to 6: what the global model says of a byte, the bytes before it in the patch,
 * logits. */
struct megabyte_local {
    struct nn_parameter *projection; /* w^GL: (E, D_G), shared by all P slices, no bias */
    struct nn_parameter *embedding;  /* (V, E), also the head */
    struct nn_parameter *position;   /* (P, E) */
    struct nn_parameter *pad;        /* (1, E): the byte before the first of a patch */
    struct nn_transformer transformer;
};

struct megabyte_model {
    struct megabyte_config config;
    struct tensor_device *device;
    struct nn_parameters *parameters;
    struct megabyte_patch_embedder embedder;
    struct nn_transformer global;
    struct megabyte_local local;
};

/* Declares and places the parameters; no device memory yet, so that plans can be made for models
 * that do not fit. `training`: with gradients and moments. Then nn_parameters_commit() and
 * nn_parameters_initialise() or megabyte_model_load(). Errors: -EINVAL, -ENOMEM. */
int megabyte_model_create(struct tensor_device *device, const struct megabyte_config *config,
                          bool training, struct megabyte_model **model);
void megabyte_model_destroy(struct megabyte_model **model);

/* Records the whole model: bytes (B·T) U8 → logits (B·T, V); row t holds what the model expects at
 * byte t, having seen the bytes before it. */
struct tensor *megabyte_model_forward(struct tensor_graph *g, const struct megabyte_model *model,
                                      struct tensor *bytes);

/* ---- its parts, for the model and for generation ---- */

void megabyte_patch_embedder_declare(struct megabyte_patch_embedder *e, struct nn_parameters *p,
                                     const struct megabyte_config *config);
/* bytes (B·T) → (B·K, D): row k is the patch before patch k, the pad for k = 0. */
struct tensor *megabyte_patch_embedder(struct tensor_graph *g,
                                       const struct megabyte_patch_embedder *e,
                                       const struct megabyte_config *config, struct tensor *bytes);
/* The same for one patch: bytes (P) of patch number patch[0], read at run time → (1, D). */
struct tensor *megabyte_patch_embedder_next(struct tensor_graph *g,
                                            const struct megabyte_patch_embedder *e,
                                            struct tensor *bytes, struct tensor *patch);
/* … and what stands before the first patch → (1, D). */
struct tensor *megabyte_patch_embedder_pad(struct tensor_graph *g,
                                           const struct megabyte_patch_embedder *e);

int megabyte_local_declare(struct megabyte_local *l, struct nn_parameters *p,
                           const struct megabyte_config *config);
/* Equation 4's projection of all slices: (R, D) → (R·P, E). */
struct tensor *megabyte_local_project(struct tensor_graph *g, const struct megabyte_local *l,
                                      struct tensor *global);
/* Equations 4 and 5: projected (B·T, E) and bytes (B·T) → (B·T, E). */
struct tensor *megabyte_local(struct tensor_graph *g, const struct megabyte_local *l,
                              struct tensor *projected, struct tensor *bytes);
/* One position p of one patch: projected (P, E), byte (1) at p - 1, unused for p = 0 → (1, E). */
struct tensor *megabyte_local_next(struct tensor_graph *g, const struct megabyte_local *l,
                                   const struct nn_cache *cache, struct tensor *projected,
                                   struct tensor *byte, struct tensor *position,
                                   struct tensor *place, uint32_t p);
/* Equation 6: (R, E) → logits (R, V). */
struct tensor *megabyte_head(struct tensor_graph *g, const struct megabyte_local *l,
                             struct tensor *h);

#endif
