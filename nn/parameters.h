/* parameters.h - the trainable tensors of a model: names, shapes, first values, optimizer state.
 *
 *     nn_parameters_create → nn_parameter … (layers declare theirs) → nn_parameters_place
 *                                     → nn_parameters_commit → nn_parameters_initialise or a
 * checkpoint
 *
 * Weights lie in one arena; for training there are three more of the same layout: gradients and
 * AdamW's two moments. On a device of 16-bit precision there is one with the weights so rounded,
 * which matrix products read; it is written together with the weights. Tensors with two or more
 * dimensions come first, since those decay (section 7, decision 25), so the optimizer sees flat
 * arrays with one border.
 *
 * Functions of this library return 0 or a negative errno value; the line for people is
 * tensor_error()'s.
 */
#ifndef NN_PARAMETERS_H
#define NN_PARAMETERS_H

#include "tensor/arena.h"
#include "tensor/graph.h"

struct nn_parameters;

enum nn_first_values {
    NN_NORMAL, /* normal with mean 0 and deviation `deviation`, cut at two deviations (A.1) */
    NN_ZEROS,
    NN_ONES,
};

struct nn_parameter {
    const char *name;          /* as in model.safetensors; owned by the parameters */
    uint32_t rank;
    uint32_t shape[TENSOR_RANK_MAX];
    enum nn_first_values first;
    float deviation;
    struct tensor *weight;     /* of shape, these four exist after nn_parameters_place;
                                  weight->copy16 is the 16-bit copy, or NULL */
    struct tensor *gradient;   /* NULL unless for training; so are the moments */
    struct tensor *moment1;
    struct tensor *moment2;
};

/* An empty set on a device. `training`: with gradients and moments. */
int nn_parameters_create(struct tensor_device *device, bool training,
                         struct nn_parameters **parameters);
void nn_parameters_destroy(struct nn_parameters **parameters);

/* Declares a parameter; the name is a printf format. Owned by the set, at a fixed address. Never
 * fails: lack of memory is reported by nn_parameters_place(). */
struct nn_parameter *nn_parameter(struct nn_parameters *parameters, enum nn_first_values first,
                                  float deviation, uint32_t rank, const uint32_t *shape,
                                  const char *name, ...) __attribute__((format(printf, 6, 7)));

/* Makes the tensors, without memory: graphs can be recorded and sizes asked. -ENOMEM, -EINVAL. */
int nn_parameters_place(struct nn_parameters *parameters);
/* Gives them memory, all zero. -ENOMEM. */
int nn_parameters_commit(struct nn_parameters *parameters);
/* Writes the first values. They depend on seed, name and shape alone: neither on the order of
 * declaration nor on the device. */
int nn_parameters_initialise(struct nn_parameters *parameters, uint64_t seed);

/* Brings the 16-bit copies up to date after weights were written by other means than these
 * functions and the optimizer: loaded from a file. Nothing to do in fp32. Errors: as a run's. */
int nn_parameters_refresh(struct nn_parameters *parameters);

uint32_t nn_parameters_count(const struct nn_parameters *parameters);
/* In the order of declaration. */
struct nn_parameter *nn_parameters_at(const struct nn_parameters *parameters, uint32_t index);
/* Numbers in all of them. */
uint64_t nn_parameters_size(const struct nn_parameters *parameters);

struct nn_parameters_memory {
    uint64_t weights, gradients, moments; /* bytes; weights with their 16-bit copies */
};
struct nn_parameters_memory nn_parameters_memory(const struct nn_parameters *parameters);

/* The arenas as flat arrays, part by part (tensor_arena_flat); false when there are no more.
 * `decayed`: how many elements at the front of this part belong to tensors that decay. */
struct nn_flat {
    struct tensor *weight, *gradient, *moment1, *moment2;
    struct tensor *copy16; /* the weights in 16 bits, or NULL */
    uint64_t decayed;
};
bool nn_parameters_flat(const struct nn_parameters *parameters, uint32_t index,
                        struct nn_flat *flat);

#endif
