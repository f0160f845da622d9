/* model.c - the model as a whole. */
#include "megabyte/model.h"
#include "megabyte/error.h"
#include <errno.h>
#include <stdlib.h>

/* The head: the embedding of the model that ends with it, or a matrix of its own. */
static void declare_head(struct megabyte_model *m)
{
    const enum megabyte_kind kind = m->config.model;
    struct nn_parameter *embedding = kind == MEGABYTE_GLOBAL      ? m->embedder.embedding
                                     : kind == MEGABYTE_PERCEIVER ? m->perceiver.embedding
                                                                  : m->local.embedding;
    m->head = m->config.tied ? embedding
                             : nn_parameter(m->parameters, NN_NORMAL, (float)m->config.init, 2,
                                            embedding->shape, "head.weight");
}

static int declare_global(struct megabyte_model *m)
{
    const struct megabyte_config *c = &m->config;
    megabyte_patch_embedder_declare(&m->embedder, m->parameters, c);
    return nn_transformer_init(&m->global, m->parameters, "global", &(struct nn_transformer_config){
        .width = c->global.dim, .layers = c->global.layers, .heads = c->global.heads,
        .rope = c->rope,
        .deviation = (float)c->init, .dropout = (float)c->dropout});
}

static int declare(struct megabyte_model *m)
{
    const struct megabyte_config *c = &m->config;
    int status = 0;
    if (c->model == MEGABYTE_WHOLE || c->model == MEGABYTE_GLOBAL)
        status = declare_global(m);
    if (status == 0 && (c->model == MEGABYTE_WHOLE || c->model == MEGABYTE_LOCAL))
        status = megabyte_local_declare(&m->local, m->parameters, c);
    if (status == 0 && c->model == MEGABYTE_PERCEIVER)
        status = megabyte_perceiver_declare(&m->perceiver, m->parameters, c);
    if (status < 0)
        return status;
    declare_head(m);
    return nn_parameters_place(m->parameters);
}

int megabyte_model_create(struct tensor_device *device, const struct megabyte_config *config,
                          bool training, struct megabyte_model **model)
{
    int status = megabyte_config_check(config);
    if (status < 0)
        return status;
    struct megabyte_model *m = calloc(1, sizeof *m);
    if (!m)
        return megabyte_fail(ENOMEM, "no host memory for the model");
    m->config = *config;
    m->device = device;
    status = nn_parameters_create(device, training, &m->parameters);
    if (status == 0)
        status = declare(m);
    if (status < 0) {
        megabyte_model_destroy(&m);
        return megabyte_fail(-status, "the model cannot be set up: %s", tensor_error());
    }
    *model = m;
    return 0;
}

void megabyte_model_destroy(struct megabyte_model **model)
{
    struct megabyte_model *m = *model;
    if (!m)
        return;
    nn_transformer_finish(&m->global);
    nn_transformer_finish(&m->local.transformer);
    nn_transformer_finish(&m->perceiver.transformer);
    nn_parameters_destroy(&m->parameters);
    free(m);
    *model = NULL;
}

void megabyte_model_adapt(struct megabyte_model *m, const struct megabyte_config *from)
{
    megabyte_config_adapt(&m->config, from);
    m->local.transformer.config.group = m->config.local_group;
}

struct tensor *megabyte_head(struct tensor_graph *g, const struct megabyte_model *m,
                             struct tensor *h)
{
    return tensor_linear(g, h, m->head->weight, NULL, 0);
}

/* Equations 1 to 3: bytes (B·T) → (B·K, D) */
static struct tensor *forward_global(struct tensor_graph *g, const struct megabyte_model *m,
                                     struct tensor *bytes)
{
    const uint32_t patches = m->config.seq_len / m->config.patch_size; /* K */
    tensor_graph_push(g, "embed");
    struct tensor *h = megabyte_patch_embedder(g, &m->embedder, &m->config, bytes); /* eq. 1, 2 */
    tensor_graph_pop(g);
    tensor_graph_push(g, "global");
    h = nn_transformer(g, &m->global, h, patches); /* eq. 3 */
    tensor_graph_pop(g);
    return h;
}

/* Equations 4 and 5: global (B·K, D), or NULL without that model, and bytes (B·T) → (B·T, E) */
static struct tensor *forward_local(struct tensor_graph *g, const struct megabyte_model *m,
                                    struct tensor *global, struct tensor *bytes)
{
    tensor_graph_push(g, "local");
    struct tensor *h = megabyte_local(g, &m->local, global, bytes);
    tensor_graph_pop(g);
    return h;
}

struct tensor *megabyte_model_forward(struct tensor_graph *g, const struct megabyte_model *m,
                                      struct tensor *bytes, struct tensor *begin)
{
    const struct megabyte_config *c = &m->config;
    struct tensor *h = NULL;
    switch ((enum megabyte_kind)c->model) {
    case MEGABYTE_WHOLE:
        h = forward_local(g, m, forward_global(g, m, bytes), bytes);
        break;
    case MEGABYTE_LOCAL:
        h = forward_local(g, m, NULL, bytes);
        break;
    case MEGABYTE_GLOBAL: /* each slice by itself */
        h = forward_global(g, m, bytes);
        h = tensor_reshape(g, h, 2, (uint32_t[]){(uint32_t)bytes->count,
                                                 c->global.dim / c->patch_size});
        break;
    case MEGABYTE_PERCEIVER:
        h = megabyte_perceiver(g, &m->perceiver, c, bytes, begin);
        break;
    }
    tensor_graph_push(g, "head");
    h = megabyte_head(g, m, h); /* eq. 6 */
    tensor_graph_pop(g);
    return h;
}
