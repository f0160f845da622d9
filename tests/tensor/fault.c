/* fault.c - what the library does when a device is lost, hangs, or has no memory: on the cpu and on
 * every Vulkan device, at every point of a small training step, all errors named, nothing left. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tensor/fault.h"
#include "tensor/op.h"

#define ROWS    5
#define COLUMNS 7
#define ALL     (ROWS * COLUMNS)

static int failures;

static void check(bool holds, const char *what, int line)
{
    if (holds)
        return;
    failures++;
    printf("FAIL line %d: %s (last error: %s)\n", line, what, tensor_error());
}
#define CHECK(x) check(x, #x, __LINE__)

/* Rows with a weight added, their sum as the loss, and the gradient of the weight. */
struct step {
    struct tensor_device *device;
    struct tensor_arena *arena;
    struct tensor_graph *graph;
    struct tensor *x, *w, *one, *loss;
    float gradient[ALL], value;
};

/* Features that devices are opened without. A device tries its kernels of products as it is opened,
 * which takes a software driver half a second: it does so for each allocation that can fail, of
 * which it makes some for that, and not for each point of a step that has no products. */
#define PRODUCTS (TENSOR_SHARED_TILES | TENSOR_LONG_LOADS | TENSOR_MATRIX_UNITS)
static uint32_t without;

static int open_step(struct step *s, const char *device, const struct tensor_fault *fault)
{
    const struct tensor_device_params params = {
        .name = device, .no_cache = true, .disable = without};
    const struct tensor_graph_params graph = {.name = "step", .training = true};
    const uint32_t xs[2] = {2 * ROWS, COLUMNS}, ws[2] = {ROWS, COLUMNS}, one = 1;
    *s = (struct step){0};
    int status = tensor_fault_open(&params, fault, &s->device);
    if (status == 0)
        status = tensor_arena_create(s->device, TENSOR_DEVICE, "weights", &s->arena);
    if (status)
        return status;
    s->x = tensor_arena_take(s->arena, "x", TENSOR_F32, 2, xs);
    s->w = tensor_arena_take(s->arena, "w", TENSOR_F32, 2, ws);
    s->w->gradient = tensor_arena_take(s->arena, "d(w)", TENSOR_F32, 2, ws);
    s->w->needs_gradient = true;
    s->one = tensor_arena_take(s->arena, "one", TENSOR_F32, 1, &one);
    s->loss = tensor_arena_take(s->arena, "loss", TENSOR_F32, 1, &one);
    status = tensor_arena_commit(s->arena);
    if (status == 0)
        status = tensor_graph_create(s->device, &graph, &s->graph);
    if (status)
        return status;
    tensor_graph_push(s->graph, "layer");
    struct tensor *y = tensor_add_rows(s->graph, s->x, s->w);
    tensor_graph_pop(s->graph);
    tensor_graph_push(s->graph, "loss");
    struct tensor *loss = tensor_sum(s->graph, y, s->one);
    tensor_copy(s->graph, s->loss, loss);
    tensor_graph_pop(s->graph);
    tensor_graph_backward(s->graph, loss);
    return tensor_graph_finish(s->graph);
}

static int run_step(struct step *s)
{
    float values[2 * ALL];
    const float one = 1;
    for (int i = 0; i < 2 * ALL; i++)
        values[i] = (float)(i % 11) - 5;
    int status = tensor_write(s->x, 0, values, tensor_size(s->x));
    if (status == 0)
        status = tensor_write(s->w, 0, values, tensor_size(s->w));
    if (status == 0)
        status = tensor_write(s->one, 0, &one, sizeof one);
    for (int i = 0; i < 2 && status == 0; i++)
        status = tensor_graph_run(s->graph);
    if (status == 0)
        status = tensor_device_wait(s->device);
    if (status == 0)
        status = tensor_read(s->loss, 0, &s->value, sizeof s->value);
    if (status == 0)
        status = tensor_read(s->w->gradient, 0, s->gradient, sizeof s->gradient);
    return status;
}

static void close_step(struct step *s)
{
    tensor_graph_destroy(&s->graph);
    tensor_arena_destroy(&s->arena);
    tensor_device_close(&s->device);
}

