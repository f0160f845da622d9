/* settings.c - configurations: presets, texts from anywhere, what fits together, and what a model
 * costs. Checks (e) and (f). */
#include "tests/megabyte/check.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct megabyte_config preset(const char *name)
{
    struct megabyte_config c;
    check_must(megabyte_config_preset(name, &c), name);
    return c;
}

static void check_presets(void)
{
    const char *name, *about;
    unsigned count = 0;
    for (; megabyte_config_preset_at(count, &name, &about); count++) {
        const struct megabyte_config c = preset(name);
        CHECK(!strcmp(c.preset, name) && *about, "preset %s is called %s", name, c.preset);
        CHECK(megabyte_config_check(&c) == 0, "preset %s: %s", name, megabyte_error());
        char *text = megabyte_config_text(&c);
        struct megabyte_config back;
        memset(&back, 0x55, sizeof back);
        CHECK(megabyte_config_parse(text, &back) == 0, "preset %s: %s", name, megabyte_error());
        char *again = megabyte_config_text(&back);
        CHECK(!strcmp(text, again), "preset %s changes on its way through text", name);
        const char *key = NULL;
        CHECK(megabyte_config_same_model(&c, &back, &key), "preset %s: %s changes", name, key);
        free(text);
        free(again);
    }
    CHECK(count > 35, "%u presets", count);
    struct megabyte_config c = preset("tiny"), before = c;
    CHECK(megabyte_config_preset("huge", &c) == -ENOENT, "preset 'huge' is there");
    CHECK(strstr(megabyte_error(), "tiny") && strstr(megabyte_error(), "paper-text"),
          "unknown preset: \"%s\"", megabyte_error());
    CHECK(!memcmp(&c, &before, sizeof c), "a failure changes the configuration");
}

/* Every number survives text, bit for bit, whatever it is. */
static void check_round_trip(void)
{
    struct megabyte_config c = preset("small"), back;
    c.lr = 0.1 + 0.2;
    c.init = 1.0 / 3;
    c.epsilon = 1e-300;
    c.decay = 0;
    c.warmup = 1u << 31;
    c.micro_batch = 4;
    strcpy(c.preset, "\"\\\n\x01");
    char *text = megabyte_config_text(&c);
    CHECK(megabyte_config_parse(text, &back) == 0, "round trip: %s", megabyte_error());
    CHECK(back.lr == c.lr && back.init == c.init && back.epsilon == c.epsilon && back.decay == 0 &&
              back.warmup == c.warmup && back.micro_batch == 4 && !strcmp(back.preset, c.preset),
          "a number changes on its way through text: %s", text);
    free(text);
    const char *key = NULL;
    back.local.heads = 8;
    CHECK(!megabyte_config_same_model(&c, &back, &key) && !strcmp(key, "local.heads"),
          "the setting that differs is %s", key);
    back = c;
    back.lr = 1;
    back.batch = 3;
    CHECK(megabyte_config_same_model(&c, &back, &key), "%s makes another model", key);
}

