/*
 * What a run of bytes is, by its first bytes; not installed.
 *
 * libarchive could guess too, but it would take a file of zeros for an empty tar, unwrap a .gz
 * inside a .gz, and read the beginning of a cut archive as plain text. Each of those would silently
 * change what is trained on, so the decision is taken here and libarchive is told.
 */
#ifndef PIPELINE_DETECT_H
#define PIPELINE_DETECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes to look at: an ISO 9660 image shows itself only after 32 KiB. */
enum { DETECT_BYTES = 34816 };

enum detect_filter {
    FILTER_NONE,
    FILTER_GZIP,
    FILTER_BZIP2,
    FILTER_XZ,
    FILTER_LZMA,
    FILTER_ZSTD,
    FILTER_LZ4,
    FILTER_LZIP,
    FILTER_COMPRESS,
};

enum detect_format {
    FORMAT_PLAIN,
    FORMAT_TAR,
    FORMAT_CPIO,
    FORMAT_ZIP,
    FORMAT_7ZIP,
    FORMAT_AR,
    FORMAT_ISO,
};

/* head: the first n bytes, all there are if n < DETECT_BYTES. */
enum detect_filter pipeline_detect_filter(const uint8_t *head, size_t n);

/*
 * name: what the file is called; needed only where the bytes leave it open (a block of zeros is an
 * empty tar if the name says tar). *damaged is set when the bytes are of that format beyond doubt
 * but not sound.
 */
enum detect_format pipeline_detect_format(const uint8_t *head, size_t n, const char *name,
                                          bool *damaged);

/*
 * For plain bytes: what the name promises ("gzip", "tar" ...) or NULL. *cut is set when n < the
 * shortest such file and the bytes could be its beginning: then it was cut, and is no plain text.
 */
const char *pipeline_detect_promise(const uint8_t *head, size_t n, const char *name, bool *cut);

/* For bytes that are none of the above: what archive or compressed data of a kind that is not read
 * they plainly are, with its article, or NULL. (detect_foreign.c) */
const char *pipeline_detect_foreign(const uint8_t *head, size_t n, const char *name);

/* Kinds that were noted of one source; zeroed at first. */
struct foreign_noted {
    const char *kinds[32];
    size_t n;
};

/* Notes, once for each kind, that this source, or member of it, is one. member: "" for none. */
void pipeline_foreign_note(struct foreign_noted *noted, const char *source, const char *member,
                           const char *kind);

/* Whether the name is that of a part of an archive: x.7z.001, x.tar.gz.002, x.z01. */
bool pipeline_detect_part(const char *name);

/* Length of the name without .gz and the like; .tgz and the like stay. */
size_t pipeline_detect_bare_length(const char *name);

const char *pipeline_filter_name(enum detect_filter filter);
const char *pipeline_format_name(enum detect_format format);

#endif
