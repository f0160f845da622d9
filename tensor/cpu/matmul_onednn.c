/* matmul_onednn.c - matrix products through oneDNN's matmul primitive, versions 2 and 3.
 *
 * A primitive is made for each shape that occurs and kept: making one takes milliseconds, and a
 * graph asks for the same few hundred again and again. Bias, ReLU and accumulation ride along as
 * post-ops.
 */
#include "tensor/cpu/narrow.h"
#include "tensor/cpu/matmul.h"
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>

struct entry {
    uint32_t m, n, k, flags;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, bias, c, scratch;
    dnnl_data_type_t type; /* in which oneDNN takes a and b */
    size_t scratch_size;   /* bytes that the primitive takes while it runs */
    struct entry *next;
};

/* Memory that stays. */
struct room {
    void *memory;
    size_t size;
};

#define BUCKETS 256
static struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct entry *bucket[BUCKETS];
    struct room factor[2], scratch; /* a and b as floats; all of the largest product so far */
    bool starved;
} dnn;

/* A shape that oneDNN refuses is a bug of ours. Where oneDNN itself finds no memory, half of what
 * it makes is there, and there is no way on. */
static void must(dnnl_status_t status, const char *call)
{
    if (status == dnnl_success)
        return;
    fprintf(stderr, "tensor: oneDNN: %s failed with status %d%s\n", call, (int)status,
            status == dnnl_out_of_memory ? ": out of memory" : "");
    if (status == dnnl_out_of_memory)
        _Exit(1);
    abort();
}
#define MUST(call) must(call, #call)

struct shapes {
    dnnl_dims_t size[4], stride[4]; /* a, b, bias, c */
};

static dnnl_data_type_t type_of(const struct entry *e, int i)
{
    return i < 2 ? e->type : dnnl_f32; /* a, b; bias, c */
}

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
    /* Else each primitive keeps memory of its own. */
    MUST(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
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

/* False: oneDNN has no such product on this processor, which may be so of 16 bits only. */
#if DNNL_VERSION_MAJOR >= 3
static bool make(struct entry *e, const struct shapes *s, dnnl_primitive_attr_t attr)
{
    dnnl_memory_desc_t md[4];
    dnnl_primitive_desc_t desc;
    for (int i = 0; i < 4; i++)
        MUST(dnnl_memory_desc_create_with_strides(&md[i], 2, s->size[i], type_of(e, i),
                                                  s->stride[i]));
    dnnl_status_t status = dnnl_matmul_primitive_desc_create(
        &desc, dnn.engine, md[0], md[1], e->flags & MATMUL_BIAS ? md[2] : NULL, md[3], attr);
    const bool there = status != dnnl_unimplemented || e->type == dnnl_f32;
    if (there) {
        must(status, "dnnl_matmul_primitive_desc_create");
        MUST(dnnl_primitive_create(&e->primitive, desc));
        const_dnnl_memory_desc_t scratch =
            dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
        e->scratch_size = dnnl_memory_desc_get_size(scratch);
        MUST(dnnl_memory_create(&e->scratch, scratch, dnn.engine, DNNL_MEMORY_NONE));
        MUST(dnnl_primitive_desc_destroy(desc));
    }
    dnnl_memory_t *const memory[4] = {&e->a, &e->b, &e->bias, &e->c};
    for (int i = 0; i < 4; i++) {
        if (there)
            MUST(dnnl_memory_create(memory[i], md[i], dnn.engine, DNNL_MEMORY_NONE));
        MUST(dnnl_memory_desc_destroy(md[i]));
    }
    return there;
}
#else
static bool make(struct entry *e, const struct shapes *s, dnnl_primitive_attr_t attr)
{
    dnnl_memory_desc_t md[4];
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t desc;
    for (int i = 0; i < 4; i++)
        MUST(dnnl_memory_desc_init_by_strides(&md[i], 2, s->size[i], type_of(e, i), s->stride[i]));
    dnnl_status_t status = dnnl_matmul_desc_init(
        &matmul, &md[0], &md[1], e->flags & MATMUL_BIAS ? &md[2] : NULL, &md[3]);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&desc, &matmul, attr, dnn.engine, NULL);
    if (status == dnnl_unimplemented && e->type != dnnl_f32)
        return false;
    must(status, "dnnl_primitive_desc_create");
    MUST(dnnl_primitive_create(&e->primitive, desc));
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    e->scratch_size = dnnl_memory_desc_get_size(scratch);
    MUST(dnnl_memory_create(&e->scratch, scratch, dnn.engine, DNNL_MEMORY_NONE));
    MUST(dnnl_primitive_desc_destroy(desc));
    dnnl_memory_t *const memory[4] = {&e->a, &e->b, &e->bias, &e->c};
    for (int i = 0; i < 4; i++)
        MUST(dnnl_memory_create(memory[i], &md[i], dnn.engine, DNNL_MEMORY_NONE));
    return true;
}
#endif