/* Texts that must be refused, with a word that the line must hold. */
static void check_hostile_texts(void)
{
    static const struct {
        const char *text, *word;
    } merges[] = {
        {"", "not a JSON object"},
        {"[]", "not a JSON object"},
        {"null", ""},
        {"{\"patch_size\": 4", "line 1"},
        {"{\"patch_size\": 4} x", ""},
        {"{\"patch_size\": 4, \"patch_size\": 8}", "uplicate"},
        {"{\"patch_size\": \"4\"}", "patch_size"},
        {"{\"patch_size\": null}", "patch_size"},
        {"{\"patch_size\": [4]}", "patch_size"},
        {"{\"patch_size\": true}", "patch_size"},
        {"{\"patch_size\": 4.5}", "whole"},
        {"{\"patch_size\": 0}", "between"},
        {"{\"patch_size\": -4}", "between"},
        {"{\"patch_size\": 4294967300}", "between"},
        {"{\"patch_size\": 1e300}", "between"},
        {"{\"patch_size\": 99999999999999999999}", ""},
        {"{\"patch_size\": 1e999}", ""},
        {"{\"patch_size\": NaN}", ""},
        {"{\"patch_size\": 7}", "does not divide seq_len = 512"},
        {"{\"dropout\": 1}", "dropout"},
        {"{\"dropout\": -0.1}", "dropout"},
        {"{\"beta1\": 1}", "beta1"},
        {"{\"lr\": -1}", "lr"},
        {"{\"rope\": 2}", "rope"},
        {"{\"rope\": \"1\"}", "rope"},
        {"{\"model\": 1}", "model is not a text"},
        {"{\"model\": \"Megabyte\"}", "megabyte, local, global, perceiver"},
        {"{\"model\": \"local\", \"conv\": 1}", "conv wants a global model"},
        {"{\"model\": \"local\", \"rope\": 1}", "rope wants a global model"},
        {"{\"model\": \"global\", \"cross_patch\": 1}", "cross_patch wants a local model"},
        {"{\"model\": \"perceiver\", \"patch_size\": 513}", "do not fit into seq_len = 512"},
        {"{\"cross_patch\": 9}", "cross_patch = 9 is more than patch_size = 8"},
        {"{\"cross_patch\": 1, \"local.dim\": 127, \"local.heads\": 1}", "even width"},
        {"{\"rope\": 1, \"global.dim\": 264, \"global.heads\": 8}", "even width"},
        {"{\"Patch_size\": 4}", "Patch_size"},
        {"{\"patch_size \": 4}", "patch_size "},
        {"{\"\": 4}", "unknown"},
        {"{\"preset\": 4}", "preset is not a text"},
        {"{\"a\\u0000b\": 4}", ""},
        {"{\"global.heads\": 3}", "global.heads = 3 does not divide global.dim = 256"},
        {"{\"local.heads\": 3}", "local.heads = 3 does not divide local.dim = 128"},
        {"{\"global.dim\": 258}", "does not divide global.dim = 258; 264 would do"},
        {"{\"global.dim\": 4096, \"global.heads\": 4}", "256"},
        {"{\"micro_batch\": 3}", "micro_batch = 3 does not divide batch = 4"},
    };
    const struct megabyte_config before = preset("tiny");
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        struct megabyte_config c = before;
        const int status = megabyte_config_merge(&c, merges[i].text);
        CHECK(status == -EINVAL, "%s gives %d", merges[i].text, status);
        CHECK(strstr(megabyte_error(), merges[i].word), "%s: \"%s\" lacks \"%s\"", merges[i].text,
              megabyte_error(), merges[i].word);
        CHECK(!strstr(megabyte_error(), "line -1"), "%s: \"%s\"", merges[i].text, megabyte_error());
        CHECK(!memcmp(&c, &before, sizeof c), "%s changes the configuration", merges[i].text);
    }
    struct megabyte_config c = before;
    CHECK(megabyte_config_merge(&c, "{}") == 0 && !memcmp(&c, &before, sizeof c), "{} is refused");
    CHECK(megabyte_config_merge(&c, "{\"seq_len\": 1024, \"preset\": \"mine\"}") == 0 &&
              c.seq_len == 1024 && c.patch_size == before.patch_size &&
              !strcmp(c.preset, "mine"),
          "a merge does not set what it should");
}

/* The text without the line of one setting; the caller frees it. */
static char *without(const char *text, const char *key)
{
    char *copy = check_allocate(strlen(text) + 1), *to = copy, quoted[64];
    snprintf(quoted, sizeof quoted, "    \"%s\":", key);
    for (const char *line = text; *line;) {
        const char *end = strchr(line, '\n');
        const size_t size = end ? (size_t)(end - line) + 1 : strlen(line);
        if (strncmp(line, quoted, strlen(quoted)))
            to = mempcpy(to, line, size);
        line += size;
    }
    CHECK(strlen(copy) < strlen(text), "%s is not in the text", key);
    char *comma = strrchr(copy, ','); /* the last line has none */
    if (!strpbrk(comma, ":"))
        *comma = ' ';
    return copy;
}

