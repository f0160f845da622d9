/* segment.c - segments: intermediate results that are computed again instead of being kept.
 *
 * A segment's passes are copied with other tensors in place of those that it made, and its nodes
 * then speak of those. So nothing of an op is asked twice, and a kernel gets the very parameters of
 * its first turn, its stream of random numbers among them. The first results die with their last
 * use in the forward pass; and what of the copies no gradient reads, the planner drops (plan.c).
 */
#include "tensor/recording.h"
#include <string.h>

void tensor_graph_segment_begin(struct tensor_graph *g)
{
    if (g->in_segment)
        tensor_graph_fail(g, "segments do not nest");
    if (!g->params.recompute || g->error ||
        !tensor_graph_grow(g, (void **)&g->segments, g->segment_count, &g->segment_capacity,
                           sizeof *g->segments))
        return;
    g->segments[g->segment_count++] =
        (struct tensor_segment){.pass_begin = g->pass_count, .node_begin = g->node_count,
                                .storage_begin = g->storage_count};
    g->in_segment = true;
}

void tensor_graph_segment_end(struct tensor_graph *g)
{
    if (!g->in_segment)
        return;
    struct tensor_segment *s = &g->segments[g->segment_count - 1];
    s->pass_end = g->pass_count;
    s->node_end = g->node_count;
    s->storage_end = g->storage_count;
    g->in_segment = false;
    for (uint32_t i = s->pass_begin; i < s->pass_end; i++) {
        const struct tensor_pass *pass = &g->passes[i];
        for (uint32_t k = 0; k < pass->kernel->args; k++)
            if (pass->arg[k] && pass->kernel->writes >> k & 1 &&
                pass->arg[k]->storage->segment != g->segment_count)
                tensor_graph_fail(g, "%s changes a tensor in a segment that has not made it",
                                  pass->kernel->name);
    }
}

/* `t` is used in segment number `here`, 0 for none. */
static void use(struct tensor *t, uint32_t here)
{
    if (t && t->storage->segment != here)
        t->storage->shared = true;
}

static void use_of_node(const struct tensor_node *node, uint32_t here)
{
    use(node->output, here);
    for (int k = 0; k < TENSOR_NODE_INPUTS; k++)
        use(node->input[k], here);
    for (int k = 0; k < TENSOR_NODE_SAVED; k++)
        use(node->saved[k], here);
}

void tensor_segments_prepare(struct tensor_graph *g)
{
    if (g->in_segment)
        tensor_graph_fail(g, "backward within a segment");
    uint32_t here = 0;
    for (uint32_t i = 0, s = 0; i < g->pass_count; i++) {
        while (s < g->segment_count && g->segments[s].pass_end <= i)
            s++;
        here = s < g->segment_count && g->segments[s].pass_begin <= i ? s + 1 : 0;
        for (uint32_t k = 0; k < g->passes[i].kernel->args; k++)
            use(g->passes[i].arg[k], here);
    }
    for (uint32_t i = 0, s = 0; i < g->node_count; i++) {
        while (s < g->segment_count && g->segments[s].node_end <= i)
            s++;
        here = s < g->segment_count && g->segments[s].node_begin <= i ? s + 1 : 0;
        use_of_node(&g->nodes[i], here);
    }
}

/* Which tensor stands for which, within one segment. */
struct twins {
    struct tensor **from, **to;
    uint32_t count;
};

static struct tensor *twin_of(struct tensor_graph *g, struct twins *w, struct tensor *t)
{
    if (!t || !t->storage->again)
        return t;
    for (uint32_t i = 0; i < w->count; i++)
        if (w->from[i] == t)
            return w->to[i];
    struct tensor *twin = tensor_graph_memory_take(g, sizeof *twin);
    if (!twin)
        return &g->dummy;
    *twin = *t;
    twin->storage = t->storage->again;
    w->from[w->count] = t;
    w->to[w->count++] = twin;
    return twin;
}

/* Gives every storage that the segment alone uses another one. */
static void make_storages(struct tensor_graph *g, const struct tensor_segment *segment)
{
    for (uint32_t i = segment->storage_begin; i < segment->storage_end && !g->error; i++) {
        struct tensor_storage *s = g->storages[i];
        if (s->shared || s->keep)
            continue;
        /* Tensors have types, storages bytes. */
        struct tensor *t = tensor_graph_new(g, TENSOR_U8, 1, (uint32_t[]){TENSOR_ALIGNMENT});
        t->storage->size = s->size;
        s->again = t->storage;
    }
}

static bool makes_twins(const struct tensor_pass *pass)
{
    for (uint32_t k = 0; k < pass->kernel->args; k++)
        if (pass->arg[k] && pass->kernel->writes >> k & 1 && pass->arg[k]->storage->again)
            return true;
    return false;
}

static void record_again(struct tensor_graph *g, const struct tensor_segment *s, struct twins *w)
{
    for (uint32_t i = s->pass_begin; i < s->pass_end && !g->error; i++) {
        const struct tensor_pass pass = g->passes[i]; /* the array may move */
        if (!makes_twins(&pass))
            continue;
        struct tensor *arg[TENSOR_PASS_ARGS];
        for (uint32_t k = 0; k < pass.kernel->args; k++)
            arg[k] = twin_of(g, w, pass.arg[k]);
        tensor_graph_set_label(g, pass.label, "*");
        tensor_graph_pass(g, pass.kernel, pass.params, arg, pass.flops);
    }
    for (uint32_t i = s->node_begin; i < s->node_end && !g->error; i++) {
        struct tensor_node *node = &g->nodes[i];
        node->output = twin_of(g, w, node->output);
        for (int k = 0; k < TENSOR_NODE_INPUTS; k++)
            node->input[k] = twin_of(g, w, node->input[k]);
        for (int k = 0; k < TENSOR_NODE_SAVED; k++)
            node->saved[k] = twin_of(g, w, node->saved[k]);
    }
}

/* What is cast again stands for the first cast, where gradients ask for one. */
static void cast_again(struct tensor_graph *g, struct twins *w)
{
    const uint32_t count = g->cast_count;
    for (uint32_t i = 0; i < count && !g->error; i++) {
        struct tensor_cast c = g->casts[i];
        if (!c.result->storage->again || c.version != c.storage->version ||
            !tensor_graph_grow(g, (void **)&g->casts, g->cast_count, &g->cast_capacity,
                               sizeof *g->casts))
            continue;
        c.storage = c.storage->again ? c.storage->again : c.storage;
        c.version = c.storage->version;
        c.result = twin_of(g, w, c.result);
        g->casts[g->cast_count++] = c;
    }
}

void tensor_segment_again(struct tensor_graph *g, uint32_t node)
{
    uint32_t number = 0;
    while (number < g->segment_count && g->segments[number].node_end != node + 1)
        number++;
    if (number == g->segment_count || g->segments[number].node_begin > node)
        return;
    const struct tensor_segment s = g->segments[number];
    const size_t most = (size_t)(s.pass_end - s.pass_begin) * TENSOR_PASS_ARGS +
                        (size_t)(s.node_end - s.node_begin) *
                            (1 + TENSOR_NODE_INPUTS + TENSOR_NODE_SAVED);
    struct twins w = {.from = tensor_graph_memory_take(g, 2 * most * sizeof *w.from)};
    if (!w.from)
        return;
    w.to = w.from + most;
    make_storages(g, &s);
    record_again(g, &s, &w);
    cast_again(g, &w);
}
