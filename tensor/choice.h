/* choice.h - the list behind choices.h (private to the library). */
#ifndef TENSOR_CHOICE_H
#define TENSOR_CHOICE_H

#include "tensor/backend.h"
#include "tensor/choices.h"
#include "tensor/op/matmul_way.h"

struct tensor_choice {
    uint32_t m, n, k, flags;            /* of the product; flags: order and type of the factors */
    uint32_t variant, tile[2], unit[3]; /* struct matmul_way */
    uint32_t parts;
};

/* NULL: there is none. `choices` may be NULL. */
const struct tensor_choice *tensor_choices_find(const struct tensor_choices *choices,
                                                const struct matmul_params *p);
bool tensor_choice_is(const struct tensor_choice *choice, const struct matmul_way *way);

/* Adds it, or puts it in the place of what there is for its product. -ENOMEM. */
int tensor_choices_put(struct tensor_choices *choices, const struct tensor_choice *choice);

/* The way as a choice for this product. */
struct tensor_choice tensor_choice_of(const struct matmul_params *p, const struct matmul_way *way,
                                      uint32_t parts);
void tensor_choice_text(const struct tensor_choice *choice, char product[TENSOR_PRODUCT_TEXT],
                        char way[TENSOR_WAY_TEXT]);

/* When a device has opened: those of its file. Nothing that is wrong with it is an error. */
void tensor_choices_open(struct tensor_device *device);
/* Writes these into the file beside what stands there of the same device. */
void tensor_choices_save(struct tensor_device *device, const struct tensor_choices *choices);
void tensor_choices_close(struct tensor_device *device);

/* The parameters of the pass if it is a matrix product, else NULL. */
const struct matmul_params *tensor_product_of(const struct tensor_graph *g, uint32_t pass);

#endif
