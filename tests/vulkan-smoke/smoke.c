/* smoke.c - the vulkan device below the graph, on every Vulkan device that there is: copies with
 * and without staging, replay, programs cut into slices, times, and what is said when things fail.
 *
 * Failures of drivers are played by functions put into the device's table of entry points.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tensor/op/add.h"
#include "tensor/op/fill.h"
#include "tensor/vulkan/device.h"

static int failures;

static void check(bool holds, const char *what, int line)
{
    if (holds)
        return;
    failures++;
    printf("FAIL line %d: %s (%s)\n", line, what, tensor_error());
}
#define CHECK(x) check(x, #x, __LINE__)

static void need(int err, const char *what, int line)
{
    check(err == 0, what, line);
    if (err)
        exit(1);
}
#define NEED(x) need(x, #x, __LINE__)

static struct tensor_device *open_device(int index, double timeout)
{
    char which[16];
    struct tensor_device *device = NULL;
    struct tensor_device_params params = {.validation = true, .no_cache = true, .timeout = timeout};
    snprintf(which, sizeof(which), "%d", index);
    int err = tensor_vulkan_open(&params, which, &device);
    if (err == -ENOTSUP) { /* the layer is not installed */
        params.validation = false;
        err = tensor_vulkan_open(&params, which, &device);
    }
    NEED(err);
    return device;
}

/* ---- steps ---- */

static const struct tensor_kernel *kernel(const char *name)
{
    uint32_t i = 0;
    while (tensor_kernels(i) && strcmp(tensor_kernels(i)->name, name) != 0)
        i++;
    NEED(tensor_kernels(i) == NULL);
    return tensor_kernels(i);
}

static struct tensor_pass pass(const char *name, const char *label, uint32_t count)
{
    return (struct tensor_pass){
        .kernel = kernel(name), .label = label, .flops = count, .bytes = 12.0 * count};
}

static struct tensor_range range(uint64_t address, uint32_t count, bool write)
{
    return (struct tensor_range){address, address + 4 * (uint64_t)count, write};
}

static struct tensor_step fill(const struct tensor_pass *p, uint64_t x, uint32_t count, float value)
{
    struct tensor_step step = {.pass = p, .range = {range(x, count, true)}};
    const struct fill_params params = {x, count, value};
    memcpy(step.params, &params, sizeof(params));
    return step;
}

static struct tensor_step add(const struct tensor_pass *p, uint64_t x, uint64_t z, uint64_t y,
                              uint32_t count)
{
    struct tensor_step step = {
        .pass = p,
        .range = {range(x, count, false), range(z, count, false), range(y, count, true)}};
    const struct add_params params = {x, z, y, count};
    memcpy(step.params, &params, sizeof(params));
    return step;
}

/* ---- what holds ---- */

struct work {
    enum tensor_memory memory;
    uint32_t count;
    bool timing;
    double slice; /* seconds; 0: as usual */
};

/* Fills z and w in one program; then y = x + z, x = y + w in another, 100 times: each step needs
 * what the one before wrote. */
static void compute(struct tensor_device *device, const struct tensor_block *block,
                    const struct work *w)
{
    const struct tensor_backend *b = device->backend;
    const uint64_t x = block->address, size = 4 * (uint64_t)w->count;
    const struct tensor_pass fills = pass("fill", "one.fill", w->count);
    const struct tensor_pass adds = pass("add", "two.add", w->count);
    const struct tensor_step first[] = {fill(&fills, x + size, w->count, 1),
                                        fill(&fills, x + 3 * size, w->count, 2)};
    const struct tensor_step second[] = {add(&adds, x, x + size, x + 2 * size, w->count),
                                         add(&adds, x + 2 * size, x + 3 * size, x, w->count)};
    struct tensor_program *one, *two;
    NEED(b->program_create(device, "one", first, 2, w->timing, &one));
    NEED(b->program_create(device, "two", second, 2, w->timing, &two));
    CHECK((tensor_vulkan_hook_slices(device, two) > 2) == (w->slice > 0));

    NEED(b->program_run(device, one));
    for (int i = 0; i < 100; i++)
        NEED(b->program_run(device, two));
    NEED(b->wait(device));
    double seconds[2] = {0, 0}, again[2] = {0, 0};
    NEED(b->program_times(device, two, seconds));
    NEED(b->program_times(device, two, again));
    const bool measures = w->timing && vulkan_device(device)->found.timestamp_bits;
    CHECK((seconds[0] > 0 && seconds[1] > 0) == measures);
    CHECK(again[0] == 0 && again[1] == 0);
    b->program_destroy(device, one);
    b->program_destroy(device, two);
}

