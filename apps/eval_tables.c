/*
 * The tables of mb-eval: sums by position, by member and by source, as CSV, SVG and JSON.
 */
#include "apps/eval_tables.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/common.h"
#include "apps/utf8.h"
#include "megabyte/evaluator.h"

struct sum {
    uint64_t bytes;
    double nats;
};

struct member {
    char *name;
    uint64_t source, begin; /* number of its first byte in the stream */
    struct sum sum;
};

struct eval_tables {
    struct eval_tables_params params;
    struct sum *window, *patch; /* (T), (P); NULL unless wanted */
    struct sum *sources;        /* (n) */
    uint64_t *source_members;   /* (n) */
    struct member *members;     /* in the order of the stream; names only if wanted */
    size_t count, room, at;     /* at: the one that the last scored byte belongs to */
    bool out_of_memory;
};

int eval_tables_create(const struct eval_tables_params *params, struct eval_tables **tables)
{
    struct eval_tables *t = calloc(1, sizeof *t);

    if (!t)
        return -ENOMEM;
    t->params = *params;
    t->sources = calloc(params->sources->n, sizeof *t->sources);
    t->source_members = calloc(params->sources->n, sizeof *t->source_members);
    if (params->positions) {
        t->window = calloc(params->seq_len, sizeof *t->window);
        t->patch = calloc(params->patch_size, sizeof *t->patch);
    }
    if (!t->sources || !t->source_members || (params->positions && (!t->window || !t->patch))) {
        eval_tables_destroy(&t);
        return -ENOMEM;
    }
    *tables = t;
    return 0;
}

void eval_tables_destroy(struct eval_tables **tables)
{
    struct eval_tables *t = *tables;

    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++)
        free(t->members[i].name);
    free(t->members);
    free(t->source_members);
    free(t->sources);
    free(t->window);
    free(t->patch);
    free(t);
    *tables = NULL;
}

void eval_tables_entered(void *tables, uint64_t at, uint64_t source, const char *name)
{
    struct eval_tables *t = tables;

    if (t->count == t->room) {
        const size_t room = t->room ? 2 * t->room : 64;
        struct member *larger = realloc(t->members, room * sizeof *larger);

        if (!larger) {
            t->out_of_memory = true;
            return;
        }
        t->members = larger;
        t->room = room;
    }
    t->members[t->count] = (struct member){.source = source, .begin = at};
    if (t->params.members && !(t->members[t->count].name = strdup(name)))
        t->out_of_memory = true;
    t->source_members[source]++;
    t->count++;
}

static void add(struct sum *sum, double nats)
{
    sum->bytes++;
    sum->nats += nats;
}

void eval_tables_scored(void *tables, uint64_t at, uint32_t position, uint32_t count,
                        const float *nats)
{
    struct eval_tables *t = tables;

    for (uint32_t i = 0; i < count; i++) {
        while (t->at + 1 < t->count && t->members[t->at + 1].begin <= at + i)
            t->at++;
        if (t->at < t->count) {
            add(&t->members[t->at].sum, (double)nats[i]);
            add(&t->sources[t->members[t->at].source], (double)nats[i]);
        }
        if (t->window) {
            add(&t->window[position + i], (double)nats[i]);
            add(&t->patch[(position + i) % t->params.patch_size], (double)nats[i]);
        }
    }
}

static double bits(const struct sum *sum)
{
    return megabyte_bits_per_byte(sum->nats, (double)sum->bytes);
}

/* ---- files ---- */

static FILE *open_file(const char *prefix, const char *suffix, char name[4096])
{
    FILE *f;

    snprintf(name, 4096, "%s%s", prefix, suffix);
    f = fopen(name, "w");
    if (!f)
        app_fail(APP_FAILED, "%s: %s", name, strerror(errno));
    return f;
}

static int close_file(FILE *f, const char *name)
{
    const bool bad = ferror(f);
    const int error = errno;

    if (fclose(f) || bad)
        return app_fail(APP_FAILED, "%s: cannot be written: %s", name,
                        strerror(bad ? error : errno));
    return APP_DONE;
}

/* UTF-8 whatever the text is, see eval_tables_write_members(); `quote` is doubled. */
static void escaped(FILE *f, const char *text, char quote)
{
    while (*text) {
        const size_t n = app_utf8_character(text);

        if (n == 0)
            fprintf(f, "\\x%02x", (unsigned char)*text);
        else if (*text == quote || *text == '\\')
            fprintf(f, "%c%c", *text, *text);
        else
            fwrite(text, 1, n, f);
        text += n ? n : 1;
    }
}

/* A field as in RFC 4180. */
static void quoted(FILE *f, const char *text)
{
    putc('"', f);
    escaped(f, text, '"');
    putc('"', f);
}

int eval_tables_write_members(const struct eval_tables *t, const char *file)
{
    char name[4096];
    FILE *f;

    if (t->out_of_memory)
        return app_fail(APP_FAILED, "out of memory for the table of members");
    f = open_file(file, "", name);
    if (!f)
        return APP_FAILED;
    fputs("source,member,bytes,bits_per_byte\n", f);
    for (size_t i = 0; i < t->count; i++) {
        const struct member *m = &t->members[i];

        quoted(f, t->params.sources->list[m->source].path);
        putc(',', f);
        quoted(f, m->name);
        fprintf(f, ",%" PRIu64 ",%.6f\n", m->sum.bytes, bits(&m->sum));
    }
    return close_file(f, name);
}

static void csv_part(FILE *f, const char *within, const struct sum *sums, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (sums[i].bytes)
            fprintf(f, "%s,%u,%" PRIu64 ",%.6f\n", within, i, sums[i].bytes, bits(&sums[i]));
}

