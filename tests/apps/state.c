/* state.c - what mb-train keeps in state.json: there and back, every field missing or of another
 * kind, numbers out of bounds, every allocation failing, and what is said of a run that moved. */
#include "apps/train_state.h"
#include "tests/checkpoint/allocations.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static struct pipeline_source sources[] = {{.path = "one.tar"}, {.path = "t\xfcwo \xc3\xa4",
                                            .split_bytes = 4096}};
static const struct pipeline_sources paths = {.list = sources, .n = 2};
static struct pipeline_identity identities[] = {{123, 0xfedcba9876543210, 7}, {0, 0, UINT64_MAX}};

static struct train_state example(void)
{
    struct train_state s = {
        .step = 500,
        .bytes = INT64_MAX,
        .steps = 0,
        .seed = UINT64_MAX,
        .bits_per_byte = 1.0 / 3,
        .line_nats = -0.0,
        .line_bytes = 77,
        .nonfinite = 1,
        .outliers = 2,
        .losses = {{0.5, 1}, 2},
        .precision = "fp16",
        .loss_scale = 1024,
        .loss_scale_steps = 6,
        .sources = identities,
        .n_sources = 2,
        .choice = json_pack("{s:[s], s:n}", "include", "*.c", "jsonl-field"),
        .limits = json_pack("{s:n, s:i}", "max-ratio", "max-size", 0),
        .made_on = json_pack("{s:s, s:i, s:s}", "device", "cpu: x", "threads", 2, "build", "1")};

    s.cursor.epoch = 3;
    s.cursor.n = 2;
    for (uint32_t lane = 0; lane < 2; lane++) {
        struct pipeline_lane_cursor *c = &s.cursor.lanes[lane];
        *c = (struct pipeline_lane_cursor){1 + lane, 2, 3, 4, {5, 6, 7, 8, {9, 10, 11}, 12, 13}};
    }
    return s;
}

static void finish(struct train_state *s)
{
    s->sources = NULL;
    train_state_finish(s);
}

static char *example_text(void)
{
    struct train_state s = example();
    char *text = train_state_text(&s, &paths);

    finish(&s);
    return text;
}

static void there_and_back(void)
{
    struct train_state s = example(), back;
    const char *wrong = NULL;
    char *text = train_state_text(&s, &paths), *again;

    REQUIRE(text && train_state_parse(text, &back, &wrong) == 0 && !wrong);
    REQUIRE(strstr(text, "\"split\": 4096") && strstr(text, "\"max-ratio\": null"));
    REQUIRE(strstr(text, "t\xc3\xbcwo \xc3\x83\xc2\xa4"));
    REQUIRE(back.step == s.step && back.bytes == s.bytes && back.steps == 0);
    REQUIRE(back.seed == UINT64_MAX && back.bits_per_byte == s.bits_per_byte);
    REQUIRE(back.line_nats == 0 && back.line_bytes == 77 && !strcmp(back.precision, "fp16"));
    REQUIRE(back.loss_scale == 1024 && back.loss_scale_steps == 6);
    REQUIRE(!memcmp(&back.cursor, &s.cursor, sizeof s.cursor) && back.n_sources == 2);
    REQUIRE(!memcmp(back.sources, identities, sizeof identities));
    REQUIRE(back.nonfinite == 1 && back.outliers == 2 && back.losses.n == 2);
    REQUIRE(back.losses.nats[0] == 0.5 && back.losses.nats[1] == 1);
    REQUIRE(json_equal(back.choice, s.choice) && json_equal(back.made_on, s.made_on));
    again = train_state_text(&back, &paths);
    REQUIRE(again && !strcmp(text, again));
    free(text);
    s.loss_scale = 0; /* none is used */
    text = train_state_text(&s, &paths);
    REQUIRE(text && !strstr(text, "loss_scale"));
    free(text);
    free(again);
    train_state_finish(&back);
    finish(&s);
}

/* The text of `root`; it is refused, or where that is allowed taken. */
static void try(const json_t *root, bool may_be_taken, const char *what)
{
    char *text = json_dumps(root, 0);
    struct train_state s;
    const char *wrong = NULL;
    const int result = train_state_parse(text, &s, &wrong);

    if (result != -EBADMSG && !(result == 0 && may_be_taken)) {
        fprintf(stderr, "%s gives %d: %s\n", what, result, text);
        exit(1);
    }
    if (result == 0)
        train_state_finish(&s);
    else
        REQUIRE(wrong && *wrong);
    free(text);
}