static void try(struct tensor_device *device, const struct work *w)
{
    const struct tensor_backend *b = device->backend;
    const uint64_t size = 4 * (uint64_t)w->count;
    struct tensor_block block;
    float *host = malloc(4 * size);
    NEED(host == NULL);
    NEED(b->block_create(device, w->memory, 4 * size, &block));
    CHECK(w->memory == TENSOR_DEVICE || block.host);

    bool zero = true, same = true;
    NEED(b->read(device, &block, 0, host, 4 * size));
    for (uint32_t i = 0; i < 4 * w->count; i++)
        zero &= host[i] == 0;
    CHECK(zero);
    for (uint32_t i = 0; i < w->count; i++)
        host[i] = (float)(i % 7);
    NEED(b->write(device, &block, 0, host, size));

    tensor_vulkan_hook_slice(device, w->slice > 0 ? w->slice : 0.1);
    compute(device, &block, w);
    memset(host, 0, size);
    NEED(b->read(device, &block, 0, host, size));
    for (uint32_t i = 0; i < w->count; i++)
        same &= host[i] == (float)(i % 7) + 300;
    CHECK(same);
    b->block_destroy(device, &block);
    free(host);
}

static void close_device(struct tensor_device *device)
{
    CHECK(tensor_vulkan_validation_messages(device) == 0);
    device->backend->close(device);
}

static void works(int index)
{
    static const struct work all[] = {
        {TENSOR_DEVICE, 100003, false, 0},  {TENSOR_HOST, 4097, false, 0},
        {TENSOR_DEVICE, 65536, true, 0},    {TENSOR_DEVICE, 50000, false, 1e-6},
        {TENSOR_DEVICE, 50001, true, 2e-6},
    };
    for (int staged = 0; staged < 2; staged++) {
        struct tensor_device *device = open_device(index, 0);
        if (staged)
            tensor_vulkan_hook_staging(device, 4096);
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
            try(device, &all[i]);
        CHECK(tensor_vulkan_hook_pipelines(device) == 4); /* two kernels, whole and in parts */
        close_device(device);
    }
}

/* ---- what fails ---- */

static VKAPI_ATTR VkResult VKAPI_CALL lose(VkDevice device, const VkSemaphoreWaitInfo *info,
                                           uint64_t timeout)
{
    return VK_ERROR_DEVICE_LOST;
}

static VKAPI_ATTR VkResult VKAPI_CALL stick(VkDevice device, const VkSemaphoreWaitInfo *info,
                                            uint64_t timeout)
{
    return VK_TIMEOUT;
}

