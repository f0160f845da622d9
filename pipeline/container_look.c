/*
 * What a container stands on is looked at here: which compression is taken off, which format is
 * read, and where it begins and ends.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "pipeline/bounds.h"
#include "pipeline/container.h"
#include "pipeline/internal.h"

/* An ISO image says in its first descriptor how many sectors of 2048 bytes it has. */
static int check_iso_size(struct container *c, const uint8_t *head)
{
    const uint8_t *p = head + 32768 + 80;
    uint64_t sectors = p[0] | p[1] << 8 | p[2] << 16 | (uint64_t)p[3] << 24;

    if (!c->top->seek || c->top->size >= sectors * 2048)
        return 0;
    return pipeline_container_fail(c, EBADMSG,
                                   "the iso9660 image is shorter than it says: it was cut short");
}

/* The first header of a 7z says where the directory is, and libarchive does not look at its
 * checksum: with a length of 0 there the archive would be an empty one. */
static bool first_7z_header_holds(const uint8_t *head, size_t n)
{
    return n >= 32 && crc32(0, head + 12, 20) == pipeline_little32(head + 8);
}

/* What the reader is not shown of a file. */
static void note_rest(struct container *c, const struct bounds *b)
{
    const char *kind = pipeline_format_name(b->format);
    char before[64] = "", behind[64] = "";

    if (b->before)
        snprintf(before, sizeof(before), "%llu bytes %sbefore", (unsigned long long)b->before,
                 b->second ? "(a zip too) " : "");
    if (b->behind)
        snprintf(behind, sizeof(behind), "%llu bytes behind", (unsigned long long)b->behind);
    if (b->before || b->behind)
        snprintf(c->note, sizeof(c->note), "%s%s%s the %s archive are not read", before,
                 b->before && b->behind ? " and " : "", behind, kind);
    else if (b->cut_comment)
        snprintf(c->note, sizeof(c->note), "the comment of the zip archive is cut short");
}

/* The first of several files: it begins like the whole, and does not end. */
static int fail_part(struct container *c)
{
    return pipeline_container_fail(c, ENOTSUP,
                                   "it is a part of an archive in several files: put them together "
                                   "first (cat x.7z.0* > x.7z)");
}

/* Finds the archive in the bytes of the top layer, which can seek: a zip, or what a program has
 * behind it. Sets format, which is FORMAT_PLAIN if there is none. */
static int bound(struct container *c, enum bounds_head kind, bool encrypted, const char *name)
{
    const bool zip = kind == BOUNDS_ZIP;
    struct bounds b;
    int result = pipeline_bounds_find(c->top, kind, &b);

    if (result < 0)
        return c->top->error ? pipeline_container_fail_layer(c) : result;
    if (zip && b.split)
        return pipeline_container_fail(
            c, ENOTSUP,
            "it is a part of a zip archive in several files: make one of them first (zip "
            "-s 0 LAST.zip --out WHOLE.zip)");
    if (zip && b.format == FORMAT_PLAIN && encrypted)
        return pipeline_container_fail(c, EPROTONOSUPPORT,
                                       "it is encrypted: no password can be given");
    if (zip && b.format == FORMAT_PLAIN && pipeline_detect_part(name))
        return fail_part(c);
    if (zip && b.format == FORMAT_PLAIN)
        return pipeline_container_fail(
            c, EBADMSG, "the zip archive is damaged or cut short (no directory at its end)");
    c->format = b.format;
    c->foreign = b.foreign;
    note_rest(c, &b);
    c->ended = b.empty;
    if (b.empty || b.format == FORMAT_PLAIN || (b.begin == 0 && b.end == c->top->size))
        return 0;
    result = pipeline_layer_window_create(c->top, b.begin, b.end, &c->window);
    if (result == 0)
        c->top = c->window;
    return result;
}

