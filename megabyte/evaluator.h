/* evaluator.h - scores bytes: nats of each, bits per byte of a stream.
 *
 * Inference modes (section 2.3, 2.4, decisions 20 to 22):
 *     basic     windows of T bytes end to end, each on its own; the last one right-padded
 *     sliding   windows overlap by half; after the first, only the second half of each is scored.
 *               Those of a PerceiverAR go on by P/2 bytes, which are scored
 *     strided   every window is run twice, the second time with the patch grid P/2 bytes later; of
 * each
 *               patch only the first half is kept from either pass, the window's first patch whole
 *               from the first pass
 * Sliding and strided may be combined. In every mode every byte is scored exactly once.
 */
#ifndef MEGABYTE_EVALUATOR_H
#define MEGABYTE_EVALUATOR_H

#include "megabyte/model.h"

struct megabyte_evaluator;

/* What an evaluator takes beside the parameters, in bytes; known without allocating. */
struct megabyte_evaluator_plan {
    uint64_t device;  /* of the device */
    uint64_t host;    /* of the host, by megabyte_evaluate() */
    uint64_t scratch; /* tensor_graph_scratch() */
};
int megabyte_evaluator_plan(const struct megabyte_model *model, uint32_t batch,
                            struct megabyte_evaluator_plan *plan);

/* Scores up to `batch` windows at a time; records its graph. The model's parameters are committed
 * and outlive it. */
int megabyte_evaluator_create(const struct megabyte_model *model, uint32_t batch,
                              struct megabyte_evaluator **evaluator);
void megabyte_evaluator_destroy(struct megabyte_evaluator **evaluator);

/* Nats of each byte of `rows` <= batch windows: bytes (rows, T) of which row b has lengths[b] real
 * ones → nats (rows, T), 0 behind the real ones. With `logits` (rows·T, V), those too. Positions
 * before `from` are not asked for, and what is written of them may be anything.
 *
 * One run of the model scores a window; of a PerceiverAR one run scores P bytes, so that there are
 * runs from 0, P, 2·P … on, the last one up to T. */
int megabyte_evaluator_score(struct megabyte_evaluator *evaluator, uint32_t rows,
                             const uint8_t *bytes, const uint32_t *lengths, uint32_t from,
                             float *nats, float *logits);

struct megabyte_evaluation_params {
    bool sliding, strided; /* strided needs an even P */
    uint64_t limit;        /* stop after so many bytes; 0: at the end */
    /* Where the bytes come from: fills `to` with up to `size` bytes; *got < size only at the end.
     * Returns 0 or a negative errno, with which the evaluation then ends. */
    int (*read)(void *user, uint8_t *to, size_t size, size_t *got);
    /* Called after every batch with the totals so far; false stops the evaluation with -EINTR. May
     * be NULL. */
    bool (*progress)(void *user, uint64_t bytes, double nats);
    /* Called for each window, in the order of the stream: nats[i] is what byte number `at` + i of
     * the stream (from 0) costs, i < count, scored at position `position` + i of its window; its
     * place in a patch is (position + i) mod P, also where the strided pass scored it. Every byte
     * comes by once. May be NULL. */
    void (*scored)(void *user, uint64_t at, uint32_t position, uint32_t count, const float *nats);
    void *user;
};

struct megabyte_evaluation {
    uint64_t bytes; /* scored: all that were read */
    double nats;    /* their sum */
};

/* Scores a stream. -EINVAL: strided with an odd P; what read() returns; -EINTR. */
int megabyte_evaluate(struct megabyte_evaluator *evaluator,
                      const struct megabyte_evaluation_params *params,
                      struct megabyte_evaluation *evaluation);

/* nats / (bytes · ln 2) */
double megabyte_bits_per_byte(double nats, double bytes);

#endif
