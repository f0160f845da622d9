/*
 * Where a zip or 7z begins and ends in the bytes that it is in; not installed.
 *
 * A zip is read from its directory, which a record at the end points to. A comment or anything else
 * may come behind that record, and a program that unpacks it before it. libarchive looks for the
 * record in the last 16 KiB only, takes the first that it meets for the right one, and has its own
 * ideas of what stands before; so the archive is found here, and libarchive is shown nothing else.
 */
#ifndef PIPELINE_BOUNDS_H
#define PIPELINE_BOUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "pipeline/layer.h"

struct bounds {
    enum detect_format format; /* FORMAT_ZIP, FORMAT_7ZIP; FORMAT_PLAIN: none was found */
    uint64_t begin, end;       /* its bytes, without a comment at the end */
    uint64_t before;           /* bytes of a program, which may count as the archive's */
    uint64_t behind;           /* bytes that follow and are neither zeros nor a comment */
    bool empty;                /* it has no members */
    bool split;                /* none was found: this is the last part of several */
    bool cut_comment;          /* its comment ends early */
    bool second;               /* what comes before is a zip as well */
    const char *foreign;       /* none was found, but what this is, with its article; or NULL */
};

/* What the first bytes are. */
enum bounds_head {
    BOUNDS_ZIP,     /* a zip's */
    BOUNDS_PROGRAM, /* a program's, or the name promises an archive: one may follow */
    BOUNDS_OTHER,   /* anything: only the end is looked at */
};

/* Looks for the archive in a layer that can seek, and leaves that at its beginning. 0, or what
 * reading says. */
int pipeline_bounds_find(struct layer *layer, enum bounds_head head, struct bounds *out);

/* Whether these first bytes, which are no archive's, may have one behind them: they are those of a
 * program, or the name promises an archive. */
bool pipeline_bounds_may_carry(const uint8_t *head, size_t n, const char *name);

/* Bytes begin to end of a layer that can seek, as a layer, which borrows the other. */
int pipeline_layer_window_create(struct layer *below, uint64_t begin, uint64_t end,
                                 struct layer **out);

#endif
