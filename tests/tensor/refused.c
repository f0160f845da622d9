/* refused.c - products when oneDNN refuses: each of its calls in turn, with each status, once and
 * from there on. The result has the right bits, or the run ends with an error that says why. And
 * where it refuses nothing: products in sizes beside those of its blocks, which some versions get
 * wrong.
 *
 * Calls are put in the place of oneDNN's by the linker (meson.build). Elements are small whole
 * numbers, whose sums are exact in any order.
 */
#include "tensor/cpu/huge.h"
#include "tensor/cpu/convert.h"
#include "tensor/op/matmul_config.h"
#include <errno.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

/* ---- what goes wrong ---- */

static struct {
    int calls;       /* since it was armed */
    int at;          /* the call that fails, from 1; 0: none */
    bool on;         /* and all behind it */
    dnnl_status_t status;
    const char *name; /* of the first that failed; NULL: none did */
} fault;

static bool fails(const char *name)
{
    const int call = ++fault.calls;
    const bool now = fault.at && (call == fault.at || (fault.on && call > fault.at));
    if (now && !fault.name)
        fault.name = name;
    return now;
}

#define WRAP(name, parameters, arguments)                                                          \
    dnnl_status_t __real_##name parameters;                                                        \
    dnnl_status_t __wrap_##name parameters;                                                        \
    dnnl_status_t __wrap_##name parameters                                                         \
    {                                                                                              \
        return fails(#name) ? fault.status : __real_##name arguments;                              \
    }

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t layout;
WRAP(dnnl_matmul_primitive_desc_create,
     (dnnl_primitive_desc_t *desc, dnnl_engine_t engine, layout a, layout b, layout bias, layout c,
      const_dnnl_primitive_attr_t attr), (desc, engine, a, b, bias, c, attr))
WRAP(dnnl_memory_desc_create_with_strides,
     (dnnl_memory_desc_t *md, int count, const dnnl_dims_t size, dnnl_data_type_t type,
      const dnnl_dims_t stride), (md, count, size, type, stride))
WRAP(dnnl_memory_desc_create_with_tag,
     (dnnl_memory_desc_t *md, int count, const dnnl_dims_t size, dnnl_data_type_t type,
      dnnl_format_tag_t tag), (md, count, size, type, tag))
WRAP(dnnl_post_ops_append_sum,
     (dnnl_post_ops_t ops, float scale, int32_t zero, dnnl_data_type_t type),
     (ops, scale, zero, type))
WRAP(dnnl_post_ops_append_eltwise,
     (dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha, float beta),
     (ops, kind, alpha, beta))
#else
typedef const dnnl_memory_desc_t *layout;
WRAP(dnnl_matmul_desc_init, (dnnl_matmul_desc_t *desc, layout a, layout b, layout bias, layout c),
     (desc, a, b, bias, c))
WRAP(dnnl_primitive_desc_create,
     (dnnl_primitive_desc_t *desc, const_dnnl_op_desc_t op, const_dnnl_primitive_attr_t attr,
      dnnl_engine_t engine, const_dnnl_primitive_desc_t hint), (desc, op, attr, engine, hint))
WRAP(dnnl_memory_desc_init_by_strides,
     (dnnl_memory_desc_t *md, int count, const dnnl_dims_t size, dnnl_data_type_t type,
      const dnnl_dims_t stride), (md, count, size, type, stride))
WRAP(dnnl_memory_desc_init_by_tag,
     (dnnl_memory_desc_t *md, int count, const dnnl_dims_t size, dnnl_data_type_t type,
      dnnl_format_tag_t tag), (md, count, size, type, tag))
WRAP(dnnl_post_ops_append_sum, (dnnl_post_ops_t ops, float scale), (ops, scale))
WRAP(dnnl_post_ops_append_eltwise,
     (dnnl_post_ops_t ops, float scale, dnnl_alg_kind_t kind, float alpha, float beta),
     (ops, scale, kind, alpha, beta))
#endif
WRAP(dnnl_engine_create, (dnnl_engine_t *engine, dnnl_engine_kind_t kind, size_t index),
     (engine, kind, index))
WRAP(dnnl_stream_create, (dnnl_stream_t *stream, dnnl_engine_t engine, unsigned flags),
     (stream, engine, flags))
WRAP(dnnl_primitive_attr_create, (dnnl_primitive_attr_t *attr), (attr))
WRAP(dnnl_post_ops_create, (dnnl_post_ops_t *ops), (ops))
WRAP(dnnl_primitive_attr_set_post_ops, (dnnl_primitive_attr_t attr, const_dnnl_post_ops_t ops),
     (attr, ops))
WRAP(dnnl_primitive_attr_set_scratchpad_mode,
     (dnnl_primitive_attr_t attr, dnnl_scratchpad_mode_t mode), (attr, mode))
WRAP(dnnl_memory_create, (dnnl_memory_t *memory, layout md, dnnl_engine_t engine, void *at),
     (memory, md, engine, at))
WRAP(dnnl_memory_set_data_handle, (dnnl_memory_t memory, void *at), (memory, at))
WRAP(dnnl_reorder_primitive_desc_create,
     (dnnl_primitive_desc_t *desc, layout from, dnnl_engine_t from_engine, layout to,
      dnnl_engine_t to_engine, const_dnnl_primitive_attr_t attr),
     (desc, from, from_engine, to, to_engine, attr))
WRAP(dnnl_primitive_create, (dnnl_primitive_t *primitive, const_dnnl_primitive_desc_t desc),
     (primitive, desc))
WRAP(dnnl_primitive_execute,
     (const_dnnl_primitive_t primitive, dnnl_stream_t stream, int count,
      const dnnl_exec_arg_t *args), (primitive, stream, count, args))
WRAP(dnnl_stream_wait, (dnnl_stream_t stream), (stream))

/* Scratch memory is what is taken so; blocks of tensors are smaller here. */
static uint64_t scratch_taken;
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    if (alignment == TENSOR_CPU_HUGE && size > scratch_taken)
        scratch_taken = size;
    return __real_posix_memalign(memory, alignment, size);
}

