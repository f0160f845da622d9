/* safetensors_parse.c - see safetensors_parse.h. */
#include "tensor/safetensors_parse.h"
#include "tensor/backend.h"
#include "tensor/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const tensor_safetensors_dtypes[TENSOR_TYPES] = {
    [TENSOR_F32] = "F32",   [TENSOR_U32] = "U32", [TENSOR_U8] = "U8",
    [TENSOR_BF16] = "BF16", [TENSOR_F16] = "F16",
};

/* Every dtype that the public library knows, so that sizes of foreign tensors are checked too. */
static const struct {
    char name[12];
    uint32_t bits;
} sizes[] = {
    {"F32", 32},    {"U32", 32},    {"U8", 8},      {"BOOL", 8}, {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F4", 4},   {"F6_E2M3", 6},
    {"F6_E3M2", 6}, {"I16", 16},    {"U16", 16},    {"F16", 16}, {"BF16", 16},
    {"I32", 32},    {"I64", 64},    {"U64", 64},    {"F64", 64}, {"C64", 64},
};

struct tensor_safetensors_shown tensor_safetensors_show(const char *name)
{
    struct tensor_safetensors_shown s;
    size_t length = strnlen(name, sizeof s.text - 1);
    memcpy(s.text, name, length);
    s.text[length] = '\0';
    for (unsigned char *c = (unsigned char *)s.text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
        else if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) /* the control characters of C1 */
            c[0] = c[1] = '?';
    }
    return s;
}

int tensor_safetensors_damaged(const char *file, const char *what, const char *name)
{
    if (!name)
        return tensor_fail(EBADMSG, "%s is damaged or no safetensors file: %s", file, what);
    return tensor_fail(EBADMSG, "%s is damaged or no safetensors file: tensor '%s': %s", file,
                       tensor_safetensors_show(name).text, what);
}

int tensor_safetensors_header_length(const char *file, const unsigned char raw[8], uint64_t size,
                                     uint64_t *length)
{
    uint64_t n = 0;
    if (size < 8)
        return tensor_safetensors_damaged(file, "it is shorter than 8 bytes", NULL);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | raw[i];
    if (n > size - 8)
        return tensor_safetensors_damaged(file, "it ends before its header does", NULL);
    if (n > SAFETENSORS_HEADER_MAX)
        return tensor_safetensors_damaged(file, "its header is above 100 MB", NULL);
    *length = n;
    return 0;
}

/* Reads the text into JSON. */
static int read_json(const char *file, const char *text, uint64_t length, json_t **header)
{
    const int result = tensor_json_read(text, length, header);
    if (result == -ENOMEM)
        return tensor_fail(ENOMEM, "cannot open %s: no memory for its header", file);
    if (result < 0)
        return tensor_safetensors_damaged(file, tensor_safetensors_show(tensor_error()).text, NULL);
    if (json_typeof(*header) != JSON_OBJECT)
        return tensor_safetensors_damaged(file, "its header is no JSON object", NULL);
    return 0;
}

/* A whole number that fits; jansson has refused what is beyond 63 bits. */
static bool natural(const json_t *json, uint64_t *value)
{
    if (json_typeof(json) != JSON_INTEGER || json_integer_value(json) < 0)
        return false;
    *value = (uint64_t)json_integer_value(json);
    return true;
}

/* Bytes of the elements, from the shape. False: it overflows or ends within a byte. */
static bool expected_size(const struct tensor_safetensors_entry *entry, uint32_t bits,
                          uint64_t *size)
{
    uint64_t n = bits;
    bool empty = false;
    for (uint32_t i = 0; i < entry->rank; i++)
        empty = empty || entry->shape[i] == 0;
    for (uint32_t i = 0; i < entry->rank && !empty; i++)
        if (__builtin_mul_overflow(n, entry->shape[i], &n))
            return false;
    *size = empty ? 0 : n / 8;
    return empty || n % 8 == 0;
}

/* Sets `type` and `usable`, and says whether the size is right as far as the dtype is known. */
static const char *check_dtype(struct tensor_safetensors_entry *entry)
{
    for (uint32_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t size;
        if (strcmp(sizes[i].name, entry->dtype) != 0)
            continue;
        if (!expected_size(entry, sizes[i].bits, &size))
            return "the product of its shape is beyond what a file can hold";
        if (size != entry->size)
            return "its offsets do not fit its shape";
    }
    entry->usable = entry->rank >= 1 && entry->rank <= TENSOR_RANK_MAX && entry->size > 0;
    for (uint32_t i = 0; i < entry->rank; i++)
        entry->usable = entry->usable && entry->shape[i] <= UINT32_MAX;
    for (uint32_t i = 0; i < TENSOR_TYPES; i++) {
        if (strcmp(tensor_safetensors_dtypes[i], entry->dtype) == 0) {
            entry->type = (enum tensor_type)i;
            return NULL;
        }
    }
    entry->usable = false;
    return NULL;
}

