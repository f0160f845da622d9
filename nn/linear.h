/* linear.h - linear layers and layer normalisation: the parameters behind two ops. */
#ifndef NN_LINEAR_H
#define NN_LINEAR_H

#include "nn/parameters.h"
#include "tensor/op.h"

/* y = x · weightᵀ + bias (tensor_linear) */
struct nn_linear {
    struct nn_parameter *weight; /* (O, I), as PyTorch's nn.Linear has it */
    struct nn_parameter *bias;   /* (O), or NULL */
};

/* Declares <name>.weight, normal with `deviation`, and <name>.bias of zeros if wanted. */
struct nn_linear nn_linear_declare(struct nn_parameters *parameters, const char *name,
                                   uint32_t inputs, uint32_t outputs, bool bias, float deviation);

/* x (R, I) → (R, O); epilogue: enum tensor_epilogue. */
struct tensor *nn_linear(struct tensor_graph *g, const struct nn_linear *layer, struct tensor *x,
                         uint32_t epilogue);

/* residual + dropout(layer(x)) (tensor_linear_residual): the end of a residual branch. */
struct tensor *nn_linear_residual(struct tensor_graph *g, const struct nn_linear *layer,
                                  struct tensor *x, struct tensor *residual, float dropout);

/* Layer normalisation with gain and bias, epsilon 1e-5 (tensor_layer_norm) */
struct nn_layer_norm {
    struct nn_parameter *gain, *bias; /* (C) */
};

/* Declares <name>.gain of ones and <name>.bias of zeros. */
struct nn_layer_norm nn_layer_norm_declare(struct nn_parameters *parameters, const char *name,
                                           uint32_t columns);

/* For generation, of a few rows and without a gradient: relu(layer(norm(x))) + residual, x (R, I) →
 * (R, O), where norm and residual may be NULL (tensor_gemv). */
struct tensor *nn_linear_step(struct tensor_graph *g, const struct nn_layer_norm *norm,
                              const struct nn_linear *layer, struct tensor *x, bool relu,
                              struct tensor *residual);

/* x (R, C) → (R, C); low_precision: linear layers alone read it. */
struct tensor *nn_layer_norm(struct tensor_graph *g, const struct nn_layer_norm *layer,
                             struct tensor *x, bool low_precision);

#endif
