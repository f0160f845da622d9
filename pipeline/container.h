/*
 * One level of packing: a run of bytes, or a folder, and the members in it; not installed.
 *
 *     kind                  its members
 *     an archive format     its entries, through libarchive on the top-most layer
 *     plain bytes           one: the bytes of the top-most layer
 *     a folder              its files
 *
 * A container stands on a layer (layer.h) and each of its members is a layer again, so that a
 * container can stand on a member of another: that is all there is to archives inside archives.
 * Containers know no place and no path: what is wrong is told in `why`, and archive.c says where.
 */
#ifndef PIPELINE_CONTAINER_H
#define PIPELINE_CONTAINER_H

#include "pipeline/archive.h"
#include "pipeline/layer.h"

struct archive;
struct archive_entry;

/* Headers of one zip that are passed over: for each the zip is opened once more. */
enum { RECOVERY_PATCHES = 64 };

/* What it takes to go on behind a header that cannot be read; recover.c's own, but for the first
 * lines. */
struct recovery {
    bool lost, fatal;     /* the last header could not be read; and the reader will read no more */
    bool misplaced;       /* the reader was to go to a place outside of the file */
    uint64_t from;        /* byte given to the reader where the last header begins, if it is kept */
    const uint8_t *again; /* bytes to give to the reader before those of `top` ... */
    size_t again_size;    /* ... and their number */
    bool unsure;          /* where the archive goes on was guessed */
    bool keeping;         /* a header is being read: what it was read from is kept */
    bool stuck;           /* the reader failed inside a member */
    struct archive *retired; /* a reader to which strings of the present member may belong */
    uint64_t in_vain;        /* bytes that were read up to such failures */
    uint8_t *kept;           /* from `from` on, without what was given last */
    size_t kept_size, kept_room;
    uint8_t *replay;                    /* where `again` points to */
    uint64_t patches[RECOVERY_PATCHES]; /* bytes of a zip where a member's header is, but is none */
    size_t n_patches;
    uint8_t *patched;
};

struct container {
    struct pipeline_io *io;
    const struct pipeline_source *folder; /* or NULL */
    struct layer *base;                   /* what it stands on; owned; NULL for a folder */
    struct layer *filter;                 /* decompression of base, or NULL; owned */
    struct layer *window;                 /* the archive in base, or NULL: all of it is; owned */
    struct layer *top;                    /* the highest of the three; NULL for a folder */
    enum detect_filter filter_kind;
    enum detect_format format;
    uint64_t next_index;           /* of the member that pipeline_container_next will give */
    struct pipeline_member member; /* the present one, if next_index > 0; its name is bare */
    bool member_ended, ended;      /* all its bytes were read; there are no more members */
    bool broken;                   /* a failure of top has stopped the reading of an archive ... */
    bool told;                     /* ... and was told: set by whoever did, there is no more */
    int error;                     /* of the last failure ... */
    char why[256];                 /* ... and what it was, without a place */
    const char *foreign; /* what kind that is not read plain bytes plainly are, or NULL */
    char note[160];                /* something to note about it, or ""; without a place */
    /* The rest is container.c's own. */
    struct archive *reader; /* of an archive format, else NULL */
    const void *given;      /* the last bytes given to reader ... */
    size_t given_size;      /* ... and their number */
    uint64_t given_total;   /* all bytes given to reader */
    uint64_t header_limit;  /* given_total may not pass it while a header is read; 0: it may */
    uint64_t origin;        /* byte of top where reader began ... */
    uint64_t header;        /* ... and where the present member's header does */
    uint64_t at;            /* byte of top where the header that was read last begins */
    uint64_t offset;        /* bytes of the present member that were read */
    uint64_t hole;          /* zeros to give before `pending` */
    const uint8_t *pending; /* bytes of the present member behind a hole */
    size_t pending_size;
    bool opened;       /* reader has found its format */
    bool in_entry;     /* reader stands in an entry, whose rest is still to be passed over */
    bool encrypted;    /* that entry is */
    bool entry_failed; /* and what was read of it was damaged, which was told */
    bool decoded;      /* reader was asked for an entry's bytes before */
    char no_name[32];  /* stands for a name that cannot be read */
    struct recovery recovery;
};

