/* faults.c - every step of saving, renaming, pruning and recovering fails, or is the last one
 * before a SIGKILL, in turn (calls.h): a complete checkpoint is always there, what failed is told
 * in one line, and saving goes on. */
#include "calls.h"
#include "fixture.h"
#include "megabyte/error.h"
#include "tests/every.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *run_path(void)
{
    static char path[600];
    if (!*path)
        snprintf(path, sizeof path, "%s", fixture_path("run"));
    return path;
}

static const char *run_file(const char *name)
{
    static char path[700];
    snprintf(path, sizeof path, "%s/%s", run_path(), name);
    return path;
}

/* What is there (steps whose seed is the step), and what is then done. */
static const struct scenario {
    const char *name;
    uint64_t before[5]; /* up to a 0 */
    uint64_t step, seed; /* step 0: nothing is saved, the lock is taken */
    uint32_t keep;
    uint64_t keep_every;
    bool crashed; /* something half-written and a replacement begun lie about */
    const char *after; /* the checkpoints that are there when all went well */
} scenarios[] = {
    {"the next step, and the first is pruned", {100}, 200, 2, 1, 0, false, "200 "},
    {"the same step once more", {100}, 100, 3, 1, 0, false, "100 "},
    {"the first of a new run", {0}, 100, 5, 1, 0, false, "100 "},
    {"several are pruned, and some stay for ever", {100, 110, 120, 130}, 140, 6, 2, 50, false,
     "140 130 100 "},
    {"the next step, behind a crash", {100, 200}, 300, 7, 2, 0, true, "300 200 "},
    {"the lock is taken behind a crash", {100, 200}, 0, 0, 0, 0, true, "200 100 "},
};

static const char *listed(void)
{
    static char text[200];
    size_t n = 0;
    text[0] = '\0';
    for (uint64_t step = 400; step > 0; step -= 10) {
        char name[40];
        struct stat info;
        snprintf(name, sizeof name, "checkpoints/%08llu", (unsigned long long)step);
        if (stat(run_file(name), &info) == 0)
            n += (size_t)snprintf(text + n, sizeof text - n, "%llu ", (unsigned long long)step);
    }
    return text;
}

static void begin(struct fixture *f, const struct scenario *s)
{
    fixture_remove(run_path());
    for (int i = 0; i < 5 && s->before[i]; i++)
        REQUIRE_OK(fixture_save(f, run_path(), s->before[i], s->before[i], 0));
    if (!s->crashed)
        return;
    const char *old = fixture_path("run/checkpoints/00000200");
    REQUIRE(rename(old, fixture_path("run/checkpoints/00000200.new")) == 0);
    REQUIRE_OK(fixture_save(f, fixture_path("other"), 200, 9, 0));
    REQUIRE(rename(fixture_path("other/checkpoints/00000200"), old) == 0);
    fixture_remove(fixture_path("other"));
    REQUIRE(mkdir(run_file("checkpoints/.tmp-00000300-1"), 0777) == 0);
    fixture_write(run_file("checkpoints/.tmp-00000300-1/model.safetensors"), "half", 4);
    fixture_write(run_file(".tmp-latest"), "half", 4);
}

static int act(struct fixture *f, const struct scenario *s)
{
    if (s->step)
        return fixture_save_as(f, run_path(), s->step, s->seed, s->keep, s->keep_every);
    int lock = -1;
    const int result = megabyte_run_lock(run_path(), &lock);
    megabyte_run_unlock(&lock);
    return result;
}

/* Whatever happened: the newest before or the new one is there, whole, and saving goes on. `saved`
 * says that the new one was reported to be there. */
