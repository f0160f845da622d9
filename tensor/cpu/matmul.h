/* matmul.h - the matrix product of the cpu device (private to the library).
 *
 * Two implementations, one of which is built: matmul_onednn.c, and matmul_plain.c where oneDNN is
 * missing.
 */
#ifndef TENSOR_CPU_MATMUL_H
#define TENSOR_CPU_MATMUL_H

#include "tensor/op/matmul.h"
#include <stdbool.h>
#include <stddef.h>

/* The type of the factors of 16 bits, ELEMENT_BF16 or ELEMENT_F16. */
static inline uint32_t tensor_cpu_factors(const struct matmul_params *p)
{
    return p->flags & MATMUL_BF16 ? ELEMENT_BF16 : ELEMENT_F16;
}

/* What becomes of the sums of a product, or of its parts (op/matmul.c): c gets what `ends` of
 * p->flags make of them. `sums` may be c where that is of floats. */
void tensor_cpu_matmul_end(const struct matmul_params *p, uint32_t ends, const float *sums);

/* Does all that struct matmul_params says. */
void tensor_cpu_matmul(const struct matmul_params *p);

/* Whether a product since the last call of this found no memory; its result is then whatever lay
 * there. */
bool tensor_cpu_matmul_starved(void);

/* Bytes that a product takes beside its factors and its result; makes it ready. The largest of all
 * products stays taken. */
uint64_t tensor_cpu_matmul_scratch(const struct matmul_params *p);

/* Name and version of the library, for struct tensor_device_info. */
void tensor_cpu_matmul_library(char *text, size_t size);

#endif
