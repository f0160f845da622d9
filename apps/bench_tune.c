/*
 * mb-bench tune: tries the kernels for the products of a training step.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "apps/bench.h"
#include "apps/products.h"
#include "megabyte/error.h"

/* What came of it: all trials, as they are made. */
struct trials {
    const struct bench_options *options;
    const struct app_products *products;
    json_t *list;
};

static double flops_of(const struct app_products *products, const char *product)
{
    for (uint32_t i = 0; i < products->count; i++)
        if (!strcmp(products->list[i].product, product))
            return products->list[i].flops;
    return 0;
}

static bool take(void *user, const struct tensor_candidate *candidate)
{
    struct trials *t = user;
    const double flops = flops_of(t->products, candidate->product);
    const double rate = flops / (candidate->seconds > 0 ? candidate->seconds : 1e-12);

    if (t->options->json)
        app_json_append(&t->list,
                        json_pack("{s:s, s:s, s:f, s:f, s:b}", "product", candidate->product, "way",
                                  candidate->config, "seconds", candidate->seconds,
                                  "flops_per_second", rate, "faster", candidate->fastest));
    else
        printf("%-36s %-52s %10.3f %9.1f%s\n", candidate->product, candidate->config,
               1e3 * candidate->seconds, rate * 1e-9, candidate->fastest ? " *" : "");
    app_progress("product %" PRIu32 " of %" PRIu32, candidate->number, candidate->products);
    return !app_interrupted();
}

static int report(const struct trials *t, const struct tensor_device_info *info,
                  const struct app_products *products)
{
    if (t->options->json)
        return app_json(json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "device", info->name, "driver",
                                  info->driver, "precision", tensor_precision_name(info->precision),
                                  "preset", t->options->config.preset, "trials",
                                  json_incref(t->list), "products", app_products_json(products)));
    putchar('\n');
    app_products_print(products);
    return APP_DONE;
}

int bench_tune(const struct bench_options *o)
{
    static struct app_products products;
    struct tensor_device *device = NULL;
    struct megabyte_model *model = NULL;
    struct trials trials = {.options = o, .products = &products, .list = json_array()};
    int status = app_device_open(&o->device, &device);

    if (status == APP_DONE && megabyte_model_create(device, &o->config, true, &model) < 0)
        status = app_fail(APP_FAILED, "%s", megabyte_error());
    if (status == APP_DONE)
        status = app_products_of_step(model, &products);
    if (status == APP_DONE && !products.count)
        app_note("the processor's products go through %s, and there is nothing to try",
                 tensor_device_info(device)->driver);
    if (status == APP_DONE && !o->json && products.count)
        printf("%-36s %-52s %10s %9s\n", "product (m x n x k)", "tried (* faster than all before)",
               "ms", "GFLOP/s");
    if (status == APP_DONE)
        status = app_products_tune(model, true, take, &trials);
    app_progress_end();
    if (status == APP_DONE && app_interrupted())
        status = APP_INTERRUPTED;
    if (status == APP_DONE)
        status = app_products_of_step(model, &products);
    if (status == APP_DONE)
        status = report(&trials, tensor_device_info(device), &products);
    json_decref(trials.list);
    megabyte_model_destroy(&model);
    tensor_device_close(&device);
    return status;
}
