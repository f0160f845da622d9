/* saver.c - see saver.h.
 *
 * The copy is tensors of a cpu device of the saver's own, so that it is written by the very code
 * that writes a checkpoint in the foreground, and no device is used by two threads.
 */
#include "megabyte/saver.h"
#include "megabyte/error.h"
#include "tensor/arena.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESERVE (64u << 20) /* bytes that are left to the system, beside an eighth of the copy */

struct megabyte_saver {
    char *run_folder;
    uint64_t memory;

    struct tensor_device *device;
    struct tensor_arena *arena;
    struct tensor_named *list; /* the copies: model's, then the optimizer's; names are owned */
    uint32_t count;            /* of the list */

    struct megabyte_checkpoint_write write; /* of the save in flight; its texts are owned */
    char *config, *state;
    int sync;
    pthread_t thread;
    bool running; /* a save that was not asked about */
    atomic_bool ended;
    struct megabyte_save save;
};

int megabyte_saver_create(const char *run_folder, uint64_t memory, struct megabyte_saver **saver)
{
    struct megabyte_saver *s = calloc(1, sizeof *s);
    if (!s || !(s->run_folder = strdup(run_folder))) {
        free(s);
        return megabyte_fail(ENOMEM, "no memory to save in the background");
    }
    s->memory = memory;
    *saver = s;
    return 0;
}

/* ---- the copy ---- */

static void drop_copy(struct megabyte_saver *s)
{
    tensor_arena_destroy(&s->arena);
    tensor_device_close(&s->device);
    for (uint32_t i = 0; i < s->count; i++)
        free((char *)s->list[i].name);
    free(s->list);
    s->list = NULL;
    s->count = 0;
}

/* Entry i of what is to be saved: the model's tensors, then the optimizer's. */
static const struct tensor_named *source(const struct megabyte_checkpoint_write *w, uint32_t i)
{
    return i < w->model_count ? &w->model[i] : &w->optimizer[i - w->model_count];
}

static bool same(const struct tensor_named *a, const struct tensor_named *b)
{
    const struct tensor *x = a->tensor, *y = b->tensor;
    return strcmp(a->name, b->name) == 0 && x->type == y->type && x->rank == y->rank &&
           memcmp(x->shape, y->shape, x->rank * sizeof *x->shape) == 0;
}

static bool fits(const struct megabyte_saver *s, const struct megabyte_checkpoint_write *w)
{
    bool fit = s->arena && s->count == w->model_count + w->optimizer_count;
    for (uint32_t i = 0; fit && i < s->count; i++)
        fit = same(&s->list[i], source(w, i));
    return fit;
}

static int check_room(const struct megabyte_saver *s)
{
    const uint64_t size = tensor_arena_size(s->arena), available = tensor_host_available();
    if (size > s->memory)
        return megabyte_fail(ENOMEM, "a copy of the model takes %" PRIu64 " MiB, and %" PRIu64
                             " are allowed", (size >> 20) + 1, s->memory >> 20);
    if (size + size / 8 + RESERVE > available)
        return megabyte_fail(ENOMEM, "a copy of the model takes %" PRIu64 " MiB, and the system "
                             "has %" PRIu64 " left", (size >> 20) + 1, available >> 20);
    return 0;
}

/* Makes tensors like those to be saved. */
static int make_copy(struct megabyte_saver *s, const struct megabyte_checkpoint_write *w)
{
    const struct tensor_device_params cpu = {.name = "cpu"};
    const uint32_t count = w->model_count + w->optimizer_count;
    int result = tensor_device_open(&cpu, &s->device);
    if (result == 0)
        result = tensor_arena_create(s->device, TENSOR_HOST, "checkpoint", &s->arena);
    if (result < 0)
        return megabyte_fail(-result, "%s", tensor_error());
    s->list = calloc(count + 1, sizeof *s->list);
    for (; s->list && s->count < count; s->count++) {
        const struct tensor_named *from = source(w, s->count);
        const struct tensor *t = from->tensor;
        char *name = strdup(from->name);
        if (!name)
            break;
        s->list[s->count] = (struct tensor_named){
            name, tensor_arena_take(s->arena, NULL, t->type, t->rank, t->shape)};
    }
    if (s->count < count || !s->list)
        return megabyte_fail(ENOMEM, "no memory for a copy of the model");
    result = check_room(s);
    if (result < 0)
        return result;
    result = tensor_arena_commit(s->arena);
    return result < 0 ? megabyte_fail(-result, "%s", tensor_error()) : 0;
}

