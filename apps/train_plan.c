/*
 * The memory of a training run, before it takes any: for --dry-run, and to refuse what cannot fit.
 */
#include <stdio.h>
#include <string.h>

#include "apps/products.h"
#include "apps/room.h"
#include "apps/train.h"
#include "megabyte/error.h"

#define READ_BYTES (2ull << 20) /* of a lane: requests in flight (pipeline/io.h: 8 of 256 KiB) */

/* Bytes that the loader hands out in this process. */
static uint64_t handed_out(const struct train_options *o, const struct megabyte_config *c,
                           bool resumes)
{
    const uint64_t a_step = (uint64_t)c->batch * c->seq_len;

    if (resumes || o->minutes > 0)
        return UINT64_MAX;
    return o->bytes ? o->bytes : (o->steps ? o->steps : TRAIN_STEPS) * a_step;
}

static void add_host(const struct train *t, const struct megabyte_config *c, bool resumes,
                     uint64_t copy, struct train_plan *p)
{
    const struct train_options *o = t->options;
    const uint32_t paths = o->n_paths > 1 ? (uint32_t)o->n_paths : 1;
    const uint32_t lanes = t->mix ? t->mix->n : paths < o->data.at_once ? paths : o->data.at_once;
    const struct pipeline_loader_params loader = {.window_bytes = c->seq_len,
                                                  .shuffle_bytes = o->data.shuffle_bytes};
    const uint64_t bytes = handed_out(o, c, resumes);
    const uint64_t steps = bytes / ((uint64_t)c->batch * c->seq_len);

    p->data = pipeline_loader_memory(&loader, lanes, bytes) + lanes * READ_BYTES;
    if (o->save_every && o->save_every < steps && copy <= o->save_memory)
        p->saving = copy;
    p->program = app_room_taken(t->device);
}

/* On the cpu all is one memory. */
static void sum_up(const struct tensor_device_info *info, struct train_plan *p)
{
    const bool one = !strcmp(info->kind, "cpu");

    p->device = p->weights + p->gradients + p->optimizer + p->activations + p->staging +
                p->evaluation;
    p->host = p->products + p->scoring + p->data + p->program;
    p->total = p->device + (one ? p->host : 0);
    /* Where there is no room for a copy, training waits while it is saved. */
    if (one && p->total + p->saving > info->memory_bytes)
        p->saving = 0;
    p->host += p->saving;
    p->total += one ? p->saving : 0;
}

/* 0, or negative with megabyte_error(). */
static int make_plan(const struct train *t, const struct megabyte_config *config, bool resumes,
                     struct train_plan *plan)
{
    const struct tensor_device_info *info = tensor_device_info(t->device);
    const struct train_options *o = t->options;
    struct megabyte_model *model = NULL;
    struct megabyte_trainer_plan trainer = {0};
    struct megabyte_evaluator_plan evaluator = {0};
    const uint32_t rows = config->micro_batch ? config->micro_batch : config->batch;
    uint64_t copy = 0; /* of what a checkpoint holds: weights in fp32, two moments */
    int status = megabyte_model_create(t->device, config, true, &model);

    *plan = (struct train_plan){0};
    if (status == 0)
        status = megabyte_trainer_plan(model, &trainer);
    if (status == 0 && (o->n_val || o->data.choice.val_fraction > 0))
        status = megabyte_evaluator_plan(model, rows, &evaluator);
    if (status == 0) {
        const struct nn_parameters_memory m = nn_parameters_memory(model->parameters);
        copy = m.moments / 2 * 3;
        *plan = (struct train_plan){
            .parameters = nn_parameters_size(model->parameters), .weights = m.weights,
            .gradients = m.gradients, .optimizer = m.moments + trainer.optimizer,
            .activations = trainer.activations, .staging = trainer.staging + info->copy_bytes,
            .evaluation = evaluator.device, .scoring = evaluator.host,
            .products = trainer.scratch > evaluator.scratch ? trainer.scratch : evaluator.scratch};
    }
    megabyte_model_destroy(&model);
    if (status < 0)
        return status;
    add_host(t, config, resumes, copy, plan);
    sum_up(info, plan);
    return 0;
}

/* ---- what would fit ---- */

/* The most sequences at a time, at most as many as now, with which the run fits; 0: none. *bytes:
 * what it takes then, or with one at a time. */
