/* config.c - settings: the table of keys, JSON, costs. */
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
        key, about, offsetof(struct megabyte_config, field), true, least, most, .before = NAN      \
    }
#define REAL(key, field, least, most, about)                                                       \
    {                                                                                              \
        key, about, offsetof(struct megabyte_config, field), false, least, most, .before = NAN     \
    }
/* What came later than the format: without it a text means `then`. */
#define LATER(key, field, least, most, then, about)                                                \
    {                                                                                              \
        key, about, offsetof(struct megabyte_config, field), true, least, most, .before = then     \
    }

static const char *const kinds[] = {"megabyte", "local", "global", "perceiver"};
#define KINDS (sizeof kinds / sizeof *kinds)

static const struct setting {
    const char *key, *about;
    size_t offset;
    bool whole; /* uint32_t, else double */
    double least, most;
    double before; /* the value where a text lacks it; NAN: it must be there */
    const char *const *names; /* texts for 0, 1, …; NULL: a number */
} settings[] = {
    /* The model: changing one of these makes another model. */
    WHOLE("seq_len", seq_len, 1, 1 << 28, "bytes of a sequence (T)"),
    WHOLE("patch_size", patch_size, 1, 1 << 24, "bytes of a patch (P)"),
    WHOLE("global.dim", global.dim, 1, 1 << 20, "width of the global model (D)"),
    WHOLE("global.layers", global.layers, 1, 4096, "its layers"),
    WHOLE("global.heads", global.heads, 1, 4096, "its attention heads"),
    WHOLE("local.dim", local.dim, 1, 1 << 20, "width of the local model (E)"),
    WHOLE("local.layers", local.layers, 1, 4096, "its layers"),
    WHOLE("local.heads", local.heads, 1, 4096, "its attention heads"),
    {"model", "megabyte, its local or global part alone, or perceiver (of patch_size latents)",
     offsetof(struct megabyte_config, model), true, 0, KINDS - 1, .before = 0, .names = kinds},
    LATER("cross_patch", cross_patch, 0, 1 << 16, 0, "positions of the patch before that are seen"),
    LATER("conv", conv, 0, 1, 0, "1: convolutions of 3, 5, 7 before patches are made"),
    LATER("rope", rope, 0, 1, 0, "1: rotary positions in the global model"),
    LATER("tied", tied, 0, 1, 1, "1: the head is the local embedding; 0: its own matrix"),
    /* Its training. */
    REAL("dropout", dropout, 0, 0.99, "dropout on attention and residual branches"),
    REAL("init", init, 1e-6, 10, "deviation of first weights"),
    REAL("init_embedding", init_embedding, 1e-6, 10, "deviation of first embeddings"),
    REAL("lr", lr, 0, 10, "peak learning rate"),
    WHOLE("warmup", warmup, 0, 1u << 31, "steps of linear warm-up"),
    WHOLE("batch", batch, 1, 1 << 24, "sequences of a step (B)"),
    WHOLE("micro_batch", micro_batch, 0, 1 << 24, "sequences computed at a time; 0: all"),
    LATER("recompute", recompute, 0, 1, 0,
          "1: compute blocks again for the gradient instead of keeping them"),
    LATER("local_group", local_group, 0, 1 << 28, 0,
          "patches that local blocks take at a time, for less memory; 0: as many as tensors hold"),
    LATER("scale_growth", scale_growth, 0, 1 << 24, 0,
          "fp16: steps without overflow until the loss is scaled by twice as much; 0: 2000"),
    REAL("beta1", beta1, 0, 0.999999, "AdamW: decay of the first moment"),
    REAL("beta2", beta2, 0, 0.999999, "AdamW: decay of the second moment"),
    REAL("epsilon", epsilon, 0, 1, "AdamW: added to the denominator"),
    REAL("decay", decay, 0, 10, "AdamW: weight decay of matrices"),
    REAL("clip", clip, 0, 1e9, "largest global gradient norm; 0: no clip"),
};
#define SETTINGS       (sizeof settings / sizeof *settings)
#define MODEL_SETTINGS 13 /* the first so many */

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
        return megabyte_fail(EINVAL, "setting %s is %g; it must be a whole number from %g to %g",
                             s->key, value, s->least, s->most);
    char *field = (char *)config + s->offset;
    if (s->whole)
        *(uint32_t *)field = (uint32_t)value;
    else
        *(double *)field = value;
    return 0;
}

static int put_name(struct megabyte_config *config, const struct setting *s, const char *name)
{
    char known[128] = "";
    for (uint32_t i = 0; i <= s->most; i++) {
        if (!strcmp(s->names[i], name))
            return put(config, s, i);
        strcat(strcat(known, i ? ", " : ""), s->names[i]);
    }
    return megabyte_fail(EINVAL, "setting %s cannot be '%.64s'; there are %s", s->key, name, known);
}

