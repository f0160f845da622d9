/* choices.c - which products go which way: the list, its text, its file (choices.h). */
#include "tensor/choice.h"
#include "tensor/json.h"
#include "tensor/recording.h"
#include "tensor/vulkan/choices.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT  "megabyte-choices"
#define VERSION 1

static const char *const orders[] = {"ab", "a'b", "ab'", "a'b'"}; /* by MATMUL_TRANSPOSE_* */

/* ---- the list ---- */

static bool same_product(const struct tensor_choice *c, const struct matmul_params *p)
{
    return c->m == p->m && c->n == p->n && c->k == p->k &&
           c->flags == (p->flags & (MATMUL_ORDER | MATMUL_FACTORS));
}

const struct tensor_choice *tensor_choices_find(const struct tensor_choices *choices,
                                                const struct matmul_params *p)
{
    for (uint32_t i = 0; choices && i < choices->count; i++)
        if (same_product(&choices->list[i], p))
            return &choices->list[i];
    return NULL;
}

bool tensor_choice_is(const struct tensor_choice *c, const struct matmul_way *way)
{
    return c->variant == way->launch.variant && c->tile[0] == way->m && c->tile[1] == way->n &&
           !memcmp(c->unit, way->unit, sizeof c->unit);
}

struct tensor_choice tensor_choice_of(const struct matmul_params *p, const struct matmul_way *way,
                                      uint32_t parts)
{
    return (struct tensor_choice){
        .m = p->m, .n = p->n, .k = p->k, .flags = p->flags & (MATMUL_ORDER | MATMUL_FACTORS),
        .variant = way->launch.variant, .tile = {way->m, way->n},
        .unit = {way->unit[0], way->unit[1], way->unit[2]}, .parts = parts};
}

static struct matmul_params params_of(const struct tensor_choice *c)
{
    return (struct matmul_params){.m = c->m, .n = c->n, .k = c->k, .flags = c->flags,
                                  .part = c->k};
}

int tensor_choices_put(struct tensor_choices *choices, const struct tensor_choice *choice)
{
    const struct matmul_params p = params_of(choice);
    for (uint32_t i = 0; i < choices->count; i++)
        if (same_product(&choices->list[i], &p)) {
            choices->list[i] = *choice;
            return 0;
        }
    if (choices->count == choices->room) {
        const uint32_t room = choices->room ? 2 * choices->room : 16;
        void *larger = realloc(choices->list, room * sizeof *choices->list);
        if (!larger)
            return tensor_fail(ENOMEM, "no host memory for choices of kernels");
        choices->list = larger;
        choices->room = room;
    }
    choices->list[choices->count++] = *choice;
    return 0;
}

/* Puts a list into use on the device, which owns it from now on. */
static void use(struct tensor_device *device, struct tensor_choices *choices)
{
    free(device->choices.list);
    device->choices = *choices;
    device->info.choices = &device->choices;
}

/* ---- as text ---- */

static void product_text(const struct tensor_choice *c, char text[TENSOR_PRODUCT_TEXT])
{
    snprintf(text, TENSOR_PRODUCT_TEXT, "%" PRIu32 " x %" PRIu32 " x %" PRIu32 " %s %s", c->m, c->n,
             c->k, orders[c->flags & MATMUL_ORDER],
             c->flags & MATMUL_BF16 ? "bf16" : c->flags & MATMUL_F16 ? "fp16" : "fp32");
}

void tensor_choice_text(const struct tensor_choice *c, char product[TENSOR_PRODUCT_TEXT],
                        char way[TENSOR_WAY_TEXT])
{
    int n = snprintf(way, TENSOR_WAY_TEXT, "%s %" PRIu32 " x %" PRIu32,
                     tensor_kernel_matmul->variant[c->variant], c->tile[0], c->tile[1]);
    if (c->unit[0])
        n += snprintf(way + n, TENSOR_WAY_TEXT - (size_t)n,
                      " of %" PRIu32 " x %" PRIu32 " x %" PRIu32, c->unit[0], c->unit[1],
                      c->unit[2]);
    if (c->parts > 1)
        snprintf(way + n, TENSOR_WAY_TEXT - (size_t)n, ", %" PRIu32 " parts", c->parts);
    product_text(c, product);
}

