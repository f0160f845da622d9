/* tune.c - finds the fastest kernel configuration of a matrix product (autotune.h).
 *
 * A candidate is timed in a graph with that one product and its epilogue, on tensors of its own,
 * and with an autotune cache of that one entry. First all configurations are timed with k whole;
 * then the fastest of them with k split more and more often, while that helps. A time is the
 * shortest of some runs: what disturbs a run only makes it slower.
 */
#include "tensor/autotune_cache.h"
#include "tensor/cpu/convert.h"
#include "tensor/op/matmul_config.h"
#include "tensor/recording.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RUNS      7    /* at most, of one candidate */
#define ENOUGH    0.05 /* seconds after which a candidate is not run again */
#define HOPELESS  1.5  /* times the fastest: not run again */
#define GAIN      0.97 /* of the rule's time that another candidate may take */
#define SPLIT_K_LEAST 128  /* elements of k in a split, at least */

struct tuner {
    struct tensor_device *device;
    bool (*each)(void *user, const struct tensor_candidate *candidate);
    void *user;
    uint32_t number, products;
    struct tensor_arena *arena; /* of the product at hand: */
    struct tensor *a, *b, *bias, *residual, *random, *c;
    struct matmul_params params; /* with the epilogue of its first pass */
    struct tensor_autotune_entry best;
    double seconds;             /* of the best */
    bool stopped;
};

/* Numbers as they come in training; zeros would take some devices less power, and so less time. */
static int fill(struct tensor *t)
{
    const uint64_t size = tensor_size(t);
    uint32_t x = 12345;
    uint16_t *half = malloc(size + 4);
    if (!half)
        return tensor_fail(ENOMEM, "no host memory to try kernels");
    float *one = (float *)(void *)half;
    for (uint64_t i = 0; i < t->count; i++) {
        x = x * 1664525 + 1013904223;
        const float value = (float)((int32_t)x >> 8) * 0x1p-23f; /* in [-1, 1) */
        if (t->type == TENSOR_F32)
            one[i] = value;
        else
            half[i] = tensor_to_16bit(value, tensor_element_type(t));
    }
    const int status = tensor_write(t, 0, half, size);
    free(half);
    return status;
}

static struct tensor *take(struct tuner *t, enum tensor_type type, uint32_t rows, uint32_t columns)
{
    return tensor_arena_take(t->arena, "candidate", type, 2, (uint32_t[]){rows, columns});
}

/* The tensors of a product. Those of its epilogue may be zeros. */
static int take_tensors(struct tuner *t, const struct matmul_params *p)
{
    const enum tensor_type type = p->flags & MATMUL_BF16  ? TENSOR_BF16
                                  : p->flags & MATMUL_F16 ? TENSOR_F16
                                                          : TENSOR_F32;
    const enum tensor_type result = p->flags & MATMUL_16BIT ? type : TENSOR_F32;
    int status = tensor_arena_create(t->device, TENSOR_DEVICE, "candidate", &t->arena);
    if (status < 0)
        return status;
    t->a = take(t, type, p->m, p->k);
    t->b = take(t, type, p->k, p->n);
    t->c = take(t, result, p->m, p->n);
    t->bias = p->flags & MATMUL_BIAS ? take(t, TENSOR_F32, 1, p->n) : NULL;
    t->random = take(t, TENSOR_U32, 1, 3);
    t->residual = p->flags & MATMUL_IN_PLACE   ? t->c
                  : p->flags & MATMUL_RESIDUAL ? take(t, result, p->m, p->n)
                                               : NULL;
    status = tensor_arena_commit(t->arena);
    if (status == 0)
        status = fill(t->a);
    return status == 0 ? fill(t->b) : status;
}

/* The shortest run of a finished graph; by the host's clock where the device has none. */
static int time_runs(const struct tuner *t, struct tensor_graph *g, double *seconds)
{
    double spent = 0;
    *seconds = 0;
    for (int i = -1; i < RUNS && spent < ENOUGH; i++) { /* the first time is not counted */
        struct tensor_time times[2] = {0};
        tensor_graph_times_reset(g);
        const double busy = tensor_device_busy(t->device);
        int status = tensor_graph_run(g);
        if (status == 0)
            status = tensor_device_wait(t->device);
        if (status < 0)
            return status;
        const uint32_t count = tensor_graph_times(g, times, 2);
        double one = count > 0 ? times[0].seconds + times[1].seconds : 0;
        if (one <= 0)
            one = tensor_device_busy(t->device) - busy;
        if (i < 0)
            continue;
        spent += one;
        if (i == 0 || one < *seconds)
            *seconds = one;
        if (t->seconds > 0 && one > HOPELESS * t->seconds)
            break;
    }
    return 0;
}

