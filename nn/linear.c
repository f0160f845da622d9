/* linear.c - linear layers and layer normalisation. */
#include "nn/linear.h"

#define EPSILON 1e-5f

struct nn_linear nn_linear_declare(struct nn_parameters *parameters, const char *name,
                                   uint32_t inputs, uint32_t outputs, bool bias, float deviation)
{
    struct nn_linear layer = {
        .weight = nn_parameter(parameters, NN_NORMAL, deviation, 2, (uint32_t[]){outputs, inputs},
                               "%s.weight", name)};
    if (bias)
        layer.bias = nn_parameter(parameters, NN_ZEROS, 0, 1, &outputs, "%s.bias", name);
    return layer;
}

struct tensor *nn_linear(struct tensor_graph *g, const struct nn_linear *layer, struct tensor *x,
                         uint32_t epilogue)
{
    return tensor_linear(g, x, layer->weight->weight, layer->bias ? layer->bias->weight : NULL,
                         epilogue);
}

struct tensor *nn_linear_residual(struct tensor_graph *g, const struct nn_linear *layer,
                                  struct tensor *x, struct tensor *residual, float dropout)
{
    return tensor_linear_residual(g, x, layer->weight->weight,
                                  layer->bias ? layer->bias->weight : NULL, residual, dropout);
}

struct tensor *nn_linear_step(struct tensor_graph *g, const struct nn_layer_norm *norm,
                              const struct nn_linear *layer, struct tensor *x, bool relu,
                              struct tensor *residual)
{
    return tensor_gemv(g, x, &(struct tensor_gemv){
        .gain = norm ? norm->gain->weight : NULL, .shift = norm ? norm->bias->weight : NULL,
        .epsilon = EPSILON, .weight = layer->weight->weight,
        .bias = layer->bias ? layer->bias->weight : NULL, .relu = relu, .residual = residual});
}

struct nn_layer_norm nn_layer_norm_declare(struct nn_parameters *parameters, const char *name,
                                           uint32_t columns)
{
    return (struct nn_layer_norm){
        nn_parameter(parameters, NN_ONES, 0, 1, &columns, "%s.gain", name),
        nn_parameter(parameters, NN_ZEROS, 0, 1, &columns, "%s.bias", name)};
}

struct tensor *nn_layer_norm(struct tensor_graph *g, const struct nn_layer_norm *layer,
                             struct tensor *x, bool low_precision)
{
    return tensor_layer_norm(g, x, layer->gain->weight, layer->bias->weight, EPSILON,
                             low_precision);
}
