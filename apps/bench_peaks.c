/*
 * What vendors state of their GPUs, for mb-bench's utilization.
 */
#include <stddef.h>
#include <string.h>

#include "apps/bench.h"

/*
 * Dense, from the vendors' data sheets, in TFLOP/s: fp32 outside of matrix units, and products of
 * 16-bit factors (bf16 where there is such, else fp16) with sums in fp32. The first whose name is a
 * part of the device's counts. 0: it has none.
 */
static const struct {
    const char *name;
    double fp32, half;
} peaks[] = {
    {"H100 PCIe", 51, 756},     {"H100 NVL", 60, 835},       {"H100", 67, 989},
    {"H200", 67, 989},          {"A100", 19.5, 312},         {"L40S", 91.6, 362},
    {"NVIDIA L4", 30.3, 121},   {"Tesla V100", 15.7, 125},   {"Tesla T4", 8.1, 65},
    {"RTX 4090", 82.6, 165},    {"RTX 3090", 35.6, 71},      {"MI300X", 163.4, 1307},
    {"MI250X", 47.9, 383},      {"7900 XTX", 61.4, 122.8},
};

double bench_stated_peak(const char *device, const char *precision)
{
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++)
        if (strstr(device, peaks[i].name))
            return 1e12 * (strcmp(precision, "fp32") ? peaks[i].half : peaks[i].fp32);
    return 0;
}