static uint32_t most_that_fit(const struct train *t, struct megabyte_config c, bool resumes,
                              uint64_t *bytes)
{
    const uint64_t room = tensor_device_info(t->device)->memory_bytes;
    struct train_plan p;

    for (uint32_t n = c.micro_batch ? c.micro_batch : c.batch; n > 0; n--) {
        if (c.batch % n)
            continue;
        c.micro_batch = n;
        if (make_plan(t, &c, resumes, &p) < 0)
            continue; /* too large even for a plan */
        *bytes = p.total;
        if (p.total <= room)
            return n;
    }
    return 0;
}

/* The same with one sequence at a time, computed again, whose local model goes by a sixteenth of
 * its patches: fewer would hardly take less, and be slower. */
static bool fits_in_groups(const struct train *t, struct megabyte_config *c, bool resumes,
                           uint64_t *bytes)
{
    const uint32_t before = c->local_group, group = (c->seq_len / c->patch_size + 15) / 16;
    struct train_plan p;

    c->micro_batch = 1;
    c->local_group = before && before < group ? before : group;
    if (make_plan(t, c, resumes, &p) < 0) { /* it has no local model */
        c->local_group = before;
        return false;
    }
    *bytes = p.total;
    return p.total <= tensor_device_info(t->device)->memory_bytes;
}

/* "--set micro_batch=2 would fit (1.2 GiB)": with blocks that are kept as the run asks for it, and
 * computed again where more fits then. */
static const char *advise(const struct train *t, const struct megabyte_config *config, bool resumes,
                          char text[256])
{
    struct megabyte_config again = *config;
    char kept_size[32], again_size[32], group[48] = "";
    uint64_t kept_bytes = 0, again_bytes = 0;
    const uint32_t kept = most_that_fit(t, *config, resumes, &kept_bytes);

    again.recompute = 1;
    const uint32_t most =
        config->recompute ? 0 : most_that_fit(t, again, resumes, &again_bytes);
    if (config->recompute)
        again_bytes = kept_bytes;
    const bool groups = !kept && !most && fits_in_groups(t, &again, resumes, &again_bytes);
    app_bytes((double)kept_bytes, kept_size);
    app_bytes((double)again_bytes, again_size);
    if (again.local_group)
        snprintf(group, sizeof group, " --set local_group=%u", again.local_group);
    if (kept && most > kept)
        snprintf(text, 256, "--set micro_batch=%u would fit (%s), or --set micro_batch=%u --set "
                 "recompute=1 (%s)", kept, kept_size, most, again_size);
    else if (kept)
        snprintf(text, 256, "--set micro_batch=%u%s would fit (%s)", kept,
                 config->recompute ? " --set recompute=1" : "", kept_size);
    else if (most)
        snprintf(text, 256, "--set micro_batch=%u --set recompute=1 would fit (%s)", most,
                 again_size);
    else if (groups)
        snprintf(text, 256, "--set micro_batch=1 --set recompute=1%s would fit (%s)", group,
                 again_size);
    else
        snprintf(text, 256, "even --set micro_batch=1 --set recompute=1%s takes %s, so that "
                 "seq_len or the model has to be smaller", group, again_size);
    return text;
}

int train_plan(const struct train *t, const struct megabyte_config *config, bool resumes,
               struct train_plan *plan)
{
    char why[512], advice[256];
    uint64_t bytes;

    if (make_plan(t, config, resumes, plan) == 0)
        return APP_DONE;
    snprintf(why, sizeof why, "%s", megabyte_error());
    if (most_that_fit(t, *config, resumes, &bytes)) /* it is only too large for a plan */
        return app_fail(APP_FAILED, "%s; %s", why, advise(t, config, resumes, advice));
    return app_fail(APP_FAILED, "%s", why);
}

int train_plan_check(const struct train *t, const struct megabyte_config *config, bool resumes)
{
    const struct tensor_device_info *info = tensor_device_info(t->device);
    struct train_plan p;
    char needs[32], has[32], advice[256];
    const int status = train_plan(t, config, resumes, &p);

    if (status != APP_DONE || p.total <= info->memory_bytes)
        return status;
    return app_fail(APP_FAILED, "training this takes %s of memory, and %s has %s; %s",
                    app_bytes((double)p.total, needs), info->name,
                    app_bytes((double)info->memory_bytes, has),
                    advise(t, config, resumes, advice));
}

/* ---- --dry-run ---- */

