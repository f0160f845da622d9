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
 * lies in rows, or b^T does and the product is c^T, which is turned, or turned and added to c, by
 * loops: oneDNN 3 has no reorder that adds.
 *
 * What oneDNN offers differs from version to version and from processor to processor. It is asked
 * for what is best, then for less (factors as they lie; factors of 16 bits as floats), and what it
 * refuses is left to the caller. No status of it ends the program. "oneDNN's issues" are those of
 * github.com/uxlfoundation/oneDNN.
 */
#include "tensor/backend.h"
#include "tensor/cpu/matmul.h"
#include "tensor/cpu/convert.h"
#include <errno.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum form {
    AS_IT_IS,
    PACKED, /* b in oneDNN's own layout */
    TURN_A, /* a^T in rows */
    TURN_B, /* b^T in rows: c^T = b^T a */
};
#define PACK_ROWS 2048 /* of a, from which packing b pays */
#define TURN_DEPTH 512 /* of the sums, from which turning a factor pays */

/* A copy of a factor in another layout, in the pass's scratch memory. */
struct turn {
    uint32_t rows, columns; /* of the factor, if loops bring it into rows first; else 0 */
    dnnl_primitive_t primitive;
    dnnl_memory_t from, to;
};

struct entry {
    uint32_t m, n, k, flags;
    bool refused; /* the rest is empty */
    dnnl_primitive_t primitive;
    dnnl_memory_t factor[2], bias, c, scratch; /* as the primitive takes and gives them */
    dnnl_data_type_t type; /* in which oneDNN takes a and b */
    enum form form;
    uint32_t epilogue; /* what of it is left to the walk behind the product, of floats */
    bool apart;        /* the sums are in memory of their own, not in c */
    struct turn turn; /* of one factor */
    /* Where things are in the scratch memory, behind the primitive's: the factor in rows, the one
     * that the primitive gets, c^T, factors as floats, sums. */
    size_t rows, turned, product, wide[2], sums;
    size_t size; /* of all */
    struct entry *next;
};

#define BUCKETS 256
struct tensor_cpu_library {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    struct entry *bucket[BUCKETS];
};

/* ---- what oneDNN says ---- */

/* The first call that failed since it was cleared. */
struct said {
    const char *call;
    dnnl_status_t status;
};

static bool note(struct said *said, dnnl_status_t status, const char *call)
{
    if (status != dnnl_success && said->status == dnnl_success)
        *said = (struct said){call, status};
    return status == dnnl_success;
}
#define TRY(said, call, ...) note(said, call(__VA_ARGS__), #call)

/* Says of a product what oneDNN said: no memory for it, or, the first time, that it is refused. */
static int refuse(struct tensor_cpu *cpu, const struct matmul_params *p, const struct said *said)
{
    char library[64];
    if (said->status == dnnl_out_of_memory)
        return tensor_fail(ENOMEM, "out of memory");
    if (cpu->refused)
        return TENSOR_CPU_REFUSED;
    cpu->refused = true;
    tensor_cpu_matmul_library(library, sizeof library);
    tensor_log(cpu->device, "%s refuses a product (%u, %u) x (%u, %u) of %s: %s gives status %d; "
               "plain loops take it, and others that are refused: right, but slow", library, p->m,
               p->k, p->k, p->n, p->flags & MATMUL_BF16 ? "bf16" : p->flags & MATMUL_F16 ? "fp16"
                                                                                         : "fp32",
               said->call, (int)said->status);
    return TENSOR_CPU_REFUSED;
}

/* ---- what versions 2 and 3 call differently ---- */

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t layout;
#define LAYOUT(md) (md)

static bool append_sum(dnnl_post_ops_t ops, struct said *said)
{
    return TRY(said, dnnl_post_ops_append_sum, ops, 1, 0, dnnl_f32);
}

static bool append_relu(dnnl_post_ops_t ops, struct said *said)
{
    return TRY(said, dnnl_post_ops_append_eltwise, ops, dnnl_eltwise_relu, 0, 0);
}