static void check_run(struct fixture *f, const struct scenario *s, bool saved)
{
    uint64_t seed = 0, newest = 0;
    struct megabyte_checkpoint *c = NULL;
    for (int i = 0; i < 5 && s->before[i]; i++)
        newest = s->before[i];
    if (!newest && !saved && megabyte_checkpoint_open(run_path(), NULL, &c) < 0) {
        /* Nothing was there, and nothing half-done is taken for something. */
        REQUIRE(strstr(megabyte_error(), "no checkpoint yet") ||
                strstr(megabyte_error(), "neither") || strstr(megabyte_error(), "cannot open"));
    } else {
        megabyte_checkpoint_close(&c);
        const uint64_t step = fixture_open(f, run_path(), &seed);
        REQUIRE((step == newest && seed == newest && (!saved || !s->step)) ||
                (s->step && step == s->step && seed == s->seed));
    }
    int lock = -1;
    const uint64_t before = seed;
    REQUIRE_OK(megabyte_run_lock(run_path(), &lock));
    REQUIRE(before == 0 || (fixture_open(f, run_path(), &seed) && seed == before));
    REQUIRE(fixture_count(run_file("checkpoints"), ".") == 0);
    REQUIRE(fixture_count(run_file("checkpoints"), "") ==
            fixture_count(run_file("checkpoints"), "00000"));
    REQUIRE_OK(fixture_save(f, run_path(), 400, 4, 1));
    REQUIRE(fixture_open(f, run_path(), &seed) == 400 && seed == 4);
    REQUIRE(strcmp(listed(), "400 ") == 0 && fixture_count(run_path(), ".tmp") == 0);
    megabyte_run_unlock(&lock);
}

/* Returns how many calls there are; checks the order of things meanwhile. */
static int count_calls(struct fixture *f, const struct scenario *s)
{
    begin(f, s);
    calls_watch(s->step != 0); /* the text in the lock need not last */
    calls_arm(CALLS_FAIL, EIO, -1, NULL);
    REQUIRE_OK(act(f, s));
    const int count = calls_disarm();
    calls_watch(false);
    REQUIRE(strcmp(listed(), s->after) == 0);
    check_run(f, s, true);
    return count;
}

/* Returns whether the call could have the fault. */
static bool fail(struct fixture *f, const struct scenario *s, enum calls_fault kind, int error,
                 int at)
{
    begin(f, s);
    calls_arm(kind, error, at, NULL);
    const int result = act(f, s);
    calls_disarm();
    const bool made = calls_made();
    /* What failed has cleaned up behind itself. */
    if (result < 0 && !s->crashed) {
        REQUIRE(fixture_count(run_file("checkpoints"), ".tmp") == 0);
        REQUIRE(fixture_count(run_path(), ".tmp") == 0);
    }
    if (result < 0 && result != -error)
        fprintf(stderr, "%s: call %d, %s: %s\n", s->name, at, calls_hit(), megabyte_error());
    if (result < 0)
        REQUIRE(made && result == -error && strstr(megabyte_error(), strerror(error)) &&
                strstr(megabyte_error(), run_path()));
    /* Half a write, and a call that a signal broke off, are done again. */
    REQUIRE(result == 0 || kind != CALLS_HALF);
    if (error == EINTR && (!strcmp(calls_hit(), "write") || !strcmp(calls_hit(), "fsync")))
        REQUIRE(result == 0);
    check_run(f, s, result == 0);
    return made;
}

/* Returns whether it was killed. */
static bool kill_at(struct fixture *f, const struct scenario *s, enum calls_fault kind, int at)
{
    int status;
    begin(f, s);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        calls_arm(kind, 0, at, NULL);
        _exit(act(f, s) == 0 ? 0 : 3);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    const bool killed = WIFSIGNALED(status);
    REQUIRE(killed ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    check_run(f, s, !killed);
    return killed;
}

int main(void)
{
    static const int errors[] = {ENOSPC, EIO, EDQUOT, EROFS, EINTR};
    struct fixture f;
    const int every = tests_every();
    int kills = 0, failures = 0;
    fixture_create(&f, 16, 300);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        const struct scenario *s = &scenarios[i];
        const int count = count_calls(&f, s), before = kills;
        REQUIRE(count > (s->step ? 70 : 15));
        for (int at = 1; at <= count; at += every) {
            for (int e = 0; e < (i < 2 ? 5 : 2); e++)
                failures += fail(&f, s, CALLS_FAIL, errors[e], at);
            kills += kill_at(&f, s, CALLS_KILL, at);
            if (!fail(&f, s, CALLS_HALF, ENOSPC, at))
                continue; /* no write */
            failures += 1 + fail(&f, s, CALLS_HALF_FAIL, ENOSPC, at);
            kills += kill_at(&f, s, CALLS_KILL_HALF, at);
        }
        printf("%s: %d calls, %d kills\n", s->name, count, kills - before);
    }
    printf("%d failures, %d kills\n", failures, kills);
    REQUIRE(kills >= 500 / every);
    fixture_destroy(&f);
    return 0;
}