int megabyte_config_set(struct megabyte_config *config, const char *key, const char *value)
{
    const struct setting *s = find(key);
    if (!s) {
        char known[1024] = "";
        for (size_t i = 0; i < SETTINGS; i++)
            strcat(strcat(known, i ? " " : ""), settings[i].key);
        return megabyte_fail(ENOENT, "unknown setting '%s'; there are %s", key, known);
    }
    if (s->names)
        return put_name(config, s, value);
    char *end;
    double number = strtod(value, &end);
    const char *unit = end != value && s->whole && *end ? strchr("KMG", *end) : NULL;
    if (unit) {
        number *= unit[0] == 'K' ? 1024.0 : unit[0] == 'M' ? 1048576.0 : 1073741824.0;
        end++;
    }
    if (end == value || *end)
        return megabyte_fail(EINVAL, "setting %s wants a number from %g to %g, not '%s'", key,
                             s->least, s->most, value);
    return put(config, s, number);
}

uint32_t megabyte_config_predicted(const struct megabyte_config *c)
{
    return c->model == MEGABYTE_PERCEIVER ? c->patch_size : c->seq_len;
}

static bool has_global(const struct megabyte_config *c)
{
    return c->model == MEGABYTE_WHOLE || c->model == MEGABYTE_GLOBAL;
}

static bool has_local(const struct megabyte_config *c)
{
    return c->model != MEGABYTE_GLOBAL;
}

/* Whether there is a model within patches. */
static bool has_patches(const struct megabyte_config *c)
{
    return c->model == MEGABYTE_WHOLE || c->model == MEGABYTE_LOCAL;
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

/* What a kind of model has no use for must be off, so that nobody believes it to be on. */
static int check_variations(const struct megabyte_config *c)
{
    const char *kind = kinds[c->model];
    if (c->cross_patch > c->patch_size)
        return megabyte_fail(EINVAL, "cross_patch = %u is more than patch_size = %u",
                             c->cross_patch, c->patch_size);
    if (c->cross_patch && !has_patches(c))
        return megabyte_fail(EINVAL, "cross_patch wants a local model, which model = %s has not",
                             kind);
    if ((c->conv || c->rope) && !has_global(c))
        return megabyte_fail(EINVAL, "%s wants a global model, which model = %s has not",
                             c->conv ? "conv" : "rope", kind);
    if (c->local_group && !has_patches(c))
        return megabyte_fail(EINVAL, "local_group wants a local model, which model = %s has not",
                             kind);
    if (c->rope && c->global.dim / c->global.heads % 2)
        return megabyte_fail(EINVAL, "rope wants an even width of a head; global.dim = %u and "
                             "global.heads = %u give %u", c->global.dim, c->global.heads,
                             c->global.dim / c->global.heads);
    if (c->cross_patch && c->local.dim / c->local.heads % 2)
        return megabyte_fail(EINVAL, "cross_patch wants an even width of a head; local.dim = %u "
                             "and local.heads = %u give %u", c->local.dim, c->local.heads,
                             c->local.dim / c->local.heads);
    return 0;
}

int megabyte_config_check(const struct megabyte_config *c)
{
    if (c->model == MEGABYTE_PERCEIVER && (!c->patch_size || c->patch_size > c->seq_len))
        return megabyte_fail(EINVAL, "patch_size = %u latents do not fit into seq_len = %u",
                             c->patch_size, c->seq_len);
    if (c->model != MEGABYTE_PERCEIVER &&
        (!c->patch_size || !c->seq_len || c->seq_len % c->patch_size))
        return megabyte_fail(EINVAL, "patch_size = %u does not divide seq_len = %u", c->patch_size,
                             c->seq_len);
    if (has_global(c) && c->global.dim % c->patch_size)
        return megabyte_fail(EINVAL, "patch_size = %u does not divide global.dim = %u; %u would do",
                             c->patch_size, c->global.dim,
                             (c->global.dim / c->patch_size + 1) * c->patch_size);
    if (!c->batch)
        return megabyte_fail(EINVAL, "batch must be at least 1");
    if (c->micro_batch && c->batch % c->micro_batch)
        return megabyte_fail(EINVAL, "micro_batch = %u does not divide batch = %u", c->micro_batch,
                             c->batch);
    int status = has_global(c) ? check_stage("global", &c->global) : 0;
    if (status == 0 && has_local(c))
        status = check_stage("local", &c->local);
    return status < 0 ? status : check_variations(c);
}

char *megabyte_config_text(const struct megabyte_config *config)
{
    json_t *object = json_object();
    int status = json_object_set_new(object, "preset", json_string(config->preset));
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &settings[i];
        const double value = get(config, s);
        json_t *json = s->names   ? json_string(s->names[(uint32_t)value])
                       : s->whole ? json_integer((json_int_t)value)
                                  : json_real(value);
        status |= json_object_set_new(object, s->key, json);
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
        else if (s->names && json_typeof(value) != JSON_STRING)
            return megabyte_fail(EINVAL, "settings: %s is not a text", key);
        else if (s->names && put_name(config, s, json_string_value(value)) < 0)
            return -EINVAL;
        else if (s->names)
            continue;
        else if (json_typeof(value) != JSON_INTEGER && json_typeof(value) != JSON_REAL)
            return megabyte_fail(EINVAL, "settings: %s is not a number", key);
        else if (put(config, s, json_number_value(value)) < 0)
            return -EINVAL;
    }
    return megabyte_config_check(config);
}