/* Without strides: in a layout that oneDNN chooses. */
static bool describe(dnnl_memory_desc_t *md, const dnnl_dim_t *size, dnnl_data_type_t type,
                     const dnnl_dim_t *stride, struct said *said)
{
    return stride ? TRY(said, dnnl_memory_desc_create_with_strides, md, 2, size, type, stride)
                  : TRY(said, dnnl_memory_desc_create_with_tag, md, 2, size, type,
                        dnnl_format_tag_any);
}

static void forget(dnnl_memory_desc_t *md)
{
    if (*md)
        dnnl_memory_desc_destroy(*md);
    *md = NULL;
}

static bool describe_product(dnnl_primitive_desc_t *desc, dnnl_engine_t engine,
                             const dnnl_memory_desc_t md[4], bool bias, dnnl_primitive_attr_t attr,
                             struct said *said)
{
    return TRY(said, dnnl_matmul_primitive_desc_create, desc, engine, md[0], md[1],
               bias ? md[2] : NULL, md[3], attr);
}
#else
typedef const dnnl_memory_desc_t *layout;
#define LAYOUT(md) (&(md))

static bool append_sum(dnnl_post_ops_t ops, struct said *said)
{
    return TRY(said, dnnl_post_ops_append_sum, ops, 1);
}

static bool append_relu(dnnl_post_ops_t ops, struct said *said)
{
    return TRY(said, dnnl_post_ops_append_eltwise, ops, 1, dnnl_eltwise_relu, 0, 0);
}

static bool describe(dnnl_memory_desc_t *md, const dnnl_dim_t *size, dnnl_data_type_t type,
                     const dnnl_dim_t *stride, struct said *said)
{
    return stride ? TRY(said, dnnl_memory_desc_init_by_strides, md, 2, size, type, stride)
                  : TRY(said, dnnl_memory_desc_init_by_tag, md, 2, size, type,
                        dnnl_format_tag_any);
}

static void forget(dnnl_memory_desc_t *md) {}

static bool describe_product(dnnl_primitive_desc_t *desc, dnnl_engine_t engine,
                             const dnnl_memory_desc_t md[4], bool bias, dnnl_primitive_attr_t attr,
                             struct said *said)
{
    dnnl_matmul_desc_t matmul;
    return TRY(said, dnnl_matmul_desc_init, &matmul, &md[0], &md[1], bias ? &md[2] : NULL,
               &md[3]) &&
           TRY(said, dnnl_primitive_desc_create, desc, &matmul, attr, engine, NULL);
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
    const uint32_t epilogue = MATMUL_EPILOGUE & ~(MATMUL_RESIDUAL | MATMUL_IN_PLACE);
    if (p->flags & (MATMUL_TRANSPOSE_B | epilogue) || p->k < TURN_DEPTH)
        return AS_IT_IS;
    return p->m <= p->n ? TURN_A : TURN_B;
}

/* Whether oneDNN takes the factors of 16 bits as floats only. */
static bool widens(const struct entry *e)
{
    return e->flags & MATMUL_FACTORS && e->type == dnnl_f32;
}

/* NULL: refused. */
static dnnl_primitive_attr_t attributes(bool sum, bool relu, struct said *said)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    /* Without the scratchpad's mode, each primitive keeps scratch memory of its own. */
    const bool made =
        TRY(said, dnnl_primitive_attr_create, &attr) && TRY(said, dnnl_post_ops_create, &ops) &&
        (!sum || append_sum(ops, said)) && (!relu || append_relu(ops, said)) &&
        TRY(said, dnnl_primitive_attr_set_post_ops, attr, ops) &&
        TRY(said, dnnl_primitive_attr_set_scratchpad_mode, attr, dnnl_scratchpad_mode_user);
    if (ops)
        dnnl_post_ops_destroy(ops);
    if (attr && !made) {
        dnnl_primitive_attr_destroy(attr);
        attr = NULL;
    }
    return attr;
}

static bool make_memory(dnnl_memory_t *memory, layout md, dnnl_engine_t engine, struct said *said)
{
    return TRY(said, dnnl_memory_create, memory, md, engine, DNNL_MEMORY_NONE);
}

