/* autotune_file.c - an autotune cache as text, and in a file (autotune.h). */
#include "tensor/autotune_cache.h"
#include "tensor/backend.h"
#include "tensor/json.h"
#include "tensor/op/matmul_config.h"
#include "tensor/vulkan/autotune.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT  "megabyte-choices"
#define VERSION 1

static const char *const orders[] = {"ab", "a'b", "ab'", "a'b'"}; /* by MATMUL_TRANSPOSE_* */

static struct matmul_params params_of(const struct tensor_autotune_entry *e)
{
    return (struct matmul_params){.m = e->m, .n = e->n, .k = e->k, .flags = e->flags,
                                  .split_k = e->k};
}

/* ---- as text ---- */

static void product_text(const struct tensor_autotune_entry *c, char text[TENSOR_PRODUCT_TEXT])
{
    snprintf(text, TENSOR_PRODUCT_TEXT, "%" PRIu32 " x %" PRIu32 " x %" PRIu32 " %s %s", c->m, c->n,
             c->k, orders[c->flags & MATMUL_ORDER],
             c->flags & MATMUL_BF16 ? "bf16" : c->flags & MATMUL_F16 ? "fp16" : "fp32");
}

void tensor_autotune_text(const struct tensor_autotune_entry *c, char product[TENSOR_PRODUCT_TEXT],
                        char config[TENSOR_CONFIG_TEXT])
{
    int n = snprintf(config, TENSOR_CONFIG_TEXT, "%s %" PRIu32 " x %" PRIu32,
                     tensor_kernel_matmul->variant[c->variant], c->tile[0], c->tile[1]);
    if (c->unit[0])
        n += snprintf(config + n, TENSOR_CONFIG_TEXT - (size_t)n,
                      " of %" PRIu32 " x %" PRIu32 " x %" PRIu32, c->unit[0], c->unit[1],
                      c->unit[2]);
    if (c->splits > 1)
        snprintf(config + n, TENSOR_CONFIG_TEXT - (size_t)n, ", %" PRIu32 " parts", c->splits);
    product_text(c, product);
}

/* Reads a product back; it is one only if it is written exactly so. */
static bool read_product(const char *text, struct tensor_autotune_entry *c)
{
    char order[8], type[8], again[TENSOR_PRODUCT_TEXT];
    *c = (struct tensor_autotune_entry){0};
    if (sscanf(text, "%10" SCNu32 " x %10" SCNu32 " x %10" SCNu32 " %7s %7s", &c->m, &c->n, &c->k,
               order, type) != 5)
        return false;
    for (uint32_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (!strcmp(order, orders[i]))
            c->flags = i;
    c->flags |= !strcmp(type, "bf16") ? MATMUL_BF16 : !strcmp(type, "fp16") ? MATMUL_F16 : 0;
    product_text(c, again);
    return !strcmp(text, again) && c->m && c->n && c->k &&
           (uint64_t)c->m * c->k <= INT32_MAX && (uint64_t)c->k * c->n <= INT32_MAX &&
           (uint64_t)c->m * c->n <= INT32_MAX;
}

/* Reads the configuration of that text. Returns false if the device does not have it for this
 * product. */
static bool read_config(const struct tensor_device_info *info, const char *text,
                     struct tensor_autotune_entry *c)
{
    struct matmul_config config[MATMUL_CONFIGS];
    const struct matmul_params p = params_of(c);
    const uint32_t count = tensor_matmul_configs(info, &p, config);
    const char *comma = strchr(text, ',');
    uint32_t splits = 1;
    if (comma && (sscanf(comma, ", %2" SCNu32 " parts", &splits) != 1 || splits < 2 ||
                  splits > MATMUL_SPLITS_MAX ||
                  tensor_matmul_splits(p.k, tensor_matmul_split_k(p.k, splits)) != splits ||
                  (uint64_t)splits * p.m * p.n > INT32_MAX))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        char product[TENSOR_PRODUCT_TEXT], again[TENSOR_CONFIG_TEXT];
        *c = tensor_matmul_entry(&p, &config[i], splits);
        tensor_autotune_text(c, product, again);
        if (!strcmp(text, again))
            return true;
    }
    return false;
}

/* Adds the entries of a JSON object to the cache. */
static int read_entries(struct tensor_autotune *cache, json_t *object, uint32_t *refused)
{
    const char *key;
    json_t *value;
    int status = 0;
    *refused = 0;
    json_object_foreach(object, key, value) {
        struct tensor_autotune_entry e;
        const char *config = json_string_value(value);
        if (!config || !read_product(key, &e) || !read_config(&cache->device->info, config, &e))
            ++*refused;
        else if (status == 0)
            status = tensor_autotune_put(cache, &e);
    }
    return status;
}

