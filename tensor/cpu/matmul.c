/* matmul.c - matrix products of the cpu device: the library's, or the plain loops'. */
#include "tensor/cpu/matmul.h"
#include "tensor/backend.h"
#include "tensor/cpu/huge.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct tensor_cpu_products products;
static int failed;

void *tensor_cpu_take(struct tensor_cpu_products *x, size_t size)
{
    if (size <= x->size)
        return x->scratch;
    free(x->scratch);
    x->scratch = NULL;
    x->size = 0;
    void *memory;
    if (posix_memalign(&memory, TENSOR_CPU_HUGE, size)) {
        tensor_fail(ENOMEM, "out of memory");
        return NULL;
    }
    tensor_cpu_huge(memory, size);
    x->scratch = memory;
    x->size = size;
    return memory;
}

void tensor_cpu_refused(struct tensor_cpu_products *x, const struct matmul_params *p,
                        const char *call, int status)
{
    char library[64];
    if (x->told)
        return;
    x->told = true;
    tensor_cpu_matmul_library(library, sizeof library);
    fprintf(stderr, "%s refuses the product (%u, %u) x (%u, %u) of %s: %s gives status %d; plain "
            "loops take it and all others that are refused: right, but slow\n", library, p->m, p->k,
            p->k, p->n, p->flags & MATMUL_BF16 ? "bf16" : p->flags & MATMUL_F16 ? "fp16" : "fp32",
            call, status);
}

void tensor_cpu_matmul(const struct matmul_params *p)
{
    int status = tensor_cpu_library_matmul(&products, p);
    if (status == TENSOR_CPU_REFUSED)
        status = tensor_cpu_plain_matmul(&products, p);
    if (status < 0)
        failed = status;
}

int tensor_cpu_matmul_failed(void)
{
    const int status = failed;
    failed = 0;
    return status;
}

uint64_t tensor_cpu_matmul_scratch(const struct matmul_params *p)
{
    uint64_t bytes = 0; /* without memory for the product itself; whoever runs it is told */
    if (tensor_cpu_library_scratch(&products, p, &bytes) == TENSOR_CPU_REFUSED)
        return tensor_cpu_plain_scratch(p);
    return bytes;
}