/* Versions 3.7.0 to 3.8.0 bring floats into other layouts wrongly, and say nothing, where sizes are
 * no multiples of the blocks: the implementation jit:uni does (oneDNN's issue 3280). The library
 * that runs need not be the one that this was built with. */
static bool is_right(const_dnnl_primitive_desc_t reorder, dnnl_data_type_t type)
{
    const dnnl_version_t *v = dnnl_version();
    const int version = v->major * 10000 + v->minor * 100 + v->patch;
    const char *name = "";
    if (type != dnnl_f32 || version < 30700 || version > 30800)
        return true;
    return dnnl_primitive_desc_query(reorder, dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
           strncmp(name, "jit:uni", 7);
}

/* oneDNN's part of a turn, from `from` to `to`. */
static bool make_reorder(struct turn *turn, dnnl_engine_t engine, layout from, layout to,
                         dnnl_data_type_t type, struct said *said)
{
    dnnl_primitive_desc_t desc = NULL;
    const bool made =
        TRY(said, dnnl_reorder_primitive_desc_create, &desc, from, engine, to, engine, NULL) &&
        note(said, is_right(desc, type) ? dnnl_success : dnnl_unimplemented,
             "dnnl_reorder_primitive_desc_create") &&
        TRY(said, dnnl_primitive_create, &turn->primitive, desc) &&
        make_memory(&turn->from, from, engine, said) && make_memory(&turn->to, to, engine, said);
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    return made;
}

static void clear_turn(struct turn *turn)
{
    if (turn->primitive)
        dnnl_primitive_destroy(turn->primitive);
    if (turn->from)
        dnnl_memory_destroy(turn->from);
    if (turn->to)
        dnnl_memory_destroy(turn->to);
    *turn = (struct turn){0};
}

/* The turn of a factor (size[0], size[1]), which lies in rows or in columns, into the layout
 * `packed`, or into rows if that is NULL. Where oneDNN does not pack floats from columns, loops
 * bring them into rows for it. Other forms are not worth that (docs/performance.md). */
static bool make_turn(struct entry *e, dnnl_engine_t engine, const dnnl_dim_t *size,
                      bool in_columns, layout packed, struct said *said)
{
    dnnl_memory_desc_t rows = {0}, columns = {0};
    struct said first = {NULL, dnnl_success};
    bool made = describe(&rows, size, e->type, (dnnl_dims_t){size[1], 1}, said) &&
                describe(&columns, size, e->type, (dnnl_dims_t){1, size[0]}, said);
    const layout from = in_columns ? LAYOUT(columns) : LAYOUT(rows);
    const layout to = packed ? packed : LAYOUT(rows);
    if (made && !make_reorder(&e->turn, engine, from, to, e->type, &first)) {
        made = packed && in_columns && e->type == dnnl_f32 && first.status != dnnl_out_of_memory;
        if (!made)
            *said = first;
        clear_turn(&e->turn);
        e->turn.rows = (uint32_t)size[0];
        e->turn.columns = (uint32_t)size[1];
        e->rows = tensor_cpu_place(&e->size, (size_t)size[0] * size[1] * sizeof(float));
        made = made && make_reorder(&e->turn, engine, LAYOUT(rows), to, e->type, said);
    }
    if (made)
        e->turned = tensor_cpu_place(&e->size, dnnl_memory_desc_get_size(to));
    forget(&rows);
    forget(&columns);
    return made;
}

/* Whether oneDNN adds the product to c, or the turn behind it does. */
static bool adds(const struct entry *e)
{
    return e->flags & MATMUL_IN_PLACE && !(e->epilogue & MATMUL_RESIDUAL);
}

/* What a product takes beside its primitive, which wants `packed` for b. */
static bool make_places(struct entry *e, dnnl_engine_t engine, layout packed, struct said *said)
{
    const dnnl_dim_t m = e->m, n = e->n, k = e->k, columns = e->form == TURN_A ? m : n;
    const bool tb = e->flags & MATMUL_TRANSPOSE_B;
    const size_t sums = (size_t)m * n * sizeof(float);
    if (e->form == PACKED) {
        if (!make_turn(e, engine, (dnnl_dims_t){k, n}, tb, packed, said))
            return false;
    } else if (e->form != AS_IT_IS) { /* a (k, m) or b (k, n), the other way around */
        if (!make_turn(e, engine, (dnnl_dims_t){columns, k}, true, NULL, said))
            return false;
    }
    e->product = tensor_cpu_place(&e->size, e->form == TURN_B ? sums : 0);
    e->wide[0] = tensor_cpu_place(&e->size, widens(e) ? (size_t)m * k * sizeof(float) : 0);
    e->wide[1] = tensor_cpu_place(&e->size, widens(e) ? (size_t)k * n * sizeof(float) : 0);
    e->sums = tensor_cpu_place(&e->size, e->apart ? sums : 0);
    return true;
}

/* False: oneDNN refuses the product of this type and form; what was made of it is there. */
static bool make(struct entry *e, dnnl_engine_t engine, struct said *said)
{
    const struct shapes s = shapes_of(e);
    const bool bias = e->flags & MATMUL_BIAS, low = e->flags & MATMUL_16BIT && !e->epilogue;
    dnnl_primitive_attr_t attr =
        attributes(adds(e) && e->form != TURN_B, e->flags & MATMUL_RELU, said);
    dnnl_memory_desc_t md[4] = {0};
    dnnl_primitive_desc_t desc = NULL;
    bool made = attr;
    for (int i = 0; i < 4; i++)
        made = made && describe(&md[i], s.size[i], i < 2 || (i == 3 && low) ? e->type : dnnl_f32,
                                i == 1 && e->form == PACKED ? NULL : s.stride[i], said);
    made = made && describe_product(&desc, engine, md, bias, attr, said) &&
           TRY(said, dnnl_primitive_create, &e->primitive, desc);
    if (made) {
        const layout scratch = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
        const layout b = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
        tensor_cpu_place(&e->size, dnnl_memory_desc_get_size(scratch));
        made = make_memory(&e->scratch, scratch, engine, said) &&
               make_memory(&e->factor[0], LAYOUT(md[0]), engine, said) &&
               make_memory(&e->factor[1], b, engine, said) &&
               (!bias || make_memory(&e->bias, LAYOUT(md[2]), engine, said)) &&
               make_memory(&e->c, LAYOUT(md[3]), engine, said) && make_places(e, engine, b, said);
    }
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    for (int i = 0; i < 4; i++)
        forget(&md[i]);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return made;
}

/* Back to what find() began with. */
static void clear(struct entry *e)
{
    const dnnl_memory_t memory[] = {e->factor[0], e->factor[1], e->bias, e->c, e->scratch};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        if (memory[i])
            dnnl_memory_destroy(memory[i]);
    if (e->primitive)
        dnnl_primitive_destroy(e->primitive);
    clear_turn(&e->turn);
    *e = (struct entry){.m = e->m, .n = e->n, .k = e->k, .flags = e->flags, .next = e->next};
}

/* Settles what oneDNN does of a product, and what is left to the walk behind it. */
static void settle(struct entry *e)
{
    const bool in_place = e->flags & MATMUL_IN_PLACE, low = e->flags & MATMUL_16BIT;
    const bool wide = low && widens(e), dropout = e->flags & MATMUL_DROPOUT;
    const bool residual =
        e->flags & MATMUL_RESIDUAL && (!in_place || wide || dropout || e->flags & MATMUL_RELU);
    e->epilogue = (dropout ? MATMUL_DROPOUT : 0) | (residual ? MATMUL_RESIDUAL : 0);
    if (low && (wide || e->epilogue))
        e->epilogue |= MATMUL_16BIT;
    e->apart = e->epilogue && (in_place || low);
}

/* Makes the product in the best way that oneDNN offers: in 16 bits if it is of such, in the form
 * that is fastest. False: it offers none, or has no memory. */
static bool make_best(struct entry *e, const struct matmul_params *p, dnnl_engine_t engine,
                      struct said *said)
{
    const dnnl_data_type_t types[] = {p->flags & MATMUL_BF16  ? dnnl_bf16
                                      : p->flags & MATMUL_F16 ? dnnl_f16
                                                              : dnnl_f32,
                                      dnnl_f32};
    const enum form forms[] = {form_of(p), AS_IT_IS};
    for (int i = types[0] == dnnl_f32; i < 2; i++)
        for (int j = forms[0] == AS_IT_IS; j < 2; j++) {
            *said = (struct said){NULL, dnnl_success};
            e->type = types[i];
            e->form = forms[j];
            settle(e);
            if (make(e, engine, said))
                return true;
            clear(e);
            if (said->status == dnnl_out_of_memory)
                return false;
        }
    return false;
}

static void close_library(struct tensor_cpu_library *dnn)
{
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (struct entry *e = dnn->bucket[i], *next; e; e = next) {
            next = e->next;
            clear(e);
            free(e);
        }
    if (dnn->stream)
        dnnl_stream_destroy(dnn->stream);
    if (dnn->engine)
        dnnl_engine_destroy(dnn->engine);
    free(dnn);
}

void tensor_cpu_matmul_close(struct tensor_cpu *cpu)
{
    if (cpu->library)
        close_library(cpu->library);
    cpu->library = NULL;
}

static struct tensor_cpu_library *open_library(struct said *said)
{
    struct tensor_cpu_library *dnn = calloc(1, sizeof *dnn);
    if (!dnn) {
        *said = (struct said){"calloc", dnnl_out_of_memory};
        return NULL;
    }
    if (TRY(said, dnnl_engine_create, &dnn->engine, dnnl_cpu, 0) &&
        TRY(said, dnnl_stream_create, &dnn->stream, dnn->engine, dnnl_stream_default_flags))
        return dnn;
    close_library(dnn);
    return NULL;
}

/* The product p, made ready. Status as of tensor_cpu_library_matmul(). */
static int find(struct tensor_cpu *cpu, const struct matmul_params *p, struct entry **found)
{
    struct said said = {NULL, dnnl_success};
    struct tensor_cpu_library *dnn = cpu->library;
    if (!dnn && !(dnn = cpu->library = open_library(&said)))
        return refuse(cpu, p, &said);
    const uint32_t hash = (p->m * 2654435761u ^ p->n * 2246822519u ^ p->k * 3266489917u ^
                           p->flags * 668265263u) >> 24;
    struct entry **place = &dnn->bucket[hash % BUCKETS];
    for (struct entry *e = *place; e; e = e->next)
        if (e->m == p->m && e->n == p->n && e->k == p->k && e->flags == p->flags) {
            *found = e;
            return e->refused ? TENSOR_CPU_REFUSED : 0;
        }
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return tensor_fail(ENOMEM, "out of memory");
    *e = (struct entry){.m = p->m, .n = p->n, .k = p->k, .flags = p->flags, .next = *place};
    e->refused = !make_best(e, p, dnn->engine, &said);
    if (e->refused && said.status == dnnl_out_of_memory) {
        free(e); /* there may be memory the next time */
        return refuse(cpu, p, &said);
    }
    *found = *place = e;
    return e->refused ? refuse(cpu, p, &said) : 0;
}

int tensor_cpu_library_scratch(struct tensor_cpu *cpu, const struct matmul_params *p,
                               uint64_t *bytes)
{
    struct entry *e;
    const int status = find(cpu, p, &e);
    if (status == 0)
        *bytes = e->size;
    return status;
}

/* ---- running it ---- */

#define TILE 16

/* `to` (m, n) gets, or is added, the matrix whose transpose lies in `from`. */
static void transpose(const float *from, float *to, size_t m, size_t n, bool add)
{
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < m; row += TILE)
        for (size_t column = 0; column < n; column += TILE) {
            const size_t rows = m - row < TILE ? m - row : TILE;
            const size_t columns = n - column < TILE ? n - column : TILE;
            float tile[TILE][TILE];
            for (size_t j = 0; j < columns; j++)
                for (size_t i = 0; i < rows; i++)
                    tile[i][j] = from[(column + j) * m + row + i];
            for (size_t i = 0; i < rows; i++) {
                float *at = to + (row + i) * n + column;
                if (add)
                    for (size_t j = 0; j < columns; j++)
                        at[j] += tile[i][j];
                else
                    memcpy(at, tile[i], columns * sizeof *at);
            }
        }
}

