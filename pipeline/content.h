/*
 * What is inside a member: the bytes that training sees of it; not installed.
 *
 *     asked for     members                                              become
 *     nothing       all                                                  their bytes as they are
 *     jsonl_field   JSON lines: see struct pipeline_content              the texts, end to end
 *                   all others                                           their bytes as they are
 *
 * A decoder is one more layer on the member's own (layer.h), so that places in a stream count the
 * bytes that come out of it.
 */
#ifndef PIPELINE_CONTENT_H
#define PIPELINE_CONTENT_H

#include "pipeline/archive.h"
#include "pipeline/layer.h"

/* Hears of a part that cannot be decoded; why says which and what. 0: it is passed over; else what
 * the layer's read returns. */
struct content_damage {
    int (*tell)(void *user, uint64_t part, const char *why);
    void *user;
};

/*
 * A layer that gives the content of the member called `name`, whose bytes are `leaf`. It is `leaf`
 * itself where those are what is wanted; otherwise it owns leaf. *wanted, damage and leaf are
 * borrowed. On failure leaf is still the caller's.
 */
int pipeline_content_open(const struct pipeline_content *wanted, const char *name,
                          struct layer *leaf, const struct content_damage *damage,
                          struct layer **out);

/* ---- jsonl.c ---- */

/* Whether the member is JSON lines with texts under `field`; looks at its first line. Negative
 * errno if that cannot be read. */
int pipeline_content_is_jsonl(const char *field, const char *name, struct layer *leaf);

/* The texts; owns leaf. A line is at most CONTENT_LINE_BYTES long; with the decoded line about five
 * times that is held at most. */
enum { CONTENT_LINE_BYTES = 1 << 28 };
int pipeline_content_jsonl_create(const char *field, struct layer *leaf,
                                  const struct content_damage *damage, struct layer **out);

#endif
