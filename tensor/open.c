/* open.c - opens the device that a name means, tests it and lists what there is.
 *
 * It stands above the rest of the library: the self-test records and runs graphs.
 */
#include "tensor/autotune_cache.h"
#include "tensor/backend.h"
#include <errno.h>
#include <string.h>

static int open_by_name(const struct tensor_device_params *params, struct tensor_device **device)
{
    const char *name = params->name ? params->name : "auto";
    if (!strcmp(name, "cpu"))
        return tensor_cpu_open(params, device);
    if (!strcmp(name, "vulkan"))
        return tensor_vulkan_open(params, "", device);
    if (!strncmp(name, "vulkan:", 7) && name[7])
        return tensor_vulkan_open(params, name + 7, device);
    if (strcmp(name, "auto"))
        return tensor_fail(ENODEV, "unknown device '%s'; use auto, cpu, vulkan, vulkan:INDEX or "
                           "vulkan:NAME", name);
    if (tensor_vulkan_open(params, "auto", device) == 0)
        return 0;
    return tensor_cpu_open(params, device);
}

/* What tensor_device_params.precision comes to, once the self-test has found what works. */
static void settle_precision(struct tensor_device *d)
{
    static const uint32_t units[] = {[TENSOR_PRECISION_BF16] = TENSOR_COOP_BF16 | TENSOR_COOP2_BF16,
                                     [TENSOR_PRECISION_FP16] = TENSOR_COOP_F16 | TENSOR_COOP2_F16};
    const enum tensor_precision wanted = d->params.precision;
    d->info.precision = wanted;
    if (wanted == TENSOR_PRECISION_AUTO) {
        d->info.precision = TENSOR_PRECISION_FP32;
        for (int p = TENSOR_PRECISION_FP16; p >= TENSOR_PRECISION_BF16 && !d->info.software; p--)
            if (d->info.features & units[p])
                d->info.precision = (enum tensor_precision)p;
    } else if (wanted != TENSOR_PRECISION_FP32 && strcmp(d->info.kind, "vulkan") == 0 &&
               !(d->info.features & units[wanted])) {
        tensor_log(d, "%s on %s: right, but hardly faster than fp32 without such matrix units",
                   tensor_precision_name(wanted), d->info.name);
    }
}

int tensor_device_open(const struct tensor_device_params *params, struct tensor_device **device)
{
    struct tensor_device *d;
    int status = open_by_name(params, &d);
    if (status < 0)
        return status;
    status = tensor_selftest(d);
    if (status == 0) {
        settle_precision(d);
        status = tensor_autotune_open(d);
    }
    if (status < 0) {
        tensor_device_close(&d);
        return status;
    }
    *device = d;
    return 0;
}

void tensor_device_close(struct tensor_device **device)
{
    if (!*device)
        return;
    tensor_autotune_close(*device);
    (*device)->backend->close(*device);
    *device = NULL;
}

int tensor_device_list(void (*each)(void *user, int index, const struct tensor_device_info *info),
                       void *user)
{
    struct tensor_device *cpu;
    const struct tensor_device_params params = {.name = "cpu"};
    if (tensor_cpu_open(&params, &cpu) < 0)
        return 0;
    each(user, 0, &cpu->info);
    tensor_device_close(&cpu);
    return 1 + tensor_vulkan_list(each, user);
}