/* Fills in what came later than the text; all else must be there. */
static int complete(json_t *object, struct megabyte_config *config)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &settings[i];
        if (json_object_get(object, s->key))
            continue;
        if (isnan(s->before))
            return megabyte_fail(EINVAL, "settings: %s is missing", s->key);
        put(config, s, s->before);
    }
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
        status = complete(object, &parsed);
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

void megabyte_config_adapt(struct megabyte_config *config, const struct megabyte_config *from)
{
    config->micro_batch = from->micro_batch;
    config->recompute = from->recompute;
    config->local_group = from->local_group;
}

/* ---- costs ---- */

#define CONV_TAPS (3 + 5 + 7) /* of the three convolutions */

/* Blocks of one transformer: matrices, biases and norms, and the norm behind the last. */
static uint64_t stage_parameters(const struct megabyte_stage *s)
{
    const uint64_t dim = s->dim;
    return s->layers * (12 * dim * dim + 13 * dim) + 2 * dim;
}

static uint64_t global_parameters(const struct megabyte_config *c)
{
    const uint64_t byte = c->global.dim / c->patch_size;
    const uint64_t conv = c->conv ? CONV_TAPS * byte * byte + 3 * byte : 0;
    return (MEGABYTE_SYMBOLS + (uint64_t)c->seq_len + c->patch_size) * byte + conv +
           stage_parameters(&c->global);
}

static uint64_t local_parameters(const struct megabyte_config *c)
{
    const uint64_t dim = c->local.dim;
    const uint64_t positions = c->model == MEGABYTE_PERCEIVER ? c->seq_len : c->patch_size;
    const uint64_t projected = c->model == MEGABYTE_WHOLE ? c->global.dim / c->patch_size : 0;
    /* The look at the span is a block with two norms before its attention. */
    const uint64_t look = c->model == MEGABYTE_PERCEIVER ? 12 * dim * dim + 15 * dim : 0;
    return (MEGABYTE_SYMBOLS + positions + 1 + projected) * dim + look +
           stage_parameters(&c->local);
}

uint64_t megabyte_config_parameters(const struct megabyte_config *c)
{
    const uint64_t width = has_local(c) ? c->local.dim : c->global.dim / c->patch_size;
    return (has_global(c) ? global_parameters(c) : 0) + (has_local(c) ? local_parameters(c) : 0) +
           (c->tied ? 0 : MEGABYTE_SYMBOLS * width);
}

/* Of one position that sees `keys` positions: matrix products, and attention over all of them. */
static double stage_flops(const struct megabyte_stage *s, double keys)
{
    const double dim = s->dim;
    return s->layers * (24 * dim * dim + 4 * keys * dim);
}

/* Of the look of one latent: keys and values of T / P bytes for each, and attention over T. */
static double look_flops(const struct megabyte_config *c)
{
    const double dim = c->local.dim, span = c->seq_len, latents = c->patch_size;
    return 20 * dim * dim + 4 * dim * dim * span / latents + 4 * span * dim;
}

double megabyte_config_flops(const struct megabyte_config *c)
{
    const double patch = c->patch_size, local = c->local.dim, byte = c->global.dim / patch;
    double flops = 0;
    if (has_global(c))
        flops += stage_flops(&c->global, c->seq_len / patch) / patch +
                 (c->conv ? 2 * CONV_TAPS * byte * byte : 0);
    if (has_local(c))
        flops += stage_flops(&c->local, patch);
    if (c->model == MEGABYTE_WHOLE)
        flops += 2 * local * byte; /* the projection */
    if (c->model == MEGABYTE_PERCEIVER)
        flops += look_flops(c);
    return flops + 2 * (has_local(c) ? local : byte) * MEGABYTE_SYMBOLS;
}

double megabyte_config_training_flops(const struct megabyte_config *c)
{
    return 3 * megabyte_config_flops(c) * megabyte_config_predicted(c) / c->seq_len;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint32_t megabyte_config_most(const struct megabyte_config *c)
{
    const uint64_t length = c->seq_len, patch = c->patch_size, local = c->local.dim;
    const uint64_t patches = length / patch, global = c->global.dim;
    /* Of a window; blocks go by parts (nn_transformer), and these are what one of them has. */
    uint64_t all = MEGABYTE_SYMBOLS * (uint64_t)megabyte_config_predicted(c), part = 0;
    if (has_global(c)) {
        all = larger(all, patches * global * (c->conv ? 7 : 1)); /* unfolded */
        part = 4 * patches * global;
    }
    if (has_patches(c)) {
        all = larger(all, length * local);
        part = larger(part, (c->cross_patch ? 6 : 4) * local * patch); /* q, k, v of two patches */
    }
    if (c->model == MEGABYTE_PERCEIVER) /* keys and values of the span, the latents' layer */
        all = larger(all, larger(2 * length, 4 * patch) * local);
    return part > INT32_MAX ? 0 : (uint32_t)(INT32_MAX / all);
}

double megabyte_word_perplexity(double bits_per_byte, double bytes, double words)
{
    return exp2(bits_per_byte * bytes / words);
}