/* Whether a value may be something else, or be missing. */
static bool optional(const char *key)
{
    return !strcmp(key, "made_on") || !strcmp(key, "path") || !strcmp(key, "include") ||
           !strcmp(key, "jsonl-field") || !strcmp(key, "device") || !strcmp(key, "threads") ||
           !strcmp(key, "build") || !strcmp(key, "limits") || !strcmp(key, "split");
}

static const char *const others[] = {"null", "-1", "1.5", "\"x\"", "\"\"", "[]", "{}", "true",
                                     "[1]", "[\"x\"]", "{\"a\":1}", "18446744073709551616",
                                     "\"99999999999999999999\"", "\"123456789012345678901\"",
                                     "\"f\"", "\"-1\"", "0"};

/* Whether a field is still right with that value. */
static bool fits(const char *key, const char *value)
{
    static const char *const naturals[] = {
        "step",      "bytes",    "steps", "line_bytes", "loss_scale",    "loss_scale_steps",
        "nonfinite", "outliers", "epoch", "size",       "bits_per_byte", "line_nats"};
    const bool real = !strcmp(key, "bits_per_byte") || !strcmp(key, "line_nats");

    if (!strcmp(key, "precision"))
        return *value == '"';
    if (!strcmp(key, "head") || !strcmp(key, "tail"))
        return !strcmp(value, "\"f\"");
    if (!strcmp(key, "lanes") || !strcmp(key, "sources"))
        return !strcmp(value, "[]");
    if (!strcmp(key, "losses"))
        return !strcmp(value, "[]") || !strcmp(value, "[1]");
    if (!strcmp(key, "choice"))
        return *value == '{';
    if (real && (!strcmp(value, "-1") || !strcmp(value, "1.5")))
        return true;
    for (size_t i = 0; i < sizeof naturals / sizeof *naturals; i++)
        if (!strcmp(key, naturals[i]))
            return !strcmp(value, "0");
    return false;
}

/* Takes away, and replaces by each of `others`, every field below `object`. */
static void change_all(json_t *root, json_t *object, bool in_lane)
{
    char names[32][32];
    size_t n = 0;

    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
        REQUIRE(n < 32);
        snprintf(names[n++], sizeof *names, "%s", json_object_iter_key(i));
    }
    while (n-- > 0) {
        const char *name = names[n];
        json_t *kept = json_incref(json_object_get(object, name));

        json_object_del(object, name);
        try(root, optional(name), name);
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            json_t *other = json_loads(others[i], JSON_DECODE_ANY, NULL);
            if (!other)
                continue; /* a number beyond 64 bits is no JSON of jansson's */
            json_object_set_new(object, name, other);
            try(root, optional(name) || (in_lane && !strcmp(others[i], "0")) ||
                          fits(name, others[i]), name);
        }
        json_object_set_new(object, name, kept);
    }
}

static void hostile_fields(void)
{
    char *text = example_text();
    json_t *root = json_loads(text, 0, NULL);
    json_t *data = json_object_get(root, "data"), *cursor = json_object_get(data, "cursor");
    json_t *lanes = json_object_get(cursor, "lanes");

    change_all(root, root, false);
    change_all(root, json_object_get(root, "made_on"), false);
    change_all(root, data, false);
    change_all(root, cursor, false);
    change_all(root, json_array_get(lanes, 1), true);
    change_all(root, json_array_get(json_object_get(data, "sources"), 1), false);
    for (int i = 0; i < PIPELINE_MAX_LANES - 2; i++)
        json_array_append(lanes, json_array_get(lanes, 0));
    try(root, true, "as many lanes as there may be");
    json_array_append(lanes, json_array_get(lanes, 0));
    try(root, false, "too many lanes");
    while (json_array_size(lanes) > 1)
        json_array_remove(lanes, 1);
    json_t *losses = json_object_get(root, "losses");
    json_array_set_new(losses, 1, json_string("1"));
    try(root, false, "a loss that is a text");
    json_array_set_new(losses, 1, json_integer(1));
    while (json_array_size(losses) < TRAIN_LOSSES)
        json_array_append_new(losses, json_real(1));
    try(root, true, "as many losses as there may be");
    json_array_append_new(losses, json_real(1));
    try(root, false, "too many losses");
    json_object_del(root, "outliers");
    json_object_del(root, "nonfinite");
    try(root, false, "losses alone");
    json_object_del(root, "losses");
    json_object_del(root, "loss_scale");
    json_object_del(root, "loss_scale_steps");
    try(root, true, "a state of an older version");
    json_decref(root);
    free(text);
}

