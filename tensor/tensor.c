/* tensor.c - shapes, host access and the error line. */
#include "tensor/storage.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char error_line[1024];

const char *tensor_error(void)
{
    return error_line;
}

int tensor_fail(int code, const char *format, ...)
{
    char line[sizeof error_line]; /* the arguments may point into error_line */
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    memcpy(error_line, line, sizeof line);
    return -code;
}

void tensor_log(const struct tensor_device *device, const char *format, ...)
{
    if (!device->params.log)
        return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    device->params.log(device->params.log_user, line);
}

static uint64_t type_size(enum tensor_type type)
{
    return type == TENSOR_U8 ? 1 : tensor_is_16bit(type) ? 2 : 4;
}

uint64_t tensor_size(const struct tensor *t)
{
    return t->count * type_size(t->type);
}

uint32_t tensor_columns(const struct tensor *t)
{
    return t->shape[t->rank - 1];
}

uint32_t tensor_rows(const struct tensor *t)
{
    return (uint32_t)(t->count / tensor_columns(t));
}

bool tensor_describe(struct tensor *t, enum tensor_type type, uint32_t rank, const uint32_t *shape)
{
    if (rank < 1 || rank > TENSOR_RANK_MAX)
        return false;
    t->type = type;
    t->rank = rank;
    t->count = 1;
    for (uint32_t i = 0; i < rank; i++) {
        t->shape[i] = shape[i];
        /* Kernels index with 32 bits, of which drivers take the top one as a sign. */
        if (shape[i] == 0 || t->count * shape[i] > INT32_MAX)
            return false;
        t->count *= shape[i];
    }
    return true;
}

const char *tensor_shape_text(const struct tensor *t)
{
    static _Thread_local char text[4][64];
    static _Thread_local unsigned next;
    char *out = text[next++ % 4];
    if (!t)
        return "none";
    int n = 0;
    for (uint32_t i = 0; i < t->rank && n < 56; i++)
        n += snprintf(out + n, (size_t)(64 - n), "%s%" PRIu32, i ? ", " : "(", t->shape[i]);
    snprintf(out + n, (size_t)(64 - n), ")");
    return out;
}

uint64_t tensor_address(const struct tensor *t)
{
    if (!t || !t->storage->block)
        return 0;
    return t->storage->block->address + t->storage->begin + t->offset;
}

void *tensor_host(const struct tensor *t)
{
    const struct tensor_block *block = t->storage->block;
    if (!block || !block->host)
        return NULL;
    return (char *)block->host + t->storage->begin + t->offset;
}

static int check_access(const struct tensor *t, uint64_t at, uint64_t size)
{
    if (!t->storage->block)
        return tensor_fail(EINVAL,
                           "tensor %s has no memory yet; commit its arena or finish its graph",
                           t->name ? t->name : "");
    if (at > tensor_size(t) || size > tensor_size(t) - at)
        return tensor_fail(EINVAL, "%" PRIu64 " bytes from %" PRIu64 " on lie beyond tensor %s of %"
                           PRIu64 " bytes", size, at, t->name ? t->name : "", tensor_size(t));
    return t->storage->device->backend->wait(t->storage->device);
}

int tensor_write(struct tensor *t, uint64_t at, const void *from, uint64_t size)
{
    const int status = check_access(t, at, size);
    if (status < 0)
        return status;
    struct tensor_device *device = t->storage->device;
    return device->backend->write(device, t->storage->block, t->storage->begin + t->offset + at,
                                  from, size);
}

int tensor_read(const struct tensor *t, uint64_t at, void *to, uint64_t size)
{
    const int status = check_access(t, at, size);
    if (status < 0)
        return status;
    struct tensor_device *device = t->storage->device;
    return device->backend->read(device, t->storage->block, t->storage->begin + t->offset + at, to,
                                 size);
}
