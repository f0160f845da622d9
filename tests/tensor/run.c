/* run.c - runs one case of a kernel or of an operation on a device. */
#include "tests/tensor/check.h"
#include <stdlib.h>
#include <string.h>

#define GUARD 64 /* words on each side: 256 bytes, so that a shift of 0 is aligned as tensors are */

const uint32_t check_random[3] = {0x01234567, 0x89abcdef, 5};

static bool report(const char *what, const char *name, const char *label)
{
    printf("FAIL %s of %s (%s): %s\n", what, name, label, tensor_error());
    return false;
}

/* ---- kernels ---- */

/* The words around and of one argument. */
struct image {
    uint32_t *before, *after;
    uint64_t words, first; /* first: of the argument */
    struct tensor *storage;
};

static uint32_t elements_of_word(enum tensor_type type)
{
    return type == TENSOR_U8 ? 4 : type == TENSOR_BF16 || type == TENSOR_F16 ? 2 : 1;
}

static uint64_t words_of(const struct check_arg *arg)
{
    const uint32_t elements = elements_of_word(arg->type);
    return (arg->count + elements - 1) / elements;
}

static struct image image_of(const struct check_arg *arg, uint32_t number, uint32_t shift)
{
    struct image image = {.first = GUARD + shift, .words = words_of(arg) + 2 * GUARD + shift};
    image.before = check_allocate(4 * image.words);
    image.after = check_allocate(4 * image.words);
    for (uint64_t i = 0; i < image.words; i++) /* NaN, and no two alike, so that copies show */
        image.before[i] = 0x7fc00000u | number << 16 | (uint32_t)(i & 0xffff);
    if (arg->input)
        check_draw(arg, image.before + image.first);
    return image;
}

static bool unchanged(const struct image *image, bool output, uint64_t words, const char *name,
                      const char *label, uint32_t number)
{
    for (uint64_t i = 0; i < image->words; i++) {
        const bool own = i >= image->first && i < image->first + words;
        if ((own && output) || image->before[i] == image->after[i])
            continue;
        printf("FAIL %s (%s): argument %u: word %lld %s\n", name, label, number,
               (long long)(i - image->first), own ? "was written" : "beyond its end was written");
        return false;
    }
    return true;
}

static bool run_pass(struct tensor_device *device, const struct tensor_kernel *kernel,
                     const struct check_kernel_case *c, struct image *image)
{
    struct tensor_graph *g = NULL;
    struct tensor *arg[TENSOR_PASS_ARGS] = {0};
    const struct tensor_graph_params params = {.name = "check", .autotune = c->autotune};
    if (tensor_graph_create(device, &params, &g) < 0)
        return false;
    for (uint32_t i = 0; i < c->args; i++) {
        const struct check_arg *a = &c->arg[i];
        const uint32_t elements = elements_of_word(a->type);
        if (a->same_as)
            arg[i] = arg[a->same_as - 1];
        else if (a->count)
            arg[i] = tensor_graph_view(g, image[i].storage, image[i].first * elements, 1,
                                       (uint32_t[]){(uint32_t)(words_of(a) * elements)});
    }
    tensor_graph_pass(g, kernel, c->params, arg, 0);
    int status = tensor_graph_finish(g);
    for (uint32_t i = 0; i < c->args && status == 0; i++)
        if (image[i].storage)
            status = tensor_write(image[i].storage, 0, image[i].before, 4 * image[i].words);
    status = status ? status : tensor_graph_run(g);
    status = status ? status : tensor_device_wait(device);
    for (uint32_t i = 0; i < c->args && status == 0; i++)
        if (image[i].storage)
            status = tensor_read(image[i].storage, 0, image[i].after, 4 * image[i].words);
    tensor_graph_destroy(&g);
    return status == 0;
}

static const struct tensor_kernel *kernel_named(const char *name)
{
    for (unsigned i = 0; tensor_kernels(i); i++)
        if (strcmp(tensor_kernels(i)->name, name) == 0)
            return tensor_kernels(i);
    return NULL;
}

