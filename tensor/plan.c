/* plan.c - gives every intermediate tensor a place.
 *
 * A tensor occupies memory from the first pass that touches it to the last. The largest are placed
 * first, each at the lowest offset where no tensor that is alive at the same time lies (greedy by
 * size, Pisarchyk and Lee 2020). Where a device limits allocations there are several blocks, and a
 * tensor goes to the first with room.
 */
#include "tensor/recording.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int by_size(const void *a, const void *b)
{
    const struct tensor_storage *x = *(struct tensor_storage *const *)a;
    const struct tensor_storage *y = *(struct tensor_storage *const *)b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x->last < y->last ? -1 : x->last > y->last;
}

static bool together(const struct tensor_storage *a, const struct tensor_storage *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset in a block for s among the placed ones, which are sorted by offset. */
static uint64_t lowest(const struct tensor_storage *s, struct tensor_storage *const *placed,
                       uint32_t count, uint32_t block)
{
    uint64_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor_storage *p = placed[i];
        if (p->index != block || !together(s, p))
            continue;
        if (offset + s->size <= p->begin)
            break;
        if (p->begin + p->size > offset)
            offset = p->begin + p->size;
    }
    return offset;
}

static void insert(struct tensor_storage **placed, uint32_t count, struct tensor_storage *s)
{
    uint32_t i = count;
    for (; i && placed[i - 1]->begin > s->begin; i--)
        placed[i] = placed[i - 1];
    placed[i] = s;
}

static int place(struct tensor_graph *g, struct tensor_storage *s, struct tensor_storage **placed,
                 uint32_t count, uint64_t limit)
{
    for (uint32_t block = 0; block <= g->block_count; block++) {
        const uint64_t offset = lowest(s, placed, count, block);
        if (offset + s->size > limit)
            continue;
        if (block == g->block_count) {
            void *larger = realloc(g->blocks, (block + 1) * sizeof *g->blocks);
            if (!larger)
                return tensor_fail(ENOMEM, "%s: no host memory to plan", g->name);
            g->blocks = larger;
            g->blocks[g->block_count++] = (struct tensor_plan_block){0};
        }
        s->begin = offset;
        s->index = block;
        if (g->blocks[block].size < offset + s->size)
            g->blocks[block].size = offset + s->size;
        insert(placed, count, s);
        return 0;
    }
    return tensor_fail(ENOMEM,
                       "%s: an intermediate tensor of %" PRIu64 " MiB is larger than the %" PRIu64
                       " MiB that the device allocates at once; take a smaller batch",
                       g->name, s->size >> 20, limit >> 20);
}

/* Whether a pass leaves something that is read: by a later pass, or when the graph has run. */
static bool is_wanted(const struct tensor_pass *pass)
{
    for (uint32_t i = 0; i < pass->kernel->args; i++) {
        if (!pass->arg[i] || !(pass->kernel->writes >> i & 1))
            continue;
        const struct tensor_storage *s = pass->arg[i]->storage;
        if (!s->temporary || s->keep || s->wanted)
            return true;
    }
    return false;
}

/* What a segment computes again is more than its gradient reads, and so may be what an op leaves
 * for a gradient that nobody wants. */
static void drop_passes(struct tensor_graph *g)
{
    uint32_t kept = g->pass_count;
    for (uint32_t i = g->pass_count; i--;) {
        if (!is_wanted(&g->passes[i]))
            continue;
        g->passes[--kept] = g->passes[i];
        for (uint32_t k = 0; k < g->passes[kept].kernel->args; k++)
            if (g->passes[kept].arg[k])
                g->passes[kept].arg[k]->storage->wanted = true;
    }
    g->pass_count -= kept;
    if (kept)
        memmove(g->passes, g->passes + kept, g->pass_count * sizeof *g->passes);
}

static void find_lifetimes(struct tensor_graph *g)
{
    for (uint32_t i = 0; i < g->pass_count; i++)
        for (uint32_t k = 0; k < g->passes[i].kernel->args; k++) {
            struct tensor *t = g->passes[i].arg[k];
            if (!t)
                continue;
            if (t->storage->first > i)
                t->storage->first = i;
            t->storage->last = i;
        }
}

int tensor_plan(struct tensor_graph *g)
{
    if (g->planned)
        return 0;
    drop_passes(g);
    find_lifetimes(g);
    struct tensor_storage **order = calloc(2 * (size_t)g->storage_count + 1, sizeof(void *));
    if (!order)
        return tensor_fail(ENOMEM, "%s: no host memory to plan", g->name);
    struct tensor_storage **placed = order + g->storage_count;
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->storage_count; i++) {
        struct tensor_storage *s = g->storages[i];
        if (s->keep) {
            s->first = 0;
            s->last = UINT32_MAX;
        }
        if (s->first <= s->last)
            order[count++] = s;
    }
    qsort(order, count, sizeof *order, by_size);
    int status = 0;
    for (uint32_t i = 0; i < count && status == 0; i++)
        status = place(g, order[i], placed, i, g->device->info.allocation_bytes);
    free(order);
    g->planned = status == 0;
    return status;
}
