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

/* Rows first … first + count - 1 of x (R, C) → (count, C), where they lie; no work.
 * d(x) is d(y) in those rows, added to what other parts give, and 0 in rows of no part. */
struct tensor *tensor_part(struct tensor_graph *g, struct tensor *x, uint32_t first,
                           uint32_t count);

/* Rows of n parts one below another: part[i] (R_i, C) → (sum of R_i, C). d(part) are its rows of
 * d(y), where they lie. Not within a segment (tensor_graph_segment_begin). */
struct tensor *tensor_join(struct tensor_graph *g, struct tensor *const *part, uint32_t n);

/* What becomes of a linear layer's sums and bias, bits. */
enum tensor_end {
    TENSOR_RELU = 1,   /* max(0, y) */
    TENSOR_NARROW = 2, /* y, and with it d(y), are of 16 bits where the precision has those and O is
                          a multiple of 4: of a y that linear layers read and nothing else, to which
                          it is the same */
};

/* y = x · weightᵀ + bias, then what `ends` says (enum tensor_end).
 * x (R, I), weight (O, I), bias (O) or NULL → (R, O)
 * d(x) = d(y) · weight, d(weight) = d(y)ᵀ · x, d(bias) = column sums of d(y), with d(y) set to 0
 * where relu gave 0.
 * In the precisions of 16 bits (enum tensor_precision) the three products take x, weight and d(y)
 * rounded to that, and sum up in F32; weights, biases and their gradients are F32. Each tensor is
 * rounded once, however many products read it; a weight not at all where weight->narrow holds it
 * so already. */
struct tensor *tensor_linear(struct tensor_graph *g, struct tensor *x, struct tensor *weight,
                             struct tensor *bias, uint32_t ends);

/* The layer at the end of a residual branch, in the product's own pass:
 *     y = residual + dropout(x · weightᵀ + bias),
 * where dropout sets each element to 0 with probability p and divides the others by 1 - p; without
 * params.training none.   residual (R, O) → (R, O), in F32
 * d(residual) = d(y); all else as above with d(y) · mask / (1 - p) in the place of d(y). */
struct tensor *tensor_linear_residual(struct tensor_graph *g, struct tensor *x,
                                      struct tensor *weight, struct tensor *bias,
                                      struct tensor *residual, float p);

/* y[r] = table[bytes[r]].   bytes (R) U8, table (V = 256, C) → (R, C)
 * d(table)[v] = sum over r with bytes[r] = v of d(y)[r]. */
struct tensor *tensor_embedding(struct tensor_graph *g, struct tensor *bytes, struct tensor *table);

/* Within each group of n rows: moves the rows down by s = rows of pad and puts pad on top; the last
 * s rows of the group fall out.   x (G·n, C), pad (s, C), s <= n → (G·n, C)
 * d(x) moves back up, with zeros at the bottom; d(pad) = sum over groups. */
struct tensor *tensor_shift(struct tensor_graph *g, struct tensor *x, struct tensor *pad,
                            uint32_t n);

/* Each row behind the taps - 1 rows before it in its group of n, the oldest first, zeros where
 * there are none: y[r] = (x[r - taps + 1], …, x[r]).   x (G·n, C) → (G·n, taps·C)
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
 * x (R, C), gain (C), bias (C) → (R, C). `narrow` is TENSOR_NARROW: y and d(y) are of 16 bits where
 * the precision has those and C is a multiple of 4, for a y that linear layers alone read. */
struct tensor *tensor_layer_norm(struct tensor_graph *g, struct tensor *x, struct tensor *gain,
                                 struct tensor *bias, float epsilon, bool narrow);

struct tensor_attention_params {
    uint32_t positions; /* S, keys of one sequence; not used by tensor_attention_cached */
    uint32_t ahead;     /* tensor_attention alone: of the first so many rows only k and v are
                           used, and y has no row; above 0 there is one sequence only */
    uint32_t heads;     /* H; h = C / H columns each, at most 256 */
    uint32_t patch;     /* P: patches of P positions follow one another in a sequence, and see
                           nothing of each other but what `reach` says; 0: the whole sequence */
    uint32_t reach;     /* r, 0 … P: how many positions of the patch before are seen */
    float dropout;      /* of probabilities, in [0, 1) */
    bool narrow;        /* y is read by linear layers only, and qkv comes from one: y and d(qkv) are
                           of 16 bits where the precision and the kernels have those */
};