/* ---- a product ---- */

struct product {
    uint32_t m, n, k, flags; /* flags: of matmul.h, those of ends and factors too */
};

/* Each form that matmul_onednn.c knows, in each type of factors, and each end. */
static const struct product products[] = {
    {37, 20, 48, MATMUL_TRANSPOSE_B | MATMUL_BIAS | MATMUL_RELU},
    {37, 20, 48, MATMUL_RESIDUAL},
    {37, 20, 48, MATMUL_RESIDUAL | MATMUL_IN_PLACE},
    {2051, 12, 20, MATMUL_TRANSPOSE_B | MATMUL_BIAS},
    {2051, 12, 20, MATMUL_RESIDUAL | MATMUL_IN_PLACE},
    {12, 28, 520, MATMUL_TRANSPOSE_A},
    {12, 28, 520, MATMUL_TRANSPOSE_A | MATMUL_RESIDUAL | MATMUL_IN_PLACE},
    {28, 13, 520, MATMUL_TRANSPOSE_A},
    {28, 13, 520, MATMUL_TRANSPOSE_A | MATMUL_RESIDUAL | MATMUL_IN_PLACE},
    {37, 20, 48, MATMUL_BF16 | MATMUL_TRANSPOSE_B | MATMUL_BIAS | MATMUL_RELU | MATMUL_16BIT},
    {37, 20, 48, MATMUL_BF16 | MATMUL_RESIDUAL | MATMUL_IN_PLACE | MATMUL_16BIT},
    {2051, 12, 20, MATMUL_BF16 | MATMUL_TRANSPOSE_B | MATMUL_16BIT},
    {12, 28, 520, MATMUL_BF16 | MATMUL_TRANSPOSE_A | MATMUL_RESIDUAL | MATMUL_IN_PLACE},
    {28, 12, 520, MATMUL_BF16 | MATMUL_TRANSPOSE_A | MATMUL_RESIDUAL | MATMUL_IN_PLACE},
    {37, 20, 48, MATMUL_F16 | MATMUL_TRANSPOSE_B | MATMUL_BIAS | MATMUL_16BIT},
    {28, 12, 520, MATMUL_F16 | MATMUL_TRANSPOSE_A | MATMUL_RESIDUAL | MATMUL_IN_PLACE},
};
#define PRODUCTS (sizeof products / sizeof *products)

