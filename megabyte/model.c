/* model.c - the model as a whole. */
#include "megabyte/model.h"
#include "megabyte/error.h"
#include <errno.h>
#include <stdlib.h>

static int declare(struct megabyte_model *m)
{
    const struct megabyte_config *c = &m->config;
    megabyte_patch_embedder_declare(&m->embedder, m->parameters, c);
    int status = nn_transformer_init(&m->global, m->parameters, "global",
                                     &(struct nn_transformer_config){
        .width = c->global.dim, .layers = c->global.layers, .heads = c->global.heads,
        .deviation = (float)c->init, .dropout = (float)c->dropout});
    if (status == 0)
        status = megabyte_local_declare(&m->local, m->parameters, c);
    return status < 0 ? status : nn_parameters_place(m->parameters);
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
    nn_parameters_destroy(&m->parameters);
    free(m);
    *model = NULL;
}

struct tensor *megabyte_model_forward(struct tensor_graph *g, const struct megabyte_model *m,
                                      struct tensor *bytes)
{
    const uint32_t patches = m->config.seq_len / m->config.patch_size; /* K */
    tensor_graph_push(g, "embed");
    struct tensor *h = megabyte_patch_embedder(g, &m->embedder, &m->config, bytes); /* eq. 1, 2 */
    tensor_graph_pop(g);
    tensor_graph_push(g, "global");
    h = nn_transformer(g, &m->global, h, patches); /* eq. 3 */
    tensor_graph_pop(g);
    tensor_graph_push(g, "local");
    h = megabyte_local_project(g, &m->local, h); /* eq. 4 */
    h = megabyte_local(g, &m->local, h, bytes);  /* eq. 4, 5 */
    tensor_graph_pop(g);
    tensor_graph_push(g, "head");
    h = megabyte_head(g, &m->local, h); /* eq. 6 */
    tensor_graph_pop(g);
    return h;
}
