/*
 * JSON lines: each line is an object, and one of its members is the text.
 */
#include "pipeline/content.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"
#include "pipeline/json_line.h"

struct jsonl {
    struct layer layer;
    struct layer *below;
    const char *field;
    struct content_damage damage;
    const uint8_t *run; /* what below gave last and was not looked at yet */
    size_t run_size;
    uint8_t *line; /* the beginning of a line that did not fit into one run */
    size_t line_size, line_room;
    uint64_t lines; /* begun so far; the present line's number, from 1 */
    bool too_long;  /* the present line is, and its bytes are dropped */
    bool found;     /* a line had a text */
    bool ended;
    uint8_t *text; /* of the present line, given last */
    size_t text_room;
};

static bool blank(const uint8_t *p, size_t n)
{
    while (n && (*p == ' ' || *p == '\t' || *p == '\r'))
        p++, n--;
    return n == 0;
}

/* Makes *buffer, which has *room, one of n bytes at least; what is in it stays. */
static int grow(uint8_t **buffer, size_t *room, size_t n)
{
    size_t larger = *room ? *room : 4096;
    uint8_t *bytes;

    if (n <= *room)
        return 0;
    while (larger < n)
        larger *= 2;
    bytes = realloc(*buffer, larger);
    if (!bytes)
        return pipeline_fail(ENOMEM, "out of memory");
    *buffer = bytes;
    *room = larger;
    return 0;
}

static int keep(struct jsonl *j, const uint8_t *data, size_t n)
{
    int result;

    if (n > CONTENT_LINE_BYTES - j->line_size)
        j->too_long = true;
    if (j->too_long)
        return 0;
    result = grow(&j->line, &j->line_room, j->line_size + n);
    if (result < 0)
        return result;
    memcpy(j->line + j->line_size, data, n);
    j->line_size += n;
    return 0;
}

/* The next line without its end. 1: *line and *size are set and hold until the next call. 0: there
 * are no more. */
static int next_line(struct jsonl *j, const uint8_t **line, size_t *size)
{
    const uint8_t *end = NULL;
    int result = 0;

    if (j->ended)
        return 0;
    j->line_size = 0;
    j->too_long = false;
    j->lines++;
    for (;;) {
        if (j->run_size == 0) {
            const void *data;

            result = pipeline_layer_read(j->below, &data, &j->run_size);
            if (result < 0) {
                memcpy(j->layer.why, j->below->why, sizeof(j->layer.why));
                return result;
            }
            j->run = data;
            j->ended = j->run_size == 0;
        }
        end = j->ended ? NULL : memchr(j->run, '\n', j->run_size);
        if (j->ended || end)
            break;
        result = keep(j, j->run, j->run_size);
        j->run_size = 0;
        if (result < 0)
            return result;
    }
    *line = j->line;
    *size = j->line_size;
    if (end) {
        size_t n = (size_t)(end - j->run);

        *line = j->run;
        *size = n;
        if (j->line_size || j->too_long) {
            result = keep(j, j->run, n);
            *line = j->line;
            *size = j->line_size;
        }
        j->run += n + 1;
        j->run_size -= n + 1;
    }
    return result < 0 ? result : 1;
}

/* A text was there, or it was not. */
static void count(struct jsonl *j, bool text, const uint8_t *line, size_t n)
{
    struct pipeline_seen *seen = j->damage.seen;
    char names[sizeof(seen->fields)], why[128];

    if (!seen)
        return;
    if (text && !j->found)
        seen->with_text++;
    j->found = j->found || text;
    if (!text && !seen->fields[0] &&
        pipeline_json_kind(j->field, line, n, names, sizeof(names), why) >= LINE_NO_FIELD)
        memcpy(seen->fields, names, sizeof(names));
}

/* Says what is wrong with a line. An object without the text is whole: which fields it has shows
 * what was meant. Returns as content_damage.tell. */
static int complain(const struct jsonl *j, const uint8_t *line, size_t n, const char *why,
                    char told[400])
{
    char names[120], printed[200], same[128];
    bool lacks = !j->too_long &&
                 pipeline_json_kind(j->field, line, n, names, sizeof(names), same) == LINE_NO_FIELD;

    if (!lacks) {
        snprintf(told, 400, "line %llu %s", (unsigned long long)j->lines, why);
        return j->damage.tell(j->damage.user, j->lines, told);
    }
    snprintf(told, 400, "line %llu %s (it has %s): name one that it has with --jsonl-field",
             (unsigned long long)j->lines, why,
             names[0] ? pipeline_printable(names, printed, sizeof(printed)) : "none");
    return j->damage.refuse(j->damage.user, j->lines, told);
}

static int jsonl_read(struct layer *layer, const void **data, size_t *size)
{
    struct jsonl *j = (struct jsonl *)layer;
    char why[128], told[400];
    const uint8_t *line;
    size_t n;
    int result;

    *size = 0;
    while ((result = next_line(j, &line, &n)) > 0) {
        size_t mark = j->lines == 1 && n ? pipeline_json_mark(line, n) : 0;

        if (!j->too_long && (n == mark || blank(line + mark, n - mark)))
            continue;
        if (j->too_long) {
            snprintf(why, sizeof(why), "is longer than %d MiB", CONTENT_LINE_BYTES >> 20);
        } else {
            result = grow(&j->text, &j->text_room, n);
            if (result < 0)
                return result;
            result = pipeline_json_text(j->field, line + mark, n - mark, j->text, size, why);
            count(j, result == 0, line + mark, n - mark);
            if (result == 0 && *size == 0)
                continue;
            *data = j->text;
            if (result == 0)
                return 0;
        }
        *size = 0;
        result = complain(j, line + mark, n - mark, why, told);
        if (result < 0) {
            snprintf(layer->why, sizeof(layer->why), "%.255s", told);
            return result;
        }
    }
    return result;
}

static void jsonl_close(struct layer *layer)
{
    struct jsonl *j = (struct jsonl *)layer;

    free(j->text);
    free(j->line);
    pipeline_layer_destroy(&j->below);
}

int pipeline_content_jsonl_create(const char *field, struct layer *leaf,
                                  const struct content_damage *damage, struct layer **out)
{
    struct jsonl *j = calloc(1, sizeof(*j));

    if (!j)
        return pipeline_fail(ENOMEM, "out of memory");
    j->layer.read = jsonl_read;
    j->layer.close = jsonl_close;
    j->below = leaf;
    j->field = field;
    j->damage = *damage;
    *out = &j->layer;
    return 0;
}
