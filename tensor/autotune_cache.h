/* autotune_cache.h - the list behind autotune.h (private to the library).
 *
 *     autotune.c        the list; below the kernels that look configurations up
 *     autotune_file.c   its text and its file
 *     tune.c            timing candidates; the products of a graph
 */
#ifndef TENSOR_AUTOTUNE_CACHE_H
#define TENSOR_AUTOTUNE_CACHE_H

#include "tensor/autotune.h"
#include "tensor/op/matmul.h"

/* A product and its configuration. */
struct tensor_autotune_entry {
    uint32_t m, n, k, flags;            /* of the product; flags: order and type of the factors */
    uint32_t variant, tile[2], unit[3]; /* struct matmul_config */
    uint32_t splits;                    /* of split-K */
};

struct tensor_autotune {
    struct tensor_device *device;
    struct tensor_autotune_entry *list;
    uint32_t count, capacity;
};

/* ---- autotune.c ---- */

bool tensor_autotune_same_product(const struct tensor_autotune_entry *entry,
                                  const struct matmul_params *p);

/* Returns NULL if there is no entry for the product. `cache` may be NULL. */
const struct tensor_autotune_entry *tensor_autotune_find(const struct tensor_autotune *cache,
                                                         const struct matmul_params *p);

/* Adds the entry, or replaces the one of its product. -ENOMEM. */
int tensor_autotune_put(struct tensor_autotune *cache, const struct tensor_autotune_entry *entry);

/* ---- autotune_file.c ---- */

/* Makes the device's cache, with the entries of its file. A bad file is no error. -ENOMEM. */
int tensor_autotune_open(struct tensor_device *device);
void tensor_autotune_close(struct tensor_device *device);
/* Writes the entries into the device's file, and keeps the file's other entries. */
void tensor_autotune_save(const struct tensor_autotune *cache);

void tensor_autotune_text(const struct tensor_autotune_entry *entry,
                          char product[TENSOR_PRODUCT_TEXT], char config[TENSOR_CONFIG_TEXT]);

#endif
