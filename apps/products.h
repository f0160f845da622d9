/*
 * Which kernels compute the matrix products of a training step, for mb-train and mb-bench
 * (tensor/choices.h).
 */
#ifndef APPS_PRODUCTS_H
#define APPS_PRODUCTS_H

#include <jansson.h>

#include "megabyte/trainer.h"
#include "tensor/choices.h"

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

/* Tries the kernels for the products of the model's training step: of those without a choice, or
 * with `again` of all. `each` hears of every trial (tensor_graph_tune). Returns an exit status. */
int app_products_tune(const struct megabyte_model *model, bool again,
                      bool (*each)(void *user, const struct tensor_trial *trial), void *user);

#endif
