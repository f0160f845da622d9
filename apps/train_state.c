/*
 * See train_state.h.
 */
#include "apps/train_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/json.h"

/* ---- to text ---- */

json_t *train_state_string(const char *text)
{
    const size_t length = strlen(text);
    json_t *string = json_stringn(text, length);
    bool ascii = true;
    char *wide;
    size_t n = 0;

    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        ascii = ascii && *c < 0x80;
    if (string || ascii)
        return string;
    wide = malloc(2 * length + 1);
    if (!wide)
        return NULL;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c >= 0x80)
            wide[n++] = (char)(0xc0 | *c >> 6);
        wide[n++] = (char)(*c >= 0x80 ? 0x80 | (*c & 0x3f) : *c);
    }
    string = json_stringn(wide, n);
    free(wide);
    return string;
}

static json_t *hex(uint64_t number)
{
    char text[17];

    snprintf(text, sizeof text, "%016" PRIx64, number);
    return json_string(text);
}

static json_t *whole(uint64_t number)
{
    return json_integer((json_int_t)number);
}

/* The array if nothing failed, else NULL. */
static json_t *if_all(json_t *array, int failed)
{
    if (!failed)
        return array;
    json_decref(array);
    return NULL;
}

static json_t *sources_json(const struct train_state *s, const struct pipeline_sources *paths)
{
    json_t *array = json_array();
    int failed = 0;

    for (size_t i = 0; i < s->n_sources; i++) {
        const struct pipeline_identity *id = &s->sources[i];
        const uint32_t split = paths->list[i].split_bytes;
        json_t *source = json_pack("{s:o, s:o, s:o, s:o}", "path",
                                   train_state_string(paths->list[i].path), "size",
                                   whole(id->size), "head", hex(id->head), "tail", hex(id->tail));
        if (split)
            failed |= json_object_set_new(source, "split", whole(split));
        failed |= json_array_append_new(array, source);
    }
    return if_all(array, failed);
}

/* The numbers of a lane's cursor by name: one table for writing and reading. */
static const struct {
    const char *name;
    size_t offset; /* of a uint64_t in struct pipeline_lane_cursor */
} cursor_numbers[] = {
    {"epoch", offsetof(struct pipeline_lane_cursor, epoch)},
    {"block", offsetof(struct pipeline_lane_cursor, block)},
    {"window", offsetof(struct pipeline_lane_cursor, window)},
    {"given", offsetof(struct pipeline_lane_cursor, given)},
    {"source", offsetof(struct pipeline_lane_cursor, at.source)},
    {"member", offsetof(struct pipeline_lane_cursor, at.member)},
    {"inner", offsetof(struct pipeline_lane_cursor, at.inner)},
    {"offset", offsetof(struct pipeline_lane_cursor, at.offset)},
    {"header", offsetof(struct pipeline_lane_cursor, at.hint.header)},
    {"frame_in", offsetof(struct pipeline_lane_cursor, at.hint.in)},
    {"frame_out", offsetof(struct pipeline_lane_cursor, at.hint.out)},
    {"check", offsetof(struct pipeline_lane_cursor, at.check)},
    {"check_bytes", offsetof(struct pipeline_lane_cursor, at.check_bytes)},
};
#define CURSOR_NUMBERS (sizeof cursor_numbers / sizeof *cursor_numbers)

static json_t *lane_json(const struct pipeline_lane_cursor *lane)
{
    json_t *object = json_object();
    int failed = 0;

    for (size_t i = 0; i < CURSOR_NUMBERS; i++) {
        const void *number = (const char *)lane + cursor_numbers[i].offset;
        failed |= json_object_set_new(object, cursor_numbers[i].name,
                                      whole(*(const uint64_t *)number));
    }
    return if_all(object, failed);
}

static json_t *cursor_json(const struct pipeline_cursor *c)
{
    json_t *lanes = json_array();
    int failed = 0;

    for (uint32_t lane = 0; lane < c->n; lane++)
        failed |= json_array_append_new(lanes, lane_json(&c->lanes[lane]));
    return json_pack("{s:o, s:o}", "epoch", whole(c->epoch), "lanes", if_all(lanes, failed));
}

static json_t *losses_json(const struct train_losses *losses)
{
    json_t *array = json_array();
    int failed = 0;

    for (uint32_t i = 0; i < losses->n; i++)
        failed |= json_array_append_new(array, json_real(losses->nats[i]));
    return if_all(array, failed);
}