/* ---- the picture ---- */

enum { WIDTH = 420, HEIGHT = 240, LEFT = 60, TOP = 40, GAP = 90, POINTS = 128 };

struct panel {
    const char *title;
    const struct sum *sums;
    uint32_t count, bin; /* positions, and how many make one point */
    int x;               /* where it begins */
};

static struct sum binned(const struct panel *p, uint32_t begin)
{
    struct sum sum = {0};

    for (uint32_t i = begin; i < begin + p->bin && i < p->count; i++) {
        sum.bytes += p->sums[i].bytes;
        sum.nats += p->sums[i].nats;
    }
    return sum;
}

static void range(const struct panel *p, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (uint32_t i = 0; i < p->count; i += p->bin) {
        const struct sum sum = binned(p, i);

        if (sum.bytes) {
            *low = fmin(*low, bits(&sum));
            *high = fmax(*high, bits(&sum));
        }
    }
    if (!(*low <= *high))
        *low = *high = 0;
    const double margin = fmax(0.05 * (*high - *low), 1e-3);
    *low = fmax(0, *low - margin);
    *high += margin;
}

/* Numbers of up to five positions, each under its own. */
static void mark_positions(FILE *f, const struct panel *p)
{
    const uint32_t last = p->count - 1, marks = last < 4 ? last : 4;

    for (uint32_t i = 0; i <= marks; i++) {
        const uint32_t at = marks ? (uint32_t)((uint64_t)last * i / marks) : 0;

        fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%" PRIu32 "</text>\n",
                p->x + WIDTH * (double)at / fmax(1, last), TOP + HEIGHT + 18, at);
    }
}

static void draw(FILE *f, const struct panel *p)
{
    double low, high;

    range(p, &low, &high);
    fprintf(f, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">%s</text>\n", p->x, TOP - 15,
            p->title);
    for (int i = 0; i <= 4; i++) {
        const double y = TOP + HEIGHT - HEIGHT * i / 4.0;

        fprintf(f, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", p->x, y,
                p->x + WIDTH, y);
        fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3f</text>\n", p->x - 6, y + 4,
                low + (high - low) * i / 4);
    }
    mark_positions(f, p);
    fputs("<polyline fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"1.5\" points=\"", f);
    for (uint32_t i = 0; i < p->count; i += p->bin) {
        const struct sum sum = binned(p, i);
        const double middle = i + (fmin(p->bin, p->count - i) - 1) / 2;

        if (sum.bytes)
            fprintf(f, "%.1f,%.1f ", p->x + WIDTH * middle / fmax(1, p->count - 1),
                    TOP + HEIGHT - HEIGHT * (bits(&sum) - low) / (high - low));
    }
    fputs("\"/>\n", f);
}

static void picture(FILE *f, const struct eval_tables *t)
{
    const uint32_t T = t->params.seq_len, P = t->params.patch_size;
    const struct panel window = {"bits per byte by position in the window", t->window, T,
                                 (T + POINTS - 1) / POINTS, LEFT};
    const struct panel patch = {"bits per byte by position in the patch", t->patch, P,
                                (P + POINTS - 1) / POINTS, LEFT + WIDTH + GAP};

    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
               "font-family=\"sans-serif\" font-size=\"12\">\n"
               "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
            2 * (LEFT + WIDTH) + GAP, TOP + HEIGHT + 40);
    draw(f, &window);
    draw(f, &patch);
    fputs("</svg>\n", f);
}

int eval_tables_write_positions(const struct eval_tables *t, const char *prefix)
{
    char name[4096];
    FILE *f = open_file(prefix, ".csv", name);
    int status;

    if (!f)
        return APP_FAILED;
    fputs("within,position,bytes,bits_per_byte\n", f);
    csv_part(f, "window", t->window, t->params.seq_len);
    csv_part(f, "patch", t->patch, t->params.patch_size);
    status = close_file(f, name);
    if (status != APP_DONE)
        return status;
    f = open_file(prefix, ".svg", name);
    if (!f)
        return APP_FAILED;
    picture(f, t);
    return close_file(f, name);
}

/* ---- sources ---- */

/* A file's name, which need not be UTF-8, as JSON's texts are: then as the table of members has it.
 */
static json_t *name_json(const char *name)
{
    char *text = NULL;
    size_t size = 0;
    json_t *json = json_string(name);

    if (json)
        return json;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return NULL;
    escaped(f, name, '\\');
    if (fclose(f) == 0)
        json = json_stringn(text, size);
    free(text);
    return json;
}

json_t *eval_tables_sources(const struct eval_tables *t)
{
    json_t *array = t->out_of_memory ? NULL : json_array();

    for (size_t i = 0; i < t->params.sources->n; i++) {
        const char *path = t->params.sources->list[i].path;

        app_json_append(
            &array, json_pack("{s:o, s:I, s:I, s:f}", "path",
                             name_json(path), "members",
                             (json_int_t)t->source_members[i], "bytes",
                             (json_int_t)t->sources[i].bytes, "bits_per_byte",
                             bits(&t->sources[i])));
    }
    return array;
}

void eval_tables_print_sources(const struct eval_tables *t)
{
    char path[4096];

    for (size_t i = 0; t->params.sources->n > 1 && i < t->params.sources->n; i++)
        printf("%.4f bits per byte over %" PRIu64 " bytes of %s\n", bits(&t->sources[i]),
               t->sources[i].bytes,
               pipeline_printable(t->params.sources->list[i].path, path, sizeof path));
}
