/* record.c - appends tensors, passes and nodes to a graph. */
#include "tensor/recording.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE (64u << 10)

void *tensor_graph_memory_take(struct tensor_graph *g, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    struct tensor_chunk *c = g->chunks;
    if (!c || c->size - c->used < size) {
        const size_t capacity = size > CHUNK_SIZE ? size : CHUNK_SIZE;
        c = calloc(1, sizeof *c + capacity);
        if (!c) {
            tensor_graph_fail(g, "no host memory to record");
            return NULL;
        }
        c->size = capacity;
        c->next = g->chunks;
        g->chunks = c;
    }
    void *p = c->bytes + c->used;
    c->used += size;
    return p;
}

void tensor_graph_fail(struct tensor_graph *g, const char *format, ...)
{
    if (g->error)
        return;
    g->error = EINVAL;
    const char *label = g->label_depth ? g->labels[g->label_depth - 1] : "";
    int n = snprintf(g->error_line, sizeof g->error_line, "%s%s%s: ", g->name, *label ? ": " : "",
                     label);
    va_list args;
    va_start(args, format);
    vsnprintf(g->error_line + n, sizeof g->error_line - (size_t)n, format, args);
    va_end(args);
}

bool tensor_check(struct tensor_graph *g, bool holds, const char *op, const char *rule,
                  const struct tensor *a, const struct tensor *b)
{
    if (!holds)
        tensor_graph_fail(g, "%s: shapes %s and %s do not fit: %s", op, tensor_shape_text(a),
                          tensor_shape_text(b), rule);
    return holds && !g->error;
}

static const char *keep_text(struct tensor_graph *g, const char *a, const char *b, const char *c)
{
    const size_t size = strlen(a) + strlen(b) + strlen(c) + 1;
    char *text = tensor_graph_memory_take(g, size);
    if (!text)
        return "";
    snprintf(text, size, "%s%s%s", a, b, c);
    return text;
}

void tensor_graph_push(struct tensor_graph *g, const char *label)
{
    const char *outer = g->label_depth ? g->labels[g->label_depth - 1] : "";
    if (g->label_depth == TENSOR_LABEL_DEPTH) {
        tensor_graph_fail(g, "labels nest deeper than %d", TENSOR_LABEL_DEPTH);
        return;
    }
    const char *whole = keep_text(g, outer, *outer ? "." : "", label); /* may fail, and then tell */
    g->labels[g->label_depth++] = whole;
}

void tensor_graph_pop(struct tensor_graph *g)
{
    if (g->label_depth)
        g->label_depth--;
}

void tensor_graph_set_label(struct tensor_graph *g, const char *label, const char *mark)
{
    g->labels[0] = label ? keep_text(g, label, mark, "") : NULL;
    g->label_depth = label ? 1 : 0;
}

bool tensor_graph_grow(struct tensor_graph *g, void **array, uint32_t count, uint32_t *capacity,
                       size_t size)
{
    if (count < *capacity)
        return true;
    const uint32_t more = *capacity ? *capacity * 2 : 64;
    void *larger = realloc(*array, more * size);
    if (!larger) {
        tensor_graph_fail(g, "no host memory to record");
        return false;
    }
    *array = larger;
    *capacity = more;
    return true;
}

struct tensor *tensor_graph_new(struct tensor_graph *g, enum tensor_type type, uint32_t rank,
                                const uint32_t *shape)
{
    struct tensor *t = tensor_graph_memory_take(g, sizeof *t);
    struct tensor_storage *s = tensor_graph_memory_take(g, sizeof *s);
    if (g->error || !t || !s ||
        !tensor_graph_grow(g, (void **)&g->storages, g->storage_count, &g->storage_capacity,
                           sizeof *g->storages))
        return &g->dummy;
    if (!tensor_describe(t, type, rank, shape)) {
        tensor_graph_fail(g, "a tensor has a shape that is empty or beyond 2^31 elements");
        return &g->dummy;
    }
    *s = (struct tensor_storage){.device = g->device, .size = tensor_align(tensor_size(t)),
                                 .temporary = true, .first = UINT32_MAX, .last = 0,
                                 .segment = g->in_segment ? g->segment_count : 0};
    t->storage = s;
    g->storages[g->storage_count++] = s;
    return t;
}

struct tensor *tensor_graph_matrix(struct tensor_graph *g, uint32_t rows, uint32_t columns)
{
    return tensor_graph_new(g, TENSOR_F32, 2, (uint32_t[]){rows, columns});
}