static VKAPI_ATTR VkResult VKAPI_CALL stuck_at(VkDevice device, VkSemaphore semaphore,
                                               uint64_t *value)
{
    *value = 1;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL refuse(VkDevice device, const VkMemoryAllocateInfo *info,
                                             const VkAllocationCallbacks *callbacks,
                                             VkDeviceMemory *memory)
{
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static bool names_pass(void)
{
    return strstr(tensor_error(), "\"train\"") && strstr(tensor_error(), "layer.fill");
}

/* A run that stands still, then goes on: the wait fails, and can be repeated. Then a lost device.
 */
static void fails(int index)
{
    struct tensor_device *device = open_device(index, 0.5);
    struct vulkan_device *d = vulkan_device(device);
    const struct tensor_backend *b = device->backend;
    const struct VolkDeviceTable vk = d->vk;
    const double timeout = d->timeout;
    struct tensor_block block, none;
    d->timeout = 60; /* but for the run that stands still: this machine may be busy */
    NEED(b->block_create(device, TENSOR_HOST, 4096, &block));
    const struct tensor_pass fills = pass("fill", "layer.fill", 1024);
    const struct tensor_step steps[] = {fill(&fills, block.address, 1024, 3),
                                        fill(&fills, block.address, 1024, 4)};
    struct tensor_program *program;
    tensor_vulkan_hook_slice(device, 1e-7);
    NEED(b->program_create(device, "train", steps, 2, false, &program));

    NEED(b->program_run(device, program));
    d->vk.vkWaitSemaphores = stick;
    d->vk.vkGetSemaphoreCounterValue = stuck_at;
    d->timeout = timeout;
    CHECK(b->wait(device) == -ETIMEDOUT && names_pass() && strstr(tensor_error(), " 0.5 s "));
    d->vk = vk;
    d->timeout = 60;
    CHECK(b->wait(device) == 0 && ((float *)block.host)[1023] == 4);
    for (int i = 0; i < VULKAN_PENDING_MAX; i++)
        NEED(b->program_run(device, program));
    NEED(b->wait(device));

    d->vk.vkAllocateMemory = refuse;
    CHECK(b->block_create(device, TENSOR_DEVICE, 4096, &none) == -ENOMEM);
    CHECK(b->block_create(device, TENSOR_DEVICE, UINT64_MAX / 2, &none) == -ENOMEM);
    CHECK(b->read(device, &block, 4096, &none, 1) == -EINVAL);

    NEED(b->program_run(device, program));
    d->vk.vkWaitSemaphores = lose;
    CHECK(b->wait(device) == -EIO && names_pass());
    d->vk = vk;
    CHECK(b->program_run(device, program) == -EIO && b->wait(device) == -EIO);
    vk.vkDeviceWaitIdle(d->device); /* this one is not lost in truth */
    b->program_destroy(device, program);
    b->block_destroy(device, &block);
    close_device(device);
}

/* ---- the self-test ---- */

static void note(void *user, const char *line)
{
    snprintf(user, 200, "%s", line);
}

static uint32_t features_of(int index, uint32_t enable, uint32_t disable, char *line)
{
    char name[24];
    struct tensor_device *device = NULL;
    snprintf(name, sizeof(name), "vulkan:%d", index);
    const struct tensor_device_params params = {.name = name,
                                                .enable = enable,
                                                .disable = disable,
                                                .no_cache = true,
                                                .log = note,
                                                .log_user = line};
    line[0] = 0;
    NEED(tensor_device_open(&params, &device));
    const uint32_t features = tensor_device_info(device)->features;
    tensor_device_close(&device);
    return features;
}

/* A variant whose products are wrong is switched off when the device opens, and no other is. */
static void finds_wrong(int index)
{
    static const struct {
        uint32_t bit;
        const char *variant;
    } all[] = {
        {TENSOR_SHARED_TILES, "matmul_tiled"},     {TENSOR_COOP_F16, "matmul_coop_f16"},
        {TENSOR_COOP_BF16, "matmul_coop_bf16"},    {TENSOR_COOP2_F16, "matmul_coop2_f16"},
        {TENSOR_COOP2_BF16, "matmul_coop2_bf16"},  {TENSOR_COOP2_F16, "matmul_flexible_f16"},
        {TENSOR_COOP2_BF16, "matmul_flexible_bf16"},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        char line[200];
        const uint32_t bit = all[i].bit, others = TENSOR_MATRIX_UNITS & ~bit;
        tensor_vulkan_hook_wrong(NULL);
        if (!(features_of(index, bit, others, line) & bit))
            continue;
        CHECK(line[0] == 0);
        tensor_vulkan_hook_wrong(all[i].variant);
        const bool on = features_of(index, bit, others, line) & bit;
        tensor_vulkan_hook_wrong(NULL);
        /* Of the two variants of a COOP2 feature a device uses one. */
        const bool other = !line[0] && bit & TENSOR_COOPERATIVE_MATRIX_2;
        CHECK(other ? on : !on && strstr(line, "switched off"));
        printf("%s: %s\n", all[i].variant, other ? "not the one in use" : line);
    }
}

static void selects(int count)
{
    struct tensor_device *device = NULL;
    const struct tensor_device_params params = {.no_cache = true};
    char beyond[16];
    snprintf(beyond, sizeof(beyond), "%d", count);
    CHECK(tensor_vulkan_open(&params, beyond, &device) == -ENODEV);
    CHECK(strstr(tensor_error(), "vulkan:0"));
    CHECK(tensor_vulkan_open(&params, "no such device", &device) == -ENODEV);
    CHECK(device == NULL);
    if (tensor_vulkan_open(&params, "auto", &device) == 0) {
        CHECK(!device->info.software);
        device->backend->close(device);
    }
}

static void print_device(void *user, int index, const struct tensor_device_info *info)
{
    printf("vulkan:%d %s\n", index, info->name);
}

int main(void)
{
    const int count = tensor_vulkan_list(print_device, NULL);
    if (!count) {
        printf("skipped: no Vulkan device\n");
        return 77;
    }
    selects(count);
    for (int i = 0; i < count; i++) {
        works(i);
        fails(i);
        finds_wrong(i);
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
