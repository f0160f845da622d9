/*
 * Going on behind a header that cannot be read.
 *
 *     tar             at the next header that holds: where the damaged one says that its member
 *                     ends, if one is there, else at the next block of 512 bytes that is one
 *     cpio            at the next bytes that look like a header; libarchive looks for them itself,
 *                     without a word, except where it gives up
 *     ar, zip from a  at the next bytes that look like a header
 *     pipe
 *     zip             by its directory, at the next member: the reader is opened once more, and
 *                     finds an empty header in the damaged one's place
 *     7z, iso9660     all headers stand in one place: what the reader cannot read of that is lost.
 *                     Members of a 7z are packed together; where one cannot be decoded, a reader
 *                     that is opened anew knows the way to the next pack
 *
 * A reader of libarchive's that has failed reads no more, so that a new one begins in the middle of
 * the bytes. What the failed one had of them is kept for that while it reads a header.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/container.h"
#include "pipeline/internal.h"

enum {
    BLOCK = 512,
    AHEAD_BYTES = 64 << 20, /* of a member whose header is damaged, to see whether it ends there */
    DROP_BYTES = 1 << 20,
    RECOVERY_TRIES = 8, /* times the bytes of a 7z that may be read in vain */
    AR_MAGIC = 8,
    AR_HEADER = 60,
    CPIO_HEADER = 76,
    ZIP_HEADER = 30,
};

/* Whether headers lie between the members, and what is there must be looked at to find one. */
static bool is_sought(const struct container *c)
{
    return c->format == FORMAT_TAR || c->format == FORMAT_CPIO || c->format == FORMAT_AR ||
           (c->format == FORMAT_ZIP && !c->top->seek);
}

void pipeline_recovery_begin(struct container *c)
{
    c->recovery.keeping = true;
    c->recovery.kept_size = 0;
    c->recovery.from = (uint64_t)archive_filter_bytes(c->reader, 0);
}

void pipeline_recovery_end(struct container *c)
{
    c->recovery.keeping = false;
}

static int append(struct container *c, const uint8_t *bytes, size_t n)
{
    struct recovery *r = &c->recovery;
    size_t room = r->kept_room ? r->kept_room : 4096;
    uint8_t *kept = r->kept;

    while (room < r->kept_size + n)
        room *= 2;
    if (room != r->kept_room)
        kept = realloc(kept, room);
    if (!kept)
        return pipeline_container_fail(c, ENOMEM, "out of memory");
    r->kept = kept;
    r->kept_room = room;
    if (n)
        memcpy(kept + r->kept_size, bytes, n);
    r->kept_size += n;
    return 0;
}

int pipeline_recovery_keep(struct container *c)
{
    struct recovery *r = &c->recovery;
    uint64_t begin = c->given_total - c->given_size, next = r->from + r->kept_size;

    if (!r->keeping || !is_sought(c) || next >= c->given_total)
        return 0;
    if (next < begin) { /* bytes between were skipped */
        r->from = next = begin;
        r->kept_size = 0;
    }
    return append(c, (const uint8_t *)c->given + (next - begin), (size_t)(c->given_total - next));
}

/* Whether at least n bytes are kept, after reading on. What goes wrong counts as the end: it comes
 * again behind what is there. -ENOMEM. */
static int ensure(struct container *c, size_t n)
{
    while (c->recovery.kept_size < n) {
        const void *data;
        size_t size;
        int result;

        if (pipeline_layer_read(c->top, &data, &size) < 0 || size == 0)
            return 0;
        result = append(c, data, size);
        if (result < 0)
            return result;
    }
    return 1;
}

/* The first n bytes that are kept are done with. */
static void drop(struct container *c, size_t n)
{
    struct recovery *r = &c->recovery;

    memmove(r->kept, r->kept + n, r->kept_size - n);
    r->kept_size -= n;
    r->from += n;
}

/* A new reader begins at byte `at` of what is kept. */
static int begin_at(struct container *c, size_t at)
{
    struct recovery *r = &c->recovery;
    int result;

    archive_read_free(c->reader);
    c->reader = NULL;
    c->opened = c->in_entry = c->decoded = false;
    c->origin += r->from + at;
    c->given = NULL;
    c->given_size = c->given_total = 0;
    free(r->replay);
    r->replay = r->kept;
    r->again = r->replay + at;
    r->again_size = r->kept_size - at;
    r->kept = NULL;
    r->kept_size = r->kept_room = 0;
    r->fatal = false;
    result = pipeline_container_reader(c);
    return result < 0 ? result : 1;
}

static bool is_format(const uint8_t *p, size_t n, enum detect_format format)
{
    bool bad;

    return pipeline_detect_format(p, n, "", &bad) == format && !bad;
}

