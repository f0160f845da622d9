#include "apps/device.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* lets the hash state live on the stack */
#include <xxhash.h>

#include "apps/common.h"

#define SPINS "10000" /* some tens of microseconds */

void app_calm_threads(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    char self[4096]; /* where it cannot be found or run, all works without */
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        return;
    self[length] = '\0';
    /* Under a loader that was called by name the file that runs is the loader's. */
    if (!strcmp(basename(self), basename(argv[0])) && setenv("GOMP_SPINCOUNT", SPINS, 1) == 0)
        execv(self, argv);
}

const char app_device_help[] =
    "Device:\n"
    "  --device NAME          auto, cpu, vulkan, vulkan:INDEX or vulkan:NAME; auto takes a GPU "
    "where\n"
    "                         there is one and the processor otherwise (auto)\n"
    "  --list-devices         list them and end\n"
    "  --precision NAME       type of the factors of matrix products: fp32, bf16, fp16 or auto;\n"
    "                         all else is fp32 (auto: what the GPU's matrix units take, bf16\n"
    "                         before fp16; fp32 if it has none)\n"
    "  --disable NAME         do not use these kernels: shared-tiles, long-loads,\n"
    "                         cooperative-matrix or cooperative-matrix-2; add -fp16 or -bf16 for\n"
    "                         those of one type only; repeatable\n";

/* Names of single features, with commas between. */
static const char *feature_names(uint32_t features, char *text, size_t size)
{
    size_t at = 0;

    text[0] = '\0';
    for (const struct tensor_feature_name *f = tensor_feature_names; f->name && at < size; f++)
        if ((f->bits & (f->bits - 1)) == 0 && features & f->bits)
            at += (size_t)snprintf(text + at, size - at, "%s%s", at ? ", " : "", f->name);
    return text;
}

static void list_device(void *user, int index, const struct tensor_device_info *info)
{
    char memory[32], name[32] = "cpu", text[256];

    (void)user;
    if (!strcmp(info->kind, "vulkan"))
        snprintf(name, sizeof name, "vulkan:%d", index);
    printf("%-10s %s, %s%s\n", name, info->name, app_bytes((double)info->memory_bytes, memory),
           info->software ? ", computes on the processor: for tests" : "");
    if (info->cores)
        printf("%-10s %u cores\n", "", info->cores);
    if (info->features)
        printf("%-10s kernels: %s\n", "", feature_names(info->features, text, sizeof text));
    for (uint32_t i = 0; i < info->matrix_shapes; i++) {
        const struct tensor_matrix_shape *s = &info->matrix_shape[i];
        printf("%-10s %s: %s%u x %u x %u", "", feature_names(s->feature, text, sizeof text),
               s->feature & TENSOR_COOPERATIVE_MATRIX_2 ? "multiples of " : "", s->m, s->n, s->k);
        printf(s->workgroup ? ", %u invocations\n" : "\n", s->workgroup);
    }
}

static int disable(struct app_device_options *o, const char *name)
{
    for (const struct tensor_feature_name *f = tensor_feature_names; f->name; f++)
        if (!strcmp(name, f->name)) {
            o->disable |= f->bits;
            return 1;
        }
    return app_fail(-1, "nothing called '%s' can be disabled; --help lists what can", name);
}

static int set_precision(struct app_device_options *o, const char *name)
{
    for (int p = TENSOR_PRECISION_FP32; p <= TENSOR_PRECISION_AUTO; p++)
        if (!strcmp(name, tensor_precision_name((enum tensor_precision)p))) {
            o->precision = name;
            return 1;
        }
    return app_fail(-1, "unknown precision '%s'; use fp32, bf16, fp16 or auto", name);
}

/* Whether there is such a device is known when it is opened, and no matter of the command. */
static int set_device(struct app_device_options *o, const char *name)
{
    if (strcmp(name, "auto") && strcmp(name, "cpu") && strcmp(name, "vulkan") &&
        (strncmp(name, "vulkan:", 7) || !name[7]))
        return app_fail(-1, "unknown device '%s'; use auto, cpu, vulkan, vulkan:INDEX or "
                        "vulkan:NAME", name);
    o->device = name;
    return 1;
}

int app_device_option(struct app_device_options *o, int key, const char *argument)
{
    switch (key) {
    case APP_KEY_DEVICE:
        return set_device(o, argument);
    case APP_KEY_PRECISION:
        return set_precision(o, argument);
    case APP_KEY_DISABLE:
        return disable(o, argument);
    case APP_KEY_DEVICES:
        tensor_device_list(list_device, NULL);
        return 2;
    default:
        return 0;
    }
}

static void note_device(void *user, const char *line)
{
    (void)user;
    app_note("%s", line);
}

static enum tensor_precision precision_of(const struct app_device_options *o)
{
    int p = TENSOR_PRECISION_AUTO;

    while (o->precision && p &&
           strcmp(o->precision, tensor_precision_name((enum tensor_precision)p)))
        p--;
    return (enum tensor_precision)p;
}

int app_device_open(const struct app_device_options *o, struct tensor_device **device)
{
    const struct tensor_device_params params = {
        .name = o->device, .precision = precision_of(o), .disable = o->disable,
        .log = note_device};
    const int status = tensor_device_open(&params, device);
    char memory[32];

    if (status < 0)
        return app_fail(APP_FAILED, "%s", tensor_error());
    const struct tensor_device_info *info = tensor_device_info(*device);
    if (info->threads)
        app_note("device: %s, %u threads, %s, %s, %s", info->name, info->threads, info->driver,
                 app_bytes((double)info->memory_bytes, memory),
                 tensor_precision_name(info->precision));
    else
        app_note("device: %s, %s, %s, %s", info->name, info->driver,
                 app_bytes((double)info->memory_bytes, memory),
                 tensor_precision_name(info->precision));
    return APP_DONE;
}

const char *app_build(void)
{
    static char build[64];
    unsigned char piece[65536];
    XXH64_state_t hash;
    uint64_t size = 0;
    ssize_t n;
    int fd;

    if (*build)
        return build;
    fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    XXH64_reset(&hash, 0);
    while (fd >= 0 && (n = read(fd, piece, sizeof piece)) > 0) {
        XXH64_update(&hash, piece, (size_t)n);
        size += (uint64_t)n;
    }
    if (fd >= 0)
        close(fd);
    if (size)
        snprintf(build, sizeof build, "%s %016" PRIx64, MEGABYTE_VERSION, XXH64_digest(&hash));
    else
        snprintf(build, sizeof build, "%s", MEGABYTE_VERSION);
    return build;
}
