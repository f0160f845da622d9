/* arena.c - tensors that outlive a graph, in few allocations. */
#include "tensor/storage.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct part {
    struct tensor_storage storage;
    uint64_t span;         /* bytes that it would take if all elements had 32 bits */
    enum tensor_type type; /* of the first tensor */
    struct tensor_block block;
    struct tensor flat;
    struct part *next;
};

struct owned {
    struct tensor tensor;
    struct owned *next;
    char name[];
};

struct tensor_arena {
    struct tensor_device *device;
    enum tensor_memory memory;
    char *name;
    struct part *parts, *last;
    struct owned *tensors;
    uint64_t size;
    int error; /* the first failure of take, reported by commit */
    bool committed;
    struct tensor dummy;
    struct tensor_storage dummy_storage;
};

int tensor_arena_create(struct tensor_device *device, enum tensor_memory memory, const char *name,
                        struct tensor_arena **arena)
{
    struct tensor_arena *a = calloc(1, sizeof *a);
    if (!a || !(a->name = strdup(name))) {
        free(a);
        return tensor_fail(ENOMEM, "no host memory for arena %s", name);
    }
    a->device = device;
    a->memory = memory;
    a->dummy_storage.device = device;
    a->dummy.storage = &a->dummy_storage;
    tensor_describe(&a->dummy, TENSOR_F32, 1, (uint32_t[]){1});
    *arena = a;
    return 0;
}

void tensor_arena_destroy(struct tensor_arena **arena)
{
    struct tensor_arena *a = *arena;
    if (!a)
        return;
    for (struct part *p = a->parts, *next; p; p = next) {
        next = p->next;
        if (p->storage.block)
            a->device->backend->block_destroy(a->device, &p->block);
        free(p);
    }
    for (struct owned *t = a->tensors, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    free(a->name);
    free(a);
    *arena = NULL;
}

/* What a tensor takes: whole groups of as many elements as there are words in TENSOR_ALIGNMENT. */
static uint64_t capacity_of(const struct tensor *t)
{
    const uint64_t size = tensor_size(t);
    return tensor_is_16bit(t->type) ? tensor_align(2 * size) / 2 : tensor_align(size);
}

/* The part with room for a tensor; a new one when the last would outgrow one allocation, or the
 * 32-bit indices of the kernels that see it as a flat array. Those of 16 bits count double, so that
 * arenas of equal shapes are cut at the same places. */
static struct part *part_for(struct tensor_arena *a, const struct tensor *t)
{
    const uint64_t size = capacity_of(t) * (tensor_is_16bit(t->type) ? 2 : 1);
    uint64_t limit = a->device->info.allocation_bytes;
    if (limit > (uint64_t)INT32_MAX * 4)
        limit = (uint64_t)INT32_MAX * 4;
    limit = limit / TENSOR_ALIGNMENT * TENSOR_ALIGNMENT;
    if (size > limit)
        return NULL;
    if (a->last && a->last->span + size <= limit) {
        a->last->span += size;
        return a->last;
    }
    struct part *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->span = size;
    p->type = t->type;
    p->storage.device = a->device;
    p->storage.index = a->last ? a->last->storage.index + 1 : 0;
    if (a->last)
        a->last->next = p;
    else
        a->parts = p;
    a->last = p;
    return p;
}

struct tensor *tensor_arena_take(struct tensor_arena *a, const char *name, enum tensor_type type,
                                 uint32_t rank, const uint32_t *shape)
{
    const size_t length = name ? strlen(name) + 1 : 0;
    struct owned *o = calloc(1, sizeof *o + length);
    struct part *p = NULL;
    if (!o) {
        a->error = a->error ? a->error : ENOMEM;
        return &a->dummy;
    }
    if (!tensor_describe(&o->tensor, type, rank, shape) || a->committed)
        a->error = a->error ? a->error : EINVAL;
    else if (!(p = part_for(a, &o->tensor)))
        a->error = a->error ? a->error : ENOMEM;
    if (!p) {
        free(o);
        return &a->dummy;
    }
    if (name)
        o->tensor.name = memcpy(o->name, name, length);
    o->tensor.storage = &p->storage;
    o->tensor.offset = p->storage.size;
    p->storage.size += capacity_of(&o->tensor);
    a->size += capacity_of(&o->tensor);
    o->next = a->tensors;
    a->tensors = o;
    return &o->tensor;
}

int tensor_arena_commit(struct tensor_arena *a)
{
    if (a->error == EINVAL)
        return tensor_fail(EINVAL, "arena %s: a tensor has a shape that is empty or too large",
                           a->name);
    if (a->error)
        return tensor_fail(ENOMEM, "arena %s: a tensor is larger than the %" PRIu64
                           " MiB that the device allocates at once", a->name,
                           a->device->info.allocation_bytes >> 20);
    a->committed = true;
    for (struct part *p = a->parts; p; p = p->next) {
        const int status =
            a->device->backend->block_create(a->device, a->memory, p->storage.size, &p->block);
        if (status == -ENOMEM)
            return tensor_fail(ENOMEM,
                               "%s: no room for %" PRIu64 " MiB of %s on %s; take a smaller "
                               "batch or model",
                               a->name, (a->size >> 20) + 1, a->name, a->device->info.name);
        if (status < 0)
            return status;
        p->storage.block = &p->block;
    }
    return 0;
}

uint64_t tensor_arena_size(const struct tensor_arena *a)
{
    return a->size;
}

struct tensor *tensor_arena_flat(struct tensor_arena *a, uint32_t index)
{
    struct part *p = a->parts;
    while (p && p->storage.index != index)
        p = p->next;
    if (!p)
        return NULL;
    p->flat.storage = &p->storage;
    p->flat.name = a->name;
    const bool is16 = tensor_is_16bit(p->type);
    tensor_describe(&p->flat, is16 ? p->type : TENSOR_F32, 1,
                    (uint32_t[]){(uint32_t)(p->storage.size / (is16 ? 2 : 4))});
    return &p->flat;
}

void tensor_arena_place(const struct tensor *t, uint32_t *index, uint64_t *element)
{
    *index = t->storage->index;
    *element = t->offset / (tensor_is_16bit(t->type) ? 2 : 4);
}
