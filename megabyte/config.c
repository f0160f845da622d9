/* config.c - settings: the table of keys, presets, JSON. */
#include "megabyte/config.h"
#include "megabyte/error.h"
#include "tensor/json.h"
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE(key, field, least, most, about)                                                      \
    {                                                                                              \
        key, about, offsetof(struct megabyte_config, field), true, least, most, false              \
    }
#define REAL(key, field, least, most, about)                                                       \
    {                                                                                              \
        key, about, offsetof(struct megabyte_config, field), false, least, most, false             \
    }
/* A whole number that files of earlier versions lack. */
#define LATER(key, field, least, most, about)                                                      \
    {                                                                                              \
        key, about, offsetof(struct megabyte_config, field), true, least, most, true               \
    }

static const struct setting {
    const char *key, *about;
    size_t offset;
    bool whole; /* uint32_t, else double */
    double least, most;
    bool later; /* may be missing, and is 0 then */
} settings[] = {
    /* The model: changing one of these makes another model. */
    WHOLE("seq_len", seq_len, 1, 1 << 28, "bytes of a sequence (T)"),
    WHOLE("patch_size", patch_size, 1, 1 << 16, "bytes of a patch (P)"),
    WHOLE("global.dim", global.dim, 1, 1 << 20, "width of the global model (D)"),
    WHOLE("global.layers", global.layers, 1, 4096, "its layers"),
    WHOLE("global.heads", global.heads, 1, 4096, "its attention heads"),
    WHOLE("local.dim", local.dim, 1, 1 << 20, "width of the local model (E)"),
    WHOLE("local.layers", local.layers, 1, 4096, "its layers"),
    WHOLE("local.heads", local.heads, 1, 4096, "its attention heads"),
    /* Its training. */
    REAL("dropout", dropout, 0, 0.99, "dropout on attention and residual branches"),
    REAL("init", init, 1e-6, 10, "deviation of first weights"),
    REAL("init_embedding", init_embedding, 1e-6, 10, "deviation of first embeddings"),
    REAL("lr", lr, 0, 10, "peak learning rate"),
    WHOLE("warmup", warmup, 0, 1u << 31, "steps of linear warm-up"),
    WHOLE("batch", batch, 1, 1 << 24, "sequences of a step (B)"),
    WHOLE("micro_batch", micro_batch, 0, 1 << 24, "sequences computed at a time; 0: all"),
    LATER("recompute", recompute, 0, 1,
          "1: compute blocks again for the gradient instead of keeping them"),
    REAL("beta1", beta1, 0, 0.999999, "AdamW: decay of the first moment"),
    REAL("beta2", beta2, 0, 0.999999, "AdamW: decay of the second moment"),
    REAL("epsilon", epsilon, 0, 1, "AdamW: added to the denominator"),
    REAL("decay", decay, 0, 10, "AdamW: weight decay of matrices"),
    REAL("clip", clip, 0, 1e9, "largest global gradient norm; 0: no clip"),
};
#define SETTINGS       (sizeof settings / sizeof *settings)
#define MODEL_SETTINGS 8 /* the first so many */

#define PAPER_OPTIMIZER .beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-8, .decay = 0.1, .clip = 1.0

static const struct {
    const char *about;
    struct megabyte_config config;
} presets[] = {
    {"about 3 M parameters, made for two processor cores",
     {.preset = "tiny", .seq_len = 512, .patch_size = 8, .global = {256, 3, 4},
      .local = {128, 2, 2}, .init = 0.02, .init_embedding = 0.03, .lr = 1e-3, .warmup = 50,
      .batch = 4, PAPER_OPTIMIZER}},
    {"about 22 M parameters, for a small GPU or a patient processor",
     {.preset = "small", .seq_len = 1024, .patch_size = 8, .global = {512, 6, 8},
      .local = {256, 4, 4}, .init = 0.01, .init_embedding = 0.03, .lr = 1e-3, .warmup = 200,
      .batch = 16, PAPER_OPTIMIZER}},
    {"about 126 M parameters, for a GPU",
     {.preset = "base", .seq_len = 4096, .patch_size = 8, .global = {1024, 8, 16},
      .local = {512, 8, 8}, .init = 0.02, .init_embedding = 0.02, .lr = 6e-4, .warmup = 500,
      .batch = 32, PAPER_OPTIMIZER}},
    {"the paper's text model, 758M + 262M (table 13), with its training values",
     {.preset = "paper-text", .seq_len = 8192, .patch_size = 8, .global = {2048, 14, 32},
      .local = {1024, 18, 16}, .dropout = 0.1, .init = 0.006, .init_embedding = 0.006, .lr = 2e-4,
      .warmup = 500, .batch = 48, PAPER_OPTIMIZER}},
};
#define PRESETS (sizeof presets / sizeof *presets)