/* Where the directory of a 7z ends, as its first header says; no less than 32. */
static uint64_t end_of_7z(const uint8_t *head)
{
    uint64_t end = 32;

    for (size_t at = 12; at < 28; at += 8) {
        uint64_t n = pipeline_little32(head + at) | (uint64_t)pipeline_little32(head + at + 4)
                                                        << 32;

        end = n > UINT64_MAX - end ? UINT64_MAX : end + n;
    }
    return end;
}

/* Looks at the end of what can seek, if the first bytes say that there may be something. *head is
 * read anew. */
static int look_at_end(struct container *c, const char *name, const uint8_t **head, size_t *n)
{
    enum bounds_head kind = BOUNDS_OTHER;
    bool encrypted = false;
    int result;

    if (!c->top->seek || (c->format != FORMAT_ZIP && c->format != FORMAT_PLAIN))
        return 0;
    if (c->format == FORMAT_ZIP) {
        kind = BOUNDS_ZIP;
        encrypted = *n > 7 && (*head)[7] & 0x20; /* so is the directory */
    } else if (pipeline_bounds_may_carry(*head, *n, name)) {
        kind = BOUNDS_PROGRAM;
    } else if (!*n || !memchr(*head, 0, *n < 512 ? *n : 512)) {
        return 0; /* a text has nothing behind it, and is read once */
    }
    result = bound(c, kind, encrypted, name);
    if (result == 0 && c->format == FORMAT_PLAIN)
        result = pipeline_layer_peek(c->top, DETECT_BYTES, head, n);
    return result;
}

/* Opens what the first bytes of the top layer say, once the layers are there. */
static int open_format(struct container *c, const char *name)
{
    const char *promised;
    const uint8_t *head;
    size_t n;
    bool bad;
    int result = pipeline_layer_peek(c->top, DETECT_BYTES, &head, &n);

    if (result < 0)
        return pipeline_container_fail_layer(c);
    c->format = pipeline_detect_format(head, n, name, &bad);
    if (bad)
        return 0; /* pipeline_container_next tells it, and goes on behind it */
    if (c->format == FORMAT_7ZIP && !first_7z_header_holds(head, n))
        return pipeline_container_fail(c, EBADMSG, "the first 7z header is damaged or cut short");
    if (c->format == FORMAT_7ZIP && c->top->seek && end_of_7z(head) > c->top->size &&
        pipeline_detect_part(name))
        return fail_part(c);
    if (c->format == FORMAT_ISO && (result = check_iso_size(c, head)) < 0)
        return result;
    result = look_at_end(c, name, &head, &n);
    if (result < 0 || c->ended)
        return result;
    if (c->format != FORMAT_PLAIN)
        return pipeline_container_reader(c);
    if (c->top->error && n < 512)
        return pipeline_container_fail_layer(c); /* what it is cannot be told from so few bytes */
    if (!c->foreign)
        c->foreign = pipeline_detect_foreign(head, n, name);
    if (c->filter_kind != FILTER_NONE || c->foreign)
        return 0;
    promised = pipeline_detect_promise(head, n, name, &bad);
    if (bad)
        return pipeline_container_fail(c, EBADMSG,
                                       "it is shorter than its first header: it was cut short");
    if (promised && n)
        snprintf(c->note, sizeof(c->note),
                 "is named like %s data but is not: its bytes are taken as they are", promised);
    return 0;
}

static int open_layers(struct container *c)
{
    const uint8_t *head;
    size_t n;
    int result = pipeline_layer_peek(c->top, DETECT_BYTES, &head, &n);

    if (result < 0)
        return pipeline_container_fail_layer(c);
    c->filter_kind = pipeline_detect_filter(head, n);
    if (c->filter_kind == FILTER_NONE)
        return 0;
    result = pipeline_layer_filter_create(c->base, c->filter_kind, &c->filter);
    if (result < 0) {
        char why[sizeof(c->why)];

        snprintf(why, sizeof(why), "%s", pipeline_error());
        return pipeline_container_fail(c, -result, why);
    }
    c->top = c->filter;
    return 0;
}

int pipeline_container_look(struct container *c, const char *name)
{
    int result = open_layers(c);

    return result == 0 ? open_format(c, name) : result;
}
