/* matmul.c - matrix products of the cpu device: the library's, or the plain loops'. */
#include "tensor/cpu/matmul.h"

int tensor_cpu_matmul(struct tensor_cpu *cpu, const struct matmul_params *p)
{
    const int status = tensor_cpu_library_matmul(cpu, p);
    return status == TENSOR_CPU_REFUSED ? tensor_cpu_plain_matmul(cpu, p) : status;
}

uint64_t tensor_cpu_matmul_scratch(struct tensor_cpu *cpu, const struct matmul_params *p)
{
    uint64_t bytes = 0; /* without memory for the product itself; whoever runs it is told */
    if (tensor_cpu_library_scratch(cpu, p, &bytes) == TENSOR_CPU_REFUSED)
        return tensor_cpu_plain_scratch(p);
    return bytes;
}