/* Causal self-attention of H heads of h = C/H columns, scale 1/sqrt(h), within sequences of S rows:
 *     y_i = sum over seen j of dropout(softmax_j(q_i·k_j / sqrt(h))) v_j
 * Position i sees itself and those before it; with patches, as far back as its own patch goes and
 * r positions more (the first patch of a sequence has none before it).
 * qkv (N·S, 3·C): columns of q, then k, then v, head after head → (N·S, C), or (S - ahead, C).
 * Probabilities are not stored: the gradient computes them again from each row's log-sum-exp. */
struct tensor *tensor_attention(struct tensor_graph *g, struct tensor *qkv,
                                const struct tensor_attention_params *params);

/* The same with queries of their own, fewer than keys: query i of a sequence stands at position
 * first[0] + i; without `first` the Q of a sequence are its last positions.
 * q (N·Q, C), kv (N·S, 2·C), 1 <= Q <= S; first (1) U32, read at run time, or NULL → (N·Q, C)
 * first[0] + Q <= S is the caller's duty. Gradients go to q and kv; that of keys behind the last
 * query is 0. */
struct tensor *tensor_attention_cross(struct tensor_graph *g, struct tensor *q, struct tensor *kv,
                                      struct tensor *first,
                                      const struct tensor_attention_params *params);

/* The same for sequences that grow, without gradient and dropout. `cache` (M, L, 2·C) keeps k and v
 * rows of sequences; place (N, 2) U32, read at run time, says of each of N sequences which of the M
 * it is (no two the same) and at which position t the first of its n new rows of qkv (N·n, 3·C)
 * stands. They join the cache and attend over what they see in it → (N·n, C).
 * Position j lies in row j mod L, so the cache keeps the last L positions. It is the caller's duty
 * that L rows go as far back as the first new row sees: without patches t + n <= L, with patches
 * L = P + r will do for rows of one patch. */
struct tensor *tensor_attention_cached(struct tensor_graph *g, struct tensor *qkv,
                                       struct tensor *cache, struct tensor *place,
                                       const struct tensor_attention_params *params);

struct tensor_rope_params {
    uint32_t head_dim;  /* h, even */
    uint32_t columns;   /* the first `columns` of a row are turned, head after head; the others are
                           copied: 2·C of q, k and v, C of k and v or of q alone */
    uint32_t positions; /* S: row i of a sequence of S rows stands at position first + i, and … */
    uint32_t first;
    struct tensor *place; /* … where this is not NULL, place[n, 1] behind that in sequence n; (N, 2)
                             U32, read at run time (tensor_attention_cached) */
};

/* Rotary position embedding (Su et al. 2021): in each head the pair of columns (c, c + h/2) at
 * position t is turned by the angle t · 10000^(-2c/h). Products of rows so turned depend on the
 * distance of their positions only. Angles are exact to 2^-32 turns at any position.
 * x (N·S, C') → (N·S, C').   d(x) = d(y), turned back. */
struct tensor *tensor_rope(struct tensor_graph *g, struct tensor *x,
                           const struct tensor_rope_params *params);

/* ---- generation: these have no gradient ---- */

/* The linear layer of a few rows in one pass that reads the weight once, with what lies around it:
 *     y = relu(x' · weightᵀ + bias) + residual,  x' = tensor_layer_norm(x) if there is a gain
 * A row's result hangs on nothing but that row: to the last bit it is the same among any others. */
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

/* tensor_unfold for sequences that grow: x (N·n, C) holds n new rows of each of N sequences, which
 * join the cache (M, L, C), and see there the rows before them. place (N, 2) U32, read at run time,
 * says of each which of the M it is, and that its first new row stands at (place[n, 1] - 1)·unit;
 * what stands below 0 is a row of zeros. → (N·n, taps·C)
 * Position t lies in row t mod L, L >= n + taps - 1. Rows may be written again, as long as the
 * taps - 1 before them are in the cache. */
struct tensor *tensor_unfold_cached(struct tensor_graph *g, struct tensor *x, struct tensor *cache,
                                    struct tensor *place, uint32_t unit, uint32_t taps);

/* Rows of both beside each other.   a (R, A), b (R, B) → (R, A + B) */
struct tensor *tensor_beside(struct tensor_graph *g, struct tensor *a, struct tensor *b);

