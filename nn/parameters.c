/* parameters.c - trainable tensors and their arenas. */
#include "nn/parameters.h"
#include "tensor/op.h"
#include "tensor/random.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 128

struct entry {
    struct nn_parameter parameter;
    char name[NAME_MAX_BYTES];
};

enum { WEIGHTS, GRADIENTS, MOMENTS1, MOMENTS2, COPY16, ARENAS };

struct nn_parameters {
    struct tensor_device *device;
    bool training;
    enum tensor_type copy_type; /* of the 16-bit copies; F32: there are none */
    bool broken; /* out of host memory while declaring */
    struct entry **entries;
    uint32_t count;
    struct tensor_arena *arena[ARENAS];
    struct entry spare; /* handed out when broken */
};

int nn_parameters_create(struct tensor_device *device, bool training,
                         struct nn_parameters **parameters)
{
    struct nn_parameters *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    static const char *const names[ARENAS] = {"weights", "gradients", "first moments",
                                              "second moments", "16-bit weights"};
    static const enum tensor_type types[] = {[TENSOR_PRECISION_FP32] = TENSOR_F32,
                                             [TENSOR_PRECISION_BF16] = TENSOR_BF16,
                                             [TENSOR_PRECISION_FP16] = TENSOR_F16};
    p->device = device;
    p->training = training;
    p->copy_type = types[tensor_device_info(device)->precision];
    for (int i = 0; i < ARENAS; i++) {
        if (i == COPY16 ? p->copy_type == TENSOR_F32 : i != WEIGHTS && !training)
            continue;
        const int status = tensor_arena_create(device, TENSOR_DEVICE, names[i], &p->arena[i]);
        if (status < 0) {
            nn_parameters_destroy(&p);
            return status;
        }
    }
    *parameters = p;
    return 0;
}

void nn_parameters_destroy(struct nn_parameters **parameters)
{
    struct nn_parameters *p = *parameters;
    if (!p)
        return;
    for (int i = 0; i < ARENAS; i++)
        tensor_arena_destroy(&p->arena[i]);
    for (uint32_t i = 0; i < p->count; i++)
        free(p->entries[i]);
    free(p->entries);
    free(p);
    *parameters = NULL;
}

struct nn_parameter *nn_parameter(struct nn_parameters *p, enum nn_first_values first,
                                  float deviation, uint32_t rank, const uint32_t *shape,
                                  const char *name, ...)
{
    struct entry *e = calloc(1, sizeof *e);
    struct entry **larger = realloc(p->entries, (p->count + 1) * sizeof(void *));
    if (larger)
        p->entries = larger;
    if (!e || !larger) {
        free(e);
        p->broken = true;
        e = &p->spare;
    } else {
        p->entries[p->count++] = e;
    }
    va_list args;
    va_start(args, name);
    vsnprintf(e->name, sizeof e->name, name, args);
    va_end(args);
    e->parameter = (struct nn_parameter){
        .name = e->name, .rank = rank, .first = first, .deviation = deviation};
    memcpy(e->parameter.shape, shape, rank * sizeof *shape);
    return &e->parameter;
}

static void place(struct nn_parameters *p, struct nn_parameter *parameter)
{
    struct tensor *copy16 = NULL;
    struct tensor **const tensor[ARENAS] = {&parameter->weight, &parameter->gradient,
                                            &parameter->moment1, &parameter->moment2, &copy16};
    for (int i = 0; i < ARENAS; i++)
        if (p->arena[i])
            *tensor[i] = tensor_arena_take(p->arena[i], parameter->name,
                                           i == COPY16 ? p->copy_type : TENSOR_F32, parameter->rank,
                                           parameter->shape);
    parameter->weight->needs_gradient = p->training;
    parameter->weight->gradient = parameter->gradient;
    parameter->weight->copy16 = copy16;
}

int nn_parameters_place(struct nn_parameters *p)
{
    if (p->broken)
        return -ENOMEM;
    for (int decays = 1; decays >= 0; decays--)
        for (uint32_t i = 0; i < p->count; i++)
            if ((p->entries[i]->parameter.rank >= 2) == decays)
                place(p, &p->entries[i]->parameter);
    return 0;
}

int nn_parameters_commit(struct nn_parameters *p)
{
    for (int i = 0; i < ARENAS; i++) {
        const int status = p->arena[i] ? tensor_arena_commit(p->arena[i]) : 0;
        if (status < 0)
            return status;
    }
    return 0;
}

static uint32_t hash(const char *name)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}

#define FIRST_VALUES 0x66697273u /* fourth word of the counter: keeps these numbers apart */

