/* op.h - every operation: formula, shapes, gradient.
 *
 * Letters: R rows, C columns, I inputs, O outputs, N sequences, S positions, H heads, V symbols.
 * All values are F32 unless said otherwise. d(x) is the gradient of the loss with respect to x.
 * Every function records into the graph and returns the new tensor, owned by the graph; each lives
 * in tensor/op/<stem>.c with its kernels beside it.
 */
#ifndef TENSOR_OP_H
#define TENSOR_OP_H

#include "tensor/graph.h"

/* The same elements under another shape; no work. The gradient is reshaped back. */
struct tensor *tensor_reshape(struct tensor_graph *g, struct tensor *x, uint32_t rank,
                              const uint32_t *shape);

/* Rows first … first + count - 1 of x (R, C) → (count, C), a view; no work.
 * d(x) is d(y) in those rows, added to what other slices give, and 0 in rows of no slice. */
struct tensor *tensor_slice_rows(struct tensor_graph *g, struct tensor *x, uint32_t first,
                           uint32_t count);

/* Concatenates the rows of n tensors: part[i] (R_i, C) → (sum of R_i, C). d(part[i]) is a view of
 * its rows of d(y). Must not be recorded within a segment (tensor_graph_segment_begin). */
struct tensor *tensor_concat_rows(struct tensor_graph *g, struct tensor *const *part, uint32_t n);

/* The epilogue of a linear layer, bits. It follows the bias, in the product's own pass. */
enum tensor_epilogue {
    TENSOR_RELU = 1,   /* max(0, y) */
    /* y and d(y) are of 16 bits, if the device's precision is and O is a multiple of 4. Only for
     * a y that nothing but linear layers read: they would round it anyway. */
    TENSOR_LOW_PRECISION = 2,
};

/* y = x · weightᵀ + bias, then the epilogue (enum tensor_epilogue).
 * x (R, I), weight (O, I), bias (O) or NULL → (R, O)
 * d(x) = d(y) · weight, d(weight) = d(y)ᵀ · x, d(bias) = column sums of d(y), with d(y) set to 0
 * where relu gave 0.
 * In the 16-bit precisions (enum tensor_precision) the three products round x, weight and d(y) to
 * 16 bits and sum up in F32; weights, biases and their gradients stay F32. Each tensor is rounded
 * once, however many products read it. A weight that has a copy16 is not rounded again. */
struct tensor *tensor_linear(struct tensor_graph *g, struct tensor *x, struct tensor *weight,
                             struct tensor *bias, uint32_t epilogue);

/* The last layer of a residual branch, with the addition in the product's epilogue:
 *     y = residual + dropout(x · weightᵀ + bias),
 * Dropout sets each element to 0 with probability p and divides the others by 1 - p; it needs
 * params.training.   residual (R, O) → (R, O), in F32
 * d(residual) = d(y); the rest as above, with d(y) · mask / (1 - p) instead of d(y). */
struct tensor *tensor_linear_residual(struct tensor_graph *g, struct tensor *x,
                                      struct tensor *weight, struct tensor *bias,
                                      struct tensor *residual, float p);

/* y[r] = table[bytes[r]].   bytes (R) U8, table (V = 256, C) → (R, C)
 * d(table)[v] = sum over r with bytes[r] = v of d(y)[r]. */
struct tensor *tensor_embedding(struct tensor_graph *g, struct tensor *bytes, struct tensor *table);

/* Within each group of n rows: moves the rows down by s = rows of pad and puts pad on top. The last
 * s rows of the group are dropped.   x (G·n, C), pad (s, C), s <= n → (G·n, C)
 * d(x) moves back up, with zeros at the bottom; d(pad) = sum over groups. */
struct tensor *tensor_shift(struct tensor_graph *g, struct tensor *x, struct tensor *pad,
                            uint32_t n);

/* Concatenates each row with the taps - 1 rows before it in its group of n, the oldest first, zeros
 * where there are none: y[r] = (x[r - taps + 1], …, x[r]).   x (G·n, C) → (G·n, taps·C)
 * With tensor_linear it is a causal convolution, whose weight is (O, taps·C).
 * d(x)[r] = sum over the rows of y that hold x[r]. */
