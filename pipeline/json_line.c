/*
 * See json_line.h.
 */
#include "pipeline/json_line.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct reader {
    const uint8_t *begin, *at, *end;
    const char *wrong; /* the first thing that is, at `at` */
    bool inside;       /* a text or a number, which another line cannot go on with */
    char *names;       /* (room) of the outermost object's members; NULL: nowhere */
    size_t room;
};

/* Where a text goes that is being read. */
struct sink {
    uint8_t *to;       /* NULL: nowhere */
    const char *match; /* NULL, or what it is compared with */
    size_t match_size;
    bool same; /* so far, as much as match has of it */
    size_t size;
};

static bool wrong(struct reader *r, const char *what)
{
    r->wrong = what;
    return false;
}

static void put(struct sink *s, const uint8_t *bytes, size_t n)
{
    if (s->to)
        memcpy(s->to + s->size, bytes, n);
    if (s->match && s->same)
        s->same = n <= s->match_size - s->size && !memcmp(s->match + s->size, bytes, n);
    s->size += n;
}

/* The next byte that is no white space; 0 at the end, where no value may have one either. */
static uint8_t look(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r' || *r->at == '\n'))
        r->at++;
    return r->at < r->end ? *r->at : 0;
}

/* ---- texts ---- */

/* Bytes of the UTF-8 sequence that begins here, above ASCII; 0: it is none (RFC 3629, 4). */
static size_t sequence(const uint8_t *p, size_t left)
{
    const uint8_t c = p[0];
    const size_t n = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    uint8_t low = 0x80, high = 0xbf;

    if (n == 0 || n > left)
        return 0;
    if (c == 0xe0)
        low = 0xa0; /* shorter forms */
    else if (c == 0xed)
        high = 0x9f; /* surrogates */
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f; /* beyond U+10FFFF */
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* The four digits behind \u. */
static bool hex(struct reader *r, uint32_t *unit)
{
    *unit = 0;
    if (r->end - r->at < 4)
        return wrong(r, "a broken escape");
    for (int i = 0; i < 4; i++) {
        const uint8_t c = r->at[i], letter = c | 0x20;

        if (c >= '0' && c <= '9')
            *unit = *unit << 4 | (uint32_t)(c - '0');
        else if (letter >= 'a' && letter <= 'f')
            *unit = *unit << 4 | (uint32_t)(letter - 'a' + 10);
        else
            return wrong(r, "a broken escape");
    }
    r->at += 4;
    return true;
}

/* The second half of a surrogate pair, if it is here. */
static bool second_half(const struct reader *r, uint32_t *unit)
{
    struct reader ahead = *r;

    if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
        return false;
    ahead.at += 2;
    return hex(&ahead, unit) && *unit >= 0xdc00 && *unit < 0xe000;
}

static bool put_escaped_unit(struct reader *r, struct sink *s)
{
    uint32_t c, second;
    uint8_t out[4];
    size_t n = 0;

    if (!hex(r, &c))
        return false;
    if (c >= 0xd800 && c < 0xdc00 && second_half(r, &second)) {
        r->at += 6;
        c = 0x10000 + ((c - 0xd800) << 10 | (second - 0xdc00));
    } else if (c >= 0xd800 && c < 0xe000) {
        c = 0xfffd; /* half a pair is JSON, but no character (RFC 8259, 8.2) */
    }
    if (c < 0x80) {
        out[n++] = (uint8_t)c;
    } else {
        const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

        out[n++] = (uint8_t)((0xff00u >> (more + 1) & 0xff) | c >> 6 * more);
        for (int i = more - 1; i >= 0; i--)
            out[n++] = (uint8_t)(0x80 | (c >> 6 * i & 0x3f));
    }
    put(s, out, n);
    return true;
}

/* What stands behind a backslash. */
static bool put_escaped(struct reader *r, struct sink *s)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const uint8_t c = r->at < r->end ? *r->at : 0;
    const char *name = c ? strchr(names, c) : NULL;

    if (!name && c != 'u')
        return wrong(r, "a broken escape");
    r->at++;
    if (!name)
        return put_escaped_unit(r, s);
    put(s, (const uint8_t *)&meant[name - names], 1);
    return true;
}

