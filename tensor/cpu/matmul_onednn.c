/* matmul_onednn.c - matrix products through oneDNN's matmul primitive, versions 2 and 3.
 *
 * A primitive is made for each shape that occurs and kept: making one takes milliseconds, and a
 * graph asks for the same few hundred again and again. Bias, ReLU and adding to c ride along as
 * post-ops. What else becomes of the sums (dropout, a residual, and 16 bits where oneDNN has none)
 * is a walk over them behind the product: oneDNN's own sum with another tensor takes as long.
 *
 * Large products run on factors in a layout that oneDNN likes better than ours, which is worth more
 * than bringing a factor into it each time (docs/performance.md): b packed, where a has many rows;
 * of a^T b, which is how weights get their gradients, the narrower factor turned, so that either a
 * lies in rows, or b^T does and the product is c^T, turned at the end.
 */
#include "tensor/cpu/huge.h"
#include "tensor/cpu/matmul.h"
#include "tensor/cpu/narrow.h"
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>

enum form {
    AS_IT_IS,
    PACKED, /* b in oneDNN's own layout */
    TURN_A, /* a^T in rows */
    TURN_B, /* b^T in rows: c^T = b^T a */
};
#define PACK_ROWS 2048 /* of a, from which packing b pays */
#define TURN_DEPTH 512 /* of the sums, from which turning a factor pays */

/* A copy of a matrix in another layout, in the pass's scratch memory. */
struct turn {
    dnnl_primitive_t primitive; /* NULL: none */
    dnnl_memory_t from, to;
};

