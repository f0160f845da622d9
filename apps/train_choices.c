/*
 * Which kernels compute the products of a run: settled when it begins, kept in its checkpoints.
 */
#include <stdlib.h>
#include <string.h>

#include "apps/products.h"
#include "apps/train.h"
#include "megabyte/error.h"

static bool tell(void *user, const struct tensor_candidate *candidate)
{
    (void)user;
    app_progress("trying kernels: product %u of %u, %s: %s", candidate->number,
                 candidate->products, candidate->product, candidate->config);
    return !app_interrupted();
}

static int keep(void *user, struct tensor_graph *graph)
{
    tensor_graph_memory(graph);
    tensor_autotune_keep(user, graph);
    return 0;
}

json_t *train_choices_machine(const struct tensor_device *device)
{
    const struct tensor_device_info *info = tensor_device_info(device);
    char name[300];

    snprintf(name, sizeof name, "%s: %s", info->kind, info->name);
    return json_pack("{s:o, s:o}", "device", train_state_string(name), "driver",
                     train_state_string(info->driver));
}

json_t *train_choices_json(const struct tensor_device *device)
{
    char *text = tensor_autotune_write(tensor_device_autotune(device));
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;

    free(text);
    return object;
}

/* Whether a run was made on this very device and driver. */
static bool same_machine(const struct tensor_device *device, const json_t *made_on)
{
    json_t *here = train_choices_machine(device);
    const char *key;
    json_t *value;
    bool same = here && made_on;

    json_object_foreach(here, key, value)
        same = same && json_equal(value, json_object_get(made_on, key));
    json_decref(here);
    return same;
}

int train_choices_again(struct tensor_device *device, const json_t *made_on)
{
    json_t *products = json_object_get(made_on, "products"); /* NULL: an older version */
    char *text = products ? json_dumps(products, 0) : NULL;
    const int status = products && !text ? -1 : tensor_autotune_read(
        tensor_device_autotune(device), text, NULL);

    free(text);
    return status < 0 ? app_fail(APP_FAILED, "the kernels that a checkpoint names cannot be taken: "
                                 "%s", products && !text ? "out of memory" : tensor_error())
                      : APP_DONE;
}

int train_choices_settle(const struct train *t, const json_t *made_on)
{
    struct megabyte_model *model = t->model;
    int status = APP_DONE;

    if (same_machine(t->device, made_on)) {
        if (t->options->tune)
            app_note("the run goes on with the kernels that it was begun with; --tune is for new "
                     "ones");
        return train_choices_again(t->device, made_on);
    }
    if (t->options->tune)
        status = app_products_tune(model, false, tell, NULL);
    app_progress_end();
    if (status == APP_DONE && app_interrupted())
        return APP_INTERRUPTED;
    struct tensor_autotune *cache = tensor_device_autotune(t->device);
    return status == APP_DONE && megabyte_trainer_recording(model, keep, cache) < 0
               ? app_fail(APP_FAILED, "%s", megabyte_error()) : status;
}
