/* check.h - what the tests of tensor share: cases of kernels and of operations, data, comparison.
 *
 *     check_op.c   the runner            cases.c   every kernel in the sizes that are worth a try
 *     run.c        runs one case         ops.c     every operation, likewise
 *     check.c      data, comparison      reference.c   what each kernel should compute, in double
 *     generation.c kernels and operations of generation;   attention.c   of attention, likewise
 *     graph.c      tests of the planner, the recorder and random.h, on their own
 */
#ifndef TESTS_TENSOR_CHECK_H
#define TESTS_TENSOR_CHECK_H

#include "tensor/backend.h"
#include <stdio.h>

#define CHECK_FAILED  1
#define CHECK_SKIPPED 77

/* One argument of a kernel, or one input of an operation. */
struct check_arg {
    enum tensor_type type;
    uint64_t count;     /* elements; 0: not given */
    bool output;        /* written; all else must keep its bits */
    bool scratch;       /* may be written; what it holds afterwards does not matter */
    bool input;         /* has values beforehand: drawn evenly from [low, high], or `values` */
    double low, high;
    const void *values; /* (count), or NULL */
    uint32_t same_as;   /* 1 + number of the argument that this one is, or 0 */
    uint32_t rank, shape[TENSOR_RANK_MAX]; /* of operations; kernels see flat memory */
    bool gradient;                         /* of operations: check d(loss)/d(this) */
};

/* What a reference gets for an argument: doubles for F32, BF16 and F16, else uint32_t or
 * uint8_t. */
typedef void check_reference(const void *params, void *const *arg);

struct check_kernel_case {
    char label[120];
    struct check_arg arg[TENSOR_PASS_ARGS];
    uint32_t args;
    bool cpu_only; /* no Vulkan variant does it */
    const struct tensor_autotune *autotune; /* of the graph that runs it; NULL: none */
    _Alignas(8) unsigned char params[TENSOR_PARAMS_MAX];
};

struct check_kernel {
    const char *name;
    check_reference *reference;
    /* Makes case number i; false if there are no more. */
    bool (*build)(uint32_t i, struct check_kernel_case *c);
    double tolerance; /* of the largest error, as a part of the largest value; 0: the same bits */
};
extern const struct check_kernel check_kernels[]; /* ends with a NULL name */

struct check_op_case {
    char label[120];
    struct check_arg arg[TENSOR_NODE_INPUTS + 3];
    uint32_t args;
    uint64_t count;     /* elements of the result */
    uint32_t number[8]; /* settings: each op has its own */
    float real;
    uint32_t result;    /* 1 + number of the argument that is changed in place, or 0 */
};

struct check_op {
    const char *name;
    bool (*build)(uint32_t i, struct check_op_case *c);
    struct tensor *(*record)(struct tensor_graph *g, const struct check_op_case *c,
                             struct tensor **in);
    /* The result in double precision. With training, random is (seed low, seed high, draw). */
    void (*evaluate)(const struct check_op_case *c, void *const *in, const uint32_t *random,
                     double *result);
    double tolerance;
};
extern const struct check_op check_ops[]; /* ends with a NULL name */

/* ---- running (run.c): both return false after a printed line when a run fails ---- */

/* A kernel run once on views with guard words before and behind, `shift` words off their alignment.
 * result[i] is what the argument holds afterwards (NULL where it is not given), to be freed. Checks
 * that nothing but outputs has changed. The values depend on the seed and the case only. */
bool check_run_kernel(struct tensor_device *device, const struct check_kernel *k,
                      const struct check_kernel_case *c, uint32_t shift, void **result);

/* An operation with its gradients, run twice. On a device of a 16-bit precision all values, also
 * the weights of the loss, are drawn such that its products take them as they are: so what it
 * computes is the same function, and its gradients are the differences of that. */
struct check_op_run {
    void *input[TENSOR_NODE_INPUTS + 3];     /* the values drawn, as float, uint32_t or uint8_t */
    float *gradient[TENSOR_NODE_INPUTS + 3]; /* of one run; NULL where not wanted */
    float *result;
    float *weight; /* (count): the loss is the sum of weight * result */
};
bool check_run_op(struct tensor_device *device, const struct check_op *op,
                  const struct check_op_case *c, struct check_op_run *run);
void check_op_run_free(struct check_op_run *run);

extern const uint32_t check_random[3]; /* seed low, seed high, draw of the operations' dropout */

/* ---- cases (check.c) ---- */

/* Start a case, without arguments yet: of a kernel, with its parameters (no addresses) and name; of
 * an operation, with the elements of its result and its name. */
void check_start(struct check_kernel_case *c, const void *params, size_t size, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
void check_start_op(struct check_op_case *c, uint64_t count, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- data (check.c) ---- */

void check_seed(uint64_t seed, const char *label);
double check_uniform(double low, double high);
/* x as a type of floating point holds it: to the nearest, ties to even. */
double check_round(enum tensor_type type, double x);
/* Draws an argument's values: (count) float, uint32_t, uint8_t, or the bits of 16-bit numbers. */
void check_draw(const struct check_arg *arg, void *to);
/* An array as references see it, to be freed: doubles for F32, BF16 and F16, else a copy. */
void *check_widen(enum tensor_type type, const void *from, uint64_t count);
void *check_allocate(uint64_t size); /* zeroed; ends the program without memory */

/* Whether `got` is as good as `want`. Largest error: as a part of the largest value wanted, at most
 * `tolerance`. Normalised mean square error: at most its square. On failure prints a line. */
bool check_floats(const char *what, const float *got, const double *want, uint64_t count,
                  double tolerance);

/* ---- devices (check.c) ---- */

/* Opens a device, under the validation layer if it is installed. */
int check_open(const char *name, enum tensor_precision precision, uint32_t enable, uint32_t disable,
               struct tensor_device **device);
int check_open_with(const struct tensor_device_params *params, struct tensor_device **device);
/* The type in which its products take their factors. */
enum tensor_type check_factor_type(const struct tensor_device *device);
/* Closes it; false (with a line) if the validation layer had anything to say. */
bool check_close(struct tensor_device **device);
/* Names ("vulkan:0", …) of all Vulkan devices that match the wanted name; returns their number. */
uint32_t check_devices(const char *wanted, char (*name)[32], uint32_t capacity);

#endif
