/* safetensors.c - the reading half of safetensors.h; safetensors_write.c is the other.
 *
 * The header stays in memory as parsed JSON: names and metadata point into it. Elements are read
 * with pread and never mapped, as a mapped file that is cut short by someone else kills the reader.
 */
#include "tensor/safetensors.h"
#include "tensor/backend.h"
#include "tensor/safetensors_format.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* lets the hash state live on the stack */
#include <xxhash.h>

const char *const tensor_safetensors_dtypes[3] = {
    [TENSOR_F32] = "F32",
    [TENSOR_U32] = "U32",
    [TENSOR_U8] = "U8",
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

struct tensor_safetensors {
    char *file; /* for messages */
    int fd;
    uint64_t size;
    json_t *header;
    const json_t *metadata; /* in header; NULL: none */
    struct tensor_safetensors_entry *entry;
    uint64_t *shapes; /* of all entries, one behind the other */
    uint64_t count;
};

/* A foreign name made fit for one line on a terminal. */
struct shown {
    char text[96];
};

static struct shown shown(const char *name)
{
    struct shown s;
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

static int damaged(const struct tensor_safetensors *f, const char *what, const char *name)
{
    if (!name)
        return tensor_fail(EBADMSG, "%s is damaged or no safetensors file: %s", f->file, what);
    return tensor_fail(EBADMSG, "%s is damaged or no safetensors file: tensor '%s': %s", f->file,
                       shown(name).text, what);
}

/* Room for a piece of that many bytes, at most SAFETENSORS_PIECE; NULL sets the error line. */
static unsigned char *piece_buffer(const struct tensor_safetensors *f, uint64_t size)
{
    unsigned char *buffer = malloc(size < SAFETENSORS_PIECE ? size : SAFETENSORS_PIECE);
    if (!buffer)
        tensor_fail(ENOMEM, "cannot read %s: no memory for a buffer", f->file);
    return buffer;
}

static int read_at(const struct tensor_safetensors *f, void *to, uint64_t size, uint64_t at)
{
    unsigned char *p = to;
    while (size > 0) {
        ssize_t n = pread(f->fd, p, size, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tensor_fail(errno, "cannot read %s at byte %llu: %s", f->file,
                               (unsigned long long)at, strerror(errno));
        if (n == 0)
            return damaged(f, "it became shorter while it was read", NULL);
        p += n;
        at += (uint64_t)n;
        size -= (uint64_t)n;
    }
    return 0;
}

/* Jansson recurses as deep as its input is nested; an attacker chooses how deep unless we do. */
static bool too_deep(const char *text, uint64_t size)
{
    int depth = 0;
    bool string = false;
    for (uint64_t i = 0; i < size; i++) {
        if (string) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                string = false;
        } else if (text[i] == '"') {
            string = true;
        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > SAFETENSORS_DEPTH_MAX)
                return true;
        } else if (text[i] == '}' || text[i] == ']') {
            depth--;
        }
    }
    return false;
}

/* Reads the header's text into JSON; *begin is where the data begins. */
static int read_header(struct tensor_safetensors *f, uint64_t *begin)
{
    unsigned char raw[8];
    uint64_t length = 0;
    if (f->size < sizeof raw)
        return damaged(f, "it is shorter than 8 bytes", NULL);
    int result = read_at(f, raw, sizeof raw, 0);
    if (result < 0)
        return result;
    for (int i = 7; i >= 0; i--)
        length = length << 8 | raw[i];
    if (length > f->size - 8)
        return damaged(f, "it ends before its header does", NULL);
    if (length > SAFETENSORS_HEADER_MAX)
        return damaged(f, "its header is above 100 MB", NULL);
    char *text = malloc(length + 1);
    if (!text)
        return tensor_fail(ENOMEM, "cannot open %s: no memory for its header", f->file);
    json_error_t error = {.text = ""};
    result = read_at(f, text, length, 8);
    if (result == 0 && too_deep(text, length)) {
        result = damaged(f, "its header is nested too deep", NULL);
    } else if (result == 0) {
        f->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(f->header))
            result = damaged(f, f->header ? "its header is no JSON object" : shown(error.text).text,
                             NULL);
    }
    free(text);
    *begin = 8 + length;
    return result;
}

