/* autotune.h - which kernel configuration computes each matrix product on a Vulkan device.
 *
 * A product is its sizes m, n, k, the order in which its factors lie in memory, and their type:
 *
 *     "512 x 2048 x 4096 a'b fp32"     c (512, 2048) = a' · b, of k = 4096; of a' and b' the
 *                                      transpose is stored
 *
 * A kernel configuration is a variant of the kernel with the size of its tile, the shape that a
 * matrix unit multiplies, and the number of parts of split-K, if there are several:
 *
 *     "matmul_pairs 16 x 128, 4 parts"
 *     "matmul_coop_f16 128 x 128 of 16 x 16 x 16"
 *
 * The device, the features in use and the product decide which configurations exist. A fixed rule
 * picks one of them. It is the same in every run of a build. Another may be faster, but it adds in
 * another order and gives other bits. So a product is measured only when the caller asks for it,
 * and the result is kept in an autotune cache.
 *
 * A graph uses the cache in tensor_graph_params.autotune, while it is recorded and while it is
 * finished. Without one it uses the rule. Nothing else reads a cache, and only the functions below
 * change one.
 *
 * Each device has a cache of its own, tensor_device_autotune(). tensor_device_open() fills it from
 * a file in the user's cache folder, beside the compiled pipelines, one for each device and driver:
 * $XDG_CACHE_HOME/megabyte/DEVICE-DRIVER.choices (else ~/.cache), in JSON. The file names the
 * device, the driver and a digest of the kernels that were timed. A file of another device, driver
 * or build is ignored with a line in the log; so is a damaged file. It may be deleted at any time.
 * A checkpoint also holds the configurations of its run (apps/train_state.h): a resumed run has the
 * same bits, whatever became of the file.
 *
 * The cpu device has one way to compute a product. Its cache is empty, and tuning does nothing.
 */
#ifndef TENSOR_AUTOTUNE_H
#define TENSOR_AUTOTUNE_H

#include "tensor/graph.h"

#define TENSOR_PRODUCT_TEXT 64
#define TENSOR_CONFIG_TEXT  96

struct tensor_autotune;

/* The device's cache. The device owns it. */
struct tensor_autotune *tensor_device_autotune(const struct tensor_device *device);

/* A matrix product of a graph, and the configuration that computes it. */
struct tensor_product {
    char product[TENSOR_PRODUCT_TEXT], config[TENSOR_CONFIG_TEXT];
    bool tuned;      /* from the graph's cache, not from the rule */
    uint32_t passes; /* how many passes compute such a product */
    double flops;    /* of one */
};

/* Lists the different products of a recorded or finished graph, in the order of their first pass.
 * Writes at most `capacity` of them to `list`. Returns how many there are. */
uint32_t tensor_graph_products(const struct tensor_graph *g, struct tensor_product *list,
                               uint32_t capacity);

/* A configuration that was timed for a product. */
struct tensor_candidate {
    const char *product, *config;
    double seconds;            /* the fastest of some runs */
    bool fastest;              /* of the candidates so far */
    uint32_t number, products; /* which product of how many, from 1 */
};

/* Times the configurations of each product of a recorded graph on its device, and puts the fastest
 * into `cache` and into the device's file. Products that the cache has already are left out, unless
 * `again`. A configuration must save at least 3 % of the rule's time to be preferred to it. The
 * graph only gives the shapes; record it anew, with the cache, to use the result.
 * Calls `each` (may be NULL) for every candidate. If it returns false, tuning stops, and the cache
 * keeps what was found.
 * Errors: what a run can fail with; -ENOMEM the factors of a product do not fit into the memory
 * that is left on the device. A file that cannot be written is a line in the log. */
int tensor_graph_autotune(struct tensor_graph *g, struct tensor_autotune *cache, bool again,
                          bool (*each)(void *user, const struct tensor_candidate *candidate),
                          void *user);

/* Removes the entries that are of no product of this graph. */
void tensor_autotune_keep(struct tensor_autotune *cache, const struct tensor_graph *g);

/* The cache as the text of a JSON object, {"PRODUCT": "CONFIGURATION", ...}, sorted. The caller
 * frees it. Returns NULL if there is no memory. */
char *tensor_autotune_write(const struct tensor_autotune *cache);

/* Replaces all entries by those of such a text; NULL: by none. A configuration that the device does
 * not have for that product is left out and counted in *refused (may be NULL).
 * Errors: -EBADMSG the text is no such object; -ENOMEM. On failure the cache stays as it was. */
int tensor_autotune_read(struct tensor_autotune *cache, const char *text, uint32_t *refused);

#endif