static bool set(dnnl_memory_t memory, void *at, struct said *said)
{
    return TRY(said, dnnl_memory_set_data_handle, memory, at);
}

static bool run_turn(const struct entry *e, dnnl_stream_t stream, char *scratch, void *from,
                     struct said *said)
{
    const struct turn *turn = &e->turn;
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, turn->from}, {DNNL_ARG_TO, turn->to}};
    if (turn->rows) {
        float *rows = (float *)(scratch + e->rows);
        transpose(from, rows, turn->rows, turn->columns, false);
        from = rows;
    }
    return set(turn->from, from, said) && set(turn->to, scratch + e->turned, said) &&
           TRY(said, dnnl_primitive_execute, turn->primitive, stream, 2, args);
}

/* The primitive, and what goes before it; c is what it writes. */
static bool run(const struct entry *e, dnnl_stream_t stream, char *scratch, void *a, void *b,
                void *bias, void *c, struct said *said)
{
    if (e->form != AS_IT_IS) {
        void **factor = e->form == TURN_A ? &a : &b;
        if (!run_turn(e, stream, scratch, *factor, said))
            return false;
        *factor = scratch + e->turned;
    }
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, e->factor[0]}, {DNNL_ARG_WEIGHTS, e->factor[1]}, {DNNL_ARG_DST, e->c},
        {DNNL_ARG_SCRATCHPAD, e->scratch}, {DNNL_ARG_BIAS, e->bias}};
    return set(e->scratch, scratch, said) &&
           set(e->factor[0], e->form == TURN_B ? b : a, said) &&
           set(e->factor[1], e->form == TURN_B ? a : b, said) && set(e->c, c, said) &&
           (!e->bias || set(e->bias, bias, said)) &&
           TRY(said, dnnl_primitive_execute, e->primitive, stream, e->bias ? 5 : 4, args);
}