/* Every truncation, every text that lacks one setting, deep and long ones. */
static void check_damaged_texts(void)
{
    struct megabyte_config c = preset("tiny"), before = c;
    char *text = megabyte_config_text(&c);
    const size_t size = strlen(text);
    char *copy = check_allocate(size + 1);
    for (size_t i = 0; i < size; i++) {
        memcpy(copy, text, i);
        copy[i] = 0;
        CHECK(megabyte_config_parse(copy, &c) == -EINVAL, "%u of %u bytes are enough", (unsigned)i,
              (unsigned)size);
    }
    const char *key, *about;
    for (unsigned i = 0; megabyte_config_key_at(i, &key, &about); i++) {
        char *less = without(text, key);
        if (strstr(" model cross_patch conv rope tied recompute local_group scale_growth ",
                   key)) /* came later */
            CHECK(megabyte_config_parse(less, &c) == 0 && megabyte_config_same_model(&c, &before,
                                                                                     &about),
                  "a text without %s: \"%s\"", key, megabyte_error());
        else
            CHECK(megabyte_config_parse(less, &c) == -EINVAL && strstr(megabyte_error(), key) &&
                      strstr(megabyte_error(), "missing"),
                  "a text without %s: \"%s\"", key, megabyte_error());
        CHECK(megabyte_config_merge(&c, less) == 0, "a merge without %s: %s", key,
              megabyte_error());
        CHECK(*about, "%s is not explained", key);
        free(less);
    }
    CHECK(!memcmp(&c, &before, sizeof c), "a damaged text changes the configuration");
    free(copy);
    free(text);
    char *deep = check_allocate(100001);
    memset(deep, '[', 100000);
    CHECK(megabyte_config_parse(deep, &c) == -EINVAL, "a deep text is taken");
    memcpy(deep, "{\"", 2);
    memset(deep + 2, 'k', 99990);
    strcpy(deep + 99992, "\": 1}");
    CHECK(megabyte_config_merge(&c, deep) == -EINVAL, "a long key is taken");
    CHECK(strlen(megabyte_error()) < 400, "a long key gives a line of %u bytes",
          (unsigned)strlen(megabyte_error()));
    CHECK(megabyte_config_set(&c, deep, "1") == -ENOENT, "a long key is set");
    free(deep);
}

/* Settings that are names. */
static void check_names(void)
{
    struct megabyte_config c = preset("tiny"), before = c;
    CHECK(megabyte_config_set(&c, "model", "abacus") == -EINVAL && !memcmp(&c, &before, sizeof c),
          "a model called abacus: %s", megabyte_error());
    CHECK(megabyte_config_set(&c, "model", "local") == 0 && c.model != before.model, "%s",
          megabyte_error());
}

/* What a caller may have left at nothing; no text leads there. */
static void check_zeros(void)
{
    for (int field = 0; field < 9; field++) {
        struct megabyte_config c = preset("tiny");
        uint32_t *const fields[] = {&c.seq_len,      &c.patch_size,  &c.batch,
                                    &c.global.dim,   &c.global.layers, &c.global.heads,
                                    &c.local.dim,    &c.local.layers,  &c.local.heads};
        *fields[field] = 0;
        CHECK(megabyte_config_check(&c) == -EINVAL && *megabyte_error(), "field %d may be 0",
              field);
    }
}

