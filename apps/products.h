/*
 * Which kernels compute the matrix products of a training step, for mb-train and mb-bench
 * (tensor/autotune.h).
 */
#ifndef APPS_PRODUCTS_H
#define APPS_PRODUCTS_H

#include <jansson.h>

#include "megabyte/trainer.h"
#include "tensor/autotune.h"

#define APP_PRODUCTS_MAX 256

struct app_products {
    struct tensor_product list[APP_PRODUCTS_MAX];
    uint32_t count;
};

/* Those of a graph; of the model's training step. The latter returns an exit status. */
void app_products_of(struct tensor_graph *graph, struct app_products *products);
int app_products_of_step(const struct megabyte_model *model, struct app_products *products);

/* As a table on standard output, and as an array for --json; of none nothing is printed. */
void app_products_print(const struct app_products *products);
json_t *app_products_json(const struct app_products *products);

/* Times the kernel configurations for the products of the model's training step, and puts the
 * fastest into the device's autotune cache: of products that it lacks, or with `again` of all.
 * Calls `each` for every candidate (tensor_graph_autotune). Returns an exit status. */
int app_products_tune(const struct megabyte_model *model, bool again,
                      bool (*each)(void *user, const struct tensor_candidate *candidate),
                      void *user);

#endif