bool check_run_kernel(struct tensor_device *device, const struct check_kernel *k,
                      const struct check_kernel_case *c, uint32_t shift, void **result)
{
    const struct tensor_kernel *kernel = kernel_named(k->name);
    struct image image[TENSOR_PASS_ARGS] = {0};
    struct tensor_arena *arena = NULL;
    if (kernel && kernel->args != c->args) {
        printf("FAIL %s takes %u arguments, its case has %u\n", k->name, kernel->args, c->args);
        return false;
    }
    if (!kernel || tensor_arena_create(device, TENSOR_DEVICE, "check", &arena) < 0)
        return report("run", k->name, c->label);
    for (uint32_t i = 0; i < c->args; i++) {
        const struct check_arg *a = &c->arg[i];
        if (!a->count || a->same_as)
            continue;
        image[i] = image_of(a, i, shift);
        const uint32_t count = (uint32_t)image[i].words * elements_of_word(a->type);
        image[i].storage = tensor_arena_take(arena, NULL, a->type, 1, &count);
    }
    bool good = tensor_arena_commit(arena) == 0 && run_pass(device, kernel, c, image);
    if (!good)
        report("run", k->name, c->label);
    for (uint32_t i = 0; i < c->args; i++) {
        bool output = c->arg[i].output || c->arg[i].scratch;
        for (uint32_t j = i + 1; j < c->args; j++)
            output |= c->arg[j].same_as == i + 1 && c->arg[j].output;
        const uint64_t words = words_of(&c->arg[i]);
        result[i] = NULL;
        if (good && image[i].storage) {
            good = unchanged(&image[i], output, words, k->name, c->label, i);
            const uint32_t *own = image[i].after + image[i].first;
            result[i] = memcpy(check_allocate(4 * words), own, 4 * words);
        } else if (good && c->arg[i].same_as) {
            const void *other = result[c->arg[i].same_as - 1];
            result[i] = memcpy(check_allocate(4 * words), other, 4 * words);
        }
        free(image[i].before);
        free(image[i].after);
    }
    tensor_arena_destroy(&arena);
    return good;
}

/* ---- operations ---- */

/* Records the operation and, if a gradient is wanted, loss = 1 · sum of weight · result, and
 * backward. The result tensor is kept. */
static struct tensor *record(struct tensor_graph *g, const struct check_op *op,
                             const struct check_op_case *c, struct tensor **in,
                             struct tensor *weight, struct tensor *one, bool gradients)
{
    struct tensor *y = op->record(g, c, in);
    if (!c->result)
        tensor_graph_keep(g, y);
    if (!gradients)
        return y;
    const uint32_t row[2] = {1, (uint32_t)c->count};
    struct tensor *dot = tensor_linear(g, tensor_reshape(g, y, 2, row), weight, NULL, 0);
    tensor_graph_backward(g, tensor_sum(g, dot, one));
    return y;
}

struct op_tensors {
    struct tensor_arena *arena;
    struct tensor *in[TENSOR_NODE_INPUTS + 3], *weight, *one, *random;
    bool gradients;
};

static bool take_tensors(struct tensor_device *device, const struct check_op_case *c,
                         struct op_tensors *t)
{
    if (tensor_arena_create(device, TENSOR_DEVICE, "check", &t->arena) < 0)
        return false;
    for (uint32_t i = 0; i < c->args; i++) {
        const struct check_arg *a = &c->arg[i];
        t->in[i] = tensor_arena_take(t->arena, "input", a->type, a->rank, a->shape);
        if (!a->gradient)
            continue;
        t->gradients = true;
        t->in[i]->needs_gradient = true;
        t->in[i]->gradient = tensor_arena_take(t->arena, "gradient", a->type, a->rank, a->shape);
    }
    const uint32_t row[2] = {1, (uint32_t)c->count}, single = 1, three = 3;
    t->weight = tensor_arena_take(t->arena, "weight", TENSOR_F32, 2, row);
    t->one = tensor_arena_take(t->arena, "one", TENSOR_F32, 1, &single);
    t->random = tensor_arena_take(t->arena, "random", TENSOR_U32, 1, &three);
    return tensor_arena_commit(t->arena) == 0;
}