/* Reads a product back; it is one only if it is written exactly so. */
static bool read_product(const char *text, struct tensor_choice *c)
{
    char order[8], type[8], again[TENSOR_PRODUCT_TEXT];
    *c = (struct tensor_choice){0};
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

/* The way of that text, if the device has it for this product. */
static bool read_way(const struct tensor_device_info *info, const char *text,
                     struct tensor_choice *c)
{
    struct matmul_way way[MATMUL_WAYS];
    const struct matmul_params p = params_of(c);
    const uint32_t count = tensor_matmul_ways(info, &p, way);
    const char *comma = strchr(text, ',');
    uint32_t parts = 1;
    if (comma && (sscanf(comma, ", %2" SCNu32 " parts", &parts) != 1 || parts < 2 ||
                  parts > MATMUL_PARTS_MAX ||
                  tensor_matmul_parts(p.k, tensor_matmul_part(p.k, parts)) != parts ||
                  (uint64_t)parts * p.m * p.n > INT32_MAX))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        char product[TENSOR_PRODUCT_TEXT], again[TENSOR_WAY_TEXT];
        *c = tensor_choice_of(&p, &way[i], parts);
        tensor_choice_text(c, product, again);
        if (!strcmp(text, again))
            return true;
    }
    return false;
}

/* The choices of a JSON object. */
static int read_choices(const struct tensor_device_info *info, json_t *object,
                        struct tensor_choices *choices, uint32_t *refused)
{
    const char *key;
    json_t *value;
    int status = 0;
    *refused = 0;
    json_object_foreach(object, key, value) {
        struct tensor_choice c;
        const char *way = json_string_value(value);
        if (!way || !read_product(key, &c) || !read_way(info, way, &c))
            ++*refused;
        else if (status == 0)
            status = tensor_choices_put(choices, &c);
    }
    return status;
}

static bool add_json(json_t *object, const struct tensor_choices *choices)
{
    bool good = object;
    for (uint32_t i = 0; i < choices->count && good; i++) {
        char product[TENSOR_PRODUCT_TEXT], way[TENSOR_WAY_TEXT];
        tensor_choice_text(&choices->list[i], product, way);
        good = json_object_set_new(object, product, json_string(way)) == 0;
    }
    return good;
}

char *tensor_device_choices(const struct tensor_device *device)
{
    json_t *object = json_object();
    char *text = add_json(object, &device->choices)
                     ? tensor_json_write(object, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    json_decref(object);
    return text;
}

int tensor_device_choose(struct tensor_device *device, const char *text, uint32_t *refused)
{
    struct tensor_choices choices = {0};
    json_t *object = NULL;
    uint32_t count = 0;
    int status = text ? tensor_json_read(text, strlen(text), &object) : 0;
    if (status == 0 && object && !json_is_object(object))
        status = tensor_fail(EBADMSG, "choices of kernels are no JSON object");
    if (status == 0)
        status = read_choices(&device->info, object, &choices, &count);
    json_decref(object);
    if (status < 0) {
        free(choices.list);
        return status;
    }
    use(device, &choices);
    if (refused)
        *refused = count;
    return 0;
}

/* ---- the file ---- */

/* Whether a file is of this device, driver and kernels; else *why says what it is instead. */
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
               ? "is no file of choices, or a damaged one"
           : json_integer_value(json_object_get(file, "version")) != VERSION
               ? "is of another version"
           : strcmp(name, device->info.name) || strcmp(driver, device->info.driver)
               ? "is of another device or driver"
           : strcmp(kernels, digest) ? "is of other kernels, of another build"
                                     : NULL;
    return !*why;
}