/*
 * Looks at the first bytes of `base` and opens what they are. name: what those bytes are called,
 * needed where they leave it open, and it is the name of the only member of plain bytes; borrowed,
 * it must outlive the container.
 * base belongs to the container from here on, also on failure. *out is the caller's to destroy,
 * also on failure, when `why` says what it was; it is NULL only if there was no memory for it.
 */
int pipeline_container_open(struct pipeline_io *io, struct layer *base, const char *name,
                            struct container **out);

/* The files of a folder. -ENOMEM only. */
int pipeline_container_open_folder(struct pipeline_io *io, const struct pipeline_source *folder,
                                   struct container **out);

/* Frees it and what it stands on and sets *c to NULL; NULL is left alone. */
void pipeline_container_destroy(struct container **c);

/*
 * The next member, in c->member, or 0 at the end, or a negative errno with `why`. The layer of the
 * member before must be destroyed first.
 * After a failure one may call it again: it goes on behind what failed, where the format allows
 * (recover.c), and is at the end otherwise. What failed has a number of its own, next_index - 1,
 * so that places behind it have the same numbers whoever comes to them. It never fails twice at
 * one place.
 */
int pipeline_container_next(struct container *c);

/*
 * The bytes of the present member as a layer, which the caller destroys before the next call with
 * the container. Once for each member.
 */
int pipeline_container_member(struct container *c, struct layer **out);

/* Whether its only member is its top layer: plain bytes, perhaps decompressed. */
bool pipeline_container_plain(const struct container *c);

/* Whether its members may be archives in their turn: it is one, and no folder. */
bool pipeline_container_packs(const struct container *c);

/* Makes pipeline_container_next give member `index` of a folder, if it lies ahead and there is one;
 * other containers have to be read. */
void pipeline_container_skip_to(struct container *c, uint64_t index);

/* Goes to member `index`, which lies ahead, by a hint. 1: pipeline_container_next gives it. 0: that
 * is not possible here, and nothing has changed. Errors: as pipeline_container_next. */
int pipeline_container_restart(struct container *c, uint64_t index,
                               const struct pipeline_hint *hint);

/* ---- container_look.c, for container.c ---- */

/* Finds out what `base` is and opens it: sets filter, window, top and format, and makes the reader.
 * 0, or a failure as above. */
int pipeline_container_look(struct container *c, const char *name);

/* ---- between container.c and these ---- */

/* A reader for the format, which has not read anything. 0, or a failure as above. */
int pipeline_container_reader(struct container *c);

/* Keeps what is wrong and returns -error; the second says what happened to the top layer. */
int pipeline_container_fail(struct container *c, int error, const char *why);
int pipeline_container_fail_layer(struct container *c);

/* A header is read from here on; and has been read. */
void pipeline_recovery_begin(struct container *c);
void pipeline_recovery_end(struct container *c);

/* The reader wants more than it was given: keeps that, if it belongs to the header that is being
 * read. 0 or -ENOMEM. */
int pipeline_recovery_keep(struct container *c);

/* Puts what stands for a header that is none into bytes that go to the reader, n from byte `at` of
 * the top layer on. 0 or -ENOMEM. */
int pipeline_recovery_patch(struct container *c, uint64_t at, const void **data, size_t n);

/* Goes on behind a header that could not be read. 1: the reader stands at the next one. 0: there is
 * none. Or a failure: one more header, behind the other, cannot be read. */
int pipeline_recovery_go_on(struct container *c);

/* Frees the reader of a 7z from a member that it cannot decode, if it is caught in one. 1: it may
 * go on. 0: it is at its end. */
int pipeline_recovery_free_7z(struct container *c);

void pipeline_recovery_finish(struct container *c);

#endif