static enum tensor_type factors_of(const struct product *p)
{
    return p->flags & MATMUL_BF16 ? TENSOR_BF16 : p->flags & MATMUL_F16 ? TENSOR_F16 : TENSOR_F32;
}

/* -2 to 2, of argument `which`. */
static float element(int which, uint32_t i)
{
    return (float)((i * 2654435761u + 40503u * (uint32_t)which) >> 13) - 2 -
           5 * (float)(((i * 2654435761u + 40503u * (uint32_t)which) >> 13) / 5);
}

static uint16_t narrow(float x, enum tensor_type type)
{
    return tensor_to_16bit(x, type == TENSOR_BF16 ? ELEMENT_BF16 : ELEMENT_F16);
}

static void put(void *to, uint32_t i, float x, enum tensor_type type)
{
    if (type == TENSOR_F32)
        ((float *)to)[i] = x;
    else
        ((uint16_t *)to)[i] = narrow(x, type);
}

/* Argument `which` (a, b, bias, residual), as it lies in memory. */
static void fill(void *to, int which, uint32_t count, enum tensor_type type)
{
    for (uint32_t i = 0; i < count; i++)
        put(to, i, element(which, i), type);
}

static void expect(const struct product *p, void *c, enum tensor_type type)
{
    for (uint32_t i = 0; i < p->m; i++)
        for (uint32_t j = 0; j < p->n; j++) {
            const uint32_t at = i * p->n + j;
            float sum = 0;
            for (uint32_t l = 0; l < p->k; l++)
                sum += element(0, p->flags & MATMUL_TRANSPOSE_A ? l * p->m + i : i * p->k + l) *
                       element(1, p->flags & MATMUL_TRANSPOSE_B ? j * p->k + l : l * p->n + j);
            if (p->flags & MATMUL_BIAS)
                sum += element(2, j);
            if (p->flags & MATMUL_RELU && sum < 0)
                sum = 0;
            if (p->flags & MATMUL_RESIDUAL)
                sum += element(3, at);
            put(c, at, sum, type);
        }
}

/* ---- a graph of two products ---- */

struct work {
    const struct product *p;
    struct tensor_device *device;
    struct tensor_arena *arena;
    struct tensor_graph *graph;
    struct tensor *a, *b, *bias, *residual, *c, *second;
    enum tensor_type type, result; /* of factors, of c */
    void *want, *got;
    uint64_t planned; /* tensor_graph_scratch() */
    int lines;        /* that say that something is refused */
    char line[400];   /* the last */
};

static void complain(const struct work *w, const char *what)
{
    failures++;
    printf("FAIL (%u x %u x %u, flags %u), call %d%s %s gives %d: %s (last error: %s; line: %s)\n",
           w->p->m, w->p->n, w->p->k, w->p->flags, fault.at, fault.on ? " and on" : "",
           fault.name ? fault.name : "-", (int)fault.status, what, tensor_error(), w->line);
}

static void note(void *user, const char *line)
{
    struct work *w = user;
    if (!strstr(line, "refuses"))
        return;
    w->lines++;
    snprintf(w->line, sizeof w->line, "%s", line);
}

static void write_all(struct work *w)
{
    const struct product *p = w->p;
    const struct { struct tensor *t; enum tensor_type type; } all[] = {
        {w->a, w->type}, {w->b, w->type}, {w->bias, TENSOR_F32}, {w->residual, w->result}};
    for (int i = 0; i < 4; i++) {
        const uint32_t count = i == 0 ? p->m * p->k : i == 1 ? p->k * p->n : i == 2 ? p->n
                                                                           : p->m * p->n;
        void *data = malloc(4u * count);
        fill(data, i, count, all[i].type);
        if (tensor_write(all[i].t, 0, data, (all[i].type == TENSOR_F32 ? 4u : 2u) * count))
            complain(w, "tensor_write");
        free(data);
    }
}

/* Of the first elements of a and b. */
static bool has_second(const struct product *p)
{
    return p->m * p->k >= 16 && p->k * p->n >= 16;
}