struct tensor *tensor_unfold(struct tensor_graph *g, struct tensor *x, uint32_t n, uint32_t taps);

/* `taken` rows of each sequence of `length` = S rows, from row first[0] on, which is read at run
 * time.   x (N·S, C), first (1) U32 → (N·taken, C). first[0] + taken <= S is the caller's duty.
 * d(x) is d(y) in those rows and 0 in the others. */
struct tensor *tensor_slice(struct tensor_graph *g, struct tensor *x, uint32_t length,
                            struct tensor *first, uint32_t taken);

/* y[i·n + j] = x[i·n + j] + rows[j].   x (G·n, C), rows (n, C) → (G·n, C)
 * d(x) = d(y), d(rows) = sum over groups. */
struct tensor *tensor_add_rows(struct tensor_graph *g, struct tensor *x, struct tensor *rows);

/* y = x + z, of equal shape.   d(x) = d(z) = d(y). */
struct tensor *tensor_add(struct tensor_graph *g, struct tensor *x, struct tensor *z);

/* y = (x - mean) / sqrt(variance + epsilon) · gain + bias by row.
 * x (R, C), gain (C), bias (C) → (R, C). `low_precision`: as TENSOR_LOW_PRECISION, if C is a
 * multiple of 4. */
struct tensor *tensor_layer_norm(struct tensor_graph *g, struct tensor *x, struct tensor *gain,
                                 struct tensor *bias, float epsilon, bool low_precision);

struct tensor_attention_params {
    uint32_t positions; /* S, keys of one sequence; not used by tensor_attention_cached */
    /* tensor_attention only: rows at the start that are only attended to. Their k and v are used,
     * and y has no row for them. If it is above 0 there must be one sequence. */
    uint32_t context_rows;
    uint32_t heads;     /* H; h = C / H columns each, at most 256 */
    uint32_t patch;     /* P: a sequence is cut into patches of P positions, which see only
                           themselves and `reach`; 0: one patch is the whole sequence */
    uint32_t reach;     /* r, 0 … P: how many positions of the patch before are seen */
    float dropout;      /* of probabilities, in [0, 1) */
    bool low_precision; /* only linear layers read y, and one of them makes qkv: y and d(qkv) are of
                           16 bits, if the precision and the kernels allow it */
};

/* Causal self-attention of H heads of h = C/H columns, scale 1/sqrt(h), within sequences of S rows:
 *     y_i = sum over seen j of dropout(softmax_j(q_i·k_j / sqrt(h))) v_j
 * Position i sees itself and those before it. With patches it sees its own patch and the last r
 * positions of the patch before, if there is one.
 * qkv (N·S, 3·C): columns of q, then k, then v, head after head → (N·S, C), or (S - context_rows,
 * C). Probabilities are not stored: the gradient computes them again from each row's log-sum-exp.
 * */
struct tensor *tensor_attention(struct tensor_graph *g, struct tensor *qkv,
                                const struct tensor_attention_params *params);

/* The same with separate queries, fewer than keys: query i of a sequence stands at position
 * first[0] + i; without `first` the Q queries stand at its last positions.
 * q (N·Q, C), kv (N·S, 2·C), 1 <= Q <= S; first (1) U32, read at run time, or NULL → (N·Q, C)
 * The caller ensures first[0] + Q <= S. Gradients go to q and kv; keys behind the last query get
 * 0. */
struct tensor *tensor_attention_cross(struct tensor_graph *g, struct tensor *q, struct tensor *kv,
                                      struct tensor *first,
                                      const struct tensor_attention_params *params);

/* The same with a key-value cache, for sequences that grow; without gradient and dropout. `cache`
 * (M, L, 2·C) keeps the k and v rows of M slots. slot (N, 2) U32 is read at run time: slot[n, 0] is
 * the cache slot of sequence n, each a different one, and slot[n, 1] the position t of the first of
 * its n new rows of qkv (N·n, 3·C). Stores the new rows in the cache and attends over what they see
 * in it → (N·n, C).
 * Position j lies in row j mod L, so the cache keeps the last L positions. The caller ensures that
 * they reach as far back as the first new row sees: t + n <= L without patches; with patches,
 * L = P + r is enough for rows of one patch. */
