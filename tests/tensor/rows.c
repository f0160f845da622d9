/* rows.c - operations on rows, which compute nothing: cases, and what they should give. */
#include "tests/tensor/rows.h"
#include "tests/tensor/arguments.h"
#include <string.h>

/* ---- tensor_reshape ---- */

bool check_op_reshape(uint32_t i, struct check_op_case *c)
{
    check_start_op(c, 24, "(4, 6) as (2, 3, 4)");
    parameter(c, SHAPE(4, 6));
    return i == 0;
}

struct tensor *record_reshape(struct tensor_graph *g, const struct check_op_case *c,
                              struct tensor **in)
{
    return tensor_reshape(g, in[0], SHAPE(2, 3, 4));
}

void evaluate_reshape(const struct check_op_case *c, void *const *in, const uint32_t *random,
                      double *result)
{
    memcpy(result, in[0], c->count * sizeof *result);
}

/* ---- tensor_slice_rows: rows, columns, the first, how many; of a parameter, and of what was
 * computed, whose part is read twice ---- */

bool check_op_slice_rows(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][4] = {{1, 1, 0, 1}, {5, 7, 0, 2}, {5, 7, 4, 1}, {9, 3, 2, 6}};
    if (i >= 2 * COUNT(sizes))
        return false;
    const uint32_t *s = sizes[i / 2];
    check_start_op(c, (uint64_t)s[3] * s[1], "%u of %u x %u from %u on%s", s[3], s[0], s[1], s[2],
                   i % 2 ? ", twice" : "");
    memcpy(c->number, s, sizeof sizes[0]);
    c->number[4] = i % 2;
    parameter(c, SHAPE(s[0], s[1]));
    return true;
}

struct tensor *record_slice_rows(struct tensor_graph *g, const struct check_op_case *c,
                                 struct tensor **in)
{
    const uint32_t *s = c->number;
    if (!s[4]) /* added, since the part is no memory of its own */
        return tensor_add(g, tensor_slice_rows(g, in[0], s[2], s[3]),
                          tensor_slice_rows(g, in[0], s[2], s[3]));
    struct tensor *part = tensor_slice_rows(g, tensor_add(g, in[0], in[0]), s[2], s[3]);
    return tensor_add(g, part, part);
}

void evaluate_slice_rows(const struct check_op_case *c, void *const *in, const uint32_t *random,
                         double *result)
{
    const double *from = (double *)in[0] + (size_t)c->number[2] * c->number[1];
    for (uint64_t i = 0; i < c->count; i++)
        result[i] = (c->number[4] ? 4 : 2) * from[i];
}

/* ---- tensor_concat_rows: rows, columns, how many a part, how many more before them ---- */

bool check_op_concat_rows(uint32_t i, struct check_op_case *c)
{
    static const uint32_t sizes[][4] = {{1, 1, 1, 0}, {6, 3, 2, 0}, {7, 5, 3, 2}, {40, 2, 4, 4}};
    if (i >= COUNT(sizes))
        return false;
    const uint32_t *s = sizes[i];
    check_start_op(c, (uint64_t)s[0] * s[1], "%u x %u of parts of %u, %u more before them", s[0],
                   s[1], s[2], s[3]);
    memcpy(c->number, s, sizeof sizes[0]);
    parameter(c, SHAPE(s[0], s[1]));
    parameter(c, SHAPE(s[0], s[1]));
    return true;
}

/* Each part of x + z with the rows added to it that stand so many before, so that rows are read by
 * more parts than one; all together. */
struct tensor *record_concat_rows(struct tensor_graph *g, const struct check_op_case *c,
                                  struct tensor **in)
{
    const uint32_t rows = c->number[0], each = c->number[2], more = c->number[3];
    struct tensor *x = tensor_add(g, in[0], in[1]), *part[40];
    uint32_t n = 0;
    for (uint32_t first = 0; first < rows; first += each) {
        const uint32_t count = rows - first < each ? rows - first : each;
        const uint32_t context = first < more ? first : more;
        struct tensor *wide = tensor_slice_rows(g, x, first - context, context + count);
        part[n++] = tensor_add(g, tensor_slice_rows(g, wide, context, count),
                               tensor_slice_rows(g, wide, 0, count));
    }
    return tensor_concat_rows(g, part, n);
}

void evaluate_concat_rows(const struct check_op_case *c, void *const *in, const uint32_t *random,
                          double *result)
{
    const uint32_t columns = c->number[1], each = c->number[2], more = c->number[3];
    const double *x = in[0], *z = in[1];
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t first = i / columns / each * each, context = first < more ? first : more;
        const uint32_t other = i - context * columns;
        result[i] = x[i] + z[i] + x[other] + z[other];
    }
}

/* ---- tensor_take_row, tensor_append_row: row number 5 of 3, which is the last ---- */

bool check_op_take_row(uint32_t i, struct check_op_case *c)
{
    static const uint32_t number[] = {5};
    check_start_op(c, 7, "row 5 of 3 x 7");
    constant(c, SHAPE(3, 7));
    constant(c, SHAPE(7));
    argument(c, TENSOR_U32, SHAPE(1))->values = number;
    c->result = 2;
    return i == 0;
}

struct tensor *record_take_row(struct tensor_graph *g, const struct check_op_case *c,
                               struct tensor **in)
{
    tensor_take_row(g, in[1], in[0], in[2]);
    return in[1];
}

void evaluate_take_row(const struct check_op_case *c, void *const *in, const uint32_t *random,
                       double *result)
{
    memcpy(result, (double *)in[0] + 14, c->count * sizeof *result);
}

bool check_op_append_row(uint32_t i, struct check_op_case *c)
{
    const bool more = check_op_take_row(i, c);
    c->count = 21;
    c->result = 1;
    return more;
}

/* Appends twice: the second is row 6, the first. */
struct tensor *record_append_row(struct tensor_graph *g, const struct check_op_case *c,
                                 struct tensor **in)
{
    tensor_append_row(g, in[0], in[1], in[2]);
    tensor_append_row(g, in[0], in[1], in[2]);
    return in[0];
}

void evaluate_append_row(const struct check_op_case *c, void *const *in, const uint32_t *random,
                         double *result)
{
    memcpy(result, in[1], 7 * sizeof *result);
    memcpy(result + 7, (double *)in[0] + 7, 7 * sizeof *result);
    memcpy(result + 14, in[1], 7 * sizeof *result);
}
