/*
 * All sources as one run of bytes: the chosen members, in order, end to end, nothing between them.
 */
#ifndef PIPELINE_STREAM_H
#define PIPELINE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pipeline/archive.h"

/*
 * Sides of the held-out split. Which side something falls on depends on names alone, so it is the
 * same in every run, whatever else is in the data:
 *     an archive or a folder   by member: xxHash64 (seed 0) of the member's name
 *     a bare file, compressed  by blocks of decoded bytes, as its only member could not be split
 *     or plain                 otherwise. A block's hash is the xxHash64 of its number (8 bytes,
 *                              little-endian), seeded with the hash of the member's name
 * A hash h is held out if (h >> 11) / 2^53 < val_fraction.
 *
 * A file of 16 MiB and more (on disk, as it is named) has blocks of PIPELINE_SPLIT_BYTES. A smaller
 * one has smaller blocks, the largest power of two of which it has 256, but 1 KiB at least (below
 * 16 KiB: of which it has 16), and they are chosen to come near the share that was asked for: of
 * the first 8, 16, 24 ... blocks n are held out, with n / 8, n / 16, n / 24 ... as near to
 * val_fraction as can be (halves up), and of each 8 those with the lowest hashes.
 * pipeline_source.split_bytes has the size, so that a run goes on as it began.
 */
enum pipeline_side {
    PIPELINE_SIDE_ALL,
    PIPELINE_SIDE_TRAIN,
    PIPELINE_SIDE_VAL,
};

enum { PIPELINE_SPLIT_BYTES = 65536 };

/* What happens at a damaged member or source. */
enum pipeline_on_corrupt {
    PIPELINE_CORRUPT_STOP, /* reading fails */
    PIPELINE_CORRUPT_SKIP, /* it is counted, noted, and the next readable member follows; bytes that
                              came before the damage was found stay part of the stream */
};

/*
 * Which bytes belong to the stream. Zeroed = all of them. Strings and lists are borrowed and must
 * outlive the stream.
 *
 * A pattern is a shell pattern over the member's whole name, in which * and ? also match '/' and a
 * leading '.': '*' + '/Documentation/' + '*.rst' finds that folder at any depth but the top. A
 * member is taken if it matches any include (or there is none) and no exclude. A pattern that
 * matches the name of an archive inside an archive holds for all that is in it.
 */
struct pipeline_choice {
    const char *const *include; /* (n_include) patterns */
    size_t n_include;
    const char *const *exclude; /* (n_exclude) patterns */
    size_t n_exclude;
    double val_fraction; /* 0 to 1: the share that is held out; see enum pipeline_side */
    enum pipeline_side side;
    enum pipeline_on_corrupt on_corrupt;
    uint32_t nested;    /* depth to which archives inside archives are opened ... */
    double max_ratio;   /* ... and the limits against bombs: ... */
    uint64_t max_bytes; /* ... see struct pipeline_archive_params */
    struct pipeline_content content;
};

/* Whether the patterns of a choice take a member. Thread-safe. */
bool pipeline_choice_takes(const struct pipeline_choice *choice,
                           const struct pipeline_member *member);

/* Whether something with this hash is on the side of the choice; see enum pipeline_side. */
bool pipeline_choice_on_side(const struct pipeline_choice *choice, uint64_t hash);

/* Keeps the line that says why a choice took none of so many files; -ENODATA. */
int pipeline_choice_took_none(const struct pipeline_choice *choice, uint64_t left_out);
/*
 * Notes that no member has a text under the field that was asked for, if one was, there were
 * members, and none has; for when the data was read, or looked at. Returns whether it did.
 */
bool pipeline_choice_note_texts(const struct pipeline_choice *choice,
                                const struct pipeline_seen *seen);
/* Whether a hash is held out. */
bool pipeline_choice_holds(double val_fraction, uint64_t hash);

/* xxHash64, seed 0, of a member's name. */
uint64_t pipeline_name_hash(const char *name);

/* A place in a stream. Every number counts from 0; all zero is the beginning. */
struct pipeline_position {
    uint64_t source; /* in the order of pipeline_sources */
    uint64_t member; /* pipeline_member.index; members that are not taken count too */
    uint64_t inner;  /* pipeline_member.inner */
    uint64_t offset; /* bytes from the start of the member's content */
    struct pipeline_hint hint;
    /* xxHash64 (seed 0) >> 1 of the last bytes of the content before it, and how many: so that data
     * that was changed in the middle is noticed. 0 bytes: there were none. */
    uint64_t check, check_bytes;
};