/* A text, at its opening quotation mark. */
static bool read_text(struct reader *r, struct sink *s)
{
    r->inside = true;
    r->at++;
    for (;;) {
        const uint8_t *from = r->at;

        while (r->at < r->end && *r->at >= ' ' && *r->at != '"' && *r->at != '\\') {
            const size_t n = *r->at < 0x80 ? 1 : sequence(r->at, (size_t)(r->end - r->at));

            if (n == 0)
                return wrong(r, "bytes that are not UTF-8");
            r->at += n;
        }
        put(s, from, (size_t)(r->at - from));
        if (r->at == r->end)
            return wrong(r, "a text without end");
        if (*r->at < ' ')
            return wrong(r, "a control character in a text");
        if (*r->at++ == '"')
            break;
        if (!put_escaped(r, s))
            return false;
    }
    r->inside = false;
    return true;
}

/* ---- numbers and names ---- */

static size_t digits(struct reader *r)
{
    const uint8_t *from = r->at;

    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return (size_t)(r->at - from);
}

static bool read_number(struct reader *r)
{
    const uint8_t *from;

    r->inside = true;
    if (*r->at == '-')
        r->at++;
    from = r->at;
    if (digits(r) == 0 || (*from == '0' && r->at - from > 1))
        return wrong(r, "a broken number");
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        if (digits(r) == 0)
            return wrong(r, "a broken number");
    }
    if (r->at < r->end && (*r->at | 0x20) == 'e') {
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
            r->at++;
        if (digits(r) == 0)
            return wrong(r, "a broken number");
    }
    r->inside = false;
    return true;
}

static bool read_name(struct reader *r)
{
    static const char *const names[] = {"true", "false", "null"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const size_t n = strlen(names[i]);

        if ((size_t)(r->end - r->at) >= n && !memcmp(r->at, names[i], n)) {
            r->at += n;
            return true;
        }
    }
    return wrong(r, r->at < r->end ? "no value" : "an end too early");
}

static bool read_scalar(struct reader *r, struct sink *s)
{
    const uint8_t c = look(r);

    if (c == '"')
        return read_text(r, s);
    return c == '-' || (c >= '0' && c <= '9') ? read_number(r) : read_name(r);
}

/* ---- objects ---- */

/* What encloses the place where a reader is. */
struct nest {
    uint64_t object[PIPELINE_JSON_DEPTH / 64]; /* a bit for each: an object, or an array */
    uint32_t depth;
};

static bool in_object(const struct nest *nest)
{
    return nest->object[(nest->depth - 1) / 64] >> (nest->depth - 1) % 64 & 1;
}

static bool enter(struct reader *r, struct nest *nest, bool object)
{
    const uint64_t bit = 1ull << nest->depth % 64;
    uint64_t *word = &nest->object[nest->depth / 64];

    if (nest->depth == PIPELINE_JSON_DEPTH)
        return wrong(r, "nested too deep");
    *word = object ? *word | bit : *word & ~bit;
    nest->depth++;
    r->at++;
    return true;
}

/* Adds a name, as it is written, to those of the object; "..." stands for what has no room. */
static void keep_name(struct reader *r, const uint8_t *from, size_t n)
{
    const size_t used = strlen(r->names), comma = used ? 2 : 0;

    if (used >= 3 && !strcmp(r->names + used - 3, "..."))
        return;
    if (used + comma + n + 6 > r->room) {
        strcpy(r->names + used, used ? ", ..." : "...");
        return;
    }
    memcpy(r->names + used, ", ", comma);
    memcpy(r->names + used + comma, from, n);
    r->names[used + comma + n] = '\0';
}