static bool add_json(json_t *object, const struct tensor_autotune *cache)
{
    bool good = object;
    for (uint32_t i = 0; i < cache->count && good; i++) {
        char product[TENSOR_PRODUCT_TEXT], config[TENSOR_CONFIG_TEXT];
        tensor_autotune_text(&cache->list[i], product, config);
        good = json_object_set_new(object, product, json_string(config)) == 0;
    }
    return good;
}

char *tensor_autotune_write(const struct tensor_autotune *cache)
{
    json_t *object = json_object();
    char *text = add_json(object, cache)
                     ? tensor_json_write(object, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    json_decref(object);
    return text;
}

int tensor_autotune_read(struct tensor_autotune *cache, const char *text, uint32_t *refused)
{
    struct tensor_autotune read = {.device = cache->device};
    json_t *object = NULL;
    uint32_t count = 0;
    int status = text ? tensor_json_read(text, strlen(text), &object) : 0;
    if (status == 0 && object && !json_is_object(object))
        status = tensor_fail(EBADMSG, "the kernel configurations are no JSON object");
    if (status == 0)
        status = read_entries(&read, object, &count);
    json_decref(object);
    if (status < 0) {
        free(read.list);
        return status;
    }
    free(cache->list);
    *cache = read;
    if (refused)
        *refused = count;
    return 0;
}

/* ---- the file ---- */

/* Returns whether a file belongs to this device, driver and kernels; if not, *why is what is
 * wrong. */
static bool fits(const struct tensor_device *device, const json_t *file, const char **why)
{
    const char *format = json_string_value(json_object_get(file, "format"));
    const char *name = json_string_value(json_object_get(file, "device"));
    const char *driver = json_string_value(json_object_get(file, "driver"));
    const char *kernels = json_string_value(json_object_get(file, "kernels"));
    char digest[17];
    snprintf(digest, sizeof digest, "%016" PRIx64, tensor_vulkan_kernels_digest());
    *why = !format || strcmp(format, FORMAT) || !name || !driver || !kernels ||
                   !json_is_object(json_object_get(file, "products"))
               ? "is not an autotune cache, or is damaged"
           : json_integer_value(json_object_get(file, "version")) != VERSION
               ? "has another version of the format"
           : strcmp(name, device->info.name) || strcmp(driver, device->info.driver)
               ? "belongs to another device or driver"
           : strcmp(kernels, digest) ? "was made with the kernels of another build"
                                     : NULL;
    return !*why;
}

/* Returns the file as JSON. Returns NULL if there is none, or if it cannot be used, which is
 * logged. */
static json_t *read_file(struct tensor_device *device)
{
    const char *why = NULL;
    char path[512];
    json_t *file = NULL;
    size_t size;
    char *text = tensor_vulkan_autotune_read(device, path, &size);
    if (!text)
        return NULL;
    if (tensor_json_read(text, size, &file) < 0)
        why = tensor_error();
    else
        fits(device, file, &why);
    if (why) {
        tensor_log(device, "%s %s%s; it is not used; --tune writes a new one", path,
                   file ? "" : "is damaged: ", why);
        json_decref(file);
        file = NULL;
    }
    free(text);
    return file;
}

int tensor_autotune_open(struct tensor_device *device)
{
    struct tensor_autotune *cache = calloc(1, sizeof *cache);
    uint32_t refused = 0;
    if (!cache)
        return tensor_fail(ENOMEM, "no host memory for the autotune cache");
    cache->device = device;
    device->autotune = cache;
    json_t *file = strcmp(device->info.kind, "vulkan") ? NULL : read_file(device);
    if (file)
        read_entries(cache, json_object_get(file, "products"), &refused);
    json_decref(file);
    if (refused)
        tensor_log(device, "%u kernel configurations of the autotune cache do not exist on %s with "
                   "the features in use; they are left out", refused, device->info.name);
    return 0;
}

void tensor_autotune_close(struct tensor_device *device)
{
    if (device->autotune)
        free(device->autotune->list);
    free(device->autotune);
    device->autotune = NULL;
}

void tensor_autotune_save(const struct tensor_autotune *cache)
{
    struct tensor_device *device = cache->device;
    json_t *before = read_file(device);
    json_t *products = before ? json_incref(json_object_get(before, "products")) : json_object();
    char digest[17];
    snprintf(digest, sizeof digest, "%016" PRIx64, tensor_vulkan_kernels_digest());
    const bool good = add_json(products, cache);
    json_t *file = json_pack("{s:s, s:i, s:s, s:s, s:s, s:o}", "format", FORMAT, "version", VERSION,
                             "device", device->info.name, "driver", device->info.driver, "kernels",
                             digest, "products", products);
    char *text = good && file ? tensor_json_write(file, JSON_INDENT(1)) : NULL;
    if (!text || !tensor_vulkan_autotune_write(device, text))
        tensor_log(device, "the autotune cache could not be written (%s)",
                   text ? "no such folder, or the disk is full" : "no memory");
    free(text);
    json_decref(file);
    json_decref(before);
}
