/*
 * The state of a run of mb-train as the text in state.json: what must be known, beside the tensors,
 * to go on with the same bits. Read back it is hostile until checked, and every branch of that is
 * taken by a test (tools/coverage).
 *
 *     {"step": 500, "bytes": ..., "steps": ..., "seed": "1", "precision": "fp32",
 *      "bits_per_byte": ..., "line_nats": ..., "line_bytes": ...,
 *      "nonfinite": 0, "outliers": 0, "losses": [...],
 *      "loss_scale": 65536, "loss_scale_steps": 77,     of fp16 only
 *      "made_on": {"device": ..., "driver": ..., "threads": 2, "kernels": 1, "build": ...,
 *                  "micro_batch": 4, "local_group": 0, "cores": 132,   where the driver tells
 *                  "products": {"PRODUCT": "WAY", ...}},  (tensor/autotune.h)
 *      "data": {"cursor": {...}, "choice": {...}, "sources": [{...}], "limits": {...}}}
 *
 * A source has "split" where its blocks in the held-out split are not the usual ones
 * (pipeline_source.split_bytes). "choice" must be the same to go on; "limits" need not be.
 */
#ifndef APPS_TRAIN_STATE_H
#define APPS_TRAIN_STATE_H

#include <jansson.h>

#include "pipeline/loader.h"
#include "pipeline/source.h"

#define TRAIN_LOSSES 128 /* that --skip-outliers compares with */

/* The losses of the last steps, in nats a byte, oldest first. */
struct train_losses {
    double nats[TRAIN_LOSSES];
    uint32_t n;
};

struct train_state {
    uint64_t step, bytes; /* done */
    uint64_t steps;       /* to do in all; 0: not known yet */
    uint64_t seed;
    double bits_per_byte, line_nats; /* of struct train, as is line_bytes */
    uint64_t line_bytes;
    uint64_t nonfinite, outliers; /* steps that were not applied */
    struct train_losses losses;
    char precision[16];
    uint64_t loss_scale, loss_scale_steps; /* fp16: struct megabyte_loss_scale; 0: none */
    struct pipeline_cursor cursor; /* the place in the data ... */
    json_t *choice;                /* ... which bytes of it are trained on: object by option ... */
    struct pipeline_identity *sources; /* ... (n_sources), and what the data was */
    size_t n_sources;
    json_t *limits;  /* object: against bombs, by option */
    json_t *made_on; /* object: what the bits of the steps that follow depend on, beside all this */
};

/* A text as a string of JSON; one that is not UTF-8 (names of files need not be) is taken for
 * Latin-1. NULL: no memory. */
json_t *train_state_string(const char *text);

/* The text, the caller's to free. Of the sources `paths` are told to people; NULL: no memory. */
char *train_state_text(const struct train_state *state, const struct pipeline_sources *paths);

/* Reads it back; on success the caller ends *state with train_state_finish(). -EBADMSG: *wrong is
 * what it lacks, a few words; -ENOMEM. */
int train_state_parse(const char *text, struct train_state *state, const char **wrong);
void train_state_finish(struct train_state *state);

/* What differs between two `made_on`, and the precisions, as words for a line about a run that was
 * saved with `before` and goes on as `now`: "" where nothing does. Cut where `size` ends. */
void train_state_changes(const struct train_state *before, const struct train_state *now,
                         char *words, size_t size);

#endif
