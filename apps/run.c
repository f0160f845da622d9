#include "apps/run.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "megabyte/error.h"
#include "tensor/json.h"

static void note(void *user, const char *line)
{
    (void)user;
    app_note("%s", line);
}

const struct megabyte_run_log app_run_log = {.line = note};

int app_checkpoint_open(const char *path, bool model_only, struct megabyte_checkpoint **checkpoint)
{
    const struct megabyte_checkpoint_params params = {.model_only = model_only,
                                                      .log = app_run_log};

    return megabyte_checkpoint_open(path, &params, checkpoint);
}

/* ---- the state's part about data ---- */

static const json_t *part(const struct app_run_data *data, const char *name)
{
    return json_object_get(json_object_get(data->state, "data"), name);
}

/* What the run was trained with under this option's name; NULL: it does not say. */
static const json_t *chosen(const struct app_run_data *data, const char *option)
{
    return json_object_get(part(data, "choice"), option);
}

int app_run_data_read(const struct megabyte_checkpoint *checkpoint, struct app_run_data *data)
{
    const char *text = megabyte_checkpoint_state(checkpoint);

    *data = (struct app_run_data){0};
    if (tensor_json_read(text, strlen(text), &data->state) == -ENOMEM)
        return app_fail(APP_FAILED, "out of memory");
    data->val_fraction = json_number_value(chosen(data, "val-fraction"));
    if (!(data->val_fraction >= 0 && data->val_fraction <= 1))
        data->val_fraction = 0;
    return APP_DONE;
}

void app_run_data_finish(struct app_run_data *data)
{
    json_decref(data->state);
    *data = (struct app_run_data){0};
}

/* ---- options ---- */

/* The options that were taken, as one would write them. */
struct told {
    char words[700];
    size_t n;
};

static void __attribute__((format(printf, 2, 3))) tell(struct told *told, const char *format, ...)
{
    const size_t room = sizeof told->words - told->n;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(told->words + told->n, room, format, args);
    va_end(args);
    told->n += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

static bool given(const struct app_data_options *o, int key)
{
    return o->given & APP_DATA_BIT(key);
}

/* A whole number in range, if the run says one. */
static bool whole(const struct app_run_data *data, const char *option, uint64_t low, uint64_t high,
                  uint32_t *out)
{
    const json_t *value = chosen(data, option);
    const json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < 0 || (uint64_t)number < low || (uint64_t)number > high)
        return false;
    *out = (uint32_t)number;
    return true;
}

/* -1 after a line. */
static int take_patterns(const struct app_run_data *data, const char *option,
                         const char *const **list, size_t *n, struct told *told)
{
    const json_t *patterns = chosen(data, option);
    int taken = 1;

    for (size_t i = 0; i < json_array_size(patterns) && taken == 1; i++) {
        const char *pattern = json_string_value(json_array_get(patterns, i));
        char shown[256];

        if (!pattern)
            continue;
        taken = app_data_add_pattern(list, n, pattern);
        tell(told, " --%s '%s'", option, pipeline_printable(pattern, shown, sizeof shown));
    }
    return taken == 1 ? 0 : -1;
}

static void take_images(const struct app_run_data *data, struct app_data_options *o,
                        struct told *told)
{
    struct pipeline_content *c = &o->choice.content;
    const bool size_given = given(o, APP_KEY_IMAGES), patch_given = given(o, APP_KEY_IMAGE_PATCH);
    uint32_t size = 0, patch = 0;

    if (!whole(data, "images", 1, PIPELINE_MAX_IMAGE_SIZE, &size) ||
        (size_given && c->image_size != size))
        return; /* of another size: whatever patches fit the model */
    if (!size_given)
        tell(told, " --images %u", c->image_size = size);
    if (!patch_given && whole(data, "image-patch", 1, PIPELINE_MAX_IMAGE_SIZE, &patch))
        tell(told, " --image-patch %u", c->image_patch = patch);
}

static void take_audio(const struct app_run_data *data, struct app_data_options *o,
                       struct told *told)
{
    uint32_t rate;

    if (!given(o, APP_KEY_AUDIO_RATE) && whole(data, "audio-rate", 1000, 384000, &rate))
        tell(told, given(o, APP_KEY_AUDIO) ? " --audio-rate %u" : " --audio --audio-rate %u",
             o->choice.content.audio_rate = rate);
}

/* JSON lines, images or audio. */
static void take_content(const struct app_run_data *data, struct app_data_options *o,
                         struct told *told)
{
    const bool jsonl = given(o, APP_KEY_JSONL_FIELD), images = given(o, APP_KEY_IMAGES);
    const bool audio = given(o, APP_KEY_AUDIO) || given(o, APP_KEY_AUDIO_RATE);
    const char *field = json_string_value(chosen(data, "jsonl-field"));
    char shown[256];

    if (!jsonl && !audio)
        take_images(data, o, told);
    if (!jsonl && !images)
        take_audio(data, o, told);
    if (!jsonl && !images && !audio && field && *field)
        tell(told, " --jsonl-field '%s'",
             pipeline_printable(o->choice.content.jsonl_field = field, shown, sizeof shown));
}

/* What a member may unfold to; from versions that kept it on. */
static void take_limits(const struct app_run_data *data, struct app_data_options *o,
                        struct told *told)
{
    const json_t *limits = part(data, "limits"), *ratio = json_object_get(limits, "max-ratio");
    const json_int_t size = json_integer_value(json_object_get(limits, "max-size"));
    const double before = o->choice.max_ratio;