/* NULL: no memory. */
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
    dnn.starved |= !e;
    if (!e)
        return NULL;
    *e = (struct entry){.m = p->m, .n = p->n, .k = p->k, .flags = p->flags, .next = *place};
    const struct shapes shapes = shapes_of(p);
    dnnl_primitive_attr_t attr = attributes(p->flags);
    e->type = p->flags & MATMUL_BF16 ? dnnl_bf16 : p->flags & MATMUL_F16 ? dnnl_f16 : dnnl_f32;
    if (!make(e, &shapes, attr)) {
        e->type = dnnl_f32; /* of the same factors, widened: slower, and the same products */
        make(e, &shapes, attr);
    }
    MUST(dnnl_primitive_attr_destroy(attr));
    *place = e;
    return e;
}

/* NULL: no memory, or none was asked for. */
static void *take(struct room *room, size_t size)
{
    if (size > room->size) {
        free(room->memory);
        *room = (struct room){NULL, 0};
        if (posix_memalign(&room->memory, 2 << 20, size)) {
            room->memory = NULL;
            dnn.starved = true;
            return NULL;
        }
        room->size = size;
    }
    return room->memory;
}

bool tensor_cpu_matmul_starved(void)
{
    const bool starved = dnn.starved;
    dnn.starved = false;
    return starved;
}

/* Whether oneDNN takes the factors of 16 bits as floats only. */
static bool widens(const struct entry *e)
{
    return e->flags & (MATMUL_BF16 | MATMUL_F16) && e->type == dnnl_f32;
}

static void *widened(const struct matmul_params *p, uint64_t x, size_t count, int which)
{
    void *memory = take(&dnn.factor[which], count * sizeof(float));
    if (memory)
        tensor_cpu_widen(u16_at(x), memory, count,
                         p->flags & MATMUL_BF16 ? NARROW_BF16 : NARROW_F16);
    return memory;
}

uint64_t tensor_cpu_matmul_scratch(const struct matmul_params *p)
{
    const struct entry *e = find(p);
    if (!e) {
        dnn.starved = false; /* whoever runs it is told */
        return 0;
    }
    const uint64_t factors = ((uint64_t)p->m * p->k + (uint64_t)p->k * p->n) * sizeof(float);
    return e->scratch_size + (widens(e) ? factors : 0);
}

void tensor_cpu_matmul(const struct matmul_params *p)
{
    struct entry *e = find(p);
    void *scratch = e ? take(&dnn.scratch, e->scratch_size) : NULL;
    void *a = f32_at(p->a), *b = f32_at(p->b);
    if (e && widens(e)) {
        a = widened(p, p->a, (size_t)p->m * p->k, 0);
        b = widened(p, p->b, (size_t)p->k * p->n, 1);
    }
    if (dnn.starved)
        return;
    MUST(dnnl_memory_set_data_handle(e->a, a));
    MUST(dnnl_memory_set_data_handle(e->b, b));
    MUST(dnnl_memory_set_data_handle(e->c, f32_at(p->c)));
    MUST(dnnl_memory_set_data_handle(e->scratch, scratch));
    dnnl_exec_arg_t args[5] = {{DNNL_ARG_SRC, e->a}, {DNNL_ARG_WEIGHTS, e->b}, {DNNL_ARG_DST, e->c},
                               {DNNL_ARG_SCRATCHPAD, e->scratch}};
    int count = 4;
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
