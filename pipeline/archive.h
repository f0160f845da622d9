/*
 * One source and its members, in order, decoded while they stream by. Nothing goes to disk.
 *
 *     what the source is            its members
 *     tar, pax, cpio, zip, 7z,      the archive's entries in its own order (zip: by their place in
 *     ar, iso9660                   the file), also under one layer of compression
 *     gzip, bzip2, xz, lzma, lzip,  one member: the decompressed bytes, of all frames; its name is
 *     zstd, lz4, compress around    the last part of the path
 *     no archive
 *     anything else                 one member: the file's bytes; its name is the last part of the
 *                                   path
 *     a folder                      its files as they are, not decoded; names relative to it; one
 *                                   note if any that is read is an archive or compressed
 *
 * A member of an archive that is itself an archive or compressed is opened in its place, down to a
 * depth that the caller chooses: the members of `a.tar` in the source have names like
 * `a.tar/dir/file`, and what is only compressed keeps its name and becomes its decompressed bytes.
 * One layer of compression is taken off, never two. A zip or 7z inside is held in memory while it
 * is open, up to 256 MiB; a larger zip is read in order, a larger 7z is refused.
 *
 * The bytes decide what a file is, not its name: a text is never taken for an archive, except that
 * a zip or 7z behind a program is found. What is plainly of a kind that is not read is noted. Only
 * regular files have bytes. Folders, symbolic links, devices and hard links that carry no bytes of
 * their own are members without bytes, as in `bsdtar -xO`.
 *
 * What is cut short is an error also where libarchive would not say so: a tar without its end
 * marker, a zip without its directory, a compressed file whose last frame is incomplete or is
 * followed by bytes that are neither a frame nor zeros, a member shorter than its header says.
 * (An ar that was cut exactly between two members, and frames of which the last are missing, are
 * whole files of their own: nobody could tell.)
 * What comes after a tar's end marker, or a cpio's last entry, is not read (as bsdtar does), with
 * one note if it is not zero.
 */
#ifndef PIPELINE_ARCHIVE_H
#define PIPELINE_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pipeline/io.h"
#include "pipeline/source.h"

/* One member. Its strings belong to the archive and hold until the next call with it. */
struct pipeline_member {
    const char *name;   /* bytes as they are in the archive, UTF-8 where the format says so */
    const char *target; /* of a symbolic or hard link; else NULL */
    char type;          /* '-' file, 'd' folder, 'l' symbolic link, 'h' hard link, 'o' other */
    bool has_bytes;     /* pipeline_archive_read will look for bytes */
    bool whole;         /* it is in an archive of which params.enter took all */
    bool other;         /* its content is not of the kind asked for: it is to be left out */
    uint64_t index;     /* 0, 1, 2 ... counting the source's own members of every type */
    uint64_t inner;     /* of an archive inside: 0, 1, 2 ... counting its members at all depths */
    int64_t size;       /* bytes as they are in the member; -1 if the header does not say */
    int64_t time;       /* last change, seconds since 1970; -1 if the header does not say */
    uint32_t mode;      /* permission bits; 0 if the header does not say */
};

/*
 * Where decoding can begin to come to a place soon. All zero: at the front. It is only ever a short
 * cut: the bytes are the same without it.
 */
struct pipeline_hint {
    uint64_t header; /* tar: byte of the decoded source where the member's header begins */
    uint64_t in;     /* zstd: byte of the source where a frame begins, and ... */
    uint64_t out;    /* ... of the decoded source that comes out of it first */
};

/* What to do about a member that is an archive or compressed. */
enum pipeline_enter {
    PIPELINE_ENTER_PASS, /* it is a member like others, its bytes as they are */
    PIPELINE_ENTER_LOOK, /* its members are given */
    PIPELINE_ENTER_TAKE, /* its members are given, with `whole` set */
};

enum { PIPELINE_MAX_NESTED = 8 };

