/*
 * Whether a member is JSON lines. What is named so is; of the rest, what its first lines show.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "pipeline/content.h"
#include "pipeline/internal.h"
#include "pipeline/json_line.h"

enum { LOOK_BYTES = 1 << 26 }; /* looked at, at most */

#define AS_IT_IS ": its bytes are taken as they are"

/* The beginning of a member, as far as it was looked at. */
struct head {
    struct layer *leaf;
    const uint8_t *at;
    size_t n;
    bool all; /* there is no more, or no more is looked at */
};

/* What the first line is. */
struct first {
    enum line_kind kind;
    char names[160], why[128];
    size_t end; /* where it ends in the head */
};

static int widen(struct head *h)
{
    const size_t want = h->n < 4096 ? 4096 : 2 * h->n;
    int result = pipeline_layer_peek(h->leaf, want, &h->at, &h->n);

    h->all = h->n < want || h->n >= LOOK_BYTES;
    return result;
}

/* Goes over white space, of line ends too if asked. 1: *at is where something else is. 0: nothing
 * is. */
static int pass_blank(struct head *h, size_t *at, bool lines)
{
    for (;;) {
        int result;

        while (*at < h->n && strchr(lines ? " \t\r\n" : " \t", h->at[*at]) && h->at[*at])
            ++*at;
        if (*at < h->n || h->all)
            return *at < h->n;
        result = widen(h);
        if (result < 0)
            return result;
    }
}

/* Where the line that goes on at `from` ends. 1; 0: it is longer than what is looked at. */
static int line_end(struct head *h, size_t from, size_t *end)
{
    for (;;) {
        const uint8_t *found = memchr(h->at + from, '\n', h->n - from);
        size_t n = h->n;
        int result;

        *end = found ? (size_t)(found - h->at) : n;
        if (found || h->all)
            return found || n < LOOK_BYTES;
        result = widen(h);
        if (result < 0)
            return result;
        from = n;
    }
}

/* Whether an object begins at `at`, with a name or its end in the same line if asked. 1, 0 or a
 * failure. */
static int begins_object(struct head *h, size_t at, bool same_line)
{
    int result;

    if (h->at[at] != '{')
        return 0;
    at++;
    result = pass_blank(h, &at, !same_line);
    return result <= 0 ? result : h->at[at] == '"' || (same_line && h->at[at] == '}');
}

static void note(const struct content_damage *damage, const char *format, const char *a,
                 const char *b)
{
    char why[600], printed[320];

    if (!damage->note)
        return;
    snprintf(why, sizeof(why), format, a, pipeline_printable(b, printed, sizeof(printed)));
    damage->note(damage->user, why);
}

/* Whether what follows a first line that has no text makes the member JSON lines all the same. */
static int goes_on(struct head *h, const char *field, const struct first *first)
{
    size_t at = first->end, end;
    char names[8], why[128];
    int result = pass_blank(h, &at, true);

    if (result <= 0 || first->kind == LINE_BEGUN)
        return result < 0 ? result : 0;
    result = begins_object(h, at, true);
    if (result <= 0 || first->kind >= LINE_NO_FIELD)
        return result;
    result = line_end(h, at, &end);
    if (result <= 0)
        return result;
    /* A broken line is one of JSON lines if it has begun as one. */
    return pipeline_json_kind(field, h->at + at, end - at, names, sizeof(names), why) >=
           (first->names[0] ? LINE_NO_FIELD : LINE_TEXT);
}

/* Says of a member that is not taken for JSON lines why not, if it looks like JSON at all. */
static int explain(struct head *h, size_t at, const char *field, const struct first *first,
                   const struct content_damage *damage)
{
    size_t more = first->end;
    int result = pass_blank(h, &more, true);

    if (result < 0)
        return result;
    if (first->kind >= LINE_NO_FIELD) {
        char why[200];

        snprintf(why, sizeof(why), "%s%s", first->why, result ? ", and no JSON lines follow" : "");
        note(damage, "is no JSON lines: its first line %s (it has %s)" AS_IT_IS, why,
             first->names[0] ? first->names : "none");
        return 0;
    }
    result = begins_object(h, at, false);
    if (result <= 0 || (!first->names[0] && first->kind == LINE_BROKEN))
        return result;
    if (first->kind == LINE_BEGUN)
        note(damage, "is JSON over several lines, not JSON lines" AS_IT_IS "%s%s", "", "");
    else
        note(damage, "is no JSON lines: its first line %s" AS_IT_IS "%s", first->why, "");
    return 0;
}

/* An array of objects, which people take for JSON lines. */
static int look_at_array(struct head *h, size_t at, const struct content_damage *damage)
{
    int result;

    at++;
    result = pass_blank(h, &at, true);
    if (result > 0)
        result = begins_object(h, at, false);
    if (result > 0)
        note(damage, "is a JSON array, not JSON lines" AS_IT_IS "%s%s", "", "");
    return result < 0 ? result : 0;
}

/* By the first lines. 1: it is JSON lines. */
static int look_at_lines(struct head *h, const char *field, const struct content_damage *damage,
                         struct first *first)
{
    size_t at = 0;
    int result = widen(h);

    if (result == 0) {
        at = pipeline_json_mark(h->at, h->n);
        result = pass_blank(h, &at, true);
    }
    if (result <= 0)
        return result;
    if (h->at[at] != '{' && h->at[at] != '[')
        return 0;
    if (h->at[at] == '[')
        return look_at_array(h, at, damage);
    result = line_end(h, at, &first->end);
    if (result < 0)
        return result;
    if (result == 0) {
        note(damage,
             "begins as JSON does, with a line of more than 64 MiB" AS_IT_IS
             "; name it .jsonl if it is JSON lines%s%s",
             "", "");
        return 0;
    }
    first->kind = pipeline_json_kind(field, h->at + at, first->end - at, first->names,
                                     sizeof(first->names), first->why);
    if (first->kind == LINE_TEXT)
        return 1;
    result = goes_on(h, field, first);
    return result ? result : explain(h, at, field, first, damage);
}

static bool ends_with(const char *name, size_t length, const char *suffix)
{
    size_t n = strlen(suffix);

    return length > n && !strncasecmp(name + length - n, suffix, n);
}

int pipeline_content_is_jsonl(const char *field, const char *name, struct layer *leaf,
                              const struct content_damage *damage, bool look)
{
    struct pipeline_seen *seen = damage->seen;
    struct head head = {.leaf = leaf};
    struct first first = {.kind = LINE_BROKEN};
    size_t length = pipeline_detect_bare_length(name);
    bool named = ends_with(name, length, ".jsonl") || ends_with(name, length, ".ndjson");
    int result = named ? pipeline_layer_peek(leaf, 16, &head.at, &head.n) : 0;

    if (result < 0)
        return result;
    if (named && pipeline_detect_filter(head.at, head.n) != FILTER_NONE)
        named = false; /* it is not opened: what is in it may be */
    if (seen)
        seen->members++;
    if (named && !look)
        return 1;
    /* What is named JSON lines is not explained. */
    result = look_at_lines(&head, field, named ? &(struct content_damage){0} : damage, &first);
    if (seen && look && first.kind == LINE_TEXT)
        seen->with_text++;
    if (seen && !seen->fields[0] && first.kind >= LINE_NO_FIELD && first.kind != LINE_TEXT)
        snprintf(seen->fields, sizeof(seen->fields), "%s", first.names);
    return named && result >= 0 ? 1 : result;
}