struct tensor *tensor_graph_like(struct tensor_graph *g, const struct tensor *t)
{
    return tensor_graph_new(g, t->type, t->rank, t->shape);
}

struct tensor *tensor_graph_view(struct tensor_graph *g, struct tensor *t, uint64_t element,
                                 uint32_t rank, const uint32_t *shape)
{
    struct tensor *view = tensor_graph_memory_take(g, sizeof *view);
    if (g->error || !view)
        return &g->dummy;
    if (!tensor_describe(view, t->type, rank, shape) || element + view->count > t->count) {
        tensor_graph_fail(g, "a view reaches beyond its tensor of shape %s", tensor_shape_text(t));
        return &g->dummy;
    }
    view->storage = t->storage;
    view->offset = t->offset + element * (tensor_size(t) / t->count);
    return view;
}

void tensor_graph_pass(struct tensor_graph *g, const struct tensor_kernel *kernel,
                       const void *params, struct tensor *const *args, double flops)
{
    if (g->error || !tensor_graph_grow(g, (void **)&g->passes, g->pass_count, &g->pass_capacity,
                                       sizeof *g->passes))
        return;
    if (g->planned) {
        tensor_graph_fail(g, "%s is recorded after the graph was finished", kernel->name);
        return;
    }
    for (uint32_t i = 0; i < kernel->args; i++)
        if (args[i] && tensor_is_16bit(args[i]->type) && !(kernel->args16 >> i & 1)) {
            tensor_graph_fail(g, "%s does not take a tensor of 16 bits as argument %u",
                              kernel->name, i);
            return;
        }
    struct tensor_pass *pass = &g->passes[g->pass_count];
    *pass = (struct tensor_pass){.kernel = kernel, .flops = flops};
    pass->label = g->label_depth ? g->labels[g->label_depth - 1] : "";
    memcpy(pass->params, params, kernel->params_size);
    for (uint32_t i = 0; i < kernel->args; i++) {
        struct tensor *t = args[i];
        pass->arg[i] = t;
        pass->bytes += t ? (double)tensor_size(t) : 0;
        if (t)
            t->storage->version += kernel->writes >> i & 1;
    }
    g->pass_count++;
}

void tensor_graph_node(struct tensor_graph *g, const struct tensor_node *node)
{
    bool wanted = false;
    for (int i = 0; i < TENSOR_NODE_INPUTS; i++)
        wanted |= node->input[i] && node->input[i]->needs_gradient;
    if (!wanted || !g->params.training || g->error ||
        !tensor_graph_grow(g, (void **)&g->nodes, g->node_count, &g->node_capacity,
                           sizeof *g->nodes))
        return;
    struct tensor_node *n = &g->nodes[g->node_count++];
    *n = *node;
    n->label = g->label_depth ? g->labels[g->label_depth - 1] : "";
    n->output->needs_gradient = true;
}

enum tensor_type tensor_graph_factor_type(const struct tensor_graph *g)
{
    static const enum tensor_type types[] = {[TENSOR_PRECISION_FP32] = TENSOR_F32,
                                             [TENSOR_PRECISION_BF16] = TENSOR_BF16,
                                             [TENSOR_PRECISION_FP16] = TENSOR_F16};
    return types[g->device->info.precision];
}

void tensor_graph_keep(struct tensor_graph *g, struct tensor *t)
{
    t->storage->keep = true;
}

const struct tensor_device_info *tensor_graph_device_info(const struct tensor_graph *g)
{
    return &g->device->info;
}

const struct tensor_autotune *tensor_graph_tuning(const struct tensor_graph *g)
{
    return g->params.autotune;
}

bool tensor_graph_training(const struct tensor_graph *g)
{
    return g->params.training;
}

struct tensor *tensor_graph_random(const struct tensor_graph *g)
{
    return g->params.random;
}

uint32_t tensor_graph_stream(struct tensor_graph *g)
{
    return g->streams++;
}

uint32_t tensor_dropout_threshold(struct tensor_graph *g, float p)
{
    if (!g->params.training || p == 0)
        return 0;
    if (!(p > 0 && p < 1))
        tensor_graph_fail(g, "dropout of %g is not in [0, 1)", (double)p);
    else if (!g->params.random)
        tensor_graph_fail(g, "dropout wants tensor_graph_params.random");
    else
        return (uint32_t)((double)p * 4294967296.0);
    return 0;
}