static bool write_tensors(const struct check_op_case *c, const struct op_tensors *t,
                          const struct check_op_run *run)
{
    const float one = 1;
    int status = tensor_write(t->weight, 0, run->weight, tensor_size(t->weight));
    status |= tensor_write(t->one, 0, &one, sizeof one);
    status |= tensor_write(t->random, 0, check_random, sizeof check_random);
    for (uint32_t i = 0; i < c->args; i++)
        status |= tensor_write(t->in[i], 0, run->input[i], tensor_size(t->in[i]));
    return status == 0;
}

/* A tensor's values, also of 16 bits, as floats; those of U32 as they are. */
static int read_floats(const struct tensor *t, float *to)
{
    if (t->type == TENSOR_F32 || t->type == TENSOR_U32)
        return tensor_read(t, 0, to, tensor_size(t));
    void *values = check_allocate(tensor_size(t));
    const int status = tensor_read(t, 0, values, tensor_size(t));
    double *wide = check_widen(t->type, values, t->count);
    for (uint64_t i = 0; i < t->count; i++)
        to[i] = (float)wide[i];
    free(wide);
    free(values);
    return status;
}

/* Gradients are added to, so that after two runs they are twice those of one. */
static bool run_twice(struct tensor_device *device, const struct check_op *op,
                      const struct check_op_case *c, struct op_tensors *t, struct check_op_run *run)
{
    struct tensor_graph *g = NULL;
    const struct tensor_graph_params params = {.name = "check", .training = true,
                                               .random = t->random};
    if (tensor_graph_create(device, &params, &g) < 0)
        return false;
    struct tensor *y = record(g, op, c, t->in, t->weight, t->one, t->gradients);
    int status = tensor_graph_finish(g);
    for (int i = 0; i < (c->result ? 1 : 2) && status == 0; i++)
        status = tensor_graph_run(g);
    status = status ? status : tensor_device_wait(device);
    status = status ? status : read_floats(y, run->result);
    for (uint32_t i = 0; i < c->args && status == 0; i++) {
        if (!c->arg[i].gradient)
            continue;
        status = tensor_read(t->in[i]->gradient, 0, run->gradient[i], tensor_size(t->in[i]));
        for (uint64_t j = 0; j < c->arg[i].count; j++)
            run->gradient[i][j] /= 2;
    }
    tensor_graph_destroy(&g);
    return status == 0;
}

bool check_run_op(struct tensor_device *device, const struct check_op *op,
                  const struct check_op_case *c, struct check_op_run *run)
{
    *run = (struct check_op_run){.result = check_allocate(c->count * sizeof(float)),
                                 .weight = check_allocate(c->count * sizeof(float))};
    const enum tensor_type factor = check_factor_type(device);
    for (uint32_t i = 0; i < c->args; i++) {
        run->input[i] = check_allocate(c->arg[i].count * 4);
        run->gradient[i] = c->arg[i].gradient ? check_allocate(c->arg[i].count * 4) : NULL;
        check_draw(&c->arg[i], run->input[i]);
        for (uint64_t j = 0; c->arg[i].type == TENSOR_F32 && j < c->arg[i].count; j++)
            ((float *)run->input[i])[j] = (float)check_round(factor, ((float *)run->input[i])[j]);
    }
    for (uint64_t i = 0; i < c->count; i++)
        run->weight[i] = (float)check_round(factor, check_uniform(-1, 1));
    struct op_tensors t = {0};
    const bool good = take_tensors(device, c, &t) && write_tensors(c, &t, run) &&
                      run_twice(device, op, c, &t, run);
    if (!good)
        report("run", op->name, c->label);
    tensor_arena_destroy(&t.arena);
    return good;
}

void check_op_run_free(struct check_op_run *run)
{
    for (int i = 0; i < TENSOR_NODE_INPUTS + 3; i++) {
        free(run->input[i]);
        free(run->gradient[i]);
    }
    free(run->result);
    free(run->weight);
}