int megabyte_config_preset(const char *name, struct megabyte_config *config)
{
    char known[256] = "";
    for (size_t i = 0; i < PRESETS; i++) {
        if (!strcmp(presets[i].config.preset, name)) {
            *config = presets[i].config;
            return 0;
        }
        strcat(strcat(known, i ? ", " : ""), presets[i].config.preset);
    }
    return megabyte_fail(ENOENT, "unknown preset '%s'; there are %s", name, known);
}

bool megabyte_config_preset_at(unsigned index, const char **name, const char **about)
{
    if (index >= PRESETS)
        return false;
    *name = presets[index].config.preset;
    *about = presets[index].about;
    return true;
}

bool megabyte_config_key_at(unsigned index, const char **key, const char **about)
{
    if (index >= SETTINGS)
        return false;
    *key = settings[index].key;
    *about = settings[index].about;
    return true;
}

static const struct setting *find(const char *key)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (!strcmp(settings[i].key, key))
            return &settings[i];
    return NULL;
}

static double get(const struct megabyte_config *config, const struct setting *s)
{
    const char *field = (const char *)config + s->offset;
    return s->whole ? *(const uint32_t *)field : *(const double *)field;
}

static int put(struct megabyte_config *config, const struct setting *s, double value)
{
    if (!(value >= s->least && value <= s->most))
        return megabyte_fail(EINVAL, "setting %s is %g; it must lie between %g and %g", s->key,
                             value, s->least, s->most);
    if (s->whole && value != floor(value))
        return megabyte_fail(EINVAL, "setting %s is %g; it must be a whole number", s->key, value);
    char *field = (char *)config + s->offset;
    if (s->whole)
        *(uint32_t *)field = (uint32_t)value;
    else
        *(double *)field = value;
    return 0;
}

int megabyte_config_set(struct megabyte_config *config, const char *key, const char *value)
{
    const struct setting *s = find(key);
    if (!s) {
        char known[512] = "";
        for (size_t i = 0; i < SETTINGS; i++)
            strcat(strcat(known, i ? " " : ""), settings[i].key);
        return megabyte_fail(ENOENT, "unknown setting '%s'; there are %s", key, known);
    }
    char *end;
    double number = strtod(value, &end);
    const char *unit = end != value && s->whole && *end ? strchr("KMG", *end) : NULL;
    if (unit) {
        number *= unit[0] == 'K' ? 1024.0 : unit[0] == 'M' ? 1048576.0 : 1073741824.0;
        end++;
    }
    if (end == value || *end)
        return megabyte_fail(EINVAL, "setting %s wants a number, not '%s'", key, value);
    return put(config, s, number);
}

static int check_stage(const char *name, const struct megabyte_stage *stage)
{
    if (!stage->dim || !stage->layers || !stage->heads)
        return megabyte_fail(EINVAL, "%s.dim, %s.layers and %s.heads must be at least 1", name,
                             name, name);
    if (stage->dim % stage->heads)
        return megabyte_fail(EINVAL, "%s.heads = %u does not divide %s.dim = %u", name,
                             stage->heads, name, stage->dim);
    if (stage->dim / stage->heads > 256)
        return megabyte_fail(EINVAL, "%s heads are %u wide and may be 256; take more %s.heads",
                             name, stage->dim / stage->heads, name);
    return 0;
}

int megabyte_config_check(const struct megabyte_config *c)
{
    if (!c->patch_size || !c->seq_len || c->seq_len % c->patch_size)
        return megabyte_fail(EINVAL, "patch_size = %u does not divide seq_len = %u", c->patch_size,
                             c->seq_len);
    if (c->global.dim % c->patch_size)
        return megabyte_fail(EINVAL, "patch_size = %u does not divide global.dim = %u; %u would do",
                             c->patch_size, c->global.dim,
                             (c->global.dim / c->patch_size + 1) * c->patch_size);
    if (!c->batch)
        return megabyte_fail(EINVAL, "batch must be at least 1");
    if (c->micro_batch && c->batch % c->micro_batch)
        return megabyte_fail(EINVAL, "micro_batch = %u does not divide batch = %u", c->micro_batch,
                             c->batch);
    const int status = check_stage("global", &c->global);
    return status < 0 ? status : check_stage("local", &c->local);
}

