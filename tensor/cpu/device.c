/* device.c - the cpu device: runs the C twins, one pass after the other. */
#include "tensor/backend.h"
#include "tensor/cpu/context.h"
#include "tensor/cpu/huge.h"
#include "tensor/cpu/matmul.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#define SLACK 256 /* what backend.h promises behind a block */

struct cpu_device {
    struct tensor_device device;
    struct tensor_cpu context;
};

struct tensor_program {
    const char *name; /* of the graph */
    const struct tensor_step *steps;
    uint32_t count;
    double *seconds; /* (count), or NULL without timing */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct tensor_cpu *context_of(struct tensor_device *device)
{
    return &((struct cpu_device *)device)->context;
}

static void cpu_close(struct tensor_device *device)
{
    tensor_cpu_matmul_close(context_of(device));
    free(context_of(device)->scratch);
    free(device);
}

void *tensor_cpu_take(struct tensor_cpu *cpu, size_t size)
{
    if (size <= cpu->size)
        return cpu->scratch;
    free(cpu->scratch);
    cpu->scratch = NULL;
    cpu->size = 0;
    void *memory;
    if (posix_memalign(&memory, TENSOR_CPU_HUGE, size)) {
        tensor_fail(ENOMEM, "out of memory");
        return NULL;
    }
    tensor_cpu_huge(memory, size);
    cpu->scratch = memory;
    cpu->size = size;
    return memory;
}

uint64_t tensor_host_available(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    unsigned long long kilobytes;
    uint64_t bytes = UINT64_MAX;
    char line[128];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu", &kilobytes) == 1)
            bytes = (uint64_t)kilobytes << 10;
    if (f)
        fclose(f);
    return bytes;
}

static int block_create(struct tensor_device *device, enum tensor_memory memory, uint64_t size,
                        struct tensor_block *block)
{
    void *host = NULL;
    /* Large blocks on huge-page boundaries: the products stream through them. */
    const size_t alignment = size >= 2 * TENSOR_CPU_HUGE ? TENSOR_CPU_HUGE : 4096;
    /* A system that promises more memory than it has would otherwise end the process, or another
     * one, without a word once the memory is used. */
    const uint64_t all = device->info.memory_bytes, before = device->allocated;
    uint64_t room = before < all ? all - before : 0;
    if (size >= 1u << 20 && room > tensor_host_available())
        room = tensor_host_available();
    if (size > room)
        return tensor_fail(ENOMEM, "no memory for %llu MiB: the device has %llu and there are "
                           "%llu; take a smaller batch, micro_batch or model",
                           (unsigned long long)(size >> 20) + 1, (unsigned long long)(before >> 20),
                           (unsigned long long)(room >> 20));
    if (size > SIZE_MAX - SLACK - alignment || posix_memalign(&host, alignment, size + SLACK))
        return tensor_fail(ENOMEM, "no memory for %llu MiB", (unsigned long long)(size >> 20) + 1);
    if (alignment == TENSOR_CPU_HUGE)
        tensor_cpu_huge(host, size);
    memset(host, 0, size + SLACK);
    device->allocated += size;
    *block = (struct tensor_block){(uint64_t)(uintptr_t)host, host, size, host};
    return 0;
}

static void block_destroy(struct tensor_device *device, struct tensor_block *block)
{
    if (block->handle)
        device->allocated -= block->size;
    free(block->handle);
    *block = (struct tensor_block){0};
}

static int cpu_write(struct tensor_device *device, struct tensor_block *block, uint64_t offset,
                     const void *from, uint64_t size)
{
    memcpy((char *)block->host + offset, from, size);
    return 0;
}

static int cpu_read(struct tensor_device *device, struct tensor_block *block, uint64_t offset,
                    void *to, uint64_t size)
{
    memcpy(to, (const char *)block->host + offset, size);
    return 0;
}

static int program_create(struct tensor_device *device, const char *name,
                          const struct tensor_step *steps, uint32_t count, bool timing,
                          struct tensor_program **program)
{
    struct tensor_program *p = calloc(1, sizeof *p);
    if (!p || (timing && !(p->seconds = calloc(count + 1u, sizeof *p->seconds)))) {
        free(p);
        return tensor_fail(ENOMEM, "%s: no host memory for its passes", name);
    }
    p->name = name;
    p->steps = steps;
    p->count = count;
    *program = p;
    return 0;
}

static void program_destroy(struct tensor_device *device, struct tensor_program *program)
{
    free(program->seconds);
    free(program);
}

static int program_run(struct tensor_device *device, struct tensor_program *program)
{
    const double began = now();
    for (uint32_t i = 0; i < program->count; i++) {
        const struct tensor_pass *pass = program->steps[i].pass;
        const double start = program->seconds ? now() : 0;
        const int status = pass->kernel->cpu(context_of(device), program->steps[i].params);
        if (program->seconds)
            program->seconds[i] += now() - start;
        if (status < 0)
            return tensor_fail(-status, "cpu: %s in graph \"%s\", pass \"%s\" (%s)", tensor_error(),
                               program->name, pass->label, pass->kernel->name);
    }
    device->busy += now() - began;
    return 0;
}

static int program_times(struct tensor_device *device, struct tensor_program *program,
                         double *seconds)
{
    for (uint32_t i = 0; program->seconds && i < program->count; i++) {
        seconds[i] += program->seconds[i];
        program->seconds[i] = 0;
    }
    return 0;
}

static uint64_t pass_scratch(struct tensor_device *device, const struct tensor_pass *pass)
{
    return pass->kernel->cpu_scratch ? pass->kernel->cpu_scratch(context_of(device), pass->params)
                                     : 0;
}

static const char *step_kernel(struct tensor_device *device, const struct tensor_step *step)
{
    return step->pass->kernel->name;
}

static int cpu_wait(struct tensor_device *device)
{
    return 0;
}

static const struct tensor_backend backend = {
    .close = cpu_close,
    .block_create = block_create,
    .block_destroy = block_destroy,
    .write = cpu_write,
    .read = cpu_read,
    .program_create = program_create,
    .program_destroy = program_destroy,
    .program_run = program_run,
    .program_times = program_times,
    .pass_scratch = pass_scratch,
    .step_kernel = step_kernel,
    .wait = cpu_wait,
};

static void processor_name(char *name, size_t size)
{
    snprintf(name, size, "processor");
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon)
            continue;
        snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f)
        fclose(f);
}