static int copy(struct megabyte_saver *s, const struct megabyte_checkpoint_write *w)
{
    int result = 0;
    if (!fits(s, w)) {
        drop_copy(s);
        result = make_copy(s, w);
        if (result < 0)
            drop_copy(s);
    }
    for (uint32_t i = 0; i < s->count && result == 0; i++) {
        const struct tensor *from = source(w, i)->tensor;
        result = tensor_read(from, 0, tensor_host(s->list[i].tensor), tensor_size(from));
        if (result < 0)
            megabyte_fail(-result, "%s", tensor_error());
    }
    return result;
}

/* ---- writing ---- */

static void say(const struct megabyte_run_log *log, const char *what, int error)
{
    char line[160];
    if (!log->line)
        return;
    snprintf(line, sizeof line, "%s: %s", what, strerror(error));
    log->line(log->user, line);
}

static void *work(void *argument)
{
    struct megabyte_saver *s = argument;
    /* A pipe or a device has nothing to make durable; and a file that cannot be made so is no
     * reason to lose the checkpoint. */
    if (s->sync >= 0 && fdatasync(s->sync) != 0 && errno != EINVAL)
        say(&s->write.log, "cannot fsync the run's own log", errno);
    s->save.result = megabyte_checkpoint_save(s->run_folder, &s->write, NULL);
    if (s->save.result < 0)
        snprintf(s->save.line, sizeof s->save.line, "%s", megabyte_error());
    atomic_store(&s->ended, true);
    return NULL;
}

/* Signals stay with the threads that were there before. */
static int start_thread(struct megabyte_saver *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&s->thread, NULL, work, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error ? megabyte_fail(EAGAIN, "no thread to save in the background: %s",
                                 strerror(error)) : 0;
}

static void free_texts(struct megabyte_saver *s)
{
    free(s->config);
    free(s->state);
    s->config = s->state = NULL;
}

int megabyte_saver_start(struct megabyte_saver *s, const struct megabyte_checkpoint_write *w,
                         int sync)
{
    if (s->running)
        return megabyte_fail(EBUSY, "the save of step %" PRIu64 " was not asked about",
                             s->save.step);
    int result = copy(s, w);
    if (result < 0)
        return result;
    s->config = strdup(w->config);
    s->state = strdup(w->state ? w->state : "{}");
    if (!s->config || !s->state) {
        free_texts(s);
        return megabyte_fail(ENOMEM, "no memory to save in the background");
    }
    s->write = *w;
    s->write.config = s->config;
    s->write.state = s->state;
    s->write.model = s->list;
    s->write.optimizer = w->optimizer ? s->list + w->model_count : NULL;
    s->sync = sync;
    s->save = (struct megabyte_save){.step = w->step};
    atomic_store(&s->ended, false);
    result = start_thread(s);
    if (result < 0)
        free_texts(s);
    s->running = result == 0;
    return result;
}

bool megabyte_saver_wait(struct megabyte_saver *s, struct megabyte_save *save)
{
    if (!s->running)
        return false;
    pthread_join(s->thread, NULL);
    s->running = false;
    free_texts(s);
    *save = s->save;
    return true;
}

bool megabyte_saver_poll(struct megabyte_saver *s, struct megabyte_save *save)
{
    return s->running && atomic_load(&s->ended) && megabyte_saver_wait(s, save);
}

void megabyte_saver_destroy(struct megabyte_saver **saver)
{
    struct megabyte_saver *s = *saver;
    struct megabyte_save save;
    if (!s)
        return;
    megabyte_saver_wait(s, &save);
    drop_copy(s);
    free(s->run_folder);
    free(s);
    *saver = NULL;
}