/* The name of a member and the colon; *same: it is the field, of the outermost object. */
static bool read_key(struct reader *r, const char *field, const struct nest *nest, bool *same)
{
    struct sink key = {.match = nest->depth == 1 ? field : NULL,
                       .match_size = strlen(field),
                       .same = nest->depth == 1};
    const uint8_t *from;
    size_t n;

    if (look(r) != '"')
        return wrong(r, "no name of a member");
    from = r->at + 1;
    if (!read_text(r, &key))
        return false;
    n = (size_t)(r->at - 1 - from);
    *same = key.same && key.size == key.match_size;
    if (look(r) != ':')
        return wrong(r, "no colon behind a name");
    r->at++;
    if (nest->depth == 1 && r->names && !memchr(from, 0, n))
        keep_name(r, from, n);
    return true;
}

/* Leaves what is closed here, and goes to where the next value begins. *more: there is one. */
static bool go_on(struct reader *r, const char *field, struct nest *nest, bool *same, bool *more)
{
    while (nest->depth && look(r) == (in_object(nest) ? '}' : ']')) {
        nest->depth--;
        r->at++;
    }
    *more = nest->depth > 0;
    *same = false;
    if (!*more)
        return true;
    if (look(r) != ',')
        return wrong(r, r->at < r->end ? "no comma" : "an end too early");
    r->at++;
    return !in_object(nest) || read_key(r, field, nest, same);
}

enum found { NOT_THERE, NO_TEXT, TEXT };

/* Reads one value with all that is in it. */
static bool read_value(struct reader *r, const char *field, uint8_t *text, size_t *length,
                       enum found *found)
{
    struct nest nest = {.depth = 0};
    bool same = false, more = true;

    while (more) {
        const uint8_t c = look(r);
        struct sink s = {.to = same ? text : NULL};

        if (same)
            *found = c == '"' ? TEXT : NO_TEXT;
        if (c == '{' || c == '[') {
            if (!enter(r, &nest, c == '{'))
                return false;
            if (look(r) != (c == '{' ? '}' : ']')) {
                same = false;
                if (c == '{' && !read_key(r, field, &nest, &same))
                    return false;
                continue;
            }
        } else if (!read_scalar(r, &s)) {
            return false;
        }
        if (same && c == '"')
            *length = s.size;
        if (!go_on(r, field, &nest, &same, &more))
            return false;
    }
    look(r);
    if (r->at < r->end)
        return wrong(r, "more behind its end");
    return true;
}

/* Reads the whole line, and says what it is; `why` says why it is no LINE_TEXT. */
static enum line_kind classify(struct reader *r, const char *field, uint8_t *text, size_t *length,
                               char why[128])
{
    const bool object = look(r) == '{';
    enum found found = NOT_THERE;

    if (!read_value(r, field, text, length, &found)) {
        snprintf(why, 128, "is not JSON (%s at byte %zu of it)", r->wrong,
                 (size_t)(r->at - r->begin));
        return r->at == r->end && !r->inside ? LINE_BEGUN : LINE_BROKEN;
    }
    if (!object)
        snprintf(why, 128, "is JSON, but not an object");
    else if (found == NOT_THERE)
        snprintf(why, 128, "has no field '%.40s'", field);
    else if (found == NO_TEXT)
        snprintf(why, 128, "has a field '%.40s' that is not a text", field);
    return !object              ? LINE_VALUE
           : found == NOT_THERE ? LINE_NO_FIELD
           : found == NO_TEXT   ? LINE_NO_TEXT
                                : LINE_TEXT;
}

int pipeline_json_text(const char *field, const uint8_t *line, size_t size, uint8_t *text,
                       size_t *length, char why[128])
{
    struct reader r = {.begin = line, .at = line, .end = line + size};

    return classify(&r, field, text, length, why) == LINE_TEXT ? 0 : -EBADMSG;
}

enum line_kind pipeline_json_kind(const char *field, const uint8_t *line, size_t size, char *names,
                                  size_t room, char why[128])
{
    struct reader r = {.begin = line, .at = line, .end = line + size, .names = names, .room = room};
    size_t length;

    names[0] = '\0';
    return classify(&r, field, NULL, &length, why);
}
