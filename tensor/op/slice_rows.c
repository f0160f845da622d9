/* slice_rows.c - some rows of a tensor, and rows of several in one (op.h: tensor_slice_rows,
 * tensor_concat_rows). */
#include "tensor/contract.h"
#include "tensor/recording.h"
#include <string.h>

static struct tensor *rows_of(struct tensor_graph *g, struct tensor *x, uint32_t first,
                              uint32_t count)
{
    const uint32_t shape[2] = {count, tensor_columns(x)};
    return tensor_graph_view(g, x, (uint64_t)first * shape[1], 2, shape);
}

static void part_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    uint32_t accumulate;
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    struct tensor *dx = tensor_graph_target(g, node->input[0], &accumulate);
    struct tensor *to = rows_of(g, dx, node->number[0], tensor_rows(node->output));
    if (!accumulate) /* other parts add theirs, and there may be rows of none */
        tensor_fill(g, dx, 0);
    tensor_record_add(g, to, dy, to);
}

struct tensor *tensor_slice_rows(struct tensor_graph *g, struct tensor *x, uint32_t first,
                                 uint32_t count)
{
    struct tensor *y = rows_of(g, x, first, count);
    if (x->gradient) { /* a parameter: what is added to the view's gradient is added to its own */
        y->gradient = rows_of(g, x->gradient, first, count);
        y->needs_gradient = x->needs_gradient;
        return y;
    }
    tensor_graph_node(g, &(struct tensor_node){part_gradient, .output = y, .input = {x},
                                               .number = {first}});
    return y;
}

/* More of them than a node has inputs. */
struct parts {
    uint32_t count;
    struct tensor *part[];
};

static void join_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    const struct parts *p = node->params;
    struct tensor *dy = tensor_graph_output_gradient(g, node);
    for (uint32_t i = 0, first = 0; i < p->count; i++) {
        const uint32_t rows = tensor_rows(p->part[i]);
        if (tensor_graph_wants(g, p->part[i]))
            tensor_graph_give(g, p->part[i], rows_of(g, dy, first, rows));
        first += rows;
    }
}

struct tensor *tensor_concat_rows(struct tensor_graph *g, struct tensor *const *part, uint32_t n)
{
    uint32_t rows = 0;
    struct parts *p = tensor_graph_memory_take(g, sizeof *p + n * sizeof *part);
    struct tensor_node node = {join_gradient, .params = p};
    if (!p)
        return part[0];
    for (uint32_t i = 0; i < n; i++) {
        if (!tensor_check(g, tensor_columns(part[i]) == tensor_columns(part[0]), "join",
                          "equal numbers of columns", part[0], part[i]))
            return part[0];
        rows += tensor_rows(part[i]);
        p->part[p->count++] = part[i];
        if (part[i]->needs_gradient) /* one will do to say that there is a gradient */
            node.input[0] = part[i];
    }
    if (g->in_segment) /* which would compute its parts again, but not know all of them here */
        tensor_graph_fail(g, "concat_rows within a segment");
    struct tensor *y = tensor_graph_matrix(g, rows, tensor_columns(part[0]));
    for (uint32_t i = 0, first = 0; i < n && !g->error; i++) {
        tensor_copy(g, rows_of(g, y, first, tensor_rows(part[i])), part[i]);
        first += tensor_rows(part[i]);
    }
    node.output = y;
    tensor_graph_node(g, &node);
    return y;
}
