/* matmul.h - the matrix product of the cpu device (private to the library).
 *
 *     matmul.c          asks the library; the plain loops take what it refuses
 *     matmul_onednn.c   through oneDNN, or
 *     matmul_none.c     where oneDNN is missing: refuses everything
 *     matmul_plain.c    loops without a library
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

/* Whether a product since the last call of this failed: 0, -ENOMEM, or -EIO. Its result is then
 * whatever lay there, and tensor_error() says why. */
int tensor_cpu_matmul_failed(void);

/* Bytes that a product takes beside its factors and its result; makes it ready. The most that a
 * product took stays taken. */
uint64_t tensor_cpu_matmul_scratch(const struct matmul_params *p);

/* Name and version of the library, for struct tensor_device_info. */
void tensor_cpu_matmul_library(char *text, size_t size);

/* ---- between the files above ---- */

/* What the products of a device share. */
struct tensor_cpu_products {
    void *scratch; /* memory that stays, of the largest product so far */
    size_t size;   /* of it, bytes */
    struct tensor_cpu_library *library; /* NULL: nothing was asked of it yet */
    bool told;                          /* that it refused a product */
};

/* Scratch memory of `size` bytes, of which parts begin at multiples of 64. NULL: there is none, and
 * tensor_error() says so; or none was asked for. */
void *tensor_cpu_take(struct tensor_cpu_products *products, size_t size);

/* Appends a part to what is laid out up to *end; returns where it begins. */
static inline size_t tensor_cpu_place(size_t *end, size_t size)
{
    const size_t at = (*end + 63) / 64 * 64;
    *end = at + size;
    return at;
}

#define TENSOR_CPU_REFUSED 1 /* by the library, which has said so; c is as it was */

/* 0, TENSOR_CPU_REFUSED, or an error with tensor_error(): -ENOMEM, or -EIO where c may have been
 * added to, so that nothing else can take the product. */
int tensor_cpu_library_matmul(struct tensor_cpu_products *products, const struct matmul_params *p);
/* As tensor_cpu_matmul_scratch(): 0 or TENSOR_CPU_REFUSED or -ENOMEM. */
int tensor_cpu_library_scratch(struct tensor_cpu_products *products, const struct matmul_params *p,
                               uint64_t *bytes);
/* Says, the first time, that the library refused a product. */
void tensor_cpu_refused(struct tensor_cpu_products *products, const struct matmul_params *p,
                        const char *call, int status);

int tensor_cpu_plain_matmul(struct tensor_cpu_products *products, const struct matmul_params *p);
uint64_t tensor_cpu_plain_scratch(const struct matmul_params *p);

#endif