/* A whole number that fits; jansson has refused what is beyond 63 bits. */
static bool natural(const json_t *json, uint64_t *value)
{
    if (!json_is_integer(json) || json_integer_value(json) < 0)
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
    for (uint32_t i = 0; i < 3; i++) {
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

static int check_metadata(struct tensor_safetensors *f)
{
    const char *key;
    json_t *value;
    f->metadata = json_object_get(f->header, SAFETENSORS_METADATA);
    if (f->metadata && !json_is_object(f->metadata))
        return damaged(f, "its __metadata__ is no object", NULL);
    json_object_foreach((json_t *)f->metadata, key, value)
    {
        if (!json_is_string(value))
            return damaged(f, "its __metadata__ holds what is no text", NULL);
    }
    return 0;
}

static int read_entries(struct tensor_safetensors *f)
{
    const char *name;
    json_t *value;
    uint64_t dimensions = 0;
    f->entry = calloc(json_object_size(f->header) + 1, sizeof *f->entry);
    json_object_foreach(f->header, name, value) dimensions +=
        json_array_size(json_object_get(value, "shape"));
    f->shapes = calloc(dimensions + 1, sizeof *f->shapes);
    if (!f->entry || !f->shapes)
        return tensor_fail(ENOMEM, "cannot open %s: no memory for its list of tensors", f->file);
    uint64_t *shape = f->shapes;
    json_object_foreach(f->header, name, value)
    {
        if (strcmp(name, SAFETENSORS_METADATA) == 0)
            continue;
        struct tensor_safetensors_entry *entry = &f->entry[f->count++];
        entry->name = name;
        const char *wrong = read_entry(entry, value, shape);
        if (wrong)
            return damaged(f, wrong, name);
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
static int check_places(struct tensor_safetensors *f, uint64_t data)
{
    uint64_t end = 0;
    qsort(f->entry, f->count, sizeof *f->entry, by_place);
    for (uint64_t i = 0; i < f->count; i++) {
        struct tensor_safetensors_entry *entry = &f->entry[i];
        if (entry->begin < end)
            return damaged(f, "it overlaps the one before", entry->name);
        if (entry->begin > end)
            return damaged(f, "there is a hole before it", entry->name);
        if (entry->size > f->size - data - end)
            return damaged(f, "it ends beyond the file, which was cut short", entry->name);
        end += entry->size;
        entry->begin += data;
    }
    if (end != f->size - data)
        return damaged(f, "there is more data than its tensors", NULL);
    return 0;
}

static int open_file(struct tensor_safetensors *f, int folder)
{
    struct stat info;
    /* Without O_NONBLOCK a named pipe would keep us waiting. */
    f->fd = openat(folder, f->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 || fstat(f->fd, &info) != 0)
        return tensor_fail(errno, "cannot open %s: %s", f->file, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return damaged(f, "it is not a regular file", NULL);
    f->size = (uint64_t)info.st_size;
    return 0;
}

int tensor_safetensors_open(int folder, const char *file, struct tensor_safetensors **f)
{
    struct tensor_safetensors *opened = calloc(1, sizeof *opened);
    char *name = strdup(file);
    if (!opened || !name) {
        free(opened);
        free(name);
        return tensor_fail(ENOMEM, "cannot open %s: no memory", file);
    }
    uint64_t data = 0;
    opened->file = name;
    int result = open_file(opened, folder);
    if (result == 0)
        result = read_header(opened, &data);
    if (result == 0)
        result = check_metadata(opened);
    if (result == 0)
        result = read_entries(opened);
    if (result == 0)
        result = check_places(opened, data);
    if (result < 0)
        tensor_safetensors_close(&opened);
    else
        *f = opened;
    return result;
}

void tensor_safetensors_close(struct tensor_safetensors **f)
{
    if (!*f)
        return;
    if ((*f)->fd >= 0)
        close((*f)->fd);
    json_decref((*f)->header);
    free((*f)->entry);
    free((*f)->shapes);
    free((*f)->file);
    free(*f);
    *f = NULL;
}

const struct tensor_safetensors_entry *tensor_safetensors_entry(const struct tensor_safetensors *f,
                                                                uint64_t index)
{
    return index < f->count ? &f->entry[index] : NULL;
}

const struct tensor_safetensors_entry *tensor_safetensors_find(const struct tensor_safetensors *f,
                                                               const char *name)
{
    for (uint64_t i = 0; i < f->count; i++)
        if (strcmp(f->entry[i].name, name) == 0)
            return &f->entry[i];
    return NULL;
}

const char *tensor_safetensors_metadata(const struct tensor_safetensors *f, const char *key)
{
    return json_string_value(json_object_get(f->metadata, key));
}

/* "F32 (2, 3)"; long shapes end in "…". */
static void describe(char *text, size_t size, const char *dtype, uint32_t rank,
                     const uint64_t *shape)
{
    size_t n = (size_t)snprintf(text, size, "%s (", shown(dtype).text);
    for (uint32_t i = 0; i < rank && n + 32 < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%llu", i > 0 ? ", " : "",
                              (unsigned long long)shape[i]);
    snprintf(text + n, size - n, "%s", n + 32 < size ? ")" : " …)");
}

int tensor_safetensors_check(const struct tensor_safetensors *f, const char *name,
                             const struct tensor *t)
{
    const struct tensor_safetensors_entry *entry = tensor_safetensors_find(f, name);
    if (!entry)
        return tensor_fail(ENOENT, "%s has no tensor '%s'", f->file, shown(name).text);
    uint64_t shape[TENSOR_RANK_MAX];
    bool same = entry->usable && entry->type == t->type && entry->rank == t->rank;
    for (uint32_t i = 0; i < t->rank; i++) {
        shape[i] = t->shape[i];
        same = same && entry->shape[i] == shape[i];
    }
    if (same)
        return 0;
    char has[192], wanted[192];
    describe(has, sizeof has, entry->dtype, entry->rank, entry->shape);
    describe(wanted, sizeof wanted, tensor_safetensors_dtypes[t->type], t->rank, shape);
    return tensor_fail(EINVAL, "%s has tensor '%s' as %s where %s is wanted", f->file,
                       shown(name).text, has, wanted);
}

int tensor_safetensors_load(struct tensor_safetensors *f, const char *name, struct tensor *t)
{
    int result = tensor_safetensors_check(f, name, t);
    if (result < 0)
        return result;
    const struct tensor_safetensors_entry *entry = tensor_safetensors_find(f, name);
    unsigned char *buffer = piece_buffer(f, entry->size);
    if (!buffer)
        return -ENOMEM;
    for (uint64_t at = 0; at < entry->size && result == 0; at += SAFETENSORS_PIECE) {
        uint64_t n = entry->size - at < SAFETENSORS_PIECE ? entry->size - at : SAFETENSORS_PIECE;
        result = read_at(f, buffer, n, entry->begin + at);
        if (result == 0)
            result = tensor_write(t, at, buffer, n);
    }
    free(buffer);
    return result;
}

int tensor_safetensors_digest(struct tensor_safetensors *f, struct tensor_digest *digest)
{
    unsigned char *buffer = piece_buffer(f, f->size);
    if (!buffer)
        return -ENOMEM;
    XXH64_state_t hash;
    XXH64_reset(&hash, 0);
    int result = 0;
    for (uint64_t at = 0; at < f->size && result == 0; at += SAFETENSORS_PIECE) {
        uint64_t n = f->size - at < SAFETENSORS_PIECE ? f->size - at : SAFETENSORS_PIECE;
        result = read_at(f, buffer, n, at);
        if (result == 0)
            XXH64_update(&hash, buffer, n);
    }
    free(buffer);
    if (result == 0)
        *digest = (struct tensor_digest){f->size, XXH64_digest(&hash)};
    return result;
}
