/* config.h - the settings of a model and its training: names, presets, checks, costs.
 *
 * Letters, as everywhere in this project:
 *     B batch (sequences)      T seq_len: bytes of a sequence     P patch_size     K = T / P
 * patches
 *     D global.dim             D_G = D / P: global width of a byte                 E local.dim
 *     H heads                  L layers                           V = 256 symbols, byte 0 like any
 * other
 *
 * Settings travel as a flat JSON object, {"patch_size": 8, "global.dim": 512, …}, in config.json
 * and in the metadata of model.safetensors; `--set KEY=VALUE` uses the same keys. Settings that
 * came later than the format may be missing there, and then are what was there before them: model
 * "megabyte", cross_patch, conv, rope, recompute, local_group and scale_growth 0, tied 1.
 */
#ifndef MEGABYTE_CONFIG_H
#define MEGABYTE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which model the programs train: the paper's, its two halves alone, and a baseline (setting
 * `model`). */
enum megabyte_kind {
    MEGABYTE_WHOLE,     /* "megabyte": global and local model */
    MEGABYTE_LOCAL,     /* "local": without the global model, patches are independent. With
                           patch_size = seq_len it is the byte-level Transformer */
    MEGABYTE_GLOBAL,    /* "global": without the local model: every slice of the global model's
                           output predicts its byte by itself */
    MEGABYTE_PERCEIVER, /* "perceiver": PerceiverAR with the local stage's sizes: P latents, the
                           last bytes of a span of up to T, look at the span once */
};

struct megabyte_stage {
    uint32_t dim;    /* width of the transformer: D or E */
    uint32_t layers; /* L */
    uint32_t heads;  /* H, divides dim */
};

struct megabyte_config {
    char preset[32]; /* where the settings came from; for people */

    /* the model */
    uint32_t seq_len;              /* T, a multiple of P */
    uint32_t patch_size;           /* P, divides D (section 7, decision 2) */
    struct megabyte_stage global;  /* over patches; dim = D */
    struct megabyte_stage local;   /* within a patch; dim = E */
    uint32_t model;        /* enum megabyte_kind */
    uint32_t cross_patch;  /* r: positions of the patch before that the local model sees, 0 … P;
                              above 0 with rotary positions (section 2.2) */
    uint32_t conv;         /* 1: convolutions of 3, 5, 7 over the bytes' vectors (section 2.1) */
    uint32_t rope;         /* 1: rotary positions in the global model, too */
    uint32_t tied;         /* 1: the head is local.embedding (equation 6); 0: a matrix of its own */

    /* its training */
    double dropout;      /* on attention probabilities and residual branches */
    double init;         /* deviation of first weights, cut at two deviations */
    double init_embedding; /* … of embeddings, positions and pads */
    double lr;           /* peak learning rate */
    uint32_t warmup;     /* steps of linear warm-up */
    uint32_t batch;      /* B: sequences of one step */
    uint32_t micro_batch;/* sequences computed at a time, divides batch; 0: all of them */
    uint32_t recompute;  /* 1: keep the inputs of blocks only, and compute the rest of them again
                            for the gradient: less memory, more time, the same bits */
    uint32_t local_group; /* patches that a block of the local model takes at a time, at most
                             (nn_transformer): few take less memory, above all with recompute; 0:
                             all of a micro-batch, or as many as tensors can hold */
    uint32_t scale_growth; /* fp16: steps without overflow after which the loss is scaled by twice
                              as much; 0: 2000 */
    double beta1, beta2, epsilon, decay, clip; /* AdamW and the global-norm clip */
};

#define MEGABYTE_SYMBOLS 256 /* V */

/* Fills in a preset: -ENOENT (the line lists them) for an unknown name. */
int megabyte_config_preset(const char *name, struct megabyte_config *config);

/* Name and one line of description of preset `index`, counted from 0; false behind the last. */
bool megabyte_config_preset_at(unsigned index, const char **name, const char **about);

/* Sets one setting from text; "64K" and the like are taken where a whole number is wanted. -ENOENT
 * (the line lists the keys), -EINVAL (no number, or out of range). */
int megabyte_config_set(struct megabyte_config *config, const char *key, const char *value);

/* Name and meaning of setting `index`, counted from 0; false behind the last. */
bool megabyte_config_key_at(unsigned index, const char **key, const char **about);

/* Whether the settings fit together: P divides T and D, heads divide widths, micro_batch divides
 * batch, all sizes at least 1. -EINVAL with a line that says which does not and what would. */
int megabyte_config_check(const struct megabyte_config *config);

/* The JSON text; the caller frees it. NULL without memory. */
char *megabyte_config_text(const struct megabyte_config *config);

/* Reads it back into *config. Every setting must be there, but for those that earlier versions did
 * not have (see above), and in range; unknown ones are refused, since a model that was trained with
 * them would be another one here. -EINVAL. */
int megabyte_config_parse(const char *text, struct megabyte_config *config);

/* The same over a configuration that is there already: settings that the text lacks stay. */
int megabyte_config_merge(struct megabyte_config *config, const char *text);

/* Whether two configurations describe the same model; if not, *key is the first setting that
 * differs. */
bool megabyte_config_same_model(const struct megabyte_config *a, const struct megabyte_config *b,
                                const char **key);

/* Takes over from another configuration what is a matter of the machine that computes, not of the
 * run: micro_batch, recompute and local_group. */
void megabyte_config_adapt(struct megabyte_config *config, const struct megabyte_config *from);

/* Trainable numbers in the model. */
uint64_t megabyte_config_parameters(const struct megabyte_config *config);

/* Floating point operations of the forward pass for one byte: 2 for each multiply-add of the matrix
 * products (blocks, convolutions, projection, head) and of full attention (megabyte.md section 3,
 * after SpaceByte's table 6). Training takes three times as many. As there, the keys of another
 * patch that cross_patch adds are not counted: 4·r·E a local layer, 4 % of a byte at most among the
 * presets. For a PerceiverAR: of one byte that is predicted, at the full span. */
double megabyte_config_flops(const struct megabyte_config *config);

/* What a training step takes for each byte of its batch: three times the above; of a PerceiverAR,
 * which predicts P of T bytes, so much for each of these, spread over all of them. */
double megabyte_config_training_flops(const struct megabyte_config *config);

/* Bytes of a window that one run of the model predicts: T, of a PerceiverAR its P latents. */
uint32_t megabyte_config_predicted(const struct megabyte_config *config);

/* The most windows that can be computed at a time: a tensor has fewer than 2^31 elements. 0: of a
 * model so large not one can. What a device has room for is another matter. */
uint32_t megabyte_config_most(const struct megabyte_config *config);

/* Word-level perplexity from bits per byte: 2^(bits_per_byte · bytes / words) (section 5.4). */
double megabyte_word_perplexity(double bits_per_byte, double bytes, double words);

#endif
