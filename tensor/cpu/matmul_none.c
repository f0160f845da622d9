/* matmul_none.c - in the place of matmul_onednn.c where oneDNN is missing. */
#include "tensor/cpu/matmul.h"
#include <stdio.h>

int tensor_cpu_library_matmul(struct tensor_cpu *cpu, const struct matmul_params *p)
{
    return TENSOR_CPU_REFUSED;
}

int tensor_cpu_library_scratch(struct tensor_cpu *cpu, const struct matmul_params *p,
                               uint64_t *bytes)
{
    return TENSOR_CPU_REFUSED;
}

void tensor_cpu_matmul_close(struct tensor_cpu *cpu) {}

void tensor_cpu_matmul_library(char *text, size_t size)
{
    snprintf(text, size, "plain loops");
}