/* The parts as they are called in the table and in JSON. */
static const struct {
    const char *name, *key;
    size_t offset;
    const char *about;
} parts[] = {
    {"weights", "weights_bytes", offsetof(struct train_plan, weights), ""},
    {"gradients", "gradients_bytes", offsetof(struct train_plan, gradients), ""},
    {"optimizer", "optimizer_bytes", offsetof(struct train_plan, optimizer),
     "moments, and what the update takes"},
    {"activations", "activations_bytes", offsetof(struct train_plan, activations),
     "what a micro-batch leaves for its gradient"},
    {"staging", "staging_bytes", offsetof(struct train_plan, staging),
     "batches, results and copies"},
    {"evaluation", "evaluation_bytes", offsetof(struct train_plan, evaluation),
     "what validation takes of the device"},
    {"products", "products_bytes", offsetof(struct train_plan, products),
     "scratch memory of the library of matrix products"},
    {"scoring", "scoring_bytes", offsetof(struct train_plan, scoring),
     "what validation takes of the host"},
    {"saving", "saving_bytes", offsetof(struct train_plan, saving),
     "a copy of weights and moments that is written beside training"},
    {"data", "data_bytes", offsetof(struct train_plan, data),
     "what is read, and shuffled together, at most"},
    {"program", "program_bytes", offsetof(struct train_plan, program),
     "this process so far: code, libraries, recordings"},
};
enum { PARTS = sizeof parts / sizeof *parts, DEVICE_PARTS = 6 };

static uint64_t part(const struct train_plan *p, int i)
{
    return *(const uint64_t *)((const char *)p + parts[i].offset);
}

static void print_plan(const struct train_plan *p, const struct tensor_device_info *info,
                       const struct megabyte_config *c)
{
    const bool one = !strcmp(info->kind, "cpu");
    char size[32], has[32];

    printf("parameters          %llu\nFLOPs a byte        %.4g forward, %.4g training\n",
           (unsigned long long)p->parameters, megabyte_config_flops(c),
           3 * megabyte_config_flops(c));
    for (int i = 0; i < PARTS; i++)
        if (part(p, i))
            printf("%-8s%-12s%10s  %s\n",
                   i == 0 ? "memory" : i == DEVICE_PARTS && !one ? "host" : "", parts[i].name,
                   app_bytes((double)part(p, i), size), parts[i].about);
    printf("%8s%-12s%10s  of %s\n", "", "total", app_bytes((double)p->total, size),
           app_bytes((double)info->memory_bytes, has));
}

static int json_plan(const struct train *t, const struct train_plan *p,
                     const struct tensor_device_info *info, const struct app_products *products)
{
    const struct megabyte_config *c = &t->options->config;
    json_t *object = json_pack(
        "{s:I, s:f, s:I, s:I, s:I, s:s, s:s}", "parameters", (json_int_t)p->parameters,
        "flops_per_byte", megabyte_config_flops(c), "memory_bytes", (json_int_t)p->total,
        "host_bytes", (json_int_t)p->host, "device_memory_bytes", (json_int_t)info->memory_bytes,
        "device", info->name, "precision", tensor_precision_name(info->precision));

    for (int i = 0; object && i < PARTS; i++)
        app_json_set(&object, parts[i].key, json_integer((json_int_t)part(p, i)));
    app_json_set(&object, "products", app_products_json(products));
    return app_json(object);
}

/* What its products go as. */
static int find_products(const struct train *t, struct app_products *products)
{
    struct megabyte_model *model = NULL;

    if (megabyte_model_create(t->device, &t->options->config, true, &model) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    const int status = app_products_of_step(model, products);
    megabyte_model_destroy(&model);
    return status;
}

int train_plan_print(struct train *t)
{
    struct train_plan p;
    char advice[256];
    static struct app_products products;
    int status = app_device_open(&t->options->device, &t->device);

    if (status == APP_DONE)
        status = train_plan(t, &t->options->config, false, &p);
    if (status == APP_DONE)
        status = find_products(t, &products);
    if (status != APP_DONE)
        return status;
    const struct tensor_device_info *info = tensor_device_info(t->device);
    if (!t->options->json)
        print_plan(&p, info, &t->options->config);
    if (!t->options->json)
        app_products_print(&products);
    if (p.total > info->memory_bytes)
        app_note("this does not fit on %s; %s", info->name,
                 advise(t, &t->options->config, false, advice));
    return t->options->json ? json_plan(t, &p, info, &products) : APP_DONE;
}
