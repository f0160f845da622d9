/* check.c - devices, small models and bytes for the tests of megabyte. */
#include "tests/megabyte/check.h"
#include "tensor/random.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int check_failures;
static char place[320] = "host"; /* the device at hand, for messages */

void check_must(int status, const char *what)
{
    if (status >= 0)
        return;
    printf("FAIL %s: %s: %d / %s / %s\n", place, what, status, tensor_error(), megabyte_error());
    exit(1);
}

void check_failed(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("FAIL %s: ", place);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    if (++check_failures >= 30) {
        printf("FAIL too many; stopped\n");
        exit(1);
    }
}

void *check_allocate(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    check_must(memory ? 0 : -ENOMEM, "host memory");
    return memory;
}

uint32_t check_random_number(uint32_t seed, uint32_t index)
{
    return tensor_random(index, 0, 0, 0x74657374, seed, 0).word[0];
}

void check_random_bytes(uint32_t seed, uint8_t *to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = (uint8_t)(check_random_number(seed, (uint32_t)i) >> 13);
}

void check_text(uint32_t seed, uint8_t *to, size_t count)
{
    static const char *const words[8] = {"the ",  "patch ",         "of ", "a byte ", "sees ",
                                         "what ", "came before.\n", "it, "};
    size_t i = 0;
    for (uint32_t n = 0; i < count; n++)
        for (const char *c = words[check_random_number(seed, n) % 8]; *c && i < count; c++)
            to[i++] = (uint8_t)*c;
}

/* ---- devices ---- */

struct tensor_device *check_open_cpu(void)
{
    struct tensor_device *device;
    check_must(tensor_device_open(&(struct tensor_device_params){.name = "cpu"}, &device), "cpu");
    return device;
}

/* Of LeakSanitizer, where it is in the program: what a Vulkan driver allocates when it is loaded
 * and never frees is its own matter. lavapipe does so. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void drivers_begin(void)
{
    if (__lsan_disable)
        __lsan_disable();
}

static void drivers_end(void)
{
    if (__lsan_enable)
        __lsan_enable();
}

static int open_device(const struct tensor_device_params *params, struct tensor_device **device)
{
    drivers_begin();
    const int status = tensor_device_open(params, device);
    drivers_end();
    return status;
}

static void show(void *user, const char *line)
{
    (void)user;
    printf("     %s\n", line);
}

struct tensor_device *check_open(const char *name, enum tensor_precision precision,
                                 bool *validation)
{
    const bool vulkan = strcmp(name, "cpu") != 0;
    struct tensor_device_params params = {
        .name = name, .precision = precision, .validation = vulkan, .log = show};
    struct tensor_device *device;
    int status = open_device(&params, &device);
    if (status == -ENOTSUP && params.validation) { /* the layer is not installed */
        params.validation = false;
        status = open_device(&params, &device);
    }
    check_must(status, name);
    if (validation)
        *validation = params.validation;
    return device;
}

void check_close(struct tensor_device **device)
{
    const uint64_t messages = tensor_device_validation_messages(*device);
    CHECK(messages == 0, "%u messages of the validation layer", (unsigned)messages);
    tensor_device_close(device);
}

static void run_on(const char *name, enum tensor_precision precision,
                   void (*test)(struct tensor_device *))
{
    bool validation;
    struct tensor_device *device = check_open(name, precision, &validation);
    snprintf(place, sizeof place, "%s %.200s", name, tensor_device_info(device)->name);
    test(device);
    check_close(&device);
    printf("%s%s\n", place, validation ? ", with validation" : "");
    fflush(stdout);
    strcpy(place, "host");
}

#define DEVICES_MAX 16

struct devices {
    char name[DEVICES_MAX][32];
    int count;
};

static void remember(void *user, int index, const struct tensor_device_info *info)
{
    struct devices *d = user;
    if (d->count == DEVICES_MAX)
        return;
    char *name = d->name[d->count++];
    if (strcmp(info->kind, "vulkan"))
        strcpy(name, "cpu");
    else
        snprintf(name, sizeof d->name[0], "vulkan:%d", index);
}

static void run_each(uint32_t precisions, void (*test)(struct tensor_device *device))
{
    struct devices devices = {.count = 0};
    drivers_begin();
    tensor_device_list(remember, &devices);
    drivers_end();
    CHECK(devices.count > 0, "no device at all");
    for (int i = 0; i < devices.count; i++)
        for (uint32_t precision = 0; precision < precisions; precision++)
            run_on(devices.name[i], (enum tensor_precision)precision, test);
}

void check_each_device(void (*test)(struct tensor_device *device))
{
    run_each(TENSOR_PRECISION_FP32 + 1, test);
}

void check_each_precision(void (*test)(struct tensor_device *device))
{
    run_each(TENSOR_PRECISION_FP16 + 1, test);
}

/* ---- small models ---- */

