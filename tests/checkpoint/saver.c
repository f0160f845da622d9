/* saver.c - saving in the background: it is one (training goes on while it is held up), it saves
 * the bits of the moment it was asked, and what fails is told and loses nothing.
 *
 * fsync and fdatasync of this program are the ones below: they wait where the test says so, and
 * fail where it says so. pthread_create is wrapped by the linker.
 */
#include "fixture.h"
#include "megabyte/error.h"
#include "megabyte/saver.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static sem_t gate, arrived;
static atomic_bool held; /* the next fsync waits at the gate */
static atomic_int fsync_error, fdatasync_error, fsyncs, fsyncs_before_log;
static atomic_bool no_threads;

int fsync(int fd)
{
    sigset_t mask;
    fsyncs++;
    if (atomic_exchange(&held, false)) {
        REQUIRE(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGINT) == 1);
        sem_post(&arrived);
        while (sem_wait(&gate) != 0)
            continue;
    }
    errno = fsync_error;
    return errno ? -1 : 0;
}

int fdatasync(int fd)
{
    fsyncs_before_log = fsyncs;
    errno = fdatasync_error;
    return errno ? -1 : 0;
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument)
{
    return no_threads ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

static char logged[400];

static void keep_line(void *user, const char *line)
{
    snprintf(logged, sizeof logged, "%s", line);
}

static struct megabyte_checkpoint_write write_of(struct fixture *f, uint64_t step, uint64_t seed)
{
    static char config[64], state[96];
    fixture_texts(step, seed, config, sizeof config, state, sizeof state);
    fixture_fill(f, seed);
    return (struct megabyte_checkpoint_write){
        .step = step, .config = config, .state = state, .model = f->model,
        .model_count = f->count, .optimizer = f->optimizer, .optimizer_count = f->count, .keep = 2,
        .log = {keep_line, NULL}};
}

/* The save is held up in the middle, and everything it was given changes meanwhile. */
static void beside(struct fixture *f, const char *run)
{
    struct megabyte_saver *s = NULL;
    struct megabyte_save save = {0};
    uint64_t seed;
    REQUIRE_OK(megabyte_saver_create(run, UINT64_MAX, &s));
    REQUIRE(!megabyte_saver_poll(s, &save) && !megabyte_saver_wait(s, &save));
    for (uint64_t step = 1; step <= 4; step++) {
        struct megabyte_checkpoint_write w = write_of(f, step, step);
        held = true;
        REQUIRE_OK(megabyte_saver_start(s, &w, -1));
        REQUIRE(sem_wait(&arrived) == 0);
        w = write_of(f, 1000, 1000);
        memset((char *)w.config, 'x', strlen(w.config));
        REQUIRE(!megabyte_saver_poll(s, &save));
        REQUIRE_ERROR(megabyte_saver_start(s, &w, -1), EBUSY, "was not asked about");
        sem_post(&gate);
        if (step % 2)
            REQUIRE(megabyte_saver_wait(s, &save));
        else
            while (!megabyte_saver_poll(s, &save))
                usleep(1000);
        REQUIRE(save.step == step && save.result == 0 && !*save.line);
        REQUIRE(!megabyte_saver_poll(s, &save) && !megabyte_saver_wait(s, &save));
        REQUIRE(fixture_open(f, run, &seed) == step && seed == step);
    }
    REQUIRE(fixture_count(fixture_path("run/checkpoints"), "") == 2);
    /* Ending the saver waits for the save in flight. */
    struct megabyte_checkpoint_write w = write_of(f, 5, 5);
    REQUIRE_OK(megabyte_saver_start(s, &w, -1));
    megabyte_saver_destroy(&s);
    megabyte_saver_destroy(&s);
    REQUIRE(s == NULL && fixture_open(f, run, &seed) == 5 && seed == 5);
}

static void failing(struct fixture *f, const char *run)
{
    struct megabyte_saver *s = NULL;
    struct megabyte_save save;
    uint64_t seed;
    REQUIRE_OK(megabyte_saver_create(run, UINT64_MAX, &s));
    struct megabyte_checkpoint_write w = write_of(f, 6, 6);
    fsync_error = EDQUOT;
    REQUIRE_OK(megabyte_saver_start(s, &w, -1));
    REQUIRE(megabyte_saver_wait(s, &save));
    fsync_error = 0;
    REQUIRE(save.step == 6 && save.result == -EDQUOT && strstr(save.line, "cannot save step 6"));
    REQUIRE(strstr(save.line, strerror(EDQUOT)) && !strchr(save.line, '\n'));
    REQUIRE(fixture_open(f, run, &seed) == 5);
    /* No thread: nothing is in flight, and the next one succeeds. */
    w = write_of(f, 7, 7);
    no_threads = true;
    REQUIRE_ERROR(megabyte_saver_start(s, &w, -1), EAGAIN, "no thread");
    no_threads = false;
    REQUIRE(!megabyte_saver_wait(s, &save));
    REQUIRE_OK(megabyte_saver_start(s, &w, -1));
    REQUIRE(megabyte_saver_wait(s, &save) && save.result == 0);
    REQUIRE(fixture_open(f, run, &seed) == 7 && seed == 7);
    megabyte_saver_destroy(&s);
}

/* A copy that takes more than is allowed, or more than there is, is not made. */
static void without_memory(struct fixture *f, const char *run)
{
    struct megabyte_saver *s = NULL;
    struct megabyte_save save;
    uint64_t seed;
    const struct megabyte_checkpoint_write w = write_of(f, 8, 8);
    REQUIRE_OK(megabyte_saver_create(run, 1000, &s));
    REQUIRE_ERROR(megabyte_saver_start(s, &w, -1), ENOMEM, "0 are allowed");
    REQUIRE(!megabyte_saver_wait(s, &save) && fixture_open(f, run, &seed) == 7);
    megabyte_saver_destroy(&s);

    struct tensor_arena *arena;
    struct tensor_named huge[600];
    REQUIRE_OK(tensor_arena_create(f->device, TENSOR_DEVICE, "never committed", &arena));
    for (uint32_t i = 0; i < 600; i++)
        huge[i] = (struct tensor_named){"huge", tensor_arena_take(arena, "huge", TENSOR_F32, 2,
                                                                  (const uint32_t[]){1 << 15,
                                                                                     1 << 15})};
    const struct megabyte_checkpoint_write all = {
        .step = 9, .config = "{}", .model = huge, .model_count = 600};
    REQUIRE_OK(megabyte_saver_create(run, UINT64_MAX, &s));
    REQUIRE_ERROR(megabyte_saver_start(s, &all, -1), ENOMEM, "");
    megabyte_saver_destroy(&s);
    tensor_arena_destroy(&arena);
}

/* Other tensors than last time, with and without an optimizer; the run's own log comes first. */
static void other_lists(struct fixture *f, const char *run)
{
    struct megabyte_saver *s = NULL;
    struct megabyte_save save;
    struct megabyte_checkpoint *c = NULL;
    uint64_t seed;
    int log = open(fixture_path("log"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    REQUIRE_OK(megabyte_saver_create(run, UINT64_MAX, &s));
    struct megabyte_checkpoint_write w = write_of(f, 10, 10);
    fsyncs = 0;
    fsyncs_before_log = -1;
    REQUIRE_OK(megabyte_saver_start(s, &w, log));
    REQUIRE(megabyte_saver_wait(s, &save) && save.result == 0);
    REQUIRE(fsyncs_before_log == 0 && fsyncs > 0 && !*logged);
    REQUIRE(fixture_open(f, run, &seed) == 10 && seed == 10);
    w.step = 11;
    w.state = NULL;
    w.model_count = 3;
    w.optimizer = NULL;
    w.optimizer_count = 0;
    fdatasync_error = EIO;
    REQUIRE_OK(megabyte_saver_start(s, &w, log));
    REQUIRE(megabyte_saver_wait(s, &save) && save.result == 0);
    REQUIRE(strstr(logged, "cannot fsync"));
    w.step = 12;
    w.log.line = NULL;
    REQUIRE_OK(megabyte_saver_start(s, &w, log));
    REQUIRE(megabyte_saver_wait(s, &save) && save.result == 0);
    fdatasync_error = 0;
    REQUIRE_OK(megabyte_checkpoint_open(run, NULL, &c));
    REQUIRE(megabyte_checkpoint_step(c) == 12);
    REQUIRE(strcmp(megabyte_checkpoint_state(c), "{}") == 0);
    REQUIRE(megabyte_checkpoint_file(c, MEGABYTE_CHECKPOINT_OPTIMIZER) == NULL);
    REQUIRE_OK(megabyte_checkpoint_load(c, MEGABYTE_CHECKPOINT_MODEL, f->model, 3));
    megabyte_checkpoint_close(&c);
    w = write_of(f, 13, 13);
    REQUIRE_OK(megabyte_saver_start(s, &w, -1));
    REQUIRE(megabyte_saver_wait(s, &save) && save.result == 0);
    REQUIRE(fixture_open(f, run, &seed) == 13 && seed == 13);
    megabyte_saver_destroy(&s);
    close(log);
}

int main(void)
{
    struct fixture f;
    const char *run = fixture_path("run");
    REQUIRE(sem_init(&gate, 0, 0) == 0 && sem_init(&arrived, 0, 0) == 0);
    fixture_create(&f, 12, 5000);
    beside(&f, run);
    failing(&f, run);
    without_memory(&f, run);
    other_lists(&f, run);
    fixture_destroy(&f);
    return 0;
}