/* The least limit of a control group and those above it; UINT64_MAX: none. Where a container hides
 * its place in the tree, the root that it sees is its own group. */
static uint64_t group_limit(const char *root, const char *file, char *group)
{
    uint64_t least = UINT64_MAX;
    for (;;) {
        char path[512], *slash = strrchr(group, '/');
        unsigned long long limit;
        snprintf(path, sizeof path, "%s%s/%s", root, group, file);
        FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%llu", &limit) == 1 && limit < least)
            least = limit;
        if (f)
            fclose(f);
        if (!slash)
            return least;
        *slash = '\0';
    }
}

/* What the machine has, or less where this process is confined (a container with a limit). */
static uint64_t memory_bytes(void)
{
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[400];
    while (f && fgets(line, sizeof line, f)) {
        char *group = strstr(line, ":/");
        uint64_t limit = UINT64_MAX;
        line[strcspn(line, "\n")] = '\0';
        if (!strncmp(line, "0::/", 4))
            limit = group_limit("/sys/fs/cgroup", "memory.max", line + 3);
        else if (group && strstr(line, ":memory:/"))
            limit = group_limit("/sys/fs/cgroup/memory", "memory.limit_in_bytes", group + 1);
        all = limit < all ? limit : all;
    }
    if (f)
        fclose(f);
    return all;
}

static bool has_bf16(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512bf16");
#else
    return true; /* oneDNN knows; it cannot be asked */
#endif
}

int tensor_cpu_open(const struct tensor_device_params *params, struct tensor_device **device)
{
    struct cpu_device *cpu = calloc(1, sizeof *cpu);
    if (!cpu)
        return tensor_fail(ENOMEM, "no host memory for the cpu device");
    struct tensor_device *d = &cpu->device;
    cpu->context.device = d;
    d->backend = &backend;
    d->params = *params;
    struct tensor_device_info *info = &d->info;
    snprintf(info->kind, sizeof info->kind, "cpu");
    processor_name(info->name, sizeof info->name);
    tensor_cpu_matmul_library(info->driver, sizeof info->driver);
    info->subgroup = 1;
    info->workgroup = 1;
    info->threads = 1;
#ifdef _OPENMP
    info->threads = (uint32_t)omp_get_max_threads();
#endif
    info->memory_bytes = memory_bytes();
    info->allocation_bytes = info->memory_bytes;
    if (params->precision == TENSOR_PRECISION_BF16 && !has_bf16())
        tensor_log(d, "%s has no products of bfloat16: fp32 is faster on it", info->name);
    if (params->precision == TENSOR_PRECISION_FP16)
        tensor_log(d, "fp16 on %s: right, but fp32 and bf16 are faster on it", info->name);
    *device = d;
    return 0;
}