/*
 * What is inside a member. Zeroed = its bytes as they are.
 *     jsonl_field  a member that is JSON lines becomes the texts under this key, line by line, end
 *                  to end; others stay as they are. JSON lines are what is named .jsonl or .ndjson
 *                  (.gz and the like may follow); what begins with a line that is a JSON object
 *                  with a text under the key; and what begins with two lines that are JSON objects,
 *                  or with a broken one and one with the text. Of other JSON (one object, one over
 *                  several lines, an array) a note says that its bytes are taken. Empty lines are
 *                  passed over. A line that is not an object with a text under the key, or is
 *                  longer than 256 MiB, is damage.
 *     image_size   a member that is a PNG or JPEG becomes (S, S, 3) uint8, RGB: its centre square,
 *                  each pixel the mean of the area that it covers. Members that are neither are
 *                  left out. It is turned as its Exif orientation says. Transparent parts lie on
 *                  white, mixed in the file's own numbers. The bytes come in raster order, or in
 *                  the patch scan of the paper: blocks of (p, p, 3) in raster order, and so inside
 *                  each. An image of more than 2^27 pixels or 256 MiB is damage, as is one of
 *                  which a part is missing.
 *     audio_rate   a member that is a WAV or FLAC becomes 16-bit little-endian samples of one
 *                  channel, the mean of its channels, at this rate; what has that form already
 *                  comes out bit for bit. Members that are neither are left out. One that ends
 *                  early is damage; a WAV of more than 512 MiB inside an archive, or with a
 *                  coding that is not decoded, is not supported. docs/data.md has the rest.
 * At most one of the three may be asked for.
 */
struct pipeline_content {
    const char *jsonl_field; /* borrowed; NULL: none */
    uint32_t image_size;     /* S, 1 to PIPELINE_MAX_IMAGE_SIZE; 0: none */
    uint32_t image_patch;    /* p, a divisor of S; 0 or 1: raster scan */
    uint32_t audio_rate;     /* samples a second, 1000 to 384000; 0: none */
};

enum { PIPELINE_MAX_IMAGE_SIZE = 4096 };

/* What was found of texts under jsonl_field, and what was noted, over as many archives as one
 * likes. Zeroed = nothing. */
struct pipeline_seen {
    uint64_t members;   /* looked at to see whether they are JSON lines ... */
    uint64_t with_text; /* ... and those of which a line has such a text, as far as was read */
    char fields[160];   /* names in the first object that has none: "a, b, c"; "": there was none */
    const struct pipeline_source *folder; /* of which it was noted that its files are not opened */
};

static inline void pipeline_seen_add(struct pipeline_seen *to, const struct pipeline_seen *more)
{
    to->members += more->members;
    to->with_text += more->with_text;
    if (!to->fields[0])
        memcpy(to->fields, more->fields, sizeof(to->fields));
}

/* How a source is read. Zeroed = nothing inside is opened, no limit. */
struct pipeline_archive_params {
    uint32_t nested;    /* archives inside archives are opened down to this depth, at most
                         PIPELINE_MAX_NESTED; 0: none */
    double max_ratio;   /* a source of which more than 8 GiB came out, and more than max_ratio bytes
                         for each byte read, is refused with -EFBIG; 0: no limit */
    uint64_t max_bytes; /* so is one of which more than so many bytes came out; 0: no limit */
    struct pipeline_content content;
    enum pipeline_enter (*enter)(void *user, const char *name); /* NULL: all are taken */
    /* Whether the bytes of a member are wanted if it is not opened. One that is not wanted is not
     * decoded beyond what it takes to see whether it is an archive, and if that cannot be seen, it
     * is passed over. NULL: all are. */
    bool (*wanted)(void *user, const struct pipeline_member *member);
    bool past_damage; /* pipeline_archive_seek goes on behind damage that lies before the place */
    /* A part of the present member, a line counted from 1, cannot be decoded, as pipeline_error()
     * says. 0: it is passed over; else reading fails with what it returns. NULL: reading fails. */
    int (*damaged)(void *user, uint64_t part);
    void *user;
    struct pipeline_seen *seen; /* what is found is added there; borrowed; NULL: nowhere */
    bool again;                 /* it was read before: single members are not noted again */
};