/* Cut at every length, and every bit of it turned. */
static void changed_texts(void)
{
    char *text = example_text();
    const size_t size = strlen(text);
    struct train_state s;
    const char *wrong;

    for (size_t at = 0; at < size; at++) {
        const char kept = text[at];
        text[at] = '\0';
        REQUIRE(train_state_parse(text, &s, &wrong) == -EBADMSG);
        for (int bit = 0; bit < 8; bit++) {
            text[at] = (char)(kept ^ 1 << bit);
            if (train_state_parse(text, &s, &wrong) == 0)
                train_state_finish(&s);
        }
        text[at] = kept;
    }
    REQUIRE(train_state_parse("{\"step\":1,\"step\":1}", &s, &wrong) == -EBADMSG);
    REQUIRE(train_state_parse("{\"step\":NaN}", &s, &wrong) == -EBADMSG);
    free(text);
}

static void without_memory(void)
{
    char *good = example_text();
    const char *wrong;
    long at = 1;

    for (bool failed = true; failed; at++) {
        struct train_state s;
        allocations_fail_at(at);
        const int result = train_state_parse(good, &s, &wrong);
        failed = allocations_failed();
        REQUIRE(result == (failed ? -ENOMEM : 0));
        if (!failed)
            train_state_finish(&s);
    }
    REQUIRE(at > 100);
    at = 1;
    for (bool failed = true; failed; at++) {
        struct train_state s = example();
        allocations_fail_at(at);
        char *text = train_state_text(&s, &paths);
        failed = allocations_failed();
        REQUIRE(failed ? !text : text && !strcmp(text, good));
        free(text);
        finish(&s);
    }
    REQUIRE(at > 100);
    free(good);
}

static void moved(void)
{
    struct train_state before = example(), now = example();
    char words[700], few[30];

    train_state_changes(&before, &now, words, sizeof words);
    REQUIRE(!*words);
    strcpy(now.precision, "bf16");
    train_state_changes(&before, &now, words, sizeof words);
    REQUIRE(!strcmp(words, "trained in fp16 up to step 500, in bf16 from here on"));
    json_object_set_new(now.made_on, "threads", json_integer(4));
    json_object_set_new(now.made_on, "device", json_string("vulkan: \x1b[31m\x7f"));
    train_state_changes(&before, &now, words, sizeof words);
    REQUIRE(strstr(words, "here on; ") && strstr(words, "; threads was 2 and is 4"));
    REQUIRE(strstr(words, "device was cpu: x and is vulkan: ?[31m?"));
    train_state_changes(&before, &now, few, sizeof few);
    REQUIRE(strlen(few) == sizeof few - 1 && !strncmp(few, words, strlen(few)));
    json_object_set_new(now.made_on, "products", json_pack("{s:s}", "1 x 2 x 3 ab fp32", "x"));
    train_state_changes(&before, &now, words, sizeof words); /* by an older version */
    REQUIRE(strstr(words, "products was not known and is 1 found by trying"));
    json_object_set_new(now.made_on, "products", json_object()); /* none, and an older version */
    train_state_changes(&before, &now, words, sizeof words);
    REQUIRE(!strstr(words, "products"));
    json_object_set_new(before.made_on, "products", json_pack("{s:s}", "1 x 2 x 3 ab fp32", "x"));
    train_state_changes(&before, &now, words, sizeof words);
    REQUIRE(strstr(words, "products was 1 found by trying and is 0 found by trying"));
    json_object_set_new(before.made_on, "build", json_true());
    train_state_changes(&before, &now, words, sizeof words);
    REQUIRE(strstr(words, "build was not known and is 1"));
    json_decref(before.made_on);
    before.made_on = NULL;
    strcpy(now.precision, before.precision);
    train_state_changes(&before, &now, words, sizeof words);
    REQUIRE(strstr(words, "build was not known and is 1") && !strstr(words, "trained"));
    finish(&before);
    finish(&now);
}

int main(void)
{
    struct train_state s;
    const char *wrong;
    REQUIRE(train_state_parse("[]", &s, &wrong) == -EBADMSG);
    there_and_back();
    hostile_fields();
    changed_texts();
    without_memory();
    moved();
    return 0;
}