static bool tar_holds(const uint8_t *block)
{
    return is_format(block, BLOCK, FORMAT_TAR);
}

static bool is_zero(const uint8_t *p, size_t n)
{
    while (n && !*p)
        p++, n--;
    return n == 0;
}

static bool tar_is_damaged(const uint8_t *block)
{
    return !memcmp(block + 257, "ustar", 5) && !tar_holds(block);
}

/* Bytes of a member's content and what pads it, as its header says; SIZE_MAX if it says nothing
 * that makes sense, or too many. */
static size_t tar_content(const uint8_t *block)
{
    const uint8_t *digits = block + 124;
    uint64_t size = 0;
    size_t i = 0;

    while (i < 11 && digits[i] == ' ')
        i++;
    if (digits[i] < '0' || digits[i] > '7')
        return SIZE_MAX;
    for (; i < 12 && digits[i] >= '0' && digits[i] <= '7'; i++)
        size = size * 8 + (uint64_t)(digits[i] - '0');
    if ((i < 12 && digits[i] && digits[i] != ' ') || size > AHEAD_BYTES)
        return SIZE_MAX;
    return ((size_t)size + BLOCK - 1) / BLOCK * BLOCK;
}

/* Whether a header, a damaged one or the end of the archive stands at byte `at`. */
static int tar_goes_on(struct container *c, size_t at)
{
    const uint8_t *block;
    int result = ensure(c, at + BLOCK);

    if (result <= 0)
        return result;
    block = c->recovery.kept + at;
    if (tar_holds(block) || tar_is_damaged(block))
        return 1;
    if (!is_zero(block, BLOCK))
        return 0;
    result = ensure(c, at + 2 * BLOCK);
    return result < 0 ? result : result == 0 || is_zero(c->recovery.kept + at, 2 * BLOCK);
}

/* Where the member ends whose first header is kept and cannot be read. 1: *at is set. */
static int tar_end_of_member(struct container *c, size_t *at)
{
    const uint8_t *head = c->recovery.kept;
    size_t end = 0;

    if (tar_holds(head) && strchr("xXLKA", head[156]) && head[156]) {
        /* It says more about the member whose header follows; that is lost, or what it says. */
        size_t content = tar_content(head);

        if (content == SIZE_MAX || ensure(c, content + 2 * BLOCK) <= 0)
            return 0;
        end = BLOCK + content;
        head = c->recovery.kept + end;
        if (tar_holds(head) && !memmem(head, 100, "GNUSparseFile.", 14)) {
            *at = end;
            return 1;
        }
    } else if (tar_holds(head)) {
        return 0;
    }
    if (tar_content(head) == SIZE_MAX)
        return 0;
    *at = end + BLOCK + tar_content(head);
    return tar_goes_on(c, *at);
}

static bool looks_like_header(enum detect_format format, const uint8_t *p)
{
    switch (format) {
    case FORMAT_TAR:
        return tar_holds(p);
    case FORMAT_CPIO:
        return p[0] == '0' && is_format(p, CPIO_HEADER, FORMAT_CPIO);
    case FORMAT_ZIP:
        return p[0] == 'P' && !memcmp(p, "PK\3\4", 4);
    case FORMAT_AR:
        return p[58] == '`' && p[59] == '\n' && p[48] >= '0' && p[48] <= '9';
    default:
        return false;
    }
}

/* The next bytes, from `at` on, that look like a header. 1: they are at *found. */
static int look_for_header(struct container *c, size_t at, size_t *found)
{
    size_t need = c->format == FORMAT_TAR    ? BLOCK
                  : c->format == FORMAT_CPIO ? CPIO_HEADER
                  : c->format == FORMAT_ZIP  ? ZIP_HEADER
                                             : AR_HEADER;
    size_t step = c->format == FORMAT_TAR ? BLOCK : c->format == FORMAT_AR ? 2 : 1;

    for (;; at += step) {
        int result;

        if (at >= DROP_BYTES && at > c->recovery.kept_size / 2) {
            drop(c, at - BLOCK);
            at = BLOCK;
        }
        result = ensure(c, at + need);
        if (result <= 0)
            return result;
        if (looks_like_header(c->format, c->recovery.kept + at))
            break;
    }
    *found = at;
    return 1;
}

static int go_on_in_tar(struct container *c)
{
    size_t at = BLOCK;
    int result = ensure(c, BLOCK) > 0 ? tar_end_of_member(c, &at) : 0;

    if (result > 0 && tar_is_damaged(c->recovery.kept + at)) {
        drop(c, at);
        return pipeline_container_fail(c, EBADMSG, "one more tar header is damaged");
    }
    if (result == 0) {
        c->recovery.unsure = true;
        result = look_for_header(c, BLOCK, &at);
    }
    return result > 0 ? begin_at(c, at) : result;
}

