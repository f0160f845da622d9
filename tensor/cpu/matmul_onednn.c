/* matmul_onednn.c - matrix products through oneDNN's matmul primitive, versions 2 and 3.
 *
 * A primitive is made for each shape that occurs and kept: making one takes milliseconds, and a
 * graph asks for the same few hundred again and again. Bias, ReLU and accumulation ride along as
 * post-ops.
 */
#include "tensor/cpu/matmul.h"
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>

struct entry {
    uint32_t m, n, k, flags;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, bias, c;
    struct entry *next;
};

#define BUCKETS 256
static struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct entry *bucket[BUCKETS];
} dnn;

/* A shape that oneDNN refuses is a bug of ours, and an op on the cpu has no way to fail. */
static void must(dnnl_status_t status, const char *call)
{
    if (status == dnnl_success)
        return;
    fprintf(stderr, "tensor: oneDNN: %s failed with status %d\n", call, (int)status);
    abort();
}
#define MUST(call) must(call, #call)

struct shapes {
    dnnl_dims_t size[4], stride[4]; /* a, b, bias, c */
};

static struct shapes shapes_of(const struct matmul_params *p)
{
    const dnnl_dim_t m = p->m, n = p->n, k = p->k;
    const bool ta = p->flags & MATMUL_TRANSPOSE_A, tb = p->flags & MATMUL_TRANSPOSE_B;
    return (struct shapes){
        .size = {{m, k}, {k, n}, {1, n}, {m, n}},
        .stride = {{ta ? 1 : k, ta ? m : 1}, {tb ? 1 : n, tb ? k : 1}, {n, 1}, {n, 1}},
    };
}

static dnnl_primitive_attr_t attributes(uint32_t flags)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    MUST(dnnl_primitive_attr_create(&attr));
    MUST(dnnl_post_ops_create(&ops));
#if DNNL_VERSION_MAJOR >= 3
    if (flags & MATMUL_ACCUMULATE)
        MUST(dnnl_post_ops_append_sum(ops, 1, 0, dnnl_f32));
    if (flags & MATMUL_RELU)
        MUST(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0));
#else
    if (flags & MATMUL_ACCUMULATE)
        MUST(dnnl_post_ops_append_sum(ops, 1));
    if (flags & MATMUL_RELU)
        MUST(dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0));
#endif
    MUST(dnnl_primitive_attr_set_post_ops(attr, ops));
    MUST(dnnl_post_ops_destroy(ops));
    return attr;
}

#if DNNL_VERSION_MAJOR >= 3
static void make(struct entry *e, const struct shapes *s, dnnl_primitive_attr_t attr)
{
    dnnl_memory_desc_t md[4];
    dnnl_primitive_desc_t desc;
    for (int i = 0; i < 4; i++)
        MUST(dnnl_memory_desc_create_with_strides(&md[i], 2, s->size[i], dnnl_f32, s->stride[i]));
    MUST(dnnl_matmul_primitive_desc_create(&desc, dnn.engine, md[0], md[1],
                                           e->flags & MATMUL_BIAS ? md[2] : NULL, md[3], attr));
    MUST(dnnl_primitive_create(&e->primitive, desc));
    MUST(dnnl_primitive_desc_destroy(desc));
    dnnl_memory_t *const memory[4] = {&e->a, &e->b, &e->bias, &e->c};
    for (int i = 0; i < 4; i++) {
        MUST(dnnl_memory_create(memory[i], md[i], dnn.engine, DNNL_MEMORY_NONE));
        MUST(dnnl_memory_desc_destroy(md[i]));
    }
}
#else
static void make(struct entry *e, const struct shapes *s, dnnl_primitive_attr_t attr)
{
    dnnl_memory_desc_t md[4];
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t desc;
    for (int i = 0; i < 4; i++)
        MUST(dnnl_memory_desc_init_by_strides(&md[i], 2, s->size[i], dnnl_f32, s->stride[i]));
    MUST(dnnl_matmul_desc_init(&matmul, &md[0], &md[1], e->flags & MATMUL_BIAS ? &md[2] : NULL,
                               &md[3]));
    MUST(dnnl_primitive_desc_create(&desc, &matmul, attr, dnn.engine, NULL));
    MUST(dnnl_primitive_create(&e->primitive, desc));
    MUST(dnnl_primitive_desc_destroy(desc));
    dnnl_memory_t *const memory[4] = {&e->a, &e->b, &e->bias, &e->c};
    for (int i = 0; i < 4; i++)
        MUST(dnnl_memory_create(memory[i], &md[i], dnn.engine, DNNL_MEMORY_NONE));
}
#endif

static struct entry *find(const struct matmul_params *p)
{
    const uint32_t hash = (p->m * 2654435761u ^ p->n * 2246822519u ^ p->k * 3266489917u ^
                           p->flags * 668265263u) >> 24;
    struct entry **place = &dnn.bucket[hash % BUCKETS];
    for (struct entry *e = *place; e; e = e->next)
        if (e->m == p->m && e->n == p->n && e->k == p->k && e->flags == p->flags)
            return e;
    if (!dnn.engine) {
        MUST(dnnl_engine_create(&dnn.engine, dnnl_cpu, 0));
        MUST(dnnl_stream_create(&dnn.stream, dnn.engine, dnnl_stream_default_flags));
    }
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        must(dnnl_out_of_memory, "calloc");
    *e = (struct entry){.m = p->m, .n = p->n, .k = p->k, .flags = p->flags, .next = *place};
    const struct shapes shapes = shapes_of(p);
    dnnl_primitive_attr_t attr = attributes(p->flags);
    make(e, &shapes, attr);
    MUST(dnnl_primitive_attr_destroy(attr));
    *place = e;
    return e;
}

void tensor_cpu_matmul(const struct matmul_params *p)
{
    struct entry *e = find(p);
    MUST(dnnl_memory_set_data_handle(e->a, f32_at(p->a)));
    MUST(dnnl_memory_set_data_handle(e->b, f32_at(p->b)));
    MUST(dnnl_memory_set_data_handle(e->c, f32_at(p->c)));
    dnnl_exec_arg_t args[4] = {
        {DNNL_ARG_SRC, e->a}, {DNNL_ARG_WEIGHTS, e->b}, {DNNL_ARG_DST, e->c}};
    int count = 3;
    if (p->flags & MATMUL_BIAS) {
        MUST(dnnl_memory_set_data_handle(e->bias, f32_at(p->bias)));
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, e->bias};
    }
    MUST(dnnl_primitive_execute(e->primitive, dnn.stream, count, args));
    MUST(dnnl_stream_wait(dnn.stream));
}

void tensor_cpu_matmul_library(char *text, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, size, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}