enum { PIPELINE_CHECK_BYTES = 4096 };

/* Hears of every member that is taken, when the stream comes to it: `at` is the number of bytes
 * that the stream gave before it since it was made. `name` is the callback's only while it runs;
 * `source` is its number among pipeline_sources. */
typedef void pipeline_entered(void *user, uint64_t at, uint64_t source, const char *name);

/* What a stream has come across since it was made. */
struct pipeline_stream_stats {
    uint64_t bytes;       /* given */
    uint64_t members;     /* taken, empty ones included */
    uint64_t left_out;    /* files not taken: by patterns or because of their side */
    uint64_t damaged;     /* members, parts of members and sources that were passed over because
                             they are damaged; each once */
    uint64_t input;       /* bytes of the sources, as they lie on disk, read in this pass ... */
    uint64_t input_total; /* ... of so many; for showing progress */
    const char *format;   /* of the source opened last: pipeline_archive_format; NULL before */
    const char *filter;   /* of the source opened last: pipeline_archive_filter; NULL before */
    struct pipeline_seen seen;
};

struct pipeline_stream;

/*
 * A stream over the sources, standing at the beginning. Nothing is opened yet. io and sources must
 * outlive it; *choice is copied, its lists are not.
 * Errors: -EINVAL (val_fraction out of range, or a side without a fraction), -ENOMEM.
 * Thread-safety: a stream belongs to one thread at a time.
 */
int pipeline_stream_create(struct pipeline_io *io, const struct pipeline_sources *sources,
                           const struct pipeline_choice *choice, struct pipeline_stream **out);

/* Frees it and sets *stream to NULL; NULL is left alone. */
void pipeline_stream_destroy(struct pipeline_stream **stream);

/* From now on `entered` hears of members; NULL: nobody does. */
void pipeline_stream_watch(struct pipeline_stream *stream, pipeline_entered *entered, void *user);

/*
 * The next bytes, as they come, without copying. *size is 0 at the end of the stream.
 * *data belongs to the stream and holds until the next call with it.
 * Errors: those of archive.h.
 */
int pipeline_stream_next(struct pipeline_stream *stream, const uint8_t **data, size_t *size);

/*
 * The next member that the choice takes, or would if it had bytes: folders, links. Nothing of it is
 * read, so that only damage is come across that hides members. 1: *member holds until the next call
 * with the stream, and *source is its number among pipeline_sources. 0: there are no more. One
 * stream is either listed or read.
 * Errors: those of archive.h.
 */
int pipeline_stream_list(struct pipeline_stream *stream, struct pipeline_member *member,
                         uint64_t *source);

/*
 * Copies the next `size` bytes to `to`. *got < size only at the end of the stream. On failure what
 * was copied before is lost for the caller, and *got is left alone.
 */
int pipeline_stream_read(struct pipeline_stream *stream, void *to, size_t size, size_t *got);

/* The place of the next byte. */
struct pipeline_position pipeline_stream_tell(struct pipeline_stream *stream);

/*
 * Goes to a place that pipeline_stream_tell gave for the same sources and choice; all zero is the
 * beginning. The bytes that follow are the very bytes that followed there. How soon that is: see
 * pipeline_archive_seek.
 * Errors: -ESTALE if there is no such place or the bytes before it are others, else those of
 * archive.h.
 */
int pipeline_stream_seek(struct pipeline_stream *stream, struct pipeline_position position);

/*
 * Whether the stream has any byte: 0, or -ENODATA with a line that says why not (no members, none
 * taken, none on this side) and what to do, or another failure. Call it at the beginning; it reads
 * up to the first byte and goes back.
 */
int pipeline_stream_probe(struct pipeline_stream *stream);

struct pipeline_stream_stats pipeline_stream_stats(const struct pipeline_stream *stream);

/* The line about damage i, 0 <= i < stats.damaged; NULL for those after the first
 * 64. Belongs to the stream. */
const char *pipeline_stream_damage(const struct pipeline_stream *stream, uint64_t i);

#endif