struct entry {
    uint32_t m, n, k, flags;
    dnnl_primitive_t primitive;
    dnnl_memory_t factor[2], bias, c, scratch; /* as the primitive takes and gives them */
    dnnl_data_type_t type; /* in which oneDNN takes a and b */
    enum form form;
    uint32_t ends; /* that are left to the walk behind the product; its sums are floats */
    bool apart;    /* they are in memory of their own, not in c */
    struct turn before, after; /* of one factor; of the product */
    size_t turned, product;    /* where they are in the scratch memory, behind the primitive's */
    size_t scratch_size;       /* bytes that the pass takes while it runs */
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
    struct room wide[3], scratch; /* a, b and sums as floats; all of the largest product so far */
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

/* ---- what versions 2 and 3 call differently ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t layout;
#define LAYOUT(md) (md)

static void append_sum(dnnl_post_ops_t ops)
{
    MUST(dnnl_post_ops_append_sum(ops, 1, 0, dnnl_f32));
}

static void append_relu(dnnl_post_ops_t ops)
{
    MUST(dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0));
}

static void describe(dnnl_memory_desc_t *md, const dnnl_dim_t *size, dnnl_data_type_t type,
                     const dnnl_dim_t *stride)
{
    if (stride)
        MUST(dnnl_memory_desc_create_with_strides(md, 2, size, type, stride));
    else
        MUST(dnnl_memory_desc_create_with_tag(md, 2, size, type, dnnl_format_tag_any));
}

static void forget(dnnl_memory_desc_t *md)
{
    MUST(dnnl_memory_desc_destroy(*md));
}

static dnnl_status_t describe_product(dnnl_primitive_desc_t *desc, const dnnl_memory_desc_t md[4],
                                      bool bias, dnnl_primitive_attr_t attr)
{
    return dnnl_matmul_primitive_desc_create(desc, dnn.engine, md[0], md[1], bias ? md[2] : NULL,
                                             md[3], attr);
}
#else
typedef const dnnl_memory_desc_t *layout;
#define LAYOUT(md) (&(md))

static void append_sum(dnnl_post_ops_t ops)
{
    MUST(dnnl_post_ops_append_sum(ops, 1));
}

static void append_relu(dnnl_post_ops_t ops)
{
    MUST(dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0));
}

static void describe(dnnl_memory_desc_t *md, const dnnl_dim_t *size, dnnl_data_type_t type,
                     const dnnl_dim_t *stride)
{
    if (stride)
        MUST(dnnl_memory_desc_init_by_strides(md, 2, size, type, stride));
    else
        MUST(dnnl_memory_desc_init_by_tag(md, 2, size, type, dnnl_format_tag_any));
}

static void forget(dnnl_memory_desc_t *md) {}

static dnnl_status_t describe_product(dnnl_primitive_desc_t *desc, const dnnl_memory_desc_t md[4],
                                      bool bias, dnnl_primitive_attr_t attr)
{
    dnnl_matmul_desc_t matmul;
    const dnnl_status_t status =
        dnnl_matmul_desc_init(&matmul, &md[0], &md[1], bias ? &md[2] : NULL, &md[3]);
    return status == dnnl_success
               ? dnnl_primitive_desc_create(desc, &matmul, attr, dnn.engine, NULL)
               : status;
}
#endif

/* ---- making a product ---- */

/* What the primitive multiplies: c (m, n) = a · b, with strides in elements. */
struct shapes {
    dnnl_dims_t size[4], stride[4]; /* a, b, bias, c */
};

static struct shapes shapes_of(const struct entry *e)
{
    const dnnl_dim_t m = e->m, n = e->n, k = e->k;
    const bool ta = e->flags & MATMUL_TRANSPOSE_A, tb = e->flags & MATMUL_TRANSPOSE_B;
    if (e->form == TURN_B)
        return (struct shapes){.size = {{n, k}, {k, m}, {1, m}, {n, m}},
                               .stride = {{k, 1}, {m, 1}, {m, 1}, {m, 1}}};
    const bool in_columns = ta && e->form != TURN_A;
    return (struct shapes){
        .size = {{m, k}, {k, n}, {1, n}, {m, n}},
        .stride = {{in_columns ? 1 : k, in_columns ? m : 1}, {tb ? 1 : n, tb ? k : 1}, {n, 1},
                   {n, 1}},
    };
}

static enum form form_of(const struct matmul_params *p)
{
    if (!(p->flags & MATMUL_TRANSPOSE_A))
        return p->m >= PACK_ROWS ? PACKED : AS_IT_IS;
    const uint32_t ends = MATMUL_ENDS & ~(MATMUL_RESIDUAL | MATMUL_IN_PLACE);
    if (p->flags & (MATMUL_TRANSPOSE_B | ends) || p->k < TURN_DEPTH)
        return AS_IT_IS;
    return p->m <= p->n ? TURN_A : TURN_B;
}

static dnnl_primitive_attr_t attributes(bool sum, bool relu)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops;
    MUST(dnnl_primitive_attr_create(&attr));
    MUST(dnnl_post_ops_create(&ops));
    if (sum)
        append_sum(ops);
    if (relu)
        append_relu(ops);
    MUST(dnnl_primitive_attr_set_post_ops(attr, ops));
    MUST(dnnl_post_ops_destroy(ops));
    return attr;
}

static dnnl_memory_t memory_of(layout md)
{
    dnnl_memory_t memory;
    MUST(dnnl_memory_create(&memory, md, dnn.engine, DNNL_MEMORY_NONE));
    return memory;
}

static void make_turn(struct turn *turn, layout from, layout to, bool add)
{
    dnnl_primitive_attr_t attr = attributes(add, false);
    dnnl_primitive_desc_t desc;
    MUST(dnnl_reorder_primitive_desc_create(&desc, from, dnn.engine, to, dnn.engine, attr));
    MUST(dnnl_primitive_create(&turn->primitive, desc));
    turn->from = memory_of(from);
    turn->to = memory_of(to);
    MUST(dnnl_primitive_desc_destroy(desc));
    MUST(dnnl_primitive_attr_destroy(attr));
}

/* Whether oneDNN adds the product to c. */
static bool adds(const struct entry *e)
{
    return e->flags & MATMUL_IN_PLACE && !(e->ends & MATMUL_RESIDUAL);
}