/* After a call failed while e ran: a primitive that is refused has not begun, one that cannot be
 * waited for may have done anything. */
static int failed(struct tensor_cpu *cpu, const struct matmul_params *p,
                  struct entry *e, bool ran, const struct said *said)
{
    if (ran && adds(e) && e->form != TURN_B && said->status != dnnl_out_of_memory)
        return tensor_fail(EIO, "oneDNN: %s gives status %d", said->call, (int)said->status);
    if (said->status != dnnl_out_of_memory) {
        clear(e);
        e->refused = true;
    }
    return refuse(cpu, p, said);
}

int tensor_cpu_library_matmul(struct tensor_cpu *cpu, const struct matmul_params *p)
{
    struct said said = {NULL, dnnl_success};
    struct entry *e;
    const int status = find(cpu, p, &e);
    if (status)
        return status;
    char *scratch = tensor_cpu_take(cpu, e->size);
    if (!scratch && e->size)
        return -ENOMEM;
    void *a = f32_at(p->a), *b = f32_at(p->b), *c = f32_at(p->c);
    if (widens(e)) {
        a = scratch + e->wide[0];
        b = scratch + e->wide[1];
        tensor_cpu_from_16bit(u16_at(p->a), a, (size_t)p->m * p->k, tensor_cpu_factors(p));
        tensor_cpu_from_16bit(u16_at(p->b), b, (size_t)p->k * p->n, tensor_cpu_factors(p));
    }
    void *sums = e->apart ? scratch + e->sums : c;
    const bool ran = run(e, cpu->library->stream, scratch, a, b, f32_at(p->bias),
                         e->form == TURN_B ? scratch + e->product : sums, &said);
    /* In any case: what has begun must not go on behind our back. */
    const bool done = TRY(&said, dnnl_stream_wait, cpu->library->stream);
    if (!ran || !done)
        return failed(cpu, p, e, ran, &said);
    if (e->form == TURN_B)
        transpose((const float *)(scratch + e->product), sums, e->m, e->n, adds(e));
    if (e->epilogue)
        tensor_cpu_matmul_epilogue(p, e->epilogue, sums);
    return 0;
}

void tensor_cpu_matmul_library(char *text, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, size, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}
