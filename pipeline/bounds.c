#include "pipeline/bounds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "pipeline/internal.h"

enum {
    END_BYTES = 22,     /* the record at the end of a zip ... */
    LOCATOR_BYTES = 20, /* ... before it, if the zip is large, what says where ... */
    END64_BYTES = 56,   /* ... a larger record is, ... */
    END64_MOST = 16384, /* ... which libarchive reads up to this length */
    FIRST = 128 << 10,  /* bytes that are looked through at once, at the end; and then */
    CHUNK = 4 << 20,
    PROGRAM_BYTES = 16 << 20, /* a 7z begins within so many, behind a program */
    MOST_TRIED = 64,          /* records that look right at first sight */
};
/* How far from the end the record may be: a comment, and whatever was put behind it. */
static const uint64_t TAIL_BYTES[] = {256 << 20, 1 << 20, 128 << 10};

struct search {
    struct layer *layer;
    bool zip;
    int tries;      /* left */
    uint8_t *chunk; /* (CHUNK) */
};

static uint32_t little16(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8;
}

static uint64_t little64(const uint8_t *p)
{
    return pipeline_little32(p) | (uint64_t)pipeline_little32(p + 4) << 32;
}

/* Bytes from `at` on. 1; 0 if there are not so many; or what reading says. */
static int read_at(struct layer *layer, uint64_t at, uint8_t *to, size_t n)
{
    int result;

    if (at > layer->size || n > layer->size - at)
        return 0;
    result = pipeline_layer_seek(layer, at);
    while (result == 0 && n) {
        const void *data;
        size_t got;

        result = pipeline_layer_read(layer, &data, &got);
        if (result < 0 || got == 0)
            break;
        got = got < n ? got : n;
        memcpy(to, data, got);
        to += got;
        n -= got;
    }
    return result < 0 ? result : n == 0;
}

/* Whether these four bytes are at `at`. 1, 0, or what reading says. */
static int is_at(struct layer *layer, uint64_t at, const char *magic)
{
    uint8_t bytes[4];
    int result = read_at(layer, at, bytes, 4);

    return result <= 0 ? result : !memcmp(bytes, magic, 4);
}

/* The record of a large zip, if there is one before the record at `end`. 1: it is at *at. */
static int find_end64(struct search *s, uint64_t end, uint64_t *at)
{
    uint64_t locator = end - LOCATOR_BYTES;
    uint8_t *tail;
    size_t n;
    int result;

    if (end < LOCATOR_BYTES + END64_BYTES)
        return 0;
    result = is_at(s->layer, locator, "PK\6\7");
    if (result <= 0)
        return result;
    n = locator < END64_MOST ? (size_t)locator : END64_MOST;
    tail = malloc(n);
    if (!tail)
        return pipeline_fail(ENOMEM, "out of memory");
    result = read_at(s->layer, locator - n, tail, n);
    if (result > 0) {
        result = 0;
        for (size_t i = n - END64_BYTES + 1; i-- > 0 && !result;) {
            result = !memcmp(tail + i, "PK\6\6", 4) && little64(tail + i + 4) + 12 == n - i;
            *at = locator - n + i;
        }
    }
    free(tail);
    return result;
}

/* Where the directory is that the record at `end` points to, and the archive's first byte. 1: it is
 * one. */
static int find_directory(struct search *s, uint64_t end, const uint8_t *record, uint64_t *begin,
                          uint64_t *directory)
{
    uint64_t size = pipeline_little32(record + 12), offset = pipeline_little32(record + 16);
    uint64_t at64 = 0, stop = end;
    int result = find_end64(s, end, &at64);

    if (result < 0)
        return result;
    if (result > 0) {
        uint8_t large[END64_BYTES];

        result = read_at(s->layer, at64, large, END64_BYTES);
        if (result <= 0)
            return result;
        if (pipeline_little32(large + 16) || pipeline_little32(large + 20))
            return 0;
        size = little64(large + 40);
        offset = little64(large + 48);
        stop = at64;
    }
    if (size > stop || offset > stop - size)
        return 0;
    *directory = stop - size;
    *begin = *directory - offset;
    return is_at(s->layer, *directory, "PK\1\2");
}

/* Whether the member that the directory names first is where it says, *at. */
static int first_member_holds(struct search *s, uint64_t begin, uint64_t directory, uint64_t *at)
{
    uint8_t entry[46];
    uint32_t offset;
    int result = read_at(s->layer, directory, entry, sizeof(entry));

    if (result <= 0)
        return result;
    offset = pipeline_little32(entry + 42);
    *at = offset == UINT32_MAX ? begin : begin + offset;
    return offset == UINT32_MAX ? 1 : is_at(s->layer, *at, "PK\3\4");
}

