/* model_files.c - lists of a model's tensors by name, to save and to load. */
#include "megabyte/model_files.h"
#include "megabyte/error.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum which { WEIGHTS, MOMENTS };

struct names {
    struct tensor_named *list;
    char (*text)[160];
    uint32_t count;
};

static void names_finish(struct names *n)
{
    free(n->list);
    free(n->text);
}

static int names_init(struct names *n, const struct megabyte_model *model, enum which which)
{
    const uint32_t count = nn_parameters_count(model->parameters);
    const uint32_t parts = which == MOMENTS ? 2 : 1;
    *n = (struct names){.list = calloc(parts * count, sizeof *n->list),
                        .text = calloc(parts * count, sizeof *n->text), .count = parts * count};
    if (!n->list || !n->text) {
        names_finish(n);
        return megabyte_fail(ENOMEM, "no host memory for the names of the model's tensors");
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct nn_parameter *p = nn_parameters_at(model->parameters, i);
        struct tensor *const tensor[2] = {which == MOMENTS ? p->moment1 : p->weight, p->moment2};
        for (uint32_t j = 0; j < parts; j++) {
            char *text = n->text[parts * i + j];
            if (which == MOMENTS)
                snprintf(text, sizeof *n->text, "moment%u.%s", j + 1, p->name);
            else
                snprintf(text, sizeof *n->text, "%s", p->name);
            n->list[parts * i + j] = (struct tensor_named){text, tensor[j]};
        }
    }
    return 0;
}

/* Saves by `saver`, or into the run folder where that is NULL. */
static int save(const struct megabyte_model *model, const struct megabyte_checkpoint_write *write,
                const char *run_folder, struct megabyte_saver *saver, int sync)
{
    struct names weights, moments;
    int status = names_init(&weights, model, WEIGHTS);
    if (status < 0)
        return status;
    status = names_init(&moments, model, MOMENTS);
    if (status < 0) {
        names_finish(&weights);
        return status;
    }
    char *config = megabyte_config_text(&model->config);
    struct megabyte_checkpoint_write w = *write;
    w.config = config;
    w.model = weights.list;
    w.model_count = weights.count;
    w.optimizer = moments.list;
    w.optimizer_count = moments.count;
    if (!config)
        status = megabyte_fail(ENOMEM, "no host memory for the settings");
    else if (saver)
        status = megabyte_saver_start(saver, &w, sync);
    else
        status = megabyte_checkpoint_save(run_folder, &w, NULL);
    free(config);
    names_finish(&weights);
    names_finish(&moments);
    return status;
}

int megabyte_model_save(const struct megabyte_model *model, const char *run_folder,
                        const struct megabyte_checkpoint_write *write)
{
    return save(model, write, run_folder, NULL, -1);
}

int megabyte_model_save_beside(const struct megabyte_model *model, struct megabyte_saver *saver,
                               const struct megabyte_checkpoint_write *write, int sync)
{
    return save(model, write, NULL, saver, sync);
}

int megabyte_model_settings(struct megabyte_checkpoint *checkpoint, struct megabyte_config *config)
{
    const int status = megabyte_config_parse(megabyte_checkpoint_config(checkpoint), config);
    return status < 0 ? megabyte_fail(-status, "%s: %s", megabyte_checkpoint_path(checkpoint),
                                      megabyte_error()) : 0;
}

static int load(struct megabyte_checkpoint *checkpoint, struct megabyte_model *model,
                enum which which)
{
    struct names names;
    int status = names_init(&names, model, which);
    if (status < 0)
        return status;
    status = megabyte_checkpoint_load(checkpoint, which == MOMENTS ? MEGABYTE_CHECKPOINT_OPTIMIZER
                                                                   : MEGABYTE_CHECKPOINT_MODEL,
                                      names.list, names.count);
    names_finish(&names);
    return status;
}

int megabyte_model_load(struct megabyte_checkpoint *checkpoint, struct tensor_device *device,
                        bool training, struct megabyte_model **model)
{
    struct megabyte_config config;
    struct megabyte_model *m;
    int status = megabyte_model_settings(checkpoint, &config);
    if (status == 0)
        status = megabyte_model_create(device, &config, training, &m);
    if (status < 0)
        return status;
    status = nn_parameters_commit(m->parameters);
    if (status < 0)
        status = megabyte_fail(-status, "%s", tensor_error());
    if (status == 0)
        status = load(checkpoint, m, WEIGHTS);
    if (status == 0 && training)
        status = load(checkpoint, m, MOMENTS);
    if (status == 0 && nn_parameters_refresh(m->parameters) < 0)
        status = megabyte_fail(EIO, "%s", tensor_error());
    if (status < 0) {
        megabyte_model_destroy(&m);
        return status;
    }
    *model = m;
    return 0;
}
