#include "pipeline/layer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"

int pipeline_layer_read(struct layer *layer, const void **data, size_t *size)
{
    int result;

    *size = 0;
    if (layer->head_at < layer->head_size) {
        *data = layer->head + layer->head_at;
        *size = layer->head_size - layer->head_at;
        layer->head_at = layer->head_size;
        layer->position += *size;
        return 0;
    }
    if (layer->error)
        return layer->error;
    result = layer->read(layer, data, size);
    if (result < 0) {
        layer->error = result;
        *size = 0;
    }
    if (*size) {
        /* Not before: who reads the end may still look at what came last. */
        free(layer->head);
        layer->head = NULL;
        layer->head_size = layer->head_at = 0;
    }
    layer->position += *size;
    return result;
}

int pipeline_layer_peek(struct layer *layer, size_t want, const uint8_t **data, size_t *size)
{
    int result = layer->error;

    while (result == 0 && layer->head_size < want) {
        const void *more;
        size_t n = 0;
        uint8_t *head;

        result = layer->read(layer, &more, &n);
        if (result < 0)
            layer->error = result;
        if (result < 0 || n == 0)
            break;
        head = realloc(layer->head, layer->head_size + n);
        if (!head)
            return pipeline_fail(ENOMEM, "out of memory");
        memcpy(head + layer->head_size, more, n);
        layer->head = head;
        layer->head_size += n;
    }
    *data = layer->head;
    *size = layer->head_size;
    /* What could be read counts; the failure comes again behind it. */
    return layer->head_size ? 0 : result;
}

int pipeline_layer_seek(struct layer *layer, uint64_t offset)
{
    int result;

    if (!layer->seek)
        return -ESPIPE;
    if (layer->error)
        return layer->error;
    layer->head_at = layer->head_size;
    result = layer->seek(layer, offset);
    if (result == 0)
        layer->position = offset;
    return result;
}

uint64_t pipeline_layer_skip(struct layer *layer, uint64_t n)
{
    uint64_t left;

    if (layer->head_at < layer->head_size) {
        left = layer->head_size - layer->head_at;
        n = n < left ? n : left;
        layer->head_at += n;
        layer->position += n;
        return n;
    }
    if (!layer->seek)
        return 0;
    left = layer->size - layer->position;
    n = n < left ? n : left;
    return pipeline_layer_seek(layer, layer->position + n) == 0 ? n : 0;
}

void pipeline_layer_destroy(struct layer **layer)
{
    struct layer *dead = *layer;

    if (!dead)
        return;
    dead->close(dead);
    free(dead->head);
    free(dead);
    *layer = NULL;
}

struct file_layer {
    struct layer layer;
    struct pipeline_file *file;
};

/* The file says "PATH: what"; a layer says only what. */
static int file_failed(struct file_layer *f, int result)
{
    const char *line = pipeline_error();
    const char *what = strstr(line, ": ");

    strncpy(f->layer.why, what ? what + 2 : line, sizeof(f->layer.why) - 1);
    return result;
}

static int file_read(struct layer *layer, const void **data, size_t *size)
{
    struct file_layer *f = (struct file_layer *)layer;
    int result = pipeline_file_read(f->file, data, size);

    return result < 0 ? file_failed(f, result) : 0;
}

static int file_seek(struct layer *layer, uint64_t offset)
{
    struct file_layer *f = (struct file_layer *)layer;
    int result = pipeline_file_seek(f->file, offset);

    return result < 0 ? file_failed(f, result) : 0;
}

static void file_close(struct layer *layer)
{
    pipeline_file_close(&((struct file_layer *)layer)->file);
}

int pipeline_layer_file_create(struct pipeline_io *io, const char *path, struct layer **out)
{
    struct file_layer *f = calloc(1, sizeof(*f));
    int result;

    if (!f)
        return pipeline_fail(ENOMEM, "out of memory");
    result = pipeline_file_open(io, path, &f->file);
    if (result < 0) {
        free(f);
        return result;
    }
    f->layer.read = file_read;
    f->layer.seek = pipeline_file_seekable(f->file) ? file_seek : NULL;
    f->layer.close = file_close;
    f->layer.size = pipeline_file_size(f->file);
    *out = &f->layer;
    return 0;
}