/* What a model over patches of P bytes gets for S patches of each of N sequences, of which place
 * (N, 2) U32, read at run time, says which they are: of patch k = place[n, 1] + s, symbols hold the
 * patch before,
 *     y[(n·S + s)·P + j] = table[symbols[(n·S + s)·P + j]] + position[(k - 1)·P + j],
 * and pad[j] for k = 0. symbols (N·S·P) U32, below 256; table (256, C); position (K·P, C), where
 * k > K counts as K; pad (P, C) → (N·S·P, C)
 * With `own` it is the position of the patch itself, also of the first:
 *     y[(n·S + s)·P + j] = table[symbols[(n·S + s)·P + j]] + position[k·P + j],
 * pad[j] + position[j] for k = 0, and k >= K counts as K - 1. */
struct tensor *tensor_embedding_patches(struct tensor_graph *g, struct tensor *symbols,
                                        struct tensor *table, struct tensor *position,
                                        struct tensor *pad, struct tensor *place, bool own);

/* The same rows, but pad[j] for patches k = 0: what came between, convolutions, does not concern
 * the pad.   x (N·S·P, C), pad (P, C), place (N, 2) U32 as above → (N·S·P, C) */
struct tensor *tensor_pad_patches(struct tensor_graph *g, struct tensor *x, struct tensor *pad,
                                  struct tensor *place);

/* What a model within a patch gets at its position p, having seen the symbol before it:
 *     y[n] = x[n·P + p] + table[symbols[n, p - 1]],  for p = 0 x[n·P] + table[0]
 * x (N·P, C), or (P, C) where it is the same for all n; symbols (N, P) U32, below 256; table (256,
 * C), for p = 0 (1, C) → (N, C) */
struct tensor *tensor_embedding_next(struct tensor_graph *g, struct tensor *x,
                                     struct tensor *symbols, struct tensor *table, uint32_t p);

/* What tensor_sample reads of each sequence at run time: (N, TENSOR_SAMPLE_SETTINGS) U32, in this
 * order. Draw d of stream s under a seed is the same number on every device. */
enum tensor_sample_setting {
    TENSOR_SAMPLE_GIVEN,       /* symbols before this column are given: they are kept */
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
 * one type; row (1) U32, read at run time. So a graph that is run again and again without waiting
 * for it finds its next input in memory that the host has filled before. */
void tensor_take_row(struct tensor_graph *g, struct tensor *to, struct tensor *from,
                     struct tensor *row);

/* Row row[0] mod n of `to` = from, and then row[0] goes up by 1: the next run of the graph finds
 * and leaves the next row. to (n, ...), F32 or U32, from as large as one row and small: one
 * invocation copies it. Without a gradient. */
void tensor_append_row(struct tensor_graph *g, struct tensor *to, struct tensor *from,
                       struct tensor *row);

/* value[0] if the sum of all x is finite and at most limit[0], else -1, of which tensor_adamw as a
 * norm leaves all as it is; without a gradient. value (1), limit (1), x (n), small: one invocation
 * adds it → (1) */
struct tensor *tensor_gate(struct tensor_graph *g, struct tensor *value, struct tensor *x,
                           struct tensor *limit);

/* to = from, rounded to the 16-bit type of `to` (equal count, BF16 or F16 from F32), to the
 * nearest, ties to even; beyond the type's range infinite. Without a gradient. */
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
 * gradient and norm_squared are those of the loss times scale. `narrow` (n) BF16 or F16, or NULL,
 * becomes w rounded (tensor_cast). If norm_squared is not finite, or below 0, nothing changes. */
void tensor_adamw(struct tensor_graph *g, struct tensor *weight, struct tensor *gradient,
                  struct tensor *moment1, struct tensor *moment2, struct tensor *settings,
                  struct tensor *norm_squared, struct tensor *scale, struct tensor *narrow,
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
 * half of it if norm_squared, what tensor_adamw got, is not finite, since gradients then overflowed
 * and nothing was applied; twice it after `growth` steps that were applied; from
 * TENSOR_LOSS_SCALE_LEAST to _MOST. A norm_squared below 0 (tensor_gate) changes nothing. */
void tensor_loss_scale(struct tensor_graph *g, struct tensor *scale, struct tensor *state,
                       struct tensor *norm_squared, uint32_t growth);

#endif