/* Records the product with one configuration, and times it. */
static int time_candidate(struct tuner *t, const struct tensor_autotune_entry *entry,
                          double *seconds)
{
    struct tensor_autotune_entry one = *entry;
    const struct tensor_autotune only = {.device = t->device, .list = &one, .count = 1};
    const struct tensor_graph_params params = {.name = "candidate", .timing = true,
                                               .random = t->random, .autotune = &only};
    const struct matmul_params *p = &t->params;
    struct tensor_graph *g = NULL;
    int status = tensor_graph_create(t->device, &params, &g);
    if (status < 0)
        return status;
    tensor_record_matmul(g, &(struct tensor_matmul){
        .a = t->a, .b = t->b, .bias = t->bias, .residual = t->residual, .c = t->c, .m = p->m,
        .n = p->n, .k = p->k, .flags = p->flags & (MATMUL_ORDER | MATMUL_RELU),
        .threshold = p->threshold, .scale = p->scale});
    status = tensor_graph_finish(g);
    if (status == 0)
        status = time_runs(t, g, seconds);
    tensor_graph_destroy(&g);
    return status;
}

/* Times one candidate and reports it; the rule's is the first. */
static int try_config(struct tuner *t, const struct matmul_config *config, uint32_t splits,
                      bool rule, bool *better)
{
    const struct tensor_autotune_entry entry = tensor_matmul_entry(&t->params, config, splits);
    char product[TENSOR_PRODUCT_TEXT], text[TENSOR_CONFIG_TEXT];
    double seconds;
    const int status = time_candidate(t, &entry, &seconds);
    if (status < 0)
        return status;
    *better = rule || seconds < t->seconds;
    if (*better) {
        t->seconds = seconds;
        t->best = entry;
    }
    tensor_autotune_text(&entry, product, text);
    const struct tensor_candidate candidate = {
        .product = product, .config = text, .seconds = seconds, .fastest = *better,
        .number = t->number, .products = t->products};
    t->stopped = t->each && !t->each(t->user, &candidate);
    return 0;
}

/* Times all configurations of a product; t->best is then the one to use. */
static int try_all(struct tuner *t, const struct matmul_params *p)
{
    struct matmul_config config[MATMUL_CONFIGS];
    const uint32_t count = tensor_matmul_configs(&t->device->info, p, config);
    const uint32_t usual = tensor_matmul_splits(p->k, p->split_k);
    uint32_t fastest = 0;
    bool better;
    int status = try_config(t, &config[0], usual, true, &better);
    const struct tensor_autotune_entry rule = t->best;
    double rule_seconds = t->seconds;
    for (uint32_t i = 0; i < count && status == 0 && !t->stopped; i++) {
        if (i == 0 && usual == 1)
            continue;
        status = try_config(t, &config[i], 1, false, &better);
        fastest = status == 0 && better ? i : fastest;
    }
    for (uint32_t splits = 2; splits <= MATMUL_SPLITS_MAX && status == 0 && !t->stopped;
         splits *= 2) {
        const uint32_t split_k = tensor_matmul_split_k(p->k, splits);
        const uint32_t made = tensor_matmul_splits(p->k, split_k);
        if (split_k < SPLIT_K_LEAST || (uint64_t)made * p->m * p->n > INT32_MAX)
            break;
        status = try_config(t, &config[fastest], made, false, &better);
        if (status == 0 && !better)
            break;
    }
    /* What disturbed the rule's runs may be gone: once more, in turns. */
    for (int i = 0; i < 2 && status == 0 && !t->stopped &&
                    memcmp(&t->best, &rule, sizeof rule); i++) {
        double rule_again, best_again;
        status = time_candidate(t, &rule, &rule_again);
        if (status == 0)
            status = time_candidate(t, &t->best, &best_again);
        if (status == 0) {
            rule_seconds = rule_again < rule_seconds ? rule_again : rule_seconds;
            t->seconds = best_again < t->seconds ? best_again : t->seconds;
        }
    }
    if (status == 0 && t->seconds > GAIN * rule_seconds)
        t->best = rule;
    return status;
}

