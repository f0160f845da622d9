/* matmul_plain.c - matrix products without a library: rows of c in parallel, k in order.
 *
 * Built where oneDNN is missing; several times slower, right all the same.
 */
#include "tensor/cpu/narrow.h"
#include "tensor/cpu/matmul.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_row(const struct matmul_params *p, const float *a, const float *b, uint32_t row,
                    float *sum)
{
    const size_t stride_a = p->flags & MATMUL_TRANSPOSE_A ? p->m : 1;
    const float *ai = p->flags & MATMUL_TRANSPOSE_A ? a + row : a + (size_t)row * p->k;
    if (p->flags & MATMUL_TRANSPOSE_B) {
        for (uint32_t j = 0; j < p->n; j++) {
            const float *bj = b + (size_t)j * p->k;
            float dot = 0;
            for (uint32_t l = 0; l < p->k; l++)
                dot += ai[l * stride_a] * bj[l];
            sum[j] += dot;
        }
        return;
    }
    for (uint32_t l = 0; l < p->k; l++) {
        const float al = ai[l * stride_a];
        for (uint32_t j = 0; j < p->n; j++)
            sum[j] += al * b[(size_t)l * p->n + j];
    }
}

static bool starved;

bool tensor_cpu_matmul_starved(void)
{
    const bool was = starved;
    starved = false;
    return was;
}

/* Memory that stays, of a factor (0, 1) or of the result (2); the cpu device runs one pass at a
 * time. NULL: there is none. */
static float *take(size_t count, int which)
{
    static float *kept[3];
    static size_t room[3];
    if (count > room[which]) {
        free(kept[which]);
        kept[which] = malloc(count * sizeof *kept[which]);
        room[which] = kept[which] ? count : 0;
    }
    if (!kept[which]) {
        starved = true;
        return NULL;
    }
    return kept[which];
}

/* Numbers of 16 bits as floats. */
static float *widened(const struct matmul_params *p, uint64_t x, size_t count, int which)
{
    float *wide = take(count, which);
    if (wide)
        tensor_cpu_widen(u16_at(x), wide, count, tensor_cpu_factors(p));
    return wide;
}

/* Whether sums cannot grow where they will be. */
static bool apart(const struct matmul_params *p)
{
    return p->flags & (MATMUL_NARROW | MATMUL_IN_PLACE);
}

uint64_t tensor_cpu_matmul_scratch(const struct matmul_params *p)
{
    const uint64_t factors = (uint64_t)p->m * p->k + (uint64_t)p->k * p->n;
    const uint64_t sums = apart(p) ? (uint64_t)p->m * p->n : 0;
    return ((p->flags & MATMUL_FACTORS ? factors : 0) + sums) * sizeof(float);
}

void tensor_cpu_matmul(const struct matmul_params *p)
{
    const float *a = f32_at(p->a), *b = f32_at(p->b);
    if (p->flags & MATMUL_FACTORS) {
        a = widened(p, p->a, (size_t)p->m * p->k, 0);
        b = widened(p, p->b, (size_t)p->k * p->n, 1);
    }
    float *sums = apart(p) ? take((size_t)p->m * p->n, 2) : f32_at(p->c);
    if (!a || !b || !sums)
        return;
#pragma omp parallel for schedule(static)
    for (uint32_t i = 0; i < p->m; i++) {
        float *c = sums + (size_t)i * p->n;
        memset(c, 0, p->n * sizeof *c);
        add_row(p, a, b, i, c);
    }
    if (p->flags & MATMUL_ENDS)
        tensor_cpu_matmul_end(p, p->flags, sums);
}

void tensor_cpu_matmul_library(char *text, size_t size)
{
    snprintf(text, size, "plain loops");
}
