/* arguments.h - what the cases of operations (ops.c, rows.c) are put together of. */
#ifndef TESTS_TENSOR_ARGUMENTS_H
#define TESTS_TENSOR_ARGUMENTS_H

#include "tests/tensor/check.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define SHAPE(...)   sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (uint32_t[]){__VA_ARGS__}

/* One more argument of the operation. */
static inline struct check_arg *argument(struct check_op_case *c, enum tensor_type type,
                                         uint32_t rank, const uint32_t *shape)
{
    struct check_arg *arg = &c->arg[c->args++];
    *arg = (struct check_arg){.type = type, .count = 1, .input = true, .rank = rank};
    for (uint32_t i = 0; i < rank; i++)
        arg->count *= arg->shape[i] = shape[i];
    return arg;
}

/* ... of values from [-1, 1], whose gradient is wanted ... */
static inline struct check_arg *parameter(struct check_op_case *c, uint32_t rank,
                                          const uint32_t *shape)
{
    struct check_arg *arg = argument(c, TENSOR_F32, rank, shape);
    arg->low = -1;
    arg->high = 1;
    arg->gradient = true;
    return arg;
}

/* ... or is not. */
static inline struct check_arg *constant(struct check_op_case *c, uint32_t rank,
                                         const uint32_t *shape)
{
    struct check_arg *arg = parameter(c, rank, shape);
    arg->gradient = false;
    return arg;
}

#endif