static int find_zip(struct search *s, uint64_t stop, uint64_t tail, struct bounds *out);

/* Whether a whole zip ends right before `end`. */
static int ends_at(struct search *s, uint64_t end)
{
    struct search before = {.layer = s->layer, .tries = s->tries, .chunk = malloc(CHUNK)};
    struct bounds found = {0};
    int result;

    if (!before.chunk)
        return pipeline_fail(ENOMEM, "out of memory");
    result = find_zip(&before, end, END_BYTES + 65535, &found);
    s->tries = before.tries;
    free(before.chunk);
    if (result < 0)
        return result;
    return found.format == FORMAT_ZIP && !found.behind && !found.cut_comment;
}

/* Whether the record at byte `end` of the layer, before `stop`, is that of an archive. */
static int try_record(struct search *s, const uint8_t *record, uint64_t end, uint64_t stop,
                      struct bounds *out)
{
    uint64_t begin, first, directory, after = end + END_BYTES + little16(record + 20);
    int result;

    if (pipeline_little32(record + 4) != 0 && little16(record + 4) != UINT16_MAX) {
        out->split |= little16(record + 4) >= little16(record + 6) && after == stop;
        return 0;
    }
    if (s->tries <= 0)
        return 0;
    s->tries--;
    result = find_directory(s, end, record, &begin, &directory);
    first = begin;
    if (result > 0 && !s->zip)
        result = first_member_holds(s, begin, directory, &first);
    if (result > 0 && s->zip && begin > 0) {
        /* A zip that is a member of one which was cut, or two zips one after the other. */
        result = ends_at(s, begin);
        out->second = result > 0;
    }
    if (result <= 0)
        return result;
    out->format = FORMAT_ZIP;
    out->begin = begin;
    out->before = first;
    out->end = end + END_BYTES;
    out->cut_comment = after > stop;
    out->behind = after < stop ? stop - after : 0;
    return 1;
}

/* The last record of an archive that begins in the `tail` bytes before `stop`. */
static int find_zip(struct search *s, uint64_t stop, uint64_t tail, struct bounds *out)
{
    uint64_t low = stop < tail ? 0 : stop - tail, high = stop;
    size_t most = FIRST;
    int result = 0;

    while (result == 0 && high - low >= END_BYTES) {
        size_t n = high - low < most ? (size_t)(high - low) : most;

        result = read_at(s->layer, high - n, s->chunk, n);
        if (result <= 0)
            return result;
        result = 0;
        for (size_t i = n - END_BYTES + 1; i-- > 0 && result == 0;) {
            const uint8_t *p = s->chunk + i;

            if (p[0] == 'P' && !memcmp(p, "PK\5\6", 4))
                result = try_record(s, p, high - n + i, stop, out);
        }
        high -= n - (END_BYTES - 1);
        most = CHUNK;
    }
    return result < 0 ? result : 0;
}

/* The bytes behind an archive count if one of the first of them is not zero. */
static int forget_zeros(struct search *s, struct bounds *b)
{
    size_t n = b->behind < FIRST ? (size_t)b->behind : FIRST;
    int result = n ? read_at(s->layer, s->layer->size - b->behind, s->chunk, n) : 0;

    for (size_t i = 0; result > 0 && i < n; i++) {
        if (s->chunk[i])
            return 1;
    }
    b->behind = n == b->behind ? 0 : b->behind;
    return result;
}

/* Whether a RAR archive begins here, of version 4 or 5: its first header has its kind. */
static bool is_rar(const uint8_t *p)
{
    return !memcmp(p, "Rar!\x1a\7", 6) &&
           ((p[6] == 0 && p[9] == 0x73) || (p[6] == 1 && p[7] == 0 && (p[13] == 1 || p[13] == 4)));
}

/* A 7z behind a program: its first header has a checksum. */
static int find_7z(struct search *s, struct bounds *out)
{
    uint64_t at = 0, most = s->layer->size < PROGRAM_BYTES ? s->layer->size : PROGRAM_BYTES;

    while (at + 32 <= most) {
        size_t n = most - at < CHUNK ? (size_t)(most - at) : CHUNK;
        int result = read_at(s->layer, at, s->chunk, n);

        if (result <= 0)
            return result;
        for (size_t i = 0; i + 32 <= n; i++) {
            const uint8_t *p = s->chunk + i;

            if (p[0] == 'R' && is_rar(p))
                out->foreign = "a self-extracting RAR archive";
            if (p[0] != '7' || memcmp(p, "7z\xbc\xaf\x27\x1c", 6) ||
                crc32(0, p + 12, 20) != pipeline_little32(p + 8))
                continue;
            out->format = FORMAT_7ZIP;
            out->begin = out->before = at + i;
            out->end = s->layer->size;
            return 1;
        }
        at += n - 31;
    }
    return 0;
}