struct tensor *tensor_attention_cached(struct tensor_graph *g, struct tensor *qkv,
                                       struct tensor *cache, struct tensor *slot,
                                       const struct tensor_attention_params *params);

struct tensor_rope_params {
    uint32_t head_dim;  /* h, even */
    uint32_t columns;   /* the first `columns` of a row are turned, head after head; the others are
                           copied: 2·C of q, k and v, C of k and v or of q alone */
    uint32_t positions; /* S: row i of a sequence of S rows stands at position first + i, and … */
    uint32_t first;
    struct tensor *slot; /* … in sequence n slot[n, 1] behind that; (N, 2) U32, read at run time
                            (tensor_attention_cached), or NULL */
};

/* Rotary position embedding (Su et al. 2021): in each head, turns the pair of columns (c, c + h/2)
 * at position t by the angle t · 10000^(-2c/h). Products of such rows depend only on the distance
 * of their positions. Angles are exact to 2^-32 turns at any position. x (N·S, C') → (N·S, C').
 * d(x) = d(y), turned back. */
struct tensor *tensor_rope(struct tensor_graph *g, struct tensor *x,
                           const struct tensor_rope_params *params);

/* ---- generation: these have no gradient ---- */

/* A linear layer of a few rows in one pass that reads the weight once, with normalisation before it
 * and the epilogue:
 *     y = relu(x' · weightᵀ + bias) + residual,  x' = tensor_layer_norm(x) if there is a gain
 * Each row is computed independently: the other rows never change a bit of it. */
struct tensor_gemv {
    struct tensor *gain, *shift; /* (I) of the normalisation; both or none */
    float epsilon;               /* of the normalisation */
    struct tensor *weight;       /* (O, I) */
    struct tensor *bias;         /* (O), or NULL */
    bool relu;
    struct tensor *residual;     /* (R, O), or NULL */
};
/* x (R, I) → (R, O) */
struct tensor *tensor_gemv(struct tensor_graph *g, struct tensor *x,
                           const struct tensor_gemv *layer);

/* tensor_unfold with a cache, for sequences that grow: x (N·n, C) holds n new rows of each of N
 * sequences. They are stored in the cache (M, L, C), which has the rows before them. slot (N, 2)
 * U32 is read at run time: slot[n, 0] is the cache slot of sequence n, and its first new row stands
 * at position (slot[n, 1] - 1)·unit; rows below position 0 are zeros. → (N·n, taps·C) Position t
 * lies in row t mod L, L >= n + taps - 1. Rows may be written again, as long as the taps - 1 before
 * them are in the cache. */
struct tensor *tensor_unfold_cached(struct tensor_graph *g, struct tensor *x, struct tensor *cache,
                                    struct tensor *slot, uint32_t unit, uint32_t taps);

/* Concatenates the columns of both.   a (R, A), b (R, B) → (R, A + B) */
struct tensor *tensor_concat_columns(struct tensor_graph *g, struct tensor *a, struct tensor *b);

/* The input of a model over patches of P bytes, for S patches of each of N sequences. slot (N, 2)
 * U32 is read at run time: slot[n, 1] is the number of the first patch. Of patch k = slot[n, 1] +
 * s, symbols hold the patch before,
 *     y[(n·S + s)·P + j] = table[symbols[(n·S + s)·P + j]] + position[(k - 1)·P + j],
 * and pad[j] for k = 0. symbols (N·S·P) U32, below 256; table (256, C); position (K·P, C), where
 * k > K counts as K; pad (P, C) → (N·S·P, C)
 * With `own` it is the position of the patch itself, also of the first:
 *     y[(n·S + s)·P + j] = table[symbols[(n·S + s)·P + j]] + position[k·P + j],
 * pad[j] + position[j] for k = 0, and k >= K counts as K - 1. */
struct tensor *tensor_embedding_patches(struct tensor_graph *g, struct tensor *symbols,
                                        struct tensor *table, struct tensor *position,
                                        struct tensor *pad, struct tensor *slot, bool own);

