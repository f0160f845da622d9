#include "pipeline/layer.h"

#include <errno.h>
#include <stdio.h>
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
        free(layer->owned);
        layer->owned = NULL;
        layer->head = NULL;
        layer->head_size = layer->head_at = layer->room = 0;
    }
    layer->position += *size;
    return result;
}

/* Puts n bytes behind the head. One run of bytes stays where it is, the layer's below; what is
 * joined becomes our own. */
static int append(struct layer *layer, const uint8_t *more, size_t n)
{
    size_t room = layer->room ? layer->room : 1024;
    uint8_t *owned;

    while (room < layer->head_size + n)
        room *= 2;
    owned = room == layer->room ? layer->owned : realloc(layer->owned, room);
    if (!owned) {
        snprintf(layer->why, sizeof(layer->why), "out of memory");
        layer->error = -ENOMEM;
        return pipeline_fail(ENOMEM, "out of memory");
    }
    if (!layer->room && layer->head_size)
        memcpy(owned, layer->head, layer->head_size);
    if (n)
        memcpy(owned + layer->head_size, more, n);
    layer->owned = owned;
    layer->room = room;
    layer->head = owned;
    layer->head_size += n;
    return 0;
}

int pipeline_layer_peek(struct layer *layer, size_t want, const uint8_t **data, size_t *size)
{
    int result = layer->error;

    while (result == 0 && layer->head_size < want) {
        const void *more = NULL;
        size_t n = 0;

        /* Reading on may overwrite what was only borrowed. */
        if (layer->head_size && !layer->room && (result = append(layer, NULL, 0)) < 0)
            return result;
        result = layer->read(layer, &more, &n);
        if (result < 0)
            layer->error = result;
        if (result < 0 || n == 0)
            break;
        if (layer->head_size == 0) {
            layer->head = more;
            layer->head_size = n;
        } else if ((result = append(layer, more, n)) < 0) {
            return result;
        }
    }
    *data = layer->head;
    *size = layer->head_size;
    /* What could be read counts; the failure comes again behind it. */
    return layer->head_size ? 0 : result;
}

static int held_seek(struct layer *layer, uint64_t offset)
{
    layer->head_at = (size_t)offset;
    return 0;
}

int pipeline_layer_hold(struct layer *layer, size_t most)
{
    const uint8_t *data;
    size_t n;
    int result;

    if (layer->seek)
        return 0;
    result = pipeline_layer_peek(layer, most + 1, &data, &n);
    if (result == 0)
        result = layer->error;
    if (result < 0 || n > most)
        return result;
    if (n && !layer->room && (result = append(layer, NULL, 0)) < 0)
        return result;
    layer->seek = held_seek;
    layer->size = n;
    return 0;
}

int pipeline_layer_seek(struct layer *layer, uint64_t offset)
{
    int result;

    if (!layer->seek)
        return -ESPIPE;
    if (layer->error)
        return layer->error;
    layer->head_at = layer->head_size;
    if (layer->seek != held_seek) {
        /* Who peeks next looks at what is there. The bytes stay: they may have been given. */
        layer->head = NULL;
        layer->head_size = layer->head_at = layer->room = 0;
    }
    result = layer->seek(layer, offset);
    if (result == 0)
        layer->position = offset;
    return result;
}

int pipeline_layer_jump(struct layer *layer, uint64_t offset)
{
    int result = 0;

    if (layer->seek)
        return pipeline_layer_seek(layer, offset);
    if (layer->error)
        return layer->error;
    if (offset >= layer->position &&
        offset - layer->position <= layer->head_size - layer->head_at) {
        /* It was peeked at: what it comes from stands behind it already. */
        layer->head_at += (size_t)(offset - layer->position);
        layer->position = offset;
        return 0;
    }
    if (layer->restart)
        result = layer->restart(layer, offset);
    else if (offset < layer->position)
        return -ESPIPE;
    if (result < 0) {
        if (result != -ESPIPE)
            layer->error = result;
        return result;
    }
    if (result > 0) {
        layer->head_at = layer->head_size;
        layer->position = layer->made(layer);
    }
    while (layer->position < offset) {
        const void *data;
        size_t n, over;

        result = pipeline_layer_read(layer, &data, &n);
        if (result < 0 || n == 0)
            return result;
        over = layer->position > offset ? (size_t)(layer->position - offset) : 0;
        layer->position -= over;
        if (over && layer->head_at) {
            layer->head_at -= over; /* it came out of the head, and is still there */
        } else if (over) {
            layer->head = (const uint8_t *)data + n - over;
            layer->head_size = over;
            layer->head_at = 0;
        }
    }
    return 0;
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
    free(dead->owned);
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