static void check_set(void)
{
    static const struct {
        const char *key, *value;
        double want; /* negative: refused with this status */
    } sets[] = {
        {"seq_len", "8K", 8192},     {"seq_len", "1M", 1048576}, {"seq_len", "0.5K", 512},
        {"seq_len", "64", 64},       {"batch", "2", 2},          {"warmup", "0", 0},
        {"lr", "3e-4", 3e-4},        {"lr", "0.002", 0.002},     {"dropout", "0", 0},
        {"lr", "1K", -EINVAL},       {"seq_len", "1G", -EINVAL}, {"seq_len", "8k", -EINVAL},
        {"seq_len", "8KB", -EINVAL}, {"seq_len", "", -EINVAL},   {"seq_len", "K", -EINVAL},
        {"seq_len", "0", -EINVAL},   {"seq_len", "-1", -EINVAL}, {"seq_len", "1.5", -EINVAL},
        {"seq_len", "4 5", -EINVAL}, {"seq_len", "4x", -EINVAL}, {"seq_len", "inf", -EINVAL},
        {"seq_len", "nan", -EINVAL}, {"lr", "nan", -EINVAL},     {"lr", "inf", -EINVAL},
        {"lr", "-0.1", -EINVAL},     {"dropout", "1", -EINVAL},  {"batch", "1e99", -EINVAL},
        {"seqlen", "8", -ENOENT},    {"", "8", -ENOENT},         {"preset", "tiny", -ENOENT},
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct megabyte_config c = preset("tiny"), before = c;
        const int status = megabyte_config_set(&c, sets[i].key, sets[i].value);
        const int want = sets[i].want < 0 ? (int)sets[i].want : 0;
        CHECK(status == want, "%s=%s gives %d", sets[i].key, sets[i].value, status);
        CHECK(status == 0 || !memcmp(&c, &before, sizeof c), "%s=%s changes something", sets[i].key,
              sets[i].value);
        const double got = !strcmp(sets[i].key, "seq_len")   ? c.seq_len
                           : !strcmp(sets[i].key, "batch")   ? c.batch
                           : !strcmp(sets[i].key, "warmup")  ? c.warmup
                           : !strcmp(sets[i].key, "dropout") ? c.dropout
                                                             : c.lr;
        CHECK(status < 0 || got == sets[i].want, "%s=%s sets %g", sets[i].key, sets[i].value, got);
    }
    struct megabyte_config c = preset("tiny");
    megabyte_config_set(&c, "seqlen", "8");
    CHECK(strstr(megabyte_error(), "seq_len") && strstr(megabyte_error(), "clip"),
          "an unknown key: \"%s\"", megabyte_error());
}

/* ---- costs ---- */

static struct megabyte_config paper_model(uint32_t layers, uint32_t dim, uint32_t local_layers,
                                          uint32_t local_dim)
{
    struct megabyte_config c = preset("paper-text");
    c.global = (struct megabyte_stage){dim, layers, dim / 64};
    c.local = (struct megabyte_stage){local_dim, local_layers, local_dim / 64};
    return c;
}

