/* kernel_words.c KERNEL - writes a kernel of this build, in SPIR-V, to standard output. */
#include "tensor/vulkan/device.h"
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    for (const struct vulkan_spirv *k = tensor_vulkan_spirv; argc == 2 && k->name; k++)
        if (!strcmp(k->name, argv[1]))
            return fwrite(k->words, 1, k->size, stdout) != k->size || fflush(stdout) != 0;
    fprintf(stderr, "kernel-words: no such kernel\n");
    return 1;
}