/* Puts pad[j] back into patches k = 0 after convolutions, which do not apply to the pad.
 * x (N·S·P, C), pad (P, C), slot (N, 2) U32 as above → (N·S·P, C) */
struct tensor *tensor_pad_patches(struct tensor_graph *g, struct tensor *x, struct tensor *pad,
                                  struct tensor *slot);

/* The input of a model within a patch at its position p, which depends on the symbol before it:
 *     y[n] = x[n·P + p] + table[symbols[n, p - 1]],  for p = 0 x[n·P] + table[0]
 * x (N·P, C), or (P, C) if it is the same for all n; symbols (N, P) U32, below 256; table (256,
 * C), for p = 0 (1, C) → (N, C) */
struct tensor *tensor_embedding_next(struct tensor_graph *g, struct tensor *x,
                                     struct tensor *symbols, struct tensor *table, uint32_t p);

/* What tensor_sample reads of each sequence at run time: (N, TENSOR_SAMPLE_SETTINGS) U32, in this
 * order. Draw d of stream s under a seed is the same number on every device. */
enum tensor_sample_setting {
    TENSOR_SAMPLE_GIVEN,       /* symbols before this column are given, and kept */
    TENSOR_SAMPLE_TEMPERATURE, /* bits of a float: logits are divided by it; 0: the likeliest */
    TENSOR_SAMPLE_TOP_K,       /* among the k likeliest only; 0: among all */
    TENSOR_SAMPLE_TOP_P,       /* bits of a float: … among the likeliest that reach p; 1: all */
    TENSOR_SAMPLE_SEED_LOW,
    TENSOR_SAMPLE_SEED_HIGH,
    TENSOR_SAMPLE_STREAM,
    TENSOR_SAMPLE_DRAW_LOW,    /* draw of column 0; column p uses p more, modulo 2^64 */
    TENSOR_SAMPLE_DRAW_HIGH,
    TENSOR_SAMPLE_SETTINGS
};
#define TENSOR_SAMPLE_NONE 256 /* in place of a symbol: a logit was not finite */

/* symbols[n, column] = a symbol drawn from softmax(logits[n] / temperature) after top-k and then
 * top-p; ties go to the smaller symbol. logits (N, 256), symbols (N, P) U32, in place. */
void tensor_sample(struct tensor_graph *g, struct tensor *logits, struct tensor *settings,
                   struct tensor *symbols, uint32_t column);

/* ---- loss and optimizer ---- */

/* Loss of each row in nats: log(sum_v exp(logits[r, v])) - logits[r, target[r]].
 * logits (R, V = 256), target (R) U8, lengths (N) U32 → (R). Rows are N sequences of R/N; row i of
 * sequence n counts when i < lengths[n]; the others give loss 0 and gradient 0.
 * d(logits) = (softmax(logits) - onehot(target)) · d(loss). */
struct tensor *tensor_cross_entropy(struct tensor_graph *g, struct tensor *logits,
                                    struct tensor *target, struct tensor *lengths);

/* y = factor · sum of all x, summed in a fixed order; factor (1) is read at run time → (1)
 * d(x) = factor · d(y). */
struct tensor *tensor_sum(struct tensor_graph *g, struct tensor *x, struct tensor *factor);

/* sum of x² in a fixed order, without a gradient; `x` is a list of n flat tensors → (1) */
struct tensor *tensor_sum_squares(struct tensor_graph *g, struct tensor *const *x, uint32_t n);

/* Sets every element of x; in place, without a gradient. */
void tensor_fill(struct tensor_graph *g, struct tensor *x, float value);

/* to = from (same count and type, not U8); without a gradient. Brings results into a
 * TENSOR_HOST tensor. */
void tensor_copy(struct tensor_graph *g, struct tensor *to, struct tensor *from);

/* to = row row[0] mod n of `from`; without a gradient. from (n, ...), to as large as one row, of
 * one type; row (1) U32, read at run time. So a graph can run again and again without waiting for
 * the host, which has filled several inputs before. */
