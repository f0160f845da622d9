/* sum_rows.c - sums over the rows of a tall matrix: gradients of what is added to every row. */
#include "tensor/contract.h"
#include "tensor/cpu/convert.h"
#include "tensor/op/sum_rows.h"

#define CHUNK                                                                                      \
    128 /* rows that one invocation adds; the first of two steps has rows / CHUNK of them */

/* Columns whose sums are held at a time on the processor: rows are read in long stretches. */
#define PIECE 512

/* Adds `width` columns of a row, from element `at` on. */
static inline void add_row(const struct sum_rows_params *p, size_t at, uint32_t width,
                           float sum[PIECE])
{
    const uint16_t *halves = u16_at(p->x) + at;
    switch (p->type) {
    case ELEMENT_BF16:
        for (uint32_t c = 0; c < width; c++)
            sum[c] += tensor_from_bf16(halves[c]);
        break;
    case ELEMENT_F16:
        for (uint32_t c = 0; c < width; c++)
            sum[c] += tensor_from_f16(halves[c]);
        break;
    default:
        for (uint32_t c = 0; c < width; c++)
            sum[c] += (f32_at(p->x) + at)[c];
    }
}

static int sum_rows_cpu(struct tensor_cpu *cpu, const void *params)
{
    const struct sum_rows_params *p = params;
    const uint32_t chunks = (p->rows + p->chunk - 1) / p->chunk;
#pragma omp parallel for collapse(2) schedule(static)
    for (uint32_t i = 0; i < chunks; i++)
        for (uint32_t first = 0; first < p->columns; first += PIECE) {
            const uint32_t width = p->columns - first < PIECE ? p->columns - first : PIECE;
            const uint32_t end = (i + 1) * p->chunk < p->rows ? (i + 1) * p->chunk : p->rows;
            float *y = f32_at(p->y) + (size_t)i * p->columns + first;
            float sum[PIECE] = {0};
            for (uint32_t r = i * p->chunk; r < end; r++)
                add_row(p, (size_t)r * p->stride + first, width, sum);
            for (uint32_t c = 0; c < width; c++)
                y[c] = sum[c] + (p->accumulate ? y[c] : 0);
        }
    return 0;
}

static void sum_rows_launch(const struct tensor_device_info *info, const void *params,
                            struct tensor_launch *launch)
{
    const struct sum_rows_params *p = params;
    const uint32_t chunks = (p->rows + p->chunk - 1) / p->chunk;
    launch->constant[0] = p->type;
    tensor_launch_items(launch,
                        (uint64_t)chunks * (p->type == ELEMENT_F32 ? p->columns : p->columns / 2));
}

static const struct tensor_kernel sum_rows = {
    .name = "sum_rows",
    .params_size = sizeof(struct sum_rows_params),
    .args = 2,
    .writes = TENSOR_ARG(sum_rows_params, y),
    .args16 = TENSOR_ARG(sum_rows_params, x),
    .cpu = sum_rows_cpu,
    .launch = sum_rows_launch,
    .variant = {"sum_rows"},
};
const struct tensor_kernel *const tensor_kernel_sum_rows = &sum_rows;

void tensor_record_sum_rows(struct tensor_graph *g, struct tensor *x, uint32_t rows,
                            uint32_t columns, uint32_t stride, struct tensor *to,
                            uint32_t accumulate)
{
    struct sum_rows_params p = {.rows = rows,
                                .columns = columns,
                                .stride = stride,
                                .chunk = rows,
                                .accumulate = accumulate,
                                .type = tensor_element_type(x)};
    if (p.type != ELEMENT_F32 &&
        !tensor_check(g, (columns | stride) % 2 == 0, "sum_rows",
                      "16 bits want an even number of columns", x, NULL))
        return;
    if (rows > 2 * CHUNK) {
        const uint32_t chunks = (rows + CHUNK - 1) / CHUNK;
        struct tensor *partial = tensor_graph_matrix(g, chunks, columns);
        p.chunk = CHUNK;
        p.accumulate = 0;
        tensor_graph_pass(g, &sum_rows, &p, (struct tensor *[]){x, partial}, 0);
        tensor_record_sum_rows(g, partial, chunks, columns, columns, to, accumulate);
        return;
    }
    tensor_graph_pass(g, &sum_rows, &p, (struct tensor *[]){x, to}, 0);
}
