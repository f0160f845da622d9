/*
 * What a container stands on is looked at here: which compression is taken off, which format is
 * read, and where it begins and ends.
 */
#include <errno.h>
#include <stdio.h>
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

/* Finds the archive in the bytes of the top layer, which can seek: a zip, or what a program has
 * behind it. Sets format, which is FORMAT_PLAIN if there is none. */
static int bound(struct container *c)
{
    const bool zip = c->format == FORMAT_ZIP;
    struct bounds b;
    int result = pipeline_bounds_find(c->top, zip, &b);

    if (result < 0)
        return c->top->error ? pipeline_container_fail_layer(c) : result;
    if (zip && b.split)
        return pipeline_container_fail(
            c, ENOTSUP,
            "it is a part of a zip archive in several files: make one of them first (zip "
            "-s 0 LAST.zip --out WHOLE.zip)");
    if (zip && b.format == FORMAT_PLAIN)
        return pipeline_container_fail(
            c, EBADMSG, "the zip archive is damaged or cut short (no directory at its end)");
    c->format = b.format;
    note_rest(c, &b);
    c->ended = b.empty;
    if (b.empty || b.format == FORMAT_PLAIN || (b.begin == 0 && b.end == c->top->size))
        return 0;
    result = pipeline_layer_window_create(c->top, b.begin, b.end, &c->window);
    if (result == 0)
        c->top = c->window;
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
    if (c->format == FORMAT_ISO && (result = check_iso_size(c, head)) < 0)
        return result;
    if (c->top->seek && (c->format == FORMAT_ZIP ||
                         (c->format == FORMAT_PLAIN && pipeline_bounds_may_carry(head, n, name))))
        result = bound(c);
    if (result < 0 || c->ended)
        return result;
    if (c->format != FORMAT_PLAIN)
        return pipeline_container_reader(c);
    if (c->top->error && n < 512)
        return pipeline_container_fail_layer(c); /* what it is cannot be told from so few bytes */
    if (c->filter_kind != FILTER_NONE)
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