struct pipeline_archive;

/*
 * Open a source and find out what it is. io and source must outlive the archive; *params is copied,
 * NULL is all zeros.
 * Errors: those of pipeline_file_open; -EBADMSG, -EPROTONOSUPPORT (see pipeline.h); -EINVAL,
 * -ENOTSUP (content that cannot be had, or that this build cannot decode).
 * Thread-safety: an archive belongs to one thread at a time.
 */
int pipeline_archive_open(struct pipeline_io *io, const struct pipeline_source *source,
                          const struct pipeline_archive_params *params,
                          struct pipeline_archive **out);

/* Frees it and sets *archive to NULL; NULL is left alone. */
void pipeline_archive_close(struct pipeline_archive **archive);

/*
 * The next member; bytes of the present one that were not read are passed over (where the format
 * allows, without decoding them). 1: *member is filled in. 0: there are no more.
 * Errors: -EBADMSG, -EPROTONOSUPPORT, -EFBIG (see params) and what reading the file says; index and
 * inner of *member then tell the place of this failure from others. After the first two one may go
 * on, also where pipeline_archive_read failed: the next call gives what lies behind the damage, in
 * this archive or in the one that it is in, or says that there is no more. It never fails twice at
 * one place, so that going on comes to an end.
 */
int pipeline_archive_next(struct pipeline_archive *archive, struct pipeline_member *member);

/*
 * The next bytes of the present member's content; holes of sparse files are zeros. *size is 0 at
 * its end, and at once if its content is `other`.
 * *data belongs to the archive and holds until the next call with it.
 * Errors: as pipeline_archive_next. Bytes that came before the damage was found have been given.
 */
int pipeline_archive_read(struct pipeline_archive *archive, const uint8_t **data, size_t *size);

/* Looks at the beginning of the present member as pipeline_archive_read would, and notes what that
 * would note, for who does not read it. Errors: as pipeline_archive_next. */
int pipeline_archive_look(struct pipeline_archive *archive);

/* The way to byte `offset` of the present member. */
struct pipeline_hint pipeline_archive_hint(const struct pipeline_archive *archive, uint64_t offset);

/*
 * Go to byte `offset` of member (index, inner), from wherever it stands: afterwards
 * pipeline_archive_read gives the bytes from there.
 *     a plain file, a folder     goes there directly
 *     zip                        to the member by its directory, then decodes the member
 *     tar, with a hint           to the member's header
 *     xz (bare, or around a tar  decodes from the block on in which the place lies
 *     with a hint)
 *     zstd with a hint           decodes from the frame on that the hint names
 *     all else                   decodes what is before it
 * *hint is what pipeline_archive_hint gave for the same data, or NULL. *member may be NULL.
 * Errors: -ESTALE if there is no such place, else as pipeline_archive_next; if it is the place of a
 * failure itself, that failure, behind which it stands then.
 */
int pipeline_archive_seek(struct pipeline_archive *archive, uint64_t index, uint64_t inner,
                          uint64_t offset, const struct pipeline_hint *hint,
                          struct pipeline_member *member);

/* Goes where pipeline_archive_next gives member (index, 0). Errors: as pipeline_archive_seek. */
int pipeline_archive_skip_to(struct pipeline_archive *archive, uint64_t index);

/* "plain", "tar", "cpio", "zip", "7z", "ar", "iso9660" or "folder". */
const char *pipeline_archive_format(const struct pipeline_archive *archive);

/* "none", "gzip", "bzip2", "xz", "lzma", "zstd", "lz4", "lzip" or "compress". */
const char *pipeline_archive_filter(const struct pipeline_archive *archive);

/* Whether it is one file's bytes, perhaps decompressed, so that it has exactly one member. */
bool pipeline_archive_single(const struct pipeline_archive *archive);

/* Bytes of the source, as it lies on disk, that were read so far. */
uint64_t pipeline_archive_input(const struct pipeline_archive *archive);

#endif