/* The turns around a product whose primitive takes `packed` for b. */
static void make_turns(struct entry *e, layout packed)
{
    const dnnl_dim_t m = e->m, n = e->n, k = e->k;
    const bool tb = e->flags & MATMUL_TRANSPOSE_B;
    const size_t element = e->type == dnnl_f32 ? 4 : 2, line = 64;
    dnnl_memory_desc_t from, to;
    size_t size = 0;
    e->turned = (e->scratch_size + line - 1) / line * line;
    if (e->form == PACKED) {
        describe(&from, (dnnl_dims_t){k, n}, e->type, (dnnl_dims_t){tb ? 1 : n, tb ? k : 1});
        make_turn(&e->before, LAYOUT(from), packed, false);
        size = dnnl_memory_desc_get_size(packed);
        forget(&from);
    } else if (e->form != AS_IT_IS) { /* a (k, m) or b (k, n), the other way around */
        const dnnl_dim_t columns = e->form == TURN_A ? m : n;
        describe(&from, (dnnl_dims_t){columns, k}, e->type, (dnnl_dims_t){1, columns});
        describe(&to, (dnnl_dims_t){columns, k}, e->type, (dnnl_dims_t){k, 1});
        make_turn(&e->before, LAYOUT(from), LAYOUT(to), false);
        size = (size_t)columns * e->k * element;
        forget(&from);
        forget(&to);
    }
    e->product = (e->turned + size + line - 1) / line * line;
    e->scratch_size = e->turned + size;
    if (e->form == TURN_B) {
        describe(&from, (dnnl_dims_t){m, n}, dnnl_f32, (dnnl_dims_t){1, m});
        describe(&to, (dnnl_dims_t){m, n}, dnnl_f32, (dnnl_dims_t){n, 1});
        make_turn(&e->after, LAYOUT(from), LAYOUT(to), adds(e));
        e->scratch_size = e->product + (size_t)e->m * e->n * sizeof(float);
        forget(&from);
        forget(&to);
    }
}

/* False: oneDNN has no such product on this processor, which may be so of 16 bits only. */
static bool make(struct entry *e)
{
    const struct shapes s = shapes_of(e);
    const bool bias = e->flags & MATMUL_BIAS, narrow = e->flags & MATMUL_NARROW && !e->ends;
    dnnl_primitive_attr_t attr = attributes(adds(e) && e->form != TURN_B, e->flags & MATMUL_RELU);
    dnnl_memory_desc_t md[4];
    dnnl_primitive_desc_t desc;
    /* Else each primitive keeps scratch memory of its own. */
    MUST(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    for (int i = 0; i < 4; i++)
        describe(&md[i], s.size[i], i < 2 || (i == 3 && narrow) ? e->type : dnnl_f32,
                 i == 1 && e->form == PACKED ? NULL : s.stride[i]);
    const dnnl_status_t status = describe_product(&desc, md, bias, attr);
    const bool there = status != dnnl_unimplemented || e->type == dnnl_f32;
    if (there) {
        must(status, "the description of a product");
        MUST(dnnl_primitive_create(&e->primitive, desc));
        const layout scratch = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
        const layout b = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
        e->scratch_size = dnnl_memory_desc_get_size(scratch);
        e->scratch = memory_of(scratch);
        e->factor[0] = memory_of(LAYOUT(md[0]));
        e->factor[1] = memory_of(b);
        e->bias = memory_of(LAYOUT(md[2]));
        e->c = memory_of(LAYOUT(md[3]));
        make_turns(e, b);
        MUST(dnnl_primitive_desc_destroy(desc));
    }
    for (int i = 0; i < 4; i++)
        forget(&md[i]);
    MUST(dnnl_primitive_attr_destroy(attr));
    return there;
}

/* Whether oneDNN takes the factors of 16 bits as floats only. */
static bool widens(const struct entry *e)
{
    return e->flags & MATMUL_FACTORS && e->type == dnnl_f32;
}

/* Settles what oneDNN does of a product, and what is left to the walk behind it. */
static void settle(struct entry *e)
{
    const bool in_place = e->flags & MATMUL_IN_PLACE, narrow = e->flags & MATMUL_NARROW;
    const bool wide = narrow && widens(e), dropout = e->flags & MATMUL_DROPOUT;
    const bool residual =
        e->flags & MATMUL_RESIDUAL && (!in_place || wide || dropout || e->flags & MATMUL_RELU);
    e->ends = (dropout ? MATMUL_DROPOUT : 0) | (residual ? MATMUL_RESIDUAL : 0);
    if (narrow && (wide || e->ends))
        e->ends |= MATMUL_NARROW;
    e->apart = e->ends && (in_place || narrow);
}

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
    *e = (struct entry){.m = p->m, .n = p->n, .k = p->k, .flags = p->flags, .form = form_of(p),
                        .next = *place};
    e->type = p->flags & MATMUL_BF16 ? dnnl_bf16 : p->flags & MATMUL_F16 ? dnnl_f16 : dnnl_f32;
    settle(e);
    if (!make(e)) {
        e->type = dnnl_f32; /* of the same factors, widened: slower, and the same products */
        settle(e);
        make(e);
    }
    *place = e;
    return e;
}