static const struct megabyte_config shapes[] = {
    {.seq_len = 24, .patch_size = 4, .global = {24, 2, 3}, .local = {20, 2, 2}},
    {.seq_len = 24, .patch_size = 3, .global = {15, 1, 3}, .local = {9, 2, 3}}, /* nothing by 4 */
    {.seq_len = 32, .patch_size = 8, .global = {32, 2, 2}, .local = {18, 1, 2}},
    {.seq_len = 30,
     .patch_size = 6,
     .global = {30, 1, 2},
     .local = {16, 1, 1}}, /* K odd, P/2 odd */
    {.seq_len = 11, .patch_size = 1, .global = {10, 2, 2}, .local = {12, 1, 3}}, /* P = 1 */
    {.seq_len = 8, .patch_size = 8, .global = {16, 1, 1}, .local = {14, 2, 7}},  /* K = 1 */
    {.seq_len = 1, .patch_size = 1, .global = {6, 1, 2}, .local = {5, 1, 1}},    /* T = 1 */
    {.seq_len = 40, .patch_size = 8, .global = {64, 1, 4}, .local = {32, 1, 4}},
};

/* The paper's variations and what it compares with, one by one and several at once. */
#define SIZES .seq_len = 24, .patch_size = 4, .global = {24, 2, 3}, .local = {20, 2, 2}, .tied = 1
static const struct megabyte_config variations[] = {
    {SIZES, .cross_patch = 4},
    {SIZES, .cross_patch = 1},
    {SIZES, .conv = 1},
    {SIZES, .rope = 1},
    {.seq_len = 30, .patch_size = 6, .global = {36, 1, 3}, .local = {12, 2, 2}, .cross_patch = 5,
     .conv = 1, .rope = 1},
    {.seq_len = 11, .patch_size = 1, .global = {10, 1, 1}, .local = {12, 2, 3}, .cross_patch = 1,
     .tied = 1},
    {SIZES, .model = MEGABYTE_LOCAL},
    {SIZES, .model = MEGABYTE_LOCAL, .cross_patch = 3},
    {.seq_len = 17, .patch_size = 17, .local = {20, 2, 2}, .model = MEGABYTE_LOCAL, .tied = 1},
    {SIZES, .model = MEGABYTE_GLOBAL},
    {.seq_len = 24, .patch_size = 2, .global = {24, 2, 3}, .model = MEGABYTE_GLOBAL, .conv = 1},
    {.seq_len = 23, .patch_size = 5, .local = {20, 2, 2}, .model = MEGABYTE_PERCEIVER, .tied = 1},
    {.seq_len = 7, .patch_size = 6, .local = {10, 1, 1}, .model = MEGABYTE_PERCEIVER},
};

static bool small_model(const struct megabyte_config *from, size_t count, unsigned index,
                        struct megabyte_config *config)
{
    if (index >= count)
        return false;
    struct megabyte_config c;
    check_must(megabyte_config_preset("tiny", &c), "preset");
    c.seq_len = from[index].seq_len;
    c.patch_size = from[index].patch_size;
    c.global = from[index].global;
    c.local = from[index].local;
    c.model = from[index].model;
    c.cross_patch = from[index].cross_patch;
    c.conv = from[index].conv;
    c.rope = from[index].rope;
    c.tied = from[index].tied;
    c.init = 0.3;
    c.init_embedding = 0.5;
    c.batch = 2;
    *config = c;
    return true;
}

bool check_shape(unsigned index, struct megabyte_config *config)
{
    const bool there = small_model(shapes, sizeof shapes / sizeof *shapes, index, config);
    if (there)
        config->tied = 1;
    return there;
}

bool check_variation(unsigned index, struct megabyte_config *config)
{
    return small_model(variations, sizeof variations / sizeof *variations, index, config);
}

struct megabyte_config check_training_config(uint32_t seq_len, uint32_t batch)
{
    struct megabyte_config c;
    check_must(megabyte_config_preset("tiny", &c), "preset");
    c.seq_len = seq_len;
    c.patch_size = 3;
    c.global = (struct megabyte_stage){30, 2, 3};
    c.local = (struct megabyte_stage){18, 1, 2};
    c.batch = batch;
    c.micro_batch = 2;
    c.dropout = 0.1;
    return c;
}

const char *check_shape_name(const struct megabyte_config *c)
{
    static char name[160];
    snprintf(name, sizeof name, "model %u T %u P %u D %u E %u r %u%s%s%s", c->model, c->seq_len,
             c->patch_size, c->global.dim, c->local.dim, c->cross_patch, c->conv ? " conv" : "",
             c->rope ? " rope" : "", c->tied ? "" : " untied");
    return name;
}

struct megabyte_model *check_model(struct tensor_device *device,
                                   const struct megabyte_config *config, bool training,
                                   uint64_t seed)
{
    struct megabyte_model *model;
    check_must(megabyte_model_create(device, config, training, &model), "model");
    check_must(nn_parameters_commit(model->parameters), "memory");
    check_must(nn_parameters_initialise(model->parameters, seed), "first values");
    return model;
}

struct megabyte_evaluator *check_evaluator(const struct megabyte_model *model, uint32_t batch)
{
    struct megabyte_evaluator *evaluator;
    check_must(megabyte_evaluator_create(model, batch, &evaluator), "evaluator");
    return evaluator;
}
