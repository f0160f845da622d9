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

struct container {
    struct pipeline_io *io;
    const struct pipeline_source *folder; /* or NULL */
    struct layer *base;                   /* what it stands on; owned; NULL for a folder */
    struct layer *filter;                 /* decompression of base, or NULL; owned */
    struct layer *top;                    /* the higher of the two; NULL for a folder */
    enum detect_filter filter_kind;
    enum detect_format format;
    uint64_t next_index;           /* of the member that pipeline_container_next will give */
    struct pipeline_member member; /* the present one, if next_index > 0; its name is bare */
    bool member_ended, ended;      /* all its bytes were read; there are no more members */
    int error;                     /* of the last failure ... */
    char why[256];                 /* ... and what it was, without a place */
    char note[160];                /* something to note about it, or ""; without a place */
    /* The rest is container.c's own. */
    struct archive *reader; /* of an archive format, else NULL */
    const void *given;      /* the last bytes given to reader ... */
    size_t given_size;      /* ... and their number */
    uint64_t given_total;   /* all bytes given to reader */
    uint64_t header_limit;  /* given_total may not pass it while a header is read; 0: it may */
    uint64_t origin;        /* byte of top where reader began ... */
    uint64_t header;        /* ... and where the present member's header does */
    uint64_t offset;        /* bytes of the present member that were read */
    uint64_t hole;          /* zeros to give before `pending` */
    const uint8_t *pending; /* bytes of the present member behind a hole */
    size_t pending_size;
    bool opened;      /* reader has found its format */
    bool decoded;     /* reader was asked for an entry's bytes before */
    char no_name[32]; /* stands for a name that cannot be read */
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

/* The next member, in c->member, or 0 at the end, or a negative errno with `why`. The layer of the
 * member before must be destroyed first. */
int pipeline_container_next(struct container *c);

/*
 * The bytes of the present member as a layer, which the caller destroys before the next call with
 * the container. Once for each member.
 */
int pipeline_container_member(struct container *c, struct layer **out);

/* Whether its only member is its top layer: plain bytes, perhaps decompressed. */
bool pipeline_container_plain(const struct container *c);

/* Whether members can be reached past a damaged one: zip and iso9660 on bytes as they are, and
 * folders. */
bool pipeline_container_random(const struct container *c);

/* Makes pipeline_container_next give member `index` of a folder, if it lies ahead and there is one;
 * other containers have to be read. */
void pipeline_container_skip_to(struct container *c, uint64_t index);

/* Goes to member `index`, which lies ahead, by a hint. 1: pipeline_container_next gives it. 0: that
 * is not possible here, and nothing has changed. Errors: as pipeline_container_next. */
int pipeline_container_restart(struct container *c, uint64_t index,
                               const struct pipeline_hint *hint);

#endif