    if (!given(o, APP_KEY_MAX_RATIO) && json_is_null(ratio))
        o->choice.max_ratio = HUGE_VAL;
    else if (!given(o, APP_KEY_MAX_RATIO) && json_number_value(ratio) >= 1)
        o->choice.max_ratio = json_number_value(ratio);
    if (o->choice.max_ratio != before)
        tell(told, " --max-ratio %g", o->choice.max_ratio);
    if (!given(o, APP_KEY_MAX_SIZE) && size > 0)
        tell(told, " --max-size %" PRIu64, o->choice.max_bytes = (uint64_t)size);
}

static void take_reading(const struct app_run_data *data, struct app_data_options *o,
                         struct told *told)
{
    const char *corrupt = json_string_value(chosen(data, "on-corrupt"));
    uint32_t nested;

    if (!given(o, APP_KEY_NESTED) && whole(data, "nested", 0, PIPELINE_MAX_NESTED, &nested) &&
        nested != o->choice.nested)
        tell(told, " --nested %u", o->choice.nested = nested);
    if (!given(o, APP_KEY_ON_CORRUPT) && corrupt && !strcmp(corrupt, "skip")) {
        o->choice.on_corrupt = PIPELINE_CORRUPT_SKIP;
        tell(told, " --on-corrupt skip");
    }
    take_limits(data, o, told);
}

int app_run_data_take(const struct app_run_data *data, bool split, struct app_data_options *options)
{
    struct pipeline_choice *c = &options->choice;
    struct told told = {.words = ""};
    int status = 0;

    if (!data->state)
        return APP_DONE;
    if (!options->run)
        options->run = json_incref(data->state); /* its texts are used from now on */
    if (!given(options, APP_KEY_INCLUDE))
        status = take_patterns(data, "include", &c->include, &c->n_include, &told);
    if (status == 0 && !given(options, APP_KEY_EXCLUDE))
        status = take_patterns(data, "exclude", &c->exclude, &c->n_exclude, &told);
    if (status < 0)
        return APP_FAILED;
    take_content(data, options, &told);
    take_reading(data, options, &told);
    if (split && !given(options, APP_KEY_VAL_FRACTION) && data->val_fraction > 0)
        tell(&told, " --val-fraction %g", c->val_fraction = data->val_fraction);
    if (told.n)
        app_note("data as the run was trained:%s", told.words);
    return APP_DONE;
}

void app_run_order_take(const struct app_run_data *data, struct app_data_options *o)
{
    const json_int_t shuffle = json_integer_value(chosen(data, "shuffle"));

    if (!given(o, APP_KEY_AT_ONCE))
        whole(data, "at-once", 1, PIPELINE_MAX_LANES, &o->at_once);
    if (!given(o, APP_KEY_SHUFFLE) && shuffle > 0)
        o->shuffle_bytes = (uint64_t)shuffle;
}

/* ---- sources ---- */

static bool is_hash(const json_t *text, uint64_t hash)
{
    char wanted[17];

    snprintf(wanted, sizeof wanted, "%016" PRIx64, hash);
    return json_is_string(text) && !strcmp(json_string_value(text), wanted);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Whether a state's text is that name: one that is not UTF-8 was taken for Latin-1. */
static bool is_name(const char *kept, const char *name)
{
    if (!strcmp(kept, name))
        return true;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
        if (*c >= 0x80 && (unsigned char)*kept++ != (0xc0 | *c >> 6))
            return false;
        if ((unsigned char)*kept++ != (*c >= 0x80 ? 0x80 | (*c & 0x3f) : *c))
            return false;
    }
    return !*kept;
}

/* What a source was called in the run; NULL: as `path` is. */
static const char *other_name(const json_t *source, const char *path)
{
    const char *before = json_string_value(json_object_get(source, "path"));

    if (!before || is_name(last_part(before), last_part(path)))
        return NULL;
    return last_part(before);
}

/* What the run keeps about a source, of several alike that of the same name; NULL: it is not one of
 * its own. A pipe is never known again. */
static const json_t *find_own(const struct app_run_data *data, const char *path,
                              const struct pipeline_identity *id)
{
    const json_t *sources = part(data, "sources"), *found = NULL;

    if (!id->size && !id->head && !id->tail)
        return NULL;
    for (size_t i = 0; i < json_array_size(sources); i++) {
        const json_t *source = json_array_get(sources, i);

        if ((uint64_t)json_integer_value(json_object_get(source, "size")) == id->size &&
            is_hash(json_object_get(source, "head"), id->head) &&
            is_hash(json_object_get(source, "tail"), id->tail) &&
            (!found || !other_name(source, path)))
            found = source;
    }
    return found;
}

size_t app_run_data_own(const struct app_run_data *data, struct pipeline_sources *sources,
                        const struct pipeline_identity *identities, bool *own)
{
    size_t n = 0;

    for (size_t i = 0; i < sources->n; i++) {
        struct pipeline_source *s = &sources->list[i];
        const json_t *source = find_own(data, s->path, &identities[i]);
        const json_int_t split = json_integer_value(json_object_get(source, "split"));

        own[i] = source != NULL;
        n += own[i];
        if (!own[i])
            continue;
        /* Not there: 0, as in older versions and of what is large. */
        s->split_bytes = split > 0 && split <= PIPELINE_SPLIT_BYTES ? (uint32_t)split : 0;
        const char *name = other_name(source, s->path);
        s->split_hash = name ? pipeline_name_hash(name) : 0;
    }
    return n;
}