/* A normal number within two deviations: Box-Muller, drawn again while it lies outside. */
static float truncated_normal(uint32_t element, uint32_t name, uint64_t seed)
{
    for (uint32_t attempt = 0;; attempt++) {
        const struct tensor_random r = tensor_random(element, name, attempt, FIRST_VALUES,
                                                     (uint32_t)seed, (uint32_t)(seed >> 32));
        const double radius = sqrt(-2 * log((r.word[0] + 0.5) / 4294967296.0));
        const double angle = 6.283185307179586 * ((r.word[1] + 0.5) / 4294967296.0);
        const double normal = radius * cos(angle), other = radius * sin(angle);
        if (fabs(normal) <= 2)
            return (float)normal;
        if (fabs(other) <= 2)
            return (float)other;
    }
}

static int initialise(const struct nn_parameter *p, uint64_t seed, float *buffer, uint64_t capacity)
{
    const uint32_t name = hash(p->name);
    for (uint64_t done = 0; done < p->weight->count; done += capacity) {
        const uint64_t left = p->weight->count - done, count = left < capacity ? left : capacity;
#pragma omp parallel for schedule(static)
        for (uint64_t i = 0; i < count; i++)
            buffer[i] = p->first == NN_NORMAL
                            ? p->deviation * truncated_normal((uint32_t)(done + i), name, seed)
                            : (p->first == NN_ONES ? 1.0f : 0.0f);
        const int status = tensor_write(p->weight, done * 4, buffer, count * 4);
        if (status < 0)
            return status;
    }
    return 0;
}

int nn_parameters_initialise(struct nn_parameters *p, uint64_t seed)
{
    const uint64_t capacity = 4u << 20;
    float *buffer = malloc(capacity * sizeof *buffer);
    int status = buffer ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < p->count && status == 0; i++)
        status = initialise(&p->entries[i]->parameter, seed, buffer, capacity);
    free(buffer);
    return status == 0 ? nn_parameters_refresh(p) : status;
}

int nn_parameters_refresh(struct nn_parameters *p)
{
    struct tensor_graph *g = NULL;
    struct nn_flat flat;
    if (p->copy_type == TENSOR_F32)
        return 0;
    int status =
        tensor_graph_create(p->device, &(struct tensor_graph_params){.name = "refresh"}, &g);
    if (status < 0)
        return status;
    for (uint32_t i = 0; nn_parameters_flat(p, i, &flat); i++)
        tensor_cast(g, flat.copy16, flat.weight);
    status = tensor_graph_finish(g);
    if (status == 0)
        status = tensor_graph_run(g);
    if (status == 0)
        status = tensor_device_wait(p->device);
    tensor_graph_destroy(&g);
    return status;
}

uint32_t nn_parameters_count(const struct nn_parameters *p)
{
    return p->count;
}

struct nn_parameter *nn_parameters_at(const struct nn_parameters *p, uint32_t index)
{
    return &p->entries[index]->parameter;
}

uint64_t nn_parameters_size(const struct nn_parameters *p)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < p->count; i++)
        size += p->entries[i]->parameter.weight->count;
    return size;
}

struct nn_parameters_memory nn_parameters_memory(const struct nn_parameters *p)
{
    uint64_t size[ARENAS] = {0};
    for (int i = 0; i < ARENAS; i++)
        size[i] = p->arena[i] ? tensor_arena_size(p->arena[i]) : 0;
    return (struct nn_parameters_memory){size[WEIGHTS] + size[COPY16], size[GRADIENTS],
                                         size[MOMENTS1] + size[MOMENTS2]};
}

bool nn_parameters_flat(const struct nn_parameters *p, uint32_t index, struct nn_flat *flat)
{
    struct tensor *weight = tensor_arena_flat(p->arena[WEIGHTS], index);
    if (!weight)
        return false;
    *flat = (struct nn_flat){.weight = weight};
    if (p->arena[COPY16])
        flat->copy16 = tensor_arena_flat(p->arena[COPY16], index);
    if (p->training) {
        flat->gradient = tensor_arena_flat(p->arena[GRADIENTS], index);
        flat->moment1 = tensor_arena_flat(p->arena[MOMENTS1], index);
        flat->moment2 = tensor_arena_flat(p->arena[MOMENTS2], index);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        const struct nn_parameter *q = &p->entries[i]->parameter;
        uint32_t part;
        uint64_t element;
        tensor_arena_place(q->weight, &part, &element);
        if (part == index && q->rank >= 2 && element + q->weight->count > flat->decayed)
            flat->decayed = element + q->weight->count;
    }
    return true;
}