char *train_state_text(const struct train_state *s, const struct pipeline_sources *paths)
{
    char seed[24], *text;
    json_t *state;

    snprintf(seed, sizeof seed, "%" PRIu64, s->seed);
    state = json_pack("{s:o, s:o, s:o, s:s, s:s, s:f, s:f, s:o, s:o, s:o, s:o, s:O,"
                      " s:{s:o, s:O, s:o, s:O}}", "step", whole(s->step), "bytes", whole(s->bytes),
                      "steps", whole(s->steps), "seed", seed, "precision", s->precision,
                      "bits_per_byte", s->bits_per_byte, "line_nats", s->line_nats, "line_bytes",
                      whole(s->line_bytes), "nonfinite", whole(s->nonfinite), "outliers",
                      whole(s->outliers), "losses", losses_json(&s->losses), "made_on", s->made_on,
                      "data", "cursor", cursor_json(&s->cursor), "choice", s->choice, "sources",
                      sources_json(s, paths), "limits", s->limits);
    if (state && s->loss_scale &&
        (json_object_set_new(state, "loss_scale", whole(s->loss_scale)) ||
         json_object_set_new(state, "loss_scale_steps", whole(s->loss_scale_steps)))) {
        json_decref(state);
        state = NULL;
    }
    text = state ? tensor_json_write(state, JSON_INDENT(4)) : NULL;
    json_decref(state);
    return text;
}

/* ---- and back ---- */

static bool natural(const json_t *value, uint64_t *number)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

/* A number written in a text, to its end. */
static bool digits(const json_t *value, int base, uint64_t *number)
{
    const char *text = json_string_value(value),
               *set = base == 16 ? "0123456789abcdef" : "0123456789";

    if (!text || !*text || strlen(text) > 20 || text[strspn(text, set)])
        return false;
    errno = 0;
    *number = strtoull(text, NULL, base);
    return errno == 0;
}

static bool read_cursor(const json_t *object, struct pipeline_cursor *c)
{
    const json_t *lanes = json_object_get(object, "lanes");

    if (!natural(json_object_get(object, "epoch"), &c->epoch) || !json_is_array(lanes) ||
        json_array_size(lanes) > PIPELINE_MAX_LANES)
        return false;
    c->n = (uint32_t)json_array_size(lanes);
    for (uint32_t lane = 0; lane < c->n; lane++) {
        for (size_t i = 0; i < CURSOR_NUMBERS; i++) {
            void *number = (char *)&c->lanes[lane] + cursor_numbers[i].offset;
            if (!natural(json_object_get(json_array_get(lanes, lane), cursor_numbers[i].name),
                         number))
                return false;
        }
    }
    return true;
}

/* -EBADMSG, -ENOMEM. */
static int read_sources(const json_t *array, struct train_state *s)
{
    if (!json_is_array(array))
        return -EBADMSG;
    s->sources = calloc(json_array_size(array) + 1, sizeof *s->sources);
    if (!s->sources)
        return -ENOMEM;
    for (; s->n_sources < json_array_size(array); s->n_sources++) {
        const json_t *source = json_array_get(array, s->n_sources);
        struct pipeline_identity *id = &s->sources[s->n_sources];
        if (!natural(json_object_get(source, "size"), &id->size) ||
            !digits(json_object_get(source, "head"), 16, &id->head) ||
            !digits(json_object_get(source, "tail"), 16, &id->tail))
            return -EBADMSG;
    }
    return 0;
}

/* Steps that were not applied, and losses to compare with: not there in older versions. */
static bool read_losses(const json_t *state, struct train_state *s)
{
    const json_t *nonfinite = json_object_get(state, "nonfinite");
    const json_t *outliers = json_object_get(state, "outliers");
    const json_t *losses = json_object_get(state, "losses");

    if (!nonfinite && !outliers && !losses)
        return true;
    if (!natural(nonfinite, &s->nonfinite) || !natural(outliers, &s->outliers) ||
        !json_is_array(losses) || json_array_size(losses) > TRAIN_LOSSES)
        return false;
    for (; s->losses.n < json_array_size(losses); s->losses.n++) {
        const json_t *loss = json_array_get(losses, s->losses.n);
        if (json_typeof(loss) != JSON_REAL && json_typeof(loss) != JSON_INTEGER)
            return false;
        s->losses.nats[s->losses.n] = json_number_value(loss);
    }
    return true;
}