/* The file as JSON, if it can be used; NULL: else, with a line unless there is none. */
static json_t *read_file(struct tensor_device *device)
{
    const char *why = NULL;
    char path[512];
    json_t *file = NULL;
    size_t size;
    char *text = tensor_vulkan_choices_read(device, path, &size);
    if (!text)
        return NULL;
    if (tensor_json_read(text, size, &file) < 0)
        why = tensor_error();
    else
        fits(device, file, &why);
    if (why) {
        tensor_log(device, "%s %s%s; it is not used, and products go as without it; --tune writes "
                   "it anew", path, file ? "" : "is damaged: ", why);
        json_decref(file);
        file = NULL;
    }
    free(text);
    return file;
}

void tensor_choices_open(struct tensor_device *device)
{
    struct tensor_choices choices = {0};
    uint32_t refused = 0;
    json_t *file = strcmp(device->info.kind, "vulkan") ? NULL : read_file(device);
    if (file)
        read_choices(&device->info, json_object_get(file, "products"), &choices, &refused);
    json_decref(file);
    if (refused)
        tensor_log(device, "%u of the kernels that were found by trying are not possible with what "
                   "is in use of %s, and are left out", refused, device->info.name);
    use(device, &choices);
}

void tensor_choices_close(struct tensor_device *device)
{
    free(device->choices.list);
    device->choices = (struct tensor_choices){0};
}

void tensor_choices_save(struct tensor_device *device, const struct tensor_choices *choices)
{
    json_t *before = read_file(device);
    json_t *products = before ? json_incref(json_object_get(before, "products")) : json_object();
    char digest[17];
    snprintf(digest, sizeof digest, "%016" PRIx64, tensor_vulkan_kernels_digest());
    const bool good = add_json(products, choices);
    json_t *file = json_pack("{s:s, s:i, s:s, s:s, s:s, s:o}", "format", FORMAT, "version", VERSION,
                             "device", device->info.name, "driver", device->info.driver, "kernels",
                             digest, "products", products);
    char *text = good && file ? tensor_json_write(file, JSON_INDENT(1)) : NULL;
    if (!text || !tensor_vulkan_choices_write(device, text))
        tensor_log(device, "what was found by trying could not be kept in the cache (%s)",
                   text ? "no such folder, or no room" : "no memory");
    free(text);
    json_decref(file);
    json_decref(before);
}

/* ---- products of a graph ---- */

const struct matmul_params *tensor_product_of(const struct tensor_graph *g, uint32_t pass)
{
    if (g->passes[pass].kernel != tensor_kernel_matmul || strcmp(g->device->info.kind, "vulkan"))
        return NULL;
    return (const struct matmul_params *)(g->steps ? g->steps[pass].params
                                                   : g->passes[pass].params);
}

uint32_t tensor_graph_products(struct tensor_graph *g, struct tensor_product *list, uint32_t room)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->pass_count; i++) {
        const struct matmul_params *p = tensor_product_of(g, i);
        struct matmul_way way;
        struct tensor_product found = {.passes = 1, .flops = g->passes[i].flops};
        uint32_t j = 0;
        if (!p)
            continue;
        tensor_matmul_way(&g->device->info, p, &way, &found.chosen);
        const struct tensor_choice c =
            tensor_choice_of(p, &way, tensor_matmul_parts(p->k, p->part));
        tensor_choice_text(&c, found.product, found.way);
        while (j < count && j < room &&
               (strcmp(list[j].product, found.product) || strcmp(list[j].way, found.way)))
            j++;
        if (j < count && j < room)
            list[j].passes++;
        else if (count++ < room)
            list[j] = found;
    }
    return count;
}

void tensor_graph_keep_choices(struct tensor_graph *g)
{
    struct tensor_choices *all = &g->device->choices;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        bool wanted = false;
        for (uint32_t j = 0; j < g->pass_count && !wanted; j++) {
            const struct matmul_params *p = tensor_product_of(g, j);
            wanted = p && same_product(&all->list[i], p);
        }
        if (wanted)
            all->list[kept++] = all->list[i];
    }
    all->count = kept;
}