/* NULL: no memory, or none was asked for. */
static void *take(struct room *room, size_t size)
{
    if (size > room->size) {
        free(room->memory);
        *room = (struct room){NULL, 0};
        if (posix_memalign(&room->memory, TENSOR_CPU_HUGE, size)) {
            room->memory = NULL;
            dnn.starved = true;
            return NULL;
        }
        tensor_cpu_huge(room->memory, size);
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

static void *widened(const struct matmul_params *p, uint64_t x, size_t count, int which)
{
    void *memory = take(&dnn.wide[which], count * sizeof(float));
    if (memory)
        tensor_cpu_widen(u16_at(x), memory, count, tensor_cpu_factors(p));
    return memory;
}

uint64_t tensor_cpu_matmul_scratch(const struct matmul_params *p)
{
    const struct entry *e = find(p);
    if (!e) {
        dnn.starved = false; /* whoever runs it is told */
        return 0;
    }
    const uint64_t factors = (uint64_t)p->m * p->k + (uint64_t)p->k * p->n;
    const uint64_t sums = e->apart ? (uint64_t)p->m * p->n : 0;
    return e->scratch_size + ((widens(e) ? factors : 0) + sums) * sizeof(float);
}

static void set(dnnl_memory_t memory, void *at)
{
    MUST(dnnl_memory_set_data_handle(memory, at));
}

static void run_turn(const struct turn *turn, void *from, void *to)
{
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, turn->from}, {DNNL_ARG_TO, turn->to}};
    set(turn->from, from);
    set(turn->to, to);
    MUST(dnnl_primitive_execute(turn->primitive, dnn.stream, 2, args));
}

void tensor_cpu_matmul(const struct matmul_params *p)
{
    struct entry *e = find(p);
    char *scratch = e ? take(&dnn.scratch, e->scratch_size) : NULL;
    void *a = f32_at(p->a), *b = f32_at(p->b), *c = f32_at(p->c);
    if (e && widens(e)) {
        a = widened(p, p->a, (size_t)p->m * p->k, 0);
        b = widened(p, p->b, (size_t)p->k * p->n, 1);
    }
    if (e && e->apart)
        c = take(&dnn.wide[2], (size_t)p->m * p->n * sizeof(float));
    if (dnn.starved)
        return;
    set(e->scratch, scratch);
    if (e->before.primitive) {
        run_turn(&e->before, e->form == TURN_A ? a : b, scratch + e->turned);
        *(e->form == TURN_A ? &a : &b) = scratch + e->turned;
    }
    set(e->factor[0], e->form == TURN_B ? b : a);
    set(e->factor[1], e->form == TURN_B ? a : b);
    set(e->c, e->form == TURN_B ? scratch + e->product : c);
    dnnl_exec_arg_t args[5] = {{DNNL_ARG_SRC, e->factor[0]}, {DNNL_ARG_WEIGHTS, e->factor[1]},
                               {DNNL_ARG_DST, e->c}, {DNNL_ARG_SCRATCHPAD, e->scratch}};
    int count = 4;
    if (p->flags & MATMUL_BIAS) {
        set(e->bias, f32_at(p->bias));
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, e->bias};
    }
    MUST(dnnl_primitive_execute(e->primitive, dnn.stream, count, args));
    if (e->after.primitive)
        run_turn(&e->after, scratch + e->product, c);
    MUST(dnnl_stream_wait(dnn.stream));
    if (e->ends)
        tensor_cpu_matmul_end(p, e->ends, c);
}

void tensor_cpu_matmul_library(char *text, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, size, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}