/* Nothing in the beginning speaks of an archive, so that what ends like one is not opened. */
static int look_at_end(struct search *s, struct bounds *out)
{
    int result = s->layer->size < 1024 ? 0 : is_at(s->layer, s->layer->size - 512, "koly");

    if (result < 0)
        return result;
    *out =
        (struct bounds){.foreign = out->format == FORMAT_ZIP ? "data with a zip archive behind it"
                                   : result > 0              ? "a disk image (.dmg)"
                                                             : NULL};
    return result;
}

int pipeline_bounds_find(struct layer *layer, enum bounds_head head, struct bounds *out)
{
    const bool zip = head == BOUNDS_ZIP;
    struct search s = {.layer = layer, .zip = zip, .tries = MOST_TRIED, .chunk = malloc(CHUNK)};
    uint8_t record[END_BYTES];
    int result = 0, back;

    *out = (struct bounds){0};
    if (!s.chunk)
        return pipeline_fail(ENOMEM, "out of memory");
    if (zip)
        result = read_at(layer, 0, record, END_BYTES);
    if (result > 0 && !memcmp(record, "PK\5\6", 4) && !pipeline_little32(record + 4) &&
        !pipeline_little32(record + 8) && !pipeline_little32(record + 12)) {
        uint64_t end = END_BYTES + little16(record + 20);

        out->format = FORMAT_ZIP;
        out->empty = true;
        out->cut_comment = end > layer->size;
        out->behind = end < layer->size ? layer->size - end : 0;
    } else if (result >= 0) {
        result = find_zip(&s, layer->size, TAIL_BYTES[head], out);
        if (result >= 0 && head == BOUNDS_PROGRAM && out->format == FORMAT_PLAIN)
            result = find_7z(&s, out);
        if (result >= 0 && head == BOUNDS_OTHER)
            result = look_at_end(&s, out);
    }
    if (result >= 0)
        result = forget_zeros(&s, out);
    free(s.chunk);
    if (result < 0)
        return result;
    back = pipeline_layer_seek(layer, 0);
    return back < 0 ? back : 0;
}

bool pipeline_bounds_may_carry(const uint8_t *h, size_t n, const char *name)
{
    static const char magics[][5] = {"\177ELF", "\xcf\xfa\xed\xfe", "\xce\xfa\xed\xfe",
                                     "\xca\xfe\xba\xbe"};
    static const char *const suffixes[] = {".zip", ".7z", ".exe", ".jar", ".pyz"};
    const size_t length = strlen(name);

    for (size_t i = 0; n >= 4 && i < sizeof(magics) / sizeof(magics[0]); i++) {
        if (!memcmp(h, magics[i], 4))
            return true;
    }
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        size_t m = strlen(suffixes[i]);

        if (length > m && !strcasecmp(name + length - m, suffixes[i]))
            return true;
    }
    return n >= 2 && (!memcmp(h, "#!", 2) || !memcmp(h, "MZ", 2));
}

struct window_layer {
    struct layer layer;
    struct layer *below;
    uint64_t begin;
};

static int window_result(struct window_layer *w, int result)
{
    if (result < 0)
        memcpy(w->layer.why, w->below->why, sizeof(w->layer.why));
    return result;
}

static int window_read(struct layer *layer, const void **data, size_t *size)
{
    struct window_layer *w = (struct window_layer *)layer;
    uint64_t end = w->begin + layer->size;
    int result;

    *size = 0;
    if (w->below->position >= end)
        return 0;
    result = pipeline_layer_read(w->below, data, size);
    if (w->below->position > end)
        *size -= (size_t)(w->below->position - end);
    return window_result(w, result);
}

static int window_seek(struct layer *layer, uint64_t offset)
{
    struct window_layer *w = (struct window_layer *)layer;

    return window_result(w, pipeline_layer_seek(w->below, w->begin + offset));
}

static void window_close(struct layer *layer)
{
    (void)layer;
}

int pipeline_layer_window_create(struct layer *below, uint64_t begin, uint64_t end,
                                 struct layer **out)
{
    struct window_layer *w = calloc(1, sizeof(*w));
    int result;

    if (!w)
        return pipeline_fail(ENOMEM, "out of memory");
    result = pipeline_layer_seek(below, begin);
    if (result < 0) {
        free(w);
        return result;
    }
    w->layer.read = window_read;
    w->layer.seek = window_seek;
    w->layer.close = window_close;
    w->layer.size = end - begin;
    w->below = below;
    w->begin = begin;
    *out = &w->layer;
    return 0;
}
