/*
 * Which sources are read at the same time, and how much of each.
 *
 * The sources are dealt to lanes; each lane is a stream (stream.h) over its sources, end to end.
 *     no DATA has a weight  up to `at_once` lanes; a source goes to the lane with the fewest bytes
 *                           on disk so far, in the order in which they were named. All lanes
 *                           together make an epoch: every byte once.
 *     some DATA has one     a mixture: each DATA argument (all matches of a glob are one) is a
 *                           lane with its weight, 1 where none is given, and begins again at its
 *                           own end.
 * Which lane gives the next window is the loader's business (loader.h).
 */
#ifndef PIPELINE_MIX_H
#define PIPELINE_MIX_H

#include "pipeline/stream.h"

enum {
    PIPELINE_MAX_LANES = 64,
    PIPELINE_AT_ONCE = 4, /* without a wish */
};

struct pipeline_lane {
    struct pipeline_sources sources; /* of this lane; the entries are borrowed, the list is not */
    struct pipeline_stream *stream;  /* owned */
    double weight;                   /* of a mixture; otherwise bytes on disk, at least 1 */
};

/* Read only. */
struct pipeline_mix {
    struct pipeline_lane lanes[PIPELINE_MAX_LANES]; /* (n) */
    uint32_t n;
    bool mixed; /* by weight */
};

/*
 * io and sources must outlive the mix; *choice is copied, its lists are not. at_once: 1 to
 * PIPELINE_MAX_LANES, or 0 for PIPELINE_AT_ONCE; a mixture goes by its arguments instead. Nothing
 * is opened yet.
 * Errors: -EINVAL (a mixture of more than PIPELINE_MAX_LANES arguments; those of
 * pipeline_stream_create), -ENOMEM.
 */
int pipeline_mix_create(struct pipeline_io *io, const struct pipeline_sources *sources,
                        const struct pipeline_choice *choice, uint32_t at_once,
                        struct pipeline_mix **out);

/* Frees it and its streams and sets *mix to NULL; NULL is left alone. */
void pipeline_mix_destroy(struct pipeline_mix **mix);

/*
 * Whether it can be trained on: some lane has a byte, and in a mixture every lane. 0, or what
 * pipeline_stream_probe says. Call it before the mix is read.
 */
int pipeline_mix_probe(struct pipeline_mix *mix);

/* Damaged members, parts of members and sources that were passed over. */
uint64_t pipeline_mix_damaged(const struct pipeline_mix *mix);

/* What all lanes have seen of texts. */
struct pipeline_seen pipeline_mix_seen(const struct pipeline_mix *mix);

#endif
