/* choices.h - how a Vulkan device computes each matrix product: by a rule, or as was found by
 * trying.
 *
 * A product is its sizes m, n, k, the order in which its factors lie in memory, and their type:
 *
 *     "512 x 2048 x 4096 a'b fp32"     c (512, 2048) = a' · b, of k = 4096; of a' and b' the
 *                                      transpose is stored
 *
 * A way to compute it is a variant of the kernel with a tile, of what a matrix unit multiplies, and
 * maybe with k cut in parts that are summed by themselves, and then together in their order:
 *
 *     "matmul_pairs 16 x 128, 4 parts"
 *     "matmul_coop_f16 128 x 128 of 16 x 16 x 16"
 *
 * Which ways there are depends on the device, on the features in use, and on the product. One is
 * the rule's, the same in every run of a build. Others may be faster, and add in another order: so
 * what is tried once is kept, and never tried again unless somebody asks. Where it is kept:
 *
 *   - in use on a device. It begins with those of its file, and changes when tensor_graph_tune() or
 *     tensor_device_choose() say so. Graphs look them up while they are recorded and finished.
 *   - in a file in the user's cache, beside the compiled pipelines, one for each device and driver:
 *     $XDG_CACHE_HOME/megabyte/DEVICE-DRIVER.choices (else ~/.cache), JSON. It names device, driver
 *     and a digest of the kernels that were timed; one of others is not used, which is worth a
 *     line, and neither is a damaged one. It may be deleted at any time.
 *   - in a checkpoint (apps/train_state.h), so that a run that is resumed has the same bits,
 *     whatever became of the file.
 *
 * On the cpu device there are no choices, and all this does nothing.
 */
#ifndef TENSOR_CHOICES_H
#define TENSOR_CHOICES_H

#include "tensor/graph.h"

#define TENSOR_PRODUCT_TEXT 64
#define TENSOR_WAY_TEXT     96

/* A product of a graph, and the way it goes. */
struct tensor_product {
    char product[TENSOR_PRODUCT_TEXT], way[TENSOR_WAY_TEXT];
    bool chosen;     /* not by the rule */
    uint32_t passes; /* how many such there are */
    double flops;    /* of one */
};

/* The different products of a graph, recorded or finished, in the order of their first pass. `list`
 * gets at most `room`; returns how many there are. */
uint32_t tensor_graph_products(struct tensor_graph *g, struct tensor_product *list, uint32_t room);

/* A way that was tried. */
struct tensor_trial {
    const char *product, *way;
    double seconds;            /* of the fastest of some runs */
    bool taken;                /* the fastest so far */
    uint32_t number, products; /* which product of how many, from 1 */
};

/* Tries the ways of each product of a recorded graph for which there is no choice (`again`: of
 * each) on the device, puts the fastest into use, and writes them into the file. A way that gains
 * less than 3 % on the rule's is not taken. The graph is for its shapes only; record it anew to
 * profit.
 * `each` (may be NULL) hears of every trial; if it returns false the rest is left, and what was
 * found is kept.
 * Errors: what a run can fail with; -ENOMEM no room for the factors of a product beside what else
 * lies on the device. A file that cannot be written is a line in the log. */
int tensor_graph_tune(struct tensor_graph *g, bool again,
                      bool (*each)(void *user, const struct tensor_trial *trial), void *user);

/* Leaves in use only choices for products of this graph. */
void tensor_graph_keep_choices(struct tensor_graph *g);

/* The choices in use as the text of a JSON object, {"PRODUCT": "WAY", ...}, sorted; to be freed.
 * NULL: no memory. */
char *tensor_device_choices(const struct tensor_device *device);

/* Takes those of such a text into use instead of all others; NULL: none. A way that this device
 * does not have for that product is left out and counted in *refused (may be NULL).
 * Errors: -EBADMSG no such text; -ENOMEM. Then those before stay. */
int tensor_device_choose(struct tensor_device *device, const char *text, uint32_t *refused);

#endif
