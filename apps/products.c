/*
 * See products.h.
 */
#include "apps/products.h"

#include <errno.h>
#include <stdio.h>

#include "apps/common.h"
#include "megabyte/error.h"

void app_products_of(struct tensor_graph *graph, struct app_products *products)
{
    tensor_graph_memory(graph); /* plans it: passes that nobody wants are left out */
    products->count = tensor_graph_products(graph, products->list, APP_PRODUCTS_MAX);
    if (products->count > APP_PRODUCTS_MAX)
        products->count = APP_PRODUCTS_MAX;
}

static int list(void *user, struct tensor_graph *graph)
{
    app_products_of(graph, user);
    return 0;
}

int app_products_of_step(const struct megabyte_model *model, struct app_products *products)
{
    return megabyte_trainer_recording(model, list, products) < 0
               ? app_fail(APP_FAILED, "%s", megabyte_error()) : APP_DONE;
}

void app_products_print(const struct app_products *products)
{
    if (!products->count)
        return;
    printf("%-36s %6s  %s\n", "product (m x n x k)", "passes", "goes as");
    for (uint32_t i = 0; i < products->count; i++) {
        const struct tensor_product *p = &products->list[i];
        printf("%-36s %6u  %s%s\n", p->product, p->passes, p->config,
               p->tuned ? " (found by trying)" : "");
    }
}

json_t *app_products_json(const struct app_products *products)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < products->count; i++) {
        const struct tensor_product *p = &products->list[i];
        app_json_append(&array, json_pack("{s:s, s:s, s:b, s:i, s:f}", "product", p->product, "way",
                                          p->config, "chosen", p->tuned, "passes", (int)p->passes,
                                          "flops", p->flops));
    }
    return array;
}

struct tuning {
    struct tensor_autotune *cache;
    bool again;
    bool (*each)(void *user, const struct tensor_candidate *candidate);
    void *user;
};

static int tune(void *user, struct tensor_graph *graph)
{
    const struct tuning *t = user;

    tensor_graph_memory(graph);
    return tensor_graph_autotune(graph, t->cache, t->again, t->each, t->user);
}

int app_products_tune(const struct megabyte_model *model, bool again,
                      bool (*each)(void *user, const struct tensor_candidate *candidate),
                      void *user)
{
    struct tuning t = {.cache = tensor_device_autotune(model->device), .again = again, .each = each,
                       .user = user};

    return megabyte_trainer_recording(model, tune, &t) < 0
               ? app_fail(APP_FAILED, "%s", megabyte_error()) : APP_DONE;
}