/* Opens, runs and closes a step that has a fault ahead. */
static int try(const char *device, enum tensor_fault_kind kind, uint64_t at, const char *label,
               struct step *s, struct tensor_fault_counts *counts)
{
    const struct tensor_fault fault = {.kind = kind, .at = at, .label = label};
    int status = open_step(s, device, &fault);
    if (status == 0)
        status = run_step(s);
    if (counts && s->device)
        *counts = tensor_fault_counts(s->device);
    char line[1024];
    snprintf(line, sizeof line, "%s", tensor_error());
    close_step(s);
    CHECK(strcmp(line, tensor_error()) == 0); /* what failed is not buried by what follows */
    return status;
}

/* The error says in which graph and pass, or that it was between graphs. */
static bool names_place(void)
{
    return strstr(tensor_error(), "\"step\"") || strstr(tensor_error(), "\"copies\"") ||
           strstr(tensor_error(), "graph \"\"") || strstr(tensor_error(), "was lost (vk");
}

static bool same(const struct step *a, const struct step *b)
{
    return a->value == b->value && !memcmp(a->gradient, b->gradient, sizeof a->gradient);
}

/* Tries every point, or every `stride`-th. */
static void check_device(const char *device, uint64_t stride)
{
    struct tensor_fault_counts whole = {0}, opened = {0};
    struct step right, s;
    uint64_t labelled = 0;
    without = PRODUCTS;
    CHECK(try(device, TENSOR_FAULT_NONE, 0, "layer'", &right, &whole) == 0);
    CHECK(isfinite(right.value) && right.value != 0);
    for (uint64_t at = 1; at <= whole.points; at += stride) {
        const int lost = try(device, TENSOR_FAULT_LOST, at, NULL, &s, NULL);
        /* In the waits behind the last run there may be nothing left to be done. */
        CHECK((lost == -EIO && names_place()) || (lost == 0 && at + 2 >= whole.points));
        CHECK(lost || same(&s, &right));
        labelled += lost && strstr(tensor_error(), "pass \"layer'\"");
        const int hung = try(device, TENSOR_FAULT_HANG, at, NULL, &s, NULL);
        CHECK((hung == -ETIMEDOUT && names_place()) || (hung == 0 && at + 2 >= whole.points));
    }
    CHECK(labelled >= 2 || stride > 1); /* once in each run */
    without = 0;
    CHECK(try(device, TENSOR_FAULT_NONE, 0, "layer'", &s, &opened) == 0 && same(&s, &right));
    CHECK(opened.points == whole.points && opened.allocations >= whole.allocations);
    for (uint64_t at = 1; at <= opened.allocations; at += stride) {
        CHECK(try(device, TENSOR_FAULT_MEMORY, at, NULL, &s, NULL) == -ENOMEM);
        CHECK(*tensor_error());
    }
    CHECK(try(device, TENSOR_FAULT_MEMORY, opened.allocations + 1, NULL, &s, NULL) == 0);
    CHECK(same(&s, &right));
    without = PRODUCTS;
    CHECK(whole.runs == 2);
    for (uint64_t at = 1; at <= 2; at++) {
        CHECK(try(device, TENSOR_FAULT_VALUE, at, "layer'", &s, NULL) == 0);
        CHECK(s.value == right.value && isnan(s.gradient[0]));
        CHECK(!memcmp(s.gradient + 1, right.gradient + 1, sizeof s.gradient - sizeof(float)));
        CHECK(try(device, TENSOR_FAULT_VALUE, at, "layer", &s, NULL) == 0);
        CHECK(isnan(s.value) == (at == 2));
    }
    printf("%s: %u points, %u allocations\n", device, (unsigned)whole.points,
           (unsigned)opened.allocations);
}

static void count_device(void *user, int index, const struct tensor_device_info *info)
{
    if (!strcmp(info->kind, "vulkan"))
        ++*(int *)user;
}

int main(void)
{
    int count = 0;
    tensor_device_list(count_device, &count);
    check_device("cpu", 1);
    for (int i = 0; i < count; i++) {
        char name[24];
        snprintf(name, sizeof name, "vulkan:%d", i);
        check_device(name, i ? 3 : 1); /* what differs between devices is little */
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