void tensor_take_row(struct tensor_graph *g, struct tensor *to, struct tensor *from,
                     struct tensor *row);

/* Row row[0] mod n of `to` = from, and then row[0] += 1, so that the next run of the graph uses the
 * next row. to (n, ...), F32 or U32, from as large as one row and small: one invocation copies it.
 * Without a gradient. */
void tensor_append_row(struct tensor_graph *g, struct tensor *to, struct tensor *from,
                       struct tensor *row);

/* value[0] if the sum of all x is finite and at most limit[0], else -1: with that as its norm,
 * tensor_adamw changes nothing. Without a gradient. value (1), limit (1), x (n), small: one
 * invocation adds it → (1) */
struct tensor *tensor_gate(struct tensor_graph *g, struct tensor *value, struct tensor *x,
                           struct tensor *limit);

/* to = from, rounded to the 16-bit type of `to` (equal count, BF16 or F16 from F32): to the
 * nearest, ties to even; infinite beyond the type's range. Without a gradient. */
void tensor_cast(struct tensor_graph *g, struct tensor *to, struct tensor *from);

/* What tensor_adamw reads at run time: a (8) F32 tensor, in this order. */
enum tensor_adamw_setting {
    TENSOR_ADAMW_RATE,       /* learning rate of this step */
    TENSOR_ADAMW_BETA1,
    TENSOR_ADAMW_BETA2,
    TENSOR_ADAMW_EPSILON,
    TENSOR_ADAMW_DECAY,      /* decoupled weight decay */
    TENSOR_ADAMW_CORRECT1,   /* 1 / (1 - beta1^step) */
    TENSOR_ADAMW_CORRECT2,   /* 1 / (1 - beta2^step) */
    TENSOR_ADAMW_CLIP,       /* largest global gradient norm; 0: do not clip */
    TENSOR_ADAMW_SETTINGS
};

/* One AdamW update of a flat array (Loshchilov and Hutter 2019), in place:
 *     g ← gradient / scale · min(1, clip / (norm + 1e-6)),  norm = sqrt(norm_squared[0]) / scale
 *     m ← beta1 m + (1 - beta1) g,   v ← beta2 v + (1 - beta2) g²
 *     w ← w - rate · decay · w (the first `decayed` elements only)
 *     w ← w - rate · (m · correct1) / (sqrt(v · correct2) + epsilon)
 * All of (n). scale (1), or NULL for 1, is a power of two, so that dividing by it is exact:
 * gradient and norm_squared are those of the loss times scale. `copy16` (n) BF16 or F16, or NULL,
 * becomes w rounded (tensor_cast). If norm_squared is not finite, or below 0, nothing changes. */
void tensor_adamw(struct tensor_graph *g, struct tensor *weight, struct tensor *gradient,
                  struct tensor *moment1, struct tensor *moment2, struct tensor *settings,
                  struct tensor *norm_squared, struct tensor *scale, struct tensor *copy16,
                  uint64_t decayed);

/* What tensor_loss_scale keeps: a (2) F32 tensor, in this order, of zeros at first. */
enum tensor_loss_scale_state {
    TENSOR_LOSS_SCALE_GOOD, /* steps that were applied since the scale changed */
    TENSOR_LOSS_SCALE_USED, /* the scale of the last step */
    TENSOR_LOSS_SCALE_STATES
};
#define TENSOR_LOSS_SCALE_FIRST 65536.0f
#define TENSOR_LOSS_SCALE_LEAST 1.0f
#define TENSOR_LOSS_SCALE_MOST  16777216.0f

/* The scale (1) of the loss for the next step, in place, a power of two (Micikevicius et al. 2018):
 * half of it if norm_squared, as tensor_adamw got it, is not finite: gradients overflowed, and
 * nothing was applied; twice it after `growth` steps that were applied; always from
 * TENSOR_LOSS_SCALE_LEAST to _MOST. A norm_squared below 0 (tensor_gate) changes nothing. */
void tensor_loss_scale(struct tensor_graph *g, struct tensor *scale, struct tensor *state,
                       struct tensor *norm_squared, uint32_t growth);

#endif