/* The product under test, and a small one behind it, so that more than one is refused. */
static void open_work(struct work *w, const struct product *p)
{
    const struct tensor_device_params params = {.name = "cpu", .log = note, .log_user = w};
    const struct tensor_graph_params graph = {.name = "products"};
    *w = (struct work){.p = p, .type = factors_of(p)};
    w->result = p->flags & MATMUL_16BIT ? w->type : TENSOR_F32;
    const bool a = p->flags & MATMUL_TRANSPOSE_A, b = p->flags & MATMUL_TRANSPOSE_B;
    if (tensor_device_open(&params, &w->device) ||
        tensor_arena_create(w->device, TENSOR_DEVICE, "products", &w->arena)) {
        printf("FAIL: %s\n", tensor_error());
        exit(1);
    }
    w->a = tensor_arena_take(w->arena, "a", w->type, 2,
                             (uint32_t[]){a ? p->k : p->m, a ? p->m : p->k});
    w->b = tensor_arena_take(w->arena, "b", w->type, 2,
                             (uint32_t[]){b ? p->n : p->k, b ? p->k : p->n});
    w->bias = tensor_arena_take(w->arena, "bias", TENSOR_F32, 1, &p->n);
    w->residual = tensor_arena_take(w->arena, "residual", w->result, 2, (uint32_t[]){p->m, p->n});
    w->c = p->flags & MATMUL_IN_PLACE
               ? w->residual
               : tensor_arena_take(w->arena, "c", w->result, 2, (uint32_t[]){p->m, p->n});
    w->second = tensor_arena_take(w->arena, "second", TENSOR_F32, 2, (uint32_t[]){4, 4});
    if (tensor_arena_commit(w->arena) || tensor_graph_create(w->device, &graph, &w->graph))
        complain(w, "the arena or the graph");
    tensor_record_matmul(w->graph, &(struct tensor_matmul){
        .a = w->a, .b = w->b, .bias = p->flags & MATMUL_BIAS ? w->bias : NULL,
        .residual = p->flags & MATMUL_RESIDUAL ? w->residual : NULL, .c = w->c, .m = p->m,
        .n = p->n, .k = p->k, .flags = p->flags & (MATMUL_ORDER | MATMUL_RELU)});
    if (has_second(p))
        tensor_record_matmul(w->graph, &(struct tensor_matmul){
            .a = w->a, .b = w->b, .c = w->second, .m = 4, .n = 4, .k = 4});
    if (tensor_graph_finish(w->graph))
        complain(w, "tensor_graph_finish");
    w->want = malloc(4u * p->m * p->n);
    w->got = malloc(4u * p->m * p->n);
    expect(p, w->want, w->result);
}

static void close_work(struct work *w)
{
    tensor_graph_destroy(&w->graph);
    tensor_arena_destroy(&w->arena);
    tensor_device_close(&w->device);
    free(w->want);
    free(w->got);
}

static int run(struct work *w)
{
    write_all(w);
    scratch_taken = 0;
    const int status = tensor_graph_run(w->graph);
    return status ? status : tensor_device_wait(w->device);
}

static void check_result(struct work *w, const char *what)
{
    const struct product *p = w->p;
    const size_t size = (w->result == TENSOR_F32 ? 4u : 2u) * p->m * p->n;
    float second[16];
    if (tensor_read(w->c, 0, w->got, size) || memcmp(w->got, w->want, size))
        complain(w, what);
    if (tensor_read(w->second, 0, second, sizeof second))
        complain(w, "tensor_read");
    for (uint32_t i = 0; has_second(p) && i < 16; i++) {
        float sum = 0;
        for (uint32_t l = 0; l < 4; l++)
            sum += element(0, i / 4 * 4 + l) * element(1, l * 4 + i % 4);
        if (sum != second[i])
            complain(w, "the second product");
    }
}

/* ---- the tests ---- */

static void arm(int at, bool on, dnnl_status_t status)
{
    fault.calls = 0;
    fault.at = at;
    fault.on = on;
    fault.status = status;
    fault.name = NULL;
}