static void check_flops(void)
{
    static const struct {
        uint32_t layers, dim, local_layers, local_dim;
        double mflops; /* blocks with full attention, and the projection, without the head */
    } runs[] = {
        {24, 1024, 20, 1024, 592.3}, {24, 1536, 18, 1024, 642.7}, {17, 2048, 24, 1024, 837.0},
        {24, 2048, 24, 1024, 932.4}, {24, 2048, 15, 1024, 705.7}, {14, 2048, 18, 1024, 644.9},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        const struct megabyte_config c =
            paper_model(runs[i].layers, runs[i].dim, runs[i].local_layers, runs[i].local_dim);
        const double got = megabyte_config_flops(&c) / 1e6;
        CHECK(fabs(got / runs[i].mflops - 1) < 0.01, "%ux%u + %ux%u: %g MFLOP a byte, not %g",
              runs[i].layers, runs[i].dim, runs[i].local_layers, runs[i].local_dim, got,
              runs[i].mflops);
        const double head = 2.0 * c.local.dim * SYMBOLS / 1e6;
        CHECK(fabs(got - head - runs[i].mflops) < 0.06, "%g MFLOP a byte without the head, not %g",
              got - head, runs[i].mflops);
    }
    static const struct {
        const char *name;
        double mflops; /* megabyte.md, section 3 */
    } known[] = {
        {"paper-text", 644.9},          {"paper-text-transformer", 645.9},
        {"paper-pg19", 932.4},          {"paper-pg19-350m", 592.3},
        {"paper-pg19-760m", 642.7},     {"paper-pg19-1.3b", 705.7},
        {"paper-pg19-transformer", 704.6}, {"paper-text-nocross", 837.0},
        {"paper-audio", 240.3},         {"paper-audio-transformer", 224.9},
        {"paper-image256", 178.0},      {"paper-image256-transformer", 103.8},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct megabyte_config run = preset(known[i].name);
        CHECK(fabs(megabyte_config_flops(&run) / 1e6 / known[i].mflops - 1) < 0.01,
              "%s: %g FLOP a byte, not %gM", known[i].name, megabyte_config_flops(&run),
              known[i].mflops);
    }
    const struct megabyte_config c = preset("paper-text");
    CHECK(fabs(megabyte_config_flops(&c) / 645e6 - 1) < 0.01, "paper-text: %g FLOP a byte",
          megabyte_config_flops(&c));
    CHECK(c.global.layers == 14 && c.global.dim == 2048 && c.local.layers == 18 &&
              c.local.dim == 1024 && c.seq_len == 8192 && c.patch_size == 8 && c.init == 0.006 &&
              c.dropout == 0.1,
          "paper-text is not the paper's");
    /* SpaceByte's own count of a MEGABYTE of theirs (section 5) */
    struct megabyte_config space = paper_model(16, 1024, 16, 512);
    space.patch_size = 4;
    space.seq_len = 4096;
    CHECK(fabs(megabyte_config_flops(&space) / 219e6 - 1) < 0.01, "SpaceByte's: %g FLOP a byte",
          megabyte_config_flops(&space));
}

static void check_perplexity(void)
{
    const double got = megabyte_word_perplexity(0.8751, 41289101, 6966499); /* PG-19, test */
    CHECK(fabs(got - 36.42) < 0.005, "0.8751 bits a byte of PG-19 are %g a word, not 36.42", got);
    CHECK(megabyte_bits_per_byte(3 * M_LN2, 6) == 0.5 && megabyte_bits_per_byte(0, 0) == 0,
          "bits per byte");
}

/* Attention in a recorded graph is causal: a row sees (S + 1) / 2 positions on average, where the
 * formula counts S; and it sees r of the patch before, if there is one, which the formula leaves
 * out. All else is counted alike, so the difference is known exactly. */
static double causal_saving(const struct megabyte_config *c)
{
    const double K = c->seq_len / c->patch_size, P = c->patch_size;
    if (c->model == MEGABYTE_PERCEIVER) /* latents see each other, and the last P of the span */
        return 2.0 * (c->local.layers + 1) * c->local.dim * (P - 1);
    const double local = 2.0 * c->local.layers * c->local.dim *
                         (P - 1 - 2 * c->cross_patch * (K - 1) / K);
    const double global = 2.0 * c->global.layers * c->global.dim * (K - 1) / P;
    return (c->model == MEGABYTE_LOCAL ? 0 : global) + (c->model == MEGABYTE_GLOBAL ? 0 : local);
}

/* What groups compute twice for each byte: the queries, keys and values of the patch before each
 * but the first. Of the presets one has groups, of 800 of 6,400 patches. */
static double computed_twice(const struct megabyte_config *c)
{
    const double groups = strcmp(c->preset, "paper-image640") ? 1 : 8;
    return (groups - 1) * c->patch_size / c->seq_len * c->local.layers * 6.0 * c->local.dim *
           c->local.dim;
}