/* Of fp16. */
static bool read_loss_scale(const json_t *state, struct train_state *s)
{
    const json_t *scale = json_object_get(state, "loss_scale");
    const json_t *steps = json_object_get(state, "loss_scale_steps");

    return (!scale && !steps) ||
           (natural(scale, &s->loss_scale) && natural(steps, &s->loss_scale_steps));
}

/* Its steps, its seed, and what the metrics need. */
static bool read_numbers(const json_t *state, struct train_state *s)
{
    const json_t *bits = json_object_get(state, "bits_per_byte"),
                 *nats = json_object_get(state, "line_nats");
    const char *precision = json_string_value(json_object_get(state, "precision"));

    if (!natural(json_object_get(state, "step"), &s->step) ||
        !natural(json_object_get(state, "bytes"), &s->bytes) ||
        !natural(json_object_get(state, "steps"), &s->steps) ||
        !natural(json_object_get(state, "line_bytes"), &s->line_bytes) ||
        !digits(json_object_get(state, "seed"), 10, &s->seed) || !json_is_number(bits) ||
        !json_is_number(nats) || !precision)
        return false;
    s->bits_per_byte = json_number_value(bits);
    s->line_nats = json_number_value(nats);
    snprintf(s->precision, sizeof s->precision, "%s", precision);
    return true;
}

/* Returns what it lacks, "" if it is no memory, NULL if all is there. */
static const char *read_state(const json_t *state, struct train_state *s)
{
    const json_t *data = json_object_get(state, "data");
    json_t *limits = json_object_get(data, "limits");
    int result;

    if (!read_numbers(state, s))
        return "its step, seed or sums";
    if (!read_losses(state, s))
        return "its losses";
    if (!read_loss_scale(state, s))
        return "the scale of its loss";
    if (!read_cursor(json_object_get(data, "cursor"), &s->cursor))
        return "its cursor";
    if (!json_is_object(json_object_get(data, "choice")))
        return "what it was trained on";
    s->choice = json_incref(json_object_get(data, "choice"));
    s->made_on = json_incref(json_object_get(state, "made_on"));
    s->limits = limits ? json_incref(limits) : json_object(); /* none in older versions */
    if (!s->limits)
        return "";
    result = read_sources(json_object_get(data, "sources"), s);
    return result == -ENOMEM ? "" : result < 0 ? "its data" : NULL;
}

int train_state_parse(const char *text, struct train_state *state, const char **wrong)
{
    json_t *json = NULL;
    struct train_state s = {0};

    if (tensor_json_read(text, strlen(text), &json) == -ENOMEM)
        return -ENOMEM;
    *wrong = json ? read_state(json, &s) : "all of it";
    json_decref(json);
    if (!*wrong) {
        *state = s;
        return 0;
    }
    train_state_finish(&s);
    return **wrong ? -EBADMSG : -ENOMEM;
}

void train_state_finish(struct train_state *state)
{
    json_decref(state->choice);
    json_decref(state->limits);
    json_decref(state->made_on);
    free(state->sources);
    *state = (struct train_state){0};
}

/* ---- two states ---- */

/* A value as a few words on a terminal. */
static void show(const json_t *value, char *words, size_t size)
{
    if (json_is_string(value))
        snprintf(words, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(words, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_object(value))
        snprintf(words, size, "%zu found by trying", json_object_size(value));
    else
        snprintf(words, size, "%s", "not known");
    for (unsigned char *c = (unsigned char *)words; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
}

void train_state_changes(const struct train_state *before, const struct train_state *now,
                         char *words, size_t size)
{
    size_t n = 0;

    *words = '\0';
    if (strcmp(before->precision, now->precision))
        n = (size_t)snprintf(words, size, "trained in %s up to step %" PRIu64 ", in %s from here "
                             "on", before->precision, before->step, now->precision);
    for (void *i = json_object_iter(now->made_on); i; i = json_object_iter_next(now->made_on, i)) {
        const char *key = json_object_iter_key(i);
        json_t *value = json_object_iter_value(i);
        const json_t *then = json_object_get(before->made_on, key); /* NULL: an older version */
        const bool none = !then && json_typeof(value) == JSON_OBJECT && !json_object_size(value);
        char was[160], is[160];

        if (none || json_equal(value, then) || n >= size)
            continue;
        show(then, was, sizeof was);
        show(value, is, sizeof is);
        n += (size_t)snprintf(words + n, size - n, "%s%s was %s and is %s", n ? "; " : "", key, was,
                              is);
    }
}