/* Refusals: the right result, and one line. Returns whether a call failed. */
static bool try_refusal(const struct product *p, int at, bool on, dnnl_status_t status)
{
    struct work w;
    char said[40];
    open_work(&w, p);
    arm(at, on, status);
    w.planned = tensor_graph_scratch(w.graph);
    const int ran = run(&w);
    const bool in_place = p->flags & MATMUL_IN_PLACE;
    snprintf(said, sizeof said, "gives status %d;", (int)status);
    if (ran == -EIO && in_place && fault.name && !strcmp(fault.name, "dnnl_stream_wait")) {
        if (!strstr(tensor_error(), "dnnl_stream_wait"))
            complain(&w, "the error does not say what failed");
    } else if (ran) {
        complain(&w, "the run failed");
    } else {
        check_result(&w, "the result is wrong");
    }
    if (w.lines > 1 || (w.lines && !strstr(w.line, said)))
        complain(&w, "not one line, or a wrong one");
    if (fault.name && on && ran == 0 && w.lines != 1)
        complain(&w, "no line");
    /* Refused when it was made: then what was planned is known to be of the loops. */
    if (fault.calls && !fault.name && scratch_taken && scratch_taken != w.planned)
        complain(&w, "the scratch memory is not what was planned");
    const bool failed = fault.name;
    arm(0, false, dnnl_success);
    if (ran == 0) {
        if (run(&w))
            complain(&w, "the second run failed");
        check_result(&w, "the second result is wrong");
        if (w.lines > 1)
            complain(&w, "a second line");
    }
    close_work(&w);
    return failed;
}

/* No memory: an error, and the next run finds some. */
static bool try_memory(const struct product *p, int at)
{
    struct work w;
    open_work(&w, p);
    arm(at, false, dnnl_out_of_memory);
    const int ran = run(&w);
    const bool failed = fault.name;
    if (failed && (ran != -ENOMEM || !strstr(tensor_error(), "out of memory in graph")))
        complain(&w, "not the error of memory");
    if (!failed && ran)
        complain(&w, "the run failed");
    arm(0, false, dnnl_success);
    if (run(&w))
        complain(&w, "the second run failed");
    check_result(&w, "the result is wrong");
    if (w.lines)
        complain(&w, "a line that something is refused");
    close_work(&w);
    return failed;
}

/* What is planned with everything refused is what the loops take. */
static void try_plan(const struct product *p)
{
    struct work w;
    open_work(&w, p);
    arm(1, true, dnnl_unimplemented);
    w.planned = tensor_graph_scratch(w.graph);
    if (run(&w))
        complain(&w, "the run failed");
    check_result(&w, "the result is wrong");
    if (scratch_taken != w.planned)
        complain(&w, "the scratch memory of the loops is not what was planned");
    close_work(&w);
}

/* Large enough for factors in other layouts. */
static void try_sizes(void)
{
    static const uint32_t sizes[] = {1, 3, 17, 33, 65, 100};
    static const uint32_t flags[] = {0, MATMUL_TRANSPOSE_B, MATMUL_TRANSPOSE_A};
    for (int i = 0; i < 36; i++)
        for (int j = 0; j < 6; j++) {
            const uint32_t x = sizes[i / 6], y = sizes[i % 6], type = j < 3 ? 0 : MATMUL_BF16;
            const struct product rows = {2049, x, y, flags[j % 3] | type};
            const struct product depth = {x, y, 513, flags[j % 3] | type};
            try_refusal(flags[j % 3] == MATMUL_TRANSPOSE_A ? &depth : &rows, 0, false,
                        dnnl_success);
        }
}

int main(void)
{
    const dnnl_status_t statuses[] = {dnnl_invalid_arguments, dnnl_unimplemented,
                                      dnnl_runtime_error};
    int tried = 0;
    try_sizes();
    for (size_t i = 0; i < PRODUCTS; i++) {
        try_plan(&products[i]);
        try_refusal(&products[i], 0, false, dnnl_success); /* nothing fails */
        for (int on = 0; on < 2; on++)
            for (size_t j = 0; j < sizeof statuses / sizeof *statuses; j++)
                for (int at = 1; try_refusal(&products[i], at, on, statuses[j]); at++)
                    tried++;
        for (int at = 1; try_memory(&products[i], at); at++)
            tried++;
    }
    printf("%zu products, %d refusals, %d failures\n", PRODUCTS, tried, failures);
    return failures || tried < 1000;
}
