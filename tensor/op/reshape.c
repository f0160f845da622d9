/* reshape.c - the same elements under another shape. */
#include "tensor/contract.h"

static void reshape_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    tensor_graph_give(g, node->input[0], tensor_graph_output_gradient(g, node));
}

struct tensor *tensor_reshape(struct tensor_graph *g, struct tensor *x, uint32_t rank,
                              const uint32_t *shape)
{
    struct tensor *y = tensor_graph_view(g, x, 0, rank, shape);
    if (!tensor_check(g, y->count == x->count, "reshape", "equal numbers of elements", x, y))
        return x;
    if (x->gradient) { /* a parameter: what is added to the view's gradient is added to its own */
        y->gradient = tensor_graph_view(g, x->gradient, 0, rank, shape);
        y->needs_gradient = x->needs_gradient;
        return y;
    }
    tensor_graph_node(g, &(struct tensor_node){reshape_gradient, .output = y, .input = {x}});
    return y;
}