/* Fills an entry from its JSON; `shape` is room for its sizes. Returns what is wrong, or NULL. */
static const char *read_entry(struct tensor_safetensors_entry *entry, const json_t *json,
                              uint64_t *shape)
{
    const json_t *sizes_array = json_object_get(json, "shape");
    const json_t *offsets = json_object_get(json, "data_offsets");
    uint64_t end;
    entry->dtype = json_string_value(json_object_get(json, "dtype"));
    if (!entry->dtype)
        return "no dtype";
    entry->rank = (uint32_t)json_array_size(sizes_array);
    entry->shape = shape;
    if (!json_is_array(sizes_array))
        return "no shape";
    for (uint32_t i = 0; i < entry->rank; i++)
        if (!natural(json_array_get(sizes_array, i), &shape[i]))
            return "its shape holds what is not a whole number";
    if (json_array_size(offsets) != 2 || !natural(json_array_get(offsets, 0), &entry->begin) ||
        !natural(json_array_get(offsets, 1), &end))
        return "its data_offsets are not two whole numbers";
    if (end < entry->begin)
        return "it ends before it begins";
    entry->size = end - entry->begin;
    return check_dtype(entry);
}

static int read_metadata(const char *file, struct tensor_safetensors_list *list)
{
    json_t *metadata = json_object_get(list->header, SAFETENSORS_METADATA);
    list->metadata = metadata;
    if (metadata && json_typeof(metadata) != JSON_OBJECT)
        return tensor_safetensors_damaged(file, "its __metadata__ is no object", NULL);
    for (void *i = json_object_iter(metadata); i; i = json_object_iter_next(metadata, i))
        if (json_typeof(json_object_iter_value(i)) != JSON_STRING)
            return tensor_safetensors_damaged(file, "its __metadata__ holds what is no text", NULL);
    return 0;
}

static int read_entries(const char *file, struct tensor_safetensors_list *list)
{
    json_t *header = list->header;
    uint64_t dimensions = 0;
    for (void *i = json_object_iter(header); i; i = json_object_iter_next(header, i))
        dimensions += json_array_size(json_object_get(json_object_iter_value(i), "shape"));
    list->entry = calloc(json_object_size(list->header) + 1, sizeof *list->entry);
    list->shapes = calloc(dimensions + 1, sizeof *list->shapes);
    if (!list->entry || !list->shapes)
        return tensor_fail(ENOMEM, "cannot open %s: no memory for its list of tensors", file);
    uint64_t *shape = list->shapes;
    for (void *i = json_object_iter(header); i; i = json_object_iter_next(header, i)) {
        const char *name = json_object_iter_key(i);
        if (strcmp(name, SAFETENSORS_METADATA) == 0)
            continue;
        struct tensor_safetensors_entry *entry = &list->entry[list->count++];
        entry->name = name;
        const char *wrong = read_entry(entry, json_object_iter_value(i), shape);
        if (wrong)
            return tensor_safetensors_damaged(file, wrong, name);
        shape += entry->rank;
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct tensor_safetensors_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->size > y->size) - (x->size < y->size); /* empty ones first, else they overlap */
}

/* The data is every tensor, one behind the other, up to the end of the file. */
static int check_places(const char *file, struct tensor_safetensors_list *list, uint64_t length,
                        uint64_t data)
{
    uint64_t end = 0;
    qsort(list->entry, list->count, sizeof *list->entry, by_place);
    for (uint64_t i = 0; i < list->count; i++) {
        struct tensor_safetensors_entry *entry = &list->entry[i];
        if (entry->begin < end)
            return tensor_safetensors_damaged(file, "it overlaps the one before", entry->name);
        if (entry->begin > end)
            return tensor_safetensors_damaged(file, "there is a hole before it", entry->name);
        if (entry->size > data - end)
            return tensor_safetensors_damaged(file, "it ends beyond the file, which was cut short",
                                              entry->name);
        end += entry->size;
        entry->begin += 8 + length;
    }
    if (end != data)
        return tensor_safetensors_damaged(file, "there is more data than its tensors", NULL);
    return 0;
}

int tensor_safetensors_parse(const char *file, const char *text, uint64_t length, uint64_t data,
                             struct tensor_safetensors_list *list)
{
    *list = (struct tensor_safetensors_list){0};
    int result = read_json(file, text, length, &list->header);
    if (result == 0)
        result = read_metadata(file, list);
    if (result == 0)
        result = read_entries(file, list);
    if (result == 0)
        result = check_places(file, list, length, data);
    if (result < 0)
        tensor_safetensors_list_finish(list);
    return result;
}

void tensor_safetensors_list_finish(struct tensor_safetensors_list *list)
{
    json_decref(list->header);
    free(list->entry);
    free(list->shapes);
    *list = (struct tensor_safetensors_list){0};
}
