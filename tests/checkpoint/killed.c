/* killed.c [SECONDS] - a process that saves without pause is killed at random moments, in and
 * between all system calls: a complete checkpoint is always there, and no older one than was
 * reported. */
#include "fixture.h"
#include "megabyte/error.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KILLS 100
#define WINDOW 60000

/* In memory that both processes see. */
struct shared {
    uint64_t saved; /* the last step that was reported */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Every third step is saved twice, so that replacing is killed too. */
static void save_for_ever(struct fixture *f, const char *run, uint64_t step, struct shared *shared)
{
    int lock = -1;
    if (megabyte_run_lock(run, &lock) < 0)
        _exit(2);
    for (;; step++) {
        for (int again = 0; again < (step % 3 ? 1 : 2); again++) {
            if (fixture_save(f, run, step, step, 2) < 0) {
                fprintf(stderr, "%s\n", megabyte_error());
                _exit(3);
            }
            shared->saved = step;
        }
    }
}

int main(int argc, char **argv)
{
    struct fixture f;
    char run[600];
    double end = now() + (argc > 1 ? atof(argv[1]) : 12);
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    snprintf(run, sizeof run, "%s", fixture_path("run"));
    fixture_create(&f, 8, 4000);
    uint64_t step = 0, seed = 0;
    uint32_t random = 1;
    int kills = 0;
    /* The microseconds in which a kill comes: about as many kills as not find a step saved, however
     * slow the disk is. */
    uint32_t window = WINDOW;
    REQUIRE_OK(fixture_save(&f, run, 0, 0, 2));
    for (; (kills < KILLS && now() < end) || step == 0; kills++) {
        uint64_t before = step;
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0)
            save_for_ever(&f, run, step + 1, shared);
        random = random * 1664525 + 1013904223;
        usleep(1000 + (random >> 8) % window);
        int status = 0;
        REQUIRE(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));
        step = fixture_open(&f, run, &seed);
        REQUIRE(step >= shared->saved && seed == step);
        if (step == before)
            window += window / 4;
        else if (window > WINDOW)
            window -= window / 5;
    }
    printf("%d kills, %llu steps\n", kills, (unsigned long long)step);
    fixture_destroy(&f);
    return 0;
}