static int tune_product(struct tuner *t, const struct matmul_params *p,
                        struct tensor_autotune *found)
{
    t->params = *p;
    t->params.a = t->params.b = t->params.c = t->params.bias = t->params.residual = 0;
    t->seconds = 0;
    int status = take_tensors(t, p);
    if (status == 0) { /* the rule's: without a cache */
        t->params.split_k = tensor_matmul_split_k_for(&t->device->info, NULL, &t->params);
        const struct matmul_params here = t->params;
        status = try_all(t, &here);
    }
    tensor_arena_destroy(&t->arena);
    return status == 0 && !t->stopped ? tensor_autotune_put(found, &t->best) : status;
}

/* ---- products of a graph ---- */

/* Returns the parameters of the pass if it is a matrix product of a Vulkan device, else NULL. */
static const struct matmul_params *product_of(const struct tensor_graph *g, uint32_t pass)
{
    if (g->passes[pass].kernel != tensor_kernel_matmul || strcmp(g->device->info.kind, "vulkan"))
        return NULL;
    return (const struct matmul_params *)(g->steps ? g->steps[pass].params
                                                   : g->passes[pass].params);
}

/* The product of a pass with its epilogue, which is a pass of its own with split-K. */
static struct matmul_params whole_product(const struct tensor_graph *g, uint32_t pass)
{
    struct matmul_params p = *product_of(g, pass);
    if (tensor_matmul_splits(p.k, p.split_k) > 1)
        p.flags |= ((const struct matmul_params *)(g->steps ? g->steps[pass + 1].params
                                                            : g->passes[pass + 1].params))->flags;
    return p;
}

/* Lists the first pass of each product that is to be timed; returns how many. */
static uint32_t list_products(const struct tensor_graph *g, const struct tensor_autotune *cache,
                              bool again, uint32_t *list)
{
    uint32_t count = 0;
    struct tensor_autotune seen = {0};
    for (uint32_t i = 0; i < g->pass_count; i++) {
        const struct matmul_params *p = product_of(g, i);
        if (!p || tensor_autotune_find(&seen, p) || (!again && tensor_autotune_find(cache, p)))
            continue;
        const struct tensor_autotune_entry e =
            tensor_matmul_entry(p, &(struct matmul_config){0}, 1);
        if (tensor_autotune_put(&seen, &e) < 0)
            break;
        list[count++] = i;
    }
    free(seen.list);
    return count;
}

int tensor_graph_autotune(struct tensor_graph *g, struct tensor_autotune *cache, bool again,
                          bool (*each)(void *user, const struct tensor_candidate *candidate),
                          void *user)
{
    struct tuner t = {.device = g->device, .each = each, .user = user};
    struct tensor_autotune found = {.device = g->device};
    uint32_t *list = calloc(g->pass_count + 1u, sizeof *list);
    int status = list ? 0 : tensor_fail(ENOMEM, "no host memory to time kernels");
    t.products = status == 0 ? list_products(g, cache, again, list) : 0;
    for (uint32_t i = 0; i < t.products && status == 0 && !t.stopped; i++) {
        const struct matmul_params p = whole_product(g, list[i]);
        t.number = i + 1;
        status = tune_product(&t, &p, &found);
    }
    for (uint32_t i = 0; i < found.count && status == 0; i++)
        status = tensor_autotune_put(cache, &found.list[i]);
    if (found.count)
        tensor_autotune_save(&found);
    free(found.list);
    free(list);
    return status;
}

uint32_t tensor_graph_products(const struct tensor_graph *g, struct tensor_product *list,
                               uint32_t capacity)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->pass_count; i++) {
        const struct matmul_params *p = product_of(g, i);
        struct matmul_config config;
        struct tensor_product found = {.passes = 1, .flops = g->passes[i].flops};
        uint32_t j = 0;
        if (!p)
            continue;
        tensor_matmul_configure(&g->device->info, g->params.autotune, p, &config, &found.tuned);
        const struct tensor_autotune_entry e =
            tensor_matmul_entry(p, &config, tensor_matmul_splits(p->k, p->split_k));
        tensor_autotune_text(&e, found.product, found.config);
        while (j < count && j < capacity &&
               (strcmp(list[j].product, found.product) || strcmp(list[j].config, found.config)))
            j++;
        if (j < count && j < capacity)
            list[j].passes++;
        else if (count++ < capacity)
            list[j] = found;
    }
    return count;
}

void tensor_autotune_keep(struct tensor_autotune *cache, const struct tensor_graph *g)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < cache->count; i++) {
        bool wanted = false;
        for (uint32_t j = 0; j < g->pass_count && !wanted; j++) {
            const struct matmul_params *p = product_of(g, j);
            wanted = p && tensor_autotune_same_product(&cache->list[i], p);
        }
        if (wanted)
            cache->list[kept++] = cache->list[i];
    }
    cache->count = kept;
}
