/* matmul.h - the matrix product of the cpu device (private to the library).
 *
 *     matmul.c          asks the library; the plain loops take what it refuses
 *     matmul_onednn.c   through oneDNN, or
 *     matmul_none.c     where oneDNN is missing: refuses everything
 *     matmul_plain.c    loops without a library
 */
#ifndef TENSOR_CPU_MATMUL_H
#define TENSOR_CPU_MATMUL_H

#include "tensor/cpu/context.h"
#include "tensor/op/matmul.h"

/* The type of the factors of 16 bits, ELEMENT_BF16 or ELEMENT_F16. */
static inline uint32_t tensor_cpu_factors(const struct matmul_params *p)
{
    return p->flags & MATMUL_BF16 ? ELEMENT_BF16 : ELEMENT_F16;
}

/* Applies the epilogue, or what `epilogue` of p->flags says of it, to the sums of a product or of
 * the parts of split-K (op/matmul.c), and stores that in c. `sums` may be c where that is of
 * floats. */
void tensor_cpu_matmul_epilogue(const struct matmul_params *p, uint32_t epilogue,
                                const float *sums);

/* Does all that struct matmul_params says. Returns 0, or an error with tensor_error(): -ENOMEM, or
 * -EIO where the library failed within c. */
int tensor_cpu_matmul(struct tensor_cpu *cpu, const struct matmul_params *p);

/* Bytes that a product takes beside its factors and its result; makes it ready. */
uint64_t tensor_cpu_matmul_scratch(struct tensor_cpu *cpu, const struct matmul_params *p);

/* Frees what the library's products have made. */
void tensor_cpu_matmul_close(struct tensor_cpu *cpu);

/* Name and version of the library, for struct tensor_device_info. */
void tensor_cpu_matmul_library(char *text, size_t size);

/* ---- between the files above ---- */

#define TENSOR_CPU_REFUSED 1 /* by the library; c is as it was */

/* As tensor_cpu_matmul(), or TENSOR_CPU_REFUSED. */
int tensor_cpu_library_matmul(struct tensor_cpu *cpu, const struct matmul_params *p);
/* Sets *bytes to what tensor_cpu_matmul_scratch() returns: 0, TENSOR_CPU_REFUSED or -ENOMEM. */
int tensor_cpu_library_scratch(struct tensor_cpu *cpu, const struct matmul_params *p,
                               uint64_t *bytes);

int tensor_cpu_plain_matmul(struct tensor_cpu *cpu, const struct matmul_params *p);
uint64_t tensor_cpu_plain_scratch(const struct matmul_params *p);

#endif