/* ar: its first bytes are put before what is left, for the reader. */
static int go_on_at_header(struct container *c)
{
    size_t at;
    int result = look_for_header(c, c->format == FORMAT_AR ? AR_HEADER : 1, &at);

    if (result <= 0)
        return result;
    if (c->format == FORMAT_AR) {
        at -= AR_MAGIC;
        memcpy(c->recovery.kept + at, "!<arch>\n", AR_MAGIC);
    }
    return begin_at(c, at);
}

/* Opens an archive with a directory anew, and goes where it was. 1, or 0 if that fails. */
static int open_anew(struct container *c)
{
    struct archive_entry *entry;
    int result, got = ARCHIVE_OK;

    /* The present member's name is the reader's, and is still asked for. */
    archive_read_free(c->recovery.retired);
    c->recovery.retired = c->reader;
    c->reader = NULL;
    c->opened = c->in_entry = c->decoded = c->recovery.fatal = false;
    c->given = NULL;
    c->given_size = c->given_total = 0;
    result = pipeline_layer_seek(c->top, 0);
    if (result == 0)
        result = pipeline_container_reader(c);
    for (uint64_t i = 0; i < c->next_index && result == 0; i++) {
        got = archive_read_next_header(c->reader, &entry);
        if (got == ARCHIVE_EOF || got == ARCHIVE_FATAL)
            return 0;
    }
    c->opened = result == 0;
    c->in_entry = result == 0 && (got == ARCHIVE_OK || got == ARCHIVE_WARN);
    return result == 0;
}

/* A zip with a directory: one more header is replaced. */
static int go_on_in_zip(struct container *c)
{
    struct recovery *r = &c->recovery;
    uint64_t at = (uint64_t)archive_filter_bytes(c->reader, 0);

    if (r->misplaced || r->n_patches == RECOVERY_PATCHES ||
        (r->n_patches && r->patches[r->n_patches - 1] >= at))
        return 0;
    r->patches[r->n_patches++] = at;
    return open_anew(c);
}

int pipeline_recovery_free_7z(struct container *c)
{
    struct recovery *r = &c->recovery;
    bool stuck = r->stuck;

    r->stuck = false;
    if (c->format != FORMAT_7ZIP || !stuck)
        return 1;
    r->in_vain += c->given_total;
    if (c->broken || r->in_vain / RECOVERY_TRIES > c->top->size)
        return 1; /* what follows fails like what failed */
    return open_anew(c);
}

int pipeline_recovery_patch(struct container *c, uint64_t at, const void **data, size_t n)
{
    static const uint8_t header[ZIP_HEADER] = {'P', 'K', 3, 4, 20};
    struct recovery *r = &c->recovery;
    bool own = false;

    for (size_t i = 0; i < r->n_patches; i++) {
        uint64_t from = r->patches[i] > at ? r->patches[i] : at, to = r->patches[i] + ZIP_HEADER;

        to = to < at + n ? to : at + n;
        if (from >= to)
            continue;
        if (!own) {
            uint8_t *bytes = malloc(n);

            if (!bytes)
                return -ENOMEM;
            memcpy(bytes, *data, n);
            free(r->patched);
            r->patched = bytes;
            *data = bytes;
            own = true;
        }
        memcpy(r->patched + (from - at), header + (from - r->patches[i]), (size_t)(to - from));
    }
    return 0;
}

/* The reader is at its end, or in a header that it cannot read: what it has left is kept. */
static int keep_rest(struct container *c)
{
    int result;

    c->recovery.keeping = true;
    result = pipeline_recovery_keep(c);
    c->recovery.keeping = false;
    return result;
}

int pipeline_recovery_go_on(struct container *c)
{
    int result = 0;

    if (!is_sought(c) && !c->recovery.fatal)
        return 1; /* the reader goes on by itself */
    if (!is_sought(c))
        return c->format == FORMAT_ZIP ? go_on_in_zip(c) : 0;
    if (c->reader)
        result = keep_rest(c);
    if (result >= 0)
        result = c->format == FORMAT_TAR ? go_on_in_tar(c) : go_on_at_header(c);
    if (result == 0 && c->top->error) {
        c->broken = true;
        result = pipeline_container_fail_layer(c);
    }
    return result;
}

void pipeline_recovery_finish(struct container *c)
{
    archive_read_free(c->recovery.retired);
    free(c->recovery.kept);
    free(c->recovery.replay);
    free(c->recovery.patched);
}
