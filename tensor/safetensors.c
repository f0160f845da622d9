/* safetensors.c - the reading half of safetensors.h; safetensors_write.c is the other.
 *
 * The header is parsed by safetensors_parse.c. Elements are read with pread and never mapped, as a
 * mapped file that is cut short by someone else kills the reader.
 */
#include "tensor/safetensors.h"
#include "tensor/backend.h"
#include "tensor/safetensors_parse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* lets the hash state live on the stack */
#include <xxhash.h>

struct tensor_safetensors {
    char *file; /* for messages */
    int fd;
    uint64_t size;
    struct tensor_safetensors_list list;
};

static int damaged(const struct tensor_safetensors *f, const char *what)
{
    return tensor_safetensors_damaged(f->file, what, NULL);
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
            return damaged(f, "it became shorter while it was read");
        p += n;
        at += (uint64_t)n;
        size -= (uint64_t)n;
    }
    return 0;
}

/* Reads and checks the header. */
static int read_header(struct tensor_safetensors *f)
{
    unsigned char raw[8];
    uint64_t length = 0;
    int result = f->size < sizeof raw ? 0 : read_at(f, raw, sizeof raw, 0);
    if (result == 0)
        result = tensor_safetensors_header_length(f->file, raw, f->size, &length);
    if (result < 0)
        return result;
    char *text = malloc(length + 1);
    if (!text)
        return tensor_fail(ENOMEM, "cannot open %s: no memory for its header", f->file);
    result = read_at(f, text, length, 8);
    if (result == 0)
        result = tensor_safetensors_parse(f->file, text, length, f->size - 8 - length, &f->list);
    free(text);
    return result;
}

static int open_file(struct tensor_safetensors *f, int folder)
{
    struct stat info;
    /* Without O_NONBLOCK a named pipe would keep us waiting. */
    f->fd = openat(folder, f->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 || fstat(f->fd, &info) != 0)
        return tensor_fail(errno, "cannot open %s: %s", f->file, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return damaged(f, "it is not a regular file");
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
    opened->file = name;
    int result = open_file(opened, folder);
    if (result == 0)
        result = read_header(opened);
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
    tensor_safetensors_list_finish(&(*f)->list);
    free((*f)->file);
    free(*f);
    *f = NULL;
}

const struct tensor_safetensors_entry *tensor_safetensors_entry(const struct tensor_safetensors *f,
                                                                uint64_t index)
{
    return index < f->list.count ? &f->list.entry[index] : NULL;
}

const struct tensor_safetensors_entry *tensor_safetensors_find(const struct tensor_safetensors *f,
                                                               const char *name)
{
    for (uint64_t i = 0; i < f->list.count; i++)
        if (strcmp(f->list.entry[i].name, name) == 0)
            return &f->list.entry[i];
    return NULL;
}

const char *tensor_safetensors_metadata(const struct tensor_safetensors *f, const char *key)
{
    return json_string_value(json_object_get(f->list.metadata, key));
}

/* "F32 (2, 3)"; long shapes end in "…". */
static void describe(char *text, size_t size, const char *dtype, uint32_t rank,
                     const uint64_t *shape)
{
    size_t n = (size_t)snprintf(text, size, "%s (", tensor_safetensors_show(dtype).text);
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
        return tensor_fail(ENOENT, "%s has no tensor '%s'", f->file,
                           tensor_safetensors_show(name).text);
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
                       tensor_safetensors_show(name).text, has, wanted);
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
