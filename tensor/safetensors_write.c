/* safetensors_write.c - the writing half of safetensors.h. */
#include "tensor/safetensors.h"
#include "tensor/backend.h"
#include "tensor/json.h"
#include "tensor/safetensors_parse.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* lets the hash state live on the stack */
#include <xxhash.h>

/* Where bytes go: a file, and the digest of what it got. */
struct sink {
    const char *file;
    int fd;
    uint64_t size;
    XXH64_state_t hash;
};

static int cannot_write(const char *file, int error)
{
    const char *advice = "";
    if (error == ENOSPC || error == EDQUOT || error == EFBIG)
        advice = "; make room or choose another folder";
    return tensor_fail(error, "cannot write %s: %s%s", file, strerror(error), advice);
}

static int put(struct sink *sink, const void *data, uint64_t size)
{
    const unsigned char *from = data;
    XXH64_update(&sink->hash, data, size);
    sink->size += size;
    while (size > 0) {
        ssize_t n = write(sink->fd, from, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return cannot_write(sink->file, n < 0 ? errno : EIO);
        from += n;
        size -= (uint64_t)n;
    }
    return 0;
}

/* fsync, done again where a signal broke it off. */
static int sync_file(struct sink *sink)
{
    while (fsync(sink->fd) != 0)
        if (errno != EINTR)
            return cannot_write(sink->file, errno);
    return 0;
}

/* "__metadata__": {…}; keeps quiet about what is wrong, the caller knows the file. */
static json_t *metadata_object(const struct tensor_metadata *metadata, uint32_t count)
{
    json_t *object = json_object();
    for (uint32_t i = 0; object && i < count; i++) {
        if (json_object_get(object, metadata[i].key) ||
            json_object_set_new(object, metadata[i].key, json_string(metadata[i].value)) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

/* {"dtype": …, "shape": […], "data_offsets": [begin, end]} */
static json_t *entry_object(const struct tensor *t, uint64_t begin)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; shape && i < t->rank; i++)
        if (json_array_append_new(shape, json_integer(t->shape[i]))) {
            json_decref(shape);
            shape = NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor_safetensors_dtypes[t->type], "shape",
                     shape, "data_offsets", (json_int_t)begin,
                     (json_int_t)(begin + tensor_size(t)));
}

static int header_object(const char *file, const struct tensor_named *list, uint32_t count,
                         const struct tensor_metadata *metadata, uint32_t metadata_count,
                         json_t **header)
{
    json_t *root = json_object();
    if (metadata_count > 0 && json_object_set_new(root, SAFETENSORS_METADATA,
                                                  metadata_object(metadata, metadata_count)) != 0) {
        json_decref(root);
        return tensor_fail(EINVAL, "cannot write %s: metadata that is not UTF-8, or a key twice, "
                           "or no memory for it", file);
    }
    uint64_t begin = 0;
    for (uint32_t i = 0; i < count; i++) {
        const char *name = list[i].name ? list[i].name : "";
        if (!*name || strcmp(name, SAFETENSORS_METADATA) == 0 || json_object_get(root, name) ||
            json_object_set_new(root, name, entry_object(list[i].tensor, begin)) != 0) {
            json_decref(root);
            return tensor_fail(EINVAL, "cannot write %s: tensor %u's name '%s' is taken or not "
                               "fit, or there is no memory for it", file, i, name);
        }
        begin += tensor_size(list[i].tensor);
    }
    *header = root;
    return 0;
}

static int put_header(struct sink *sink, json_t *header)
{
    char *text = tensor_json_write(header, JSON_COMPACT);
    if (!text)
        return tensor_fail(ENOMEM, "cannot write %s: no memory for its header", sink->file);
    uint64_t size = strlen(text), padded = (size + 7) / 8 * 8;
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(padded >> 8 * i);
    int result = 0;
    if (padded > SAFETENSORS_HEADER_MAX)
        result =
            tensor_fail(EINVAL, "cannot write %s: its header would be above 100 MB", sink->file);
    if (result == 0)
        result = put(sink, length, sizeof length);
    if (result == 0)
        result = put(sink, text, size);
    if (result == 0)
        result = put(sink, "       ", padded - size);
    free(text);
    return result;
}

static int put_tensors(struct sink *sink, const struct tensor_named *list, uint32_t count)
{
    uint64_t largest = 1;
    for (uint32_t i = 0; i < count; i++)
        largest = tensor_size(list[i].tensor) > largest ? tensor_size(list[i].tensor) : largest;
    unsigned char *buffer = malloc(largest < SAFETENSORS_PIECE ? largest : SAFETENSORS_PIECE);
    if (!buffer)
        return tensor_fail(ENOMEM, "cannot write %s: no memory for a buffer", sink->file);
    int result = 0;
    for (uint32_t i = 0; i < count && result == 0; i++) {
        uint64_t size = tensor_size(list[i].tensor);
        for (uint64_t at = 0; at < size && result == 0; at += SAFETENSORS_PIECE) {
            uint64_t n = size - at < SAFETENSORS_PIECE ? size - at : SAFETENSORS_PIECE;
            result = tensor_read(list[i].tensor, at, buffer, n);
            if (result == 0)
                result = put(sink, buffer, n);
        }
    }
    free(buffer);
    return result;
}

int tensor_safetensors_write(int folder, const char *file, const struct tensor_named *list,
                             uint32_t count, const struct tensor_metadata *metadata,
                             uint32_t metadata_count, struct tensor_digest *digest)
{
    json_t *header = NULL;
    int result = header_object(file, list, count, metadata, metadata_count, &header);
    if (result < 0)
        return result;
    struct sink sink = {.file = file};
    XXH64_reset(&sink.hash, 0);
    sink.fd = openat(folder, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (sink.fd < 0) {
        json_decref(header);
        return cannot_write(file, errno);
    }
    result = put_header(&sink, header);
    json_decref(header);
    if (result == 0)
        result = put_tensors(&sink, list, count);
    if (result == 0)
        result = sync_file(&sink);
    /* Some network file systems report a full disk only here. */
    if (close(sink.fd) != 0 && result == 0)
        result = cannot_write(file, errno);
    if (result < 0)
        unlinkat(folder, file, 0);
    else if (digest)
        *digest = (struct tensor_digest){sink.size, XXH64_digest(&sink.hash)};
    return result;
}
