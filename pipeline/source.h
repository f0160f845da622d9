/*
 * What the user named: DATA arguments become sources.
 *
 * A DATA argument is
 *     a file      archive, compressed or plain: archive.h finds out by looking at its bytes
 *     a folder    every regular file below it, at any depth, in bytewise order of the path relative
 *                 to the folder; symbolic links below it are not followed and count as nothing; the
 *                 files' bytes are taken as they are (name archives one by one or by a glob)
 *     a glob      if no file has that very name and it holds one of * ? [: every match, in bytewise
 *                 order, as if each had been named
 *     X=WEIGHT    if no file has that very name: X, with the weight it has in a mixture (mix.h);
 *                 where data is read once and in order, weights play no part
 */
#ifndef PIPELINE_SOURCE_H
#define PIPELINE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pipeline/pipeline.h"

/* One file below a folder. */
struct pipeline_entry {
    char *name;    /* relative to the folder */
    uint64_t size; /* bytes, when the folder was listed */
};

/* One file or folder. Read only, but that its owner may choose the last three before it is read. */
struct pipeline_source {
    char *path;
    double weight;     /* 1 unless the user gave one */
    uint32_t argument; /* of which DATA argument it is, 0, 1, 2 ... */
    bool folder;
    uint64_t size;                  /* bytes on disk; for a folder, of all its files */
    struct pipeline_entry *entries; /* (n_entries), a folder's files in order; else NULL */
    size_t n_entries;
    uint32_t split_bytes; /* of a file's blocks in the held-out split, see enum pipeline_side: for
                             new data pipeline_split_bytes(size), and 0 what that says */
    uint64_t split_hash;  /* what that split goes by instead of the hash of the file's name, for one
                             that was renamed; 0: nothing */
    bool unsplit;         /* the split does not hold for it: all of it is on the side read */
};

/* All sources, in the order in which they were named. Read only. */
struct pipeline_sources {
    struct pipeline_source *list; /* (n) */
    size_t n;
    uint32_t arguments; /* DATA arguments */
    bool mixed;         /* one of them has a weight */
};

/*
 * data: n DATA arguments; borrowed for the call. Nothing is opened, folders are listed.
 * On success *out is the caller's; on failure nothing is kept.
 * Errors: -ENOENT (no such file, no match, an empty list), -EINVAL (a weight that is not a positive
 * number), and what the system says.
 * Thread-safety: the result does not change any more and may be shared.
 */
int pipeline_sources_create(const char *const *data, size_t n, struct pipeline_sources **out);

/* Frees the list and sets *sources to NULL; NULL is left alone. */
void pipeline_sources_destroy(struct pipeline_sources **sources);

/*
 * What a source is recognised by: enough to notice that a file was exchanged, appended to or
 * rebuilt, cheap enough for a file of any size. Plain numbers, to be saved with a cursor.
 */
struct pipeline_identity {
    uint64_t size; /* bytes; for a folder, of all its files */
    uint64_t head; /* xxHash64 of the first 65536 bytes; for a folder, of its names and sizes */
    uint64_t tail; /* xxHash64 of the last 65536 bytes; for a folder, its number of files */
};

/*
 * Reads the identity of one source. A pipe has none: all three numbers are 0.
 * Errors: what the system says. Thread-safety: any number of threads.
 */
int pipeline_source_identify(const struct pipeline_source *source, struct pipeline_identity *out);

/*
 * Compares the sources with n saved identities. 0 if all are the same; -ESTALE if not, and the
 * error line names the first that differs and how; or what the system says.
 */
int pipeline_sources_check(const struct pipeline_sources *sources,
                           const struct pipeline_identity *saved, size_t n);

#endif