char *megabyte_config_text(const struct megabyte_config *config)
{
    json_t *object = json_object();
    int status = json_object_set_new(object, "preset", json_string(config->preset));
    for (size_t i = 0; i < SETTINGS; i++) {
        const double value = get(config, &settings[i]);
        status |= json_object_set_new(object, settings[i].key,
                                      settings[i].whole ? json_integer((json_int_t)value)
                                                        : json_real(value));
    }
    char *text = status ? NULL : tensor_json_write(object, JSON_INDENT(4));
    json_decref(object);
    return text;
}

static int merge_object(json_t *object, struct megabyte_config *config)
{
    for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
        const char *key = json_object_iter_key(i);
        const json_t *value = json_object_iter_value(i);
        const struct setting *s = find(key);
        const bool preset = !strcmp(key, "preset");
        if (preset && json_typeof(value) == JSON_STRING)
            snprintf(config->preset, sizeof config->preset, "%s", json_string_value(value));
        else if (preset)
            return megabyte_fail(EINVAL, "settings: preset is not a text");
        else if (!s)
            return megabyte_fail(EINVAL, "settings: '%.64s' is unknown to this version", key);
        else if (json_typeof(value) != JSON_INTEGER && json_typeof(value) != JSON_REAL)
            return megabyte_fail(EINVAL, "settings: %s is not a number", key);
        else if (put(config, s, json_number_value(value)) < 0)
            return -EINVAL;
    }
    return megabyte_config_check(config);
}

static int check_complete(json_t *object)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (!settings[i].later && !json_object_get(object, settings[i].key))
            return megabyte_fail(EINVAL, "settings: %s is missing", settings[i].key);
    return 0;
}

static int parse(const char *text, bool whole, struct megabyte_config *config)
{
    json_t *object = NULL;
    struct megabyte_config parsed = *config;
    int status = tensor_json_read(text, strlen(text), &object);
    if (status == -ENOMEM)
        return megabyte_fail(ENOMEM, "no host memory for the settings");
    if (status < 0)
        return megabyte_fail(EINVAL, "settings: not a JSON object: %s", tensor_error());
    if (json_typeof(object) != JSON_OBJECT)
        status = megabyte_fail(EINVAL, "settings: not a JSON object but another JSON value");
    if (status == 0 && whole)
        status = check_complete(object);
    if (status == 0)
        status = merge_object(object, &parsed);
    json_decref(object);
    if (status == 0)
        *config = parsed;
    return status;
}

int megabyte_config_parse(const char *text, struct megabyte_config *config)
{
    struct megabyte_config parsed = {.preset = ""};
    const int status = parse(text, true, &parsed);
    if (status == 0)
        *config = parsed;
    return status;
}

int megabyte_config_merge(struct megabyte_config *config, const char *text)
{
    return parse(text, false, config);
}

bool megabyte_config_same_model(const struct megabyte_config *a, const struct megabyte_config *b,
                                const char **key)
{
    for (size_t i = 0; i < MODEL_SETTINGS; i++)
        if (get(a, &settings[i]) != get(b, &settings[i])) {
            *key = settings[i].key;
            return false;
        }
    return true;
}

/* Blocks of one transformer: matrices, biases and norms, and the norm behind the last. */
static uint64_t stage_parameters(const struct megabyte_stage *s)
{
    const uint64_t dim = s->dim;
    return s->layers * (12 * dim * dim + 13 * dim) + 2 * dim;
}

uint64_t megabyte_config_parameters(const struct megabyte_config *c)
{
    const uint64_t byte = c->global.dim / c->patch_size, local = c->local.dim;
    const uint64_t global_in = (MEGABYTE_SYMBOLS + (uint64_t)c->seq_len + c->patch_size) * byte;
    const uint64_t local_in = (MEGABYTE_SYMBOLS + (uint64_t)c->patch_size + 1 + byte) * local;
    return global_in + local_in + stage_parameters(&c->global) + stage_parameters(&c->local);
}

/* Of one position among `positions`: matrix products, and attention over all of them. */
static double stage_flops(const struct megabyte_stage *s, double positions)
{
    const double dim = s->dim;
    return s->layers * (24 * dim * dim + 4 * positions * dim);
}

double megabyte_config_flops(const struct megabyte_config *c)
{
    const double patch = c->patch_size, local = c->local.dim;
    const double projection = 2 * local * c->global.dim / patch,
                 head = 2 * local * MEGABYTE_SYMBOLS;
    return stage_flops(&c->global, c->seq_len / patch) / patch + stage_flops(&c->local, patch) +
           projection + head;
}

double megabyte_word_perplexity(double bits_per_byte, double bytes, double words)
{
    return exp2(bits_per_byte * bytes / words);
}
