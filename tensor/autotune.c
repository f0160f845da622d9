/* autotune.c - the list of an autotune cache (autotune_cache.h). */
#include "tensor/autotune_cache.h"
#include "tensor/backend.h"
#include <errno.h>
#include <stdlib.h>

bool tensor_autotune_same_product(const struct tensor_autotune_entry *e,
                                  const struct matmul_params *p)
{
    return e->m == p->m && e->n == p->n && e->k == p->k &&
           e->flags == (p->flags & (MATMUL_ORDER | MATMUL_FACTORS));
}

const struct tensor_autotune_entry *tensor_autotune_find(const struct tensor_autotune *cache,
                                                         const struct matmul_params *p)
{
    for (uint32_t i = 0; cache && i < cache->count; i++)
        if (tensor_autotune_same_product(&cache->list[i], p))
            return &cache->list[i];
    return NULL;
}

int tensor_autotune_put(struct tensor_autotune *cache, const struct tensor_autotune_entry *entry)
{
    const struct matmul_params p = {.m = entry->m, .n = entry->n, .k = entry->k,
                                    .flags = entry->flags};
    for (uint32_t i = 0; i < cache->count; i++)
        if (tensor_autotune_same_product(&cache->list[i], &p)) {
            cache->list[i] = *entry;
            return 0;
        }
    if (cache->count == cache->capacity) {
        const uint32_t capacity = cache->capacity ? 2 * cache->capacity : 16;
        void *larger = realloc(cache->list, capacity * sizeof *cache->list);
        if (!larger)
            return tensor_fail(ENOMEM, "no host memory for the autotune cache");
        cache->list = larger;
        cache->capacity = capacity;
    }
    cache->list[cache->count++] = *entry;
    return 0;
}
