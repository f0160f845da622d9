/* matmul_plain.c - matrix products without a library: rows of c in parallel, k in order.
 *
 * They take all products where oneDNN is missing, and those that it refuses; several times slower,
 * right all the same.
 */
#include "tensor/cpu/matmul.h"
#include "tensor/cpu/convert.h"
#include <errno.h>
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

/* Whether sums cannot grow where they will be. */
static bool apart(const struct matmul_params *p)
{
    return p->flags & (MATMUL_16BIT | MATMUL_IN_PLACE);
}

/* Where things are in the scratch memory: factors as floats, and sums. */
struct places {
    size_t a, b, sums;
    size_t size; /* of all */
};

static struct places places_of(const struct matmul_params *p)
{
    const bool wide = p->flags & MATMUL_FACTORS;
    struct places x = {.size = 0};
    x.a = tensor_cpu_place(&x.size, wide ? (size_t)p->m * p->k * sizeof(float) : 0);
    x.b = tensor_cpu_place(&x.size, wide ? (size_t)p->k * p->n * sizeof(float) : 0);
    x.sums = tensor_cpu_place(&x.size, apart(p) ? (size_t)p->m * p->n * sizeof(float) : 0);
    return x;
}

uint64_t tensor_cpu_plain_scratch(const struct matmul_params *p)
{
    return places_of(p).size;
}

int tensor_cpu_plain_matmul(struct tensor_cpu *cpu, const struct matmul_params *p)
{
    const struct places at = places_of(p);
    char *scratch = tensor_cpu_take(cpu, at.size);
    if (!scratch && at.size)
        return -ENOMEM;
    const float *a = f32_at(p->a), *b = f32_at(p->b);
    float *sums = apart(p) ? (float *)(scratch + at.sums) : f32_at(p->c);
    if (p->flags & MATMUL_FACTORS) {
        a = (float *)(scratch + at.a);
        b = (float *)(scratch + at.b);
        tensor_cpu_from_16bit(u16_at(p->a), (float *)(scratch + at.a), (size_t)p->m * p->k,
                         tensor_cpu_factors(p));
        tensor_cpu_from_16bit(u16_at(p->b), (float *)(scratch + at.b), (size_t)p->k * p->n,
                         tensor_cpu_factors(p));
    }
#pragma omp parallel for schedule(static)
    for (uint32_t i = 0; i < p->m; i++) {
        float *c = sums + (size_t)i * p->n;
        memset(c, 0, p->n * sizeof *c);
        add_row(p, a, b, i, c);
    }
    if (p->flags & MATMUL_EPILOGUE)
        tensor_cpu_matmul_epilogue(p, p->flags, sums);
    return 0;
}