/* Records the model for so many windows; the caller ends both. */
static struct tensor_graph *record(struct tensor_device *cpu, const struct megabyte_model *model,
                                   uint32_t windows, struct tensor_arena **arena)
{
    struct tensor_graph *g;
    check_must(tensor_arena_create(cpu, TENSOR_HOST, "bytes", arena), "arena");
    check_must(tensor_graph_create(cpu, &(struct tensor_graph_params){.name = "forward"}, &g),
               "graph");
    struct tensor *bytes = tensor_arena_take(*arena, "bytes", TENSOR_U8, 1,
                                             (uint32_t[]){windows * model->config.seq_len});
    struct tensor *begin = tensor_arena_take(*arena, "begin", TENSOR_U32, 1, (uint32_t[]){1});
    tensor_graph_keep(g, megabyte_model_forward(g, model, bytes, begin));
    return g;
}

/* So many windows can be computed at a time, and not one more. */
static void check_most(struct tensor_device *cpu, const struct megabyte_model *model)
{
    const uint32_t most = megabyte_config_most(&model->config);
    for (uint32_t more = 0; more < 2; more++) {
        struct tensor_arena *arena;
        struct tensor_graph *g = record(cpu, model, most + more, &arena);
        CHECK((tensor_graph_memory(g) > 0) == !more, "%s: %u windows of at most %u: %s",
              model->config.preset, most + more, most, tensor_error());
        tensor_graph_destroy(&g);
        tensor_arena_destroy(&arena);
    }
}

static void check_recorded(struct tensor_device *cpu, const struct megabyte_config *c)
{
    struct megabyte_model *model;
    check_must(megabyte_model_create(cpu, c, false, &model), "model"); /* nothing is allocated */
    CHECK(nn_parameters_size(model->parameters) == megabyte_config_parameters(c),
          "%s: %llu parameters, not %llu", c->preset,
          (unsigned long long)nn_parameters_size(model->parameters),
          (unsigned long long)megabyte_config_parameters(c));
    struct tensor_arena *arena;
    struct tensor_graph *g = record(cpu, model, 1, &arena);
    const double got = tensor_graph_flops(g) / megabyte_config_predicted(c);
    const double want = megabyte_config_flops(c) - causal_saving(c) + computed_twice(c);
    CHECK(fabs(got / want - 1) < 1e-9,
          "%s: a recorded byte takes %.12g FLOP, not %.12g", c->preset, got, want);
    CHECK(tensor_graph_memory(g) > 0, "%s cannot be planned: %s", c->preset, tensor_error());
    tensor_graph_destroy(&g);
    tensor_arena_destroy(&arena);
    check_most(cpu, model);
    megabyte_model_destroy(&model);
}

void check_settings(void)
{
    check_presets();
    check_round_trip();
    check_hostile_texts();
    check_damaged_texts();
    check_names();
    check_zeros();
    check_set();
    check_flops();
    check_perplexity();
    struct tensor_device *cpu = check_open_cpu();
    const char *name, *about;
    struct megabyte_config c;
    for (unsigned i = 0; megabyte_config_preset_at(i, &name, &about); i++) {
        c = preset(name);
        check_recorded(cpu, &c);
    }
    for (unsigned i = 0; check_shape(i, &c); i++)
        check_recorded(cpu, &c);
    for (unsigned i = 0; check_variation(i, &c); i++)
        check_recorded(cpu, &c);
    c = preset("small");
    CHECK(megabyte_config_training_flops(&c) == 3 * megabyte_config_flops(&c), "training small");
    const struct megabyte_config few = preset("paper-text-perceiver"); /* 1,024 of 8,192 */
    CHECK(megabyte_config_training_flops(&few) * 8 == 3 * megabyte_config_flops(&few),
          "training a PerceiverAR takes %g FLOP a byte", megabyte_config_training_flops(&few));
    CHECK(megabyte_config_parameters(&c) == 22241536, "small has %llu parameters",
          (unsigned long long)megabyte_config_parameters(&c));
    tensor_device_close(&cpu);
}
