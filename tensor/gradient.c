/* gradient.c - walks the nodes backwards; who holds which gradient.
 *
 * An op that passes its gradient through hands on the very tensor (a residual sum costs nothing),
 * so one buffer may be the gradient of several tensors at a time. storage->gradient_uses counts
 * them: while it is above one, adding goes to a fresh copy. A tensor stops using its gradient when
 * the node that made it has been walked, since nothing reads it after that.
 */
#include "tensor/recording.h"
#include <errno.h>

void tensor_graph_backward(struct tensor_graph *g, struct tensor *loss)
{
    if (g->error)
        return;
    if (!g->params.training || loss->count != 1 || !loss->needs_gradient) {
        tensor_graph_fail(g,
                          "backward wants a training graph and a loss of one element that depends "
                          "on a parameter; the shape is %s",
                          tensor_shape_text(loss));
        return;
    }
    tensor_graph_set_label(g, "loss", "'");
    struct tensor *one = tensor_graph_like(g, loss);
    if (g->params.loss_scale)
        tensor_copy(g, one, g->params.loss_scale);
    else
        tensor_fill(g, one, 1.0f);
    tensor_graph_give(g, loss, one);
    tensor_segments_prepare(g);
    for (uint32_t i = g->node_count; i-- && !g->error;) {
        tensor_segment_again(g, i);
        const struct tensor_node *node = &g->nodes[i];
        if (!node->output->gradient)
            continue; /* does not lead to the loss */
        tensor_graph_set_label(g, node->label, "'");
        node->rule(g, node);
        node->output->gradient->storage->gradient_uses--;
    }
    tensor_graph_set_label(g, NULL, NULL);
}

struct tensor *tensor_graph_output_gradient(struct tensor_graph *g, const struct tensor_node *node)
{
    return node->output->gradient;
}

bool tensor_graph_wants(const struct tensor_graph *g, const struct tensor *t)
{
    return t && t->needs_gradient;
}

static void hold(struct tensor *t, struct tensor *gradient)
{
    t->gradient = gradient;
    gradient->storage->gradient_uses++;
}

bool tensor_graph_sole(const struct tensor *gradient)
{
    return gradient->storage->gradient_uses <= 1;
}

static bool check_parameter(struct tensor_graph *g, const struct tensor *t)
{
    if (t->storage->temporary || t->gradient)
        return true;
    tensor_graph_fail(g, "parameter %s has no gradient tensor", t->name ? t->name : "");
    return false;
}

struct tensor *tensor_graph_target(struct tensor_graph *g, struct tensor *t, uint32_t *accumulate)
{
    *accumulate = 1;
    if (!check_parameter(g, t))
        return &g->dummy;
    if (!t->storage->temporary)
        return t->gradient;
    if (!t->gradient) {
        *accumulate = 0;
        hold(t, tensor_graph_like(g, t));
    } else if (!tensor_graph_sole(t->gradient)) {
        struct tensor *copy = tensor_graph_like(g, t);
        tensor_copy(g, copy, t->gradient);
        t->gradient->storage->gradient_uses--;
        hold(t, copy);
    }
    return t->gradient;
}

void tensor_graph_give(struct tensor_graph *g, struct tensor *t, struct tensor *gradient)
{
    if (!check_parameter(g, t))
        return;
    if (!t->storage->temporary) {
        tensor_record_add(g, t->gradient, gradient, t->gradient);
    } else if (!t->gradient) {
        hold(t, tensor_graph_view(g, gradient, 0, t->rank, t->shape));
    } else if (tensor_graph_sole(t->gradient)) {
        tensor_record_add(g, t->gradient, gradient, t->gradient);
    } else {
        struct tensor *sum = tensor_graph_like(g, t);
        tensor_record_add(g, t->gradient, gradient, sum);
        t->gradient->storage->gradient_uses--;
        hold(t, sum);
    }
}
