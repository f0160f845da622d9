/* sweep.c - mb-train as a whole: each system call on a file of the run folder is the last before a
 * SIGKILL, or fails, in turn (tests/checkpoint/calls.h).
 *
 * The run saves in the background and in the foreground, prunes, and writes metrics, config.json
 * and `latest`. Whatever happened to it, its newest checkpoint verifies, the same command goes on,
 * and the run ends with the bits, and the lines of its metrics, of one to which nothing happened.
 * A run that stops at a step that is not finite is swept, too: its replay file is whole or absent.
 *
 * The program is linked in under another name, and each run is a child of this process.
 */
#include "tests/checkpoint/calls.h"
#include "tests/checkpoint/fixture.h"
#include "tests/every.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int mb_train_main(int argc, char **argv);

static const char *settings[] = {
    "seq_len=32", "patch_size=4", "global.dim=16", "global.heads=1", "global.layers=1",
    "local.dim=8", "local.heads=1", "local.layers=1", "batch=2", "micro_batch=1", "dropout=0.1",
    "warmup=2", NULL, NULL, NULL,
};
static const char **const more_settings = &settings[12]; /* the first NULL */
static const char *all_steps = "4";

/* A run in `out`, with a fault at call `at`; returns the status as waitpid() gives it. `errors` is
 * what it said, `calls` (NULL where it may not come to its end) how many calls there were. */
static int train(const char *out, enum calls_fault fault, int error, int at, char errors[1000],
                 int *calls)
{
    char *args[64] = {"mb-train", "--device", "cpu", "--preset", "tiny", "--quiet",
                      "--save-every", "2", "--log-every", "1", "--keep", "1", "--out", (char *)out,
                      "--steps", (char *)all_steps};
    int n = 16, status;
    for (size_t i = 0; settings[i]; i++) {
        args[n++] = "--set";
        args[n++] = (char *)settings[i];
    }
    args[n++] = (char *)fixture_path("data");
    const char *said = fixture_path("said"), *counted = fixture_path("counted");
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        REQUIRE(freopen(said, "w", stderr) != NULL);
        setvbuf(stderr, NULL, _IONBF, 0);
        calls_arm(fault, error, at, out);
        const int result = mb_train_main(n, args);
        const int count = calls_disarm();
        fixture_write(counted, &count, sizeof count);
        fflush(NULL);
        _exit(result);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    size_t size;
    unsigned char *text = fixture_read(said, &size);
    snprintf(errors, 1000, "%s", (char *)text);
    free(text);
    if (calls) {
        text = fixture_read(counted, &size);
        REQUIRE(size == sizeof *calls);
        memcpy(calls, text, size);
        free(text);
    }
    return status;
}

/* The metrics' lines: each step once and in order. */
static void check_metrics(const char *out, int steps)
{
    char path[700];
    size_t size;
    snprintf(path, sizeof path, "%s/metrics.jsonl", out);
    unsigned char *text = fixture_read(path, &size);
    const char *line = (char *)text;
    for (int step = 1; step <= steps; step++) {
        int found = 0;
        REQUIRE(sscanf(line, "{\"step\":%d,", &found) == 1 && found == step);
        line = strchr(line, '\n');
        REQUIRE(line && line[-1] == '}');
        line++;
    }
    REQUIRE(*line == '\0');
    free(text);
}

static bool same_file(const char *a, const char *b, const char *name)
{
    char path[2][900];
    size_t size[2];
    snprintf(path[0], sizeof *path, "%s/checkpoints/00000004/%s", a, name);
    snprintf(path[1], sizeof *path, "%s/checkpoints/00000004/%s", b, name);
    unsigned char *x = fixture_read(path[0], &size[0]), *y = fixture_read(path[1], &size[1]);
    const bool same = size[0] == size[1] && !memcmp(x, y, size[0]);
    free(x);
    free(y);
    return same;
}

/* The newest checkpoint, if there is one, verifies; the same command goes on to the same end. */
static void go_on(const char *whole, const char *out, const char *what)
{
    struct megabyte_checkpoint *c = NULL;
    char errors[1000];
    const int result = megabyte_checkpoint_open(out, NULL, &c);
    REQUIRE(result == 0 || result == -ENOENT || result == -EINVAL);
    REQUIRE(result < 0 || megabyte_checkpoint_step(c) == 2 || megabyte_checkpoint_step(c) == 4);
    megabyte_checkpoint_close(&c);
    const int status = train(out, CALLS_FINE, 0, 0, errors, NULL);
    const bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0 && !*errors;
    if (!ended || !same_file(whole, out, "model.safetensors") ||
        !same_file(whole, out, "optimizer.safetensors") || !same_file(whole, out, "state.json")) {
        fprintf(stderr, "after %s: status %x, %s\n", what, status, errors);
        exit(1);
    }
    check_metrics(out, 4);
}

static void kill_at(const char *whole, const char *out, enum calls_fault fault, int at, int *kills)
{
    char errors[1000], what[80];
    fixture_remove(out);
    const int status = train(out, fault, 0, at, errors, NULL);
    *kills += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    REQUIRE(!WIFSIGNALED(status) || WTERMSIG(status) == SIGKILL);
    REQUIRE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    snprintf(what, sizeof what, "a kill at call %d", at);
    go_on(whole, out, what);
}

/* One call fails: the run goes on all the same, or ends with status 1 and one line. */
static void fail_at(const char *whole, const char *out, enum calls_fault fault, int error, int at)
{
    char errors[1000], what[1300];
    fixture_remove(out);
    const int status = train(out, fault, error, at, errors, NULL);
    const char *line = strchr(errors, '\n');
    snprintf(what, sizeof what, "%s at call %d: %s", strerror(error), at, errors);
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 1 || (WEXITSTATUS(status) == 1 && !line) ||
        (line && line[1])) {
        fprintf(stderr, "%s: status %x\n", what, status);
        exit(1);
    }
    go_on(whole, out, what);
}

/* The replay file of `out`, NULL if there is none. */
static unsigned char *replay_file(const char *out, size_t *size)
{
    unsigned char *text = NULL;
    char path[700];
    for (int step = 1; step <= atoi(all_steps) && !text; step++) {
        snprintf(path, sizeof path, "%s/replay-%08d.json", out, step);
        text = access(path, F_OK) ? NULL : fixture_read(path, size);
    }
    return text;
}

/* A run whose weights grow a hundredfold in each step, until one is not finite. Whatever call
 * fails, that is told, there is no half of a replay file, and what checkpoint there is verifies. */
static int fail_not_finite(const char *out, int stride)
{
    char errors[1000];
    size_t size[2];
    int count, failures = 0;
    more_settings[0] = "lr=10";
    more_settings[1] = "decay=10";
    all_steps = "40";
    fixture_remove(out);
    const int status = train(out, CALLS_FAIL, EIO, -1, errors, &count);
    unsigned char *whole = replay_file(out, &size[0]);
    if (WEXITSTATUS(status) != 1 || !whole || !strstr(errors, "shows where")) {
        fprintf(stderr, "not finite: status %x: %s\n", status, errors);
        exit(1);
    }
    for (int at = 1; at <= count; at += stride, failures++) {
        struct megabyte_checkpoint *c = NULL;
        fixture_remove(out);
        REQUIRE(WEXITSTATUS(train(out, failures % 2 ? CALLS_FAIL : CALLS_HALF_FAIL, ENOSPC, at,
                                  errors, NULL)) == 1);
        unsigned char *text = replay_file(out, &size[1]);
        REQUIRE(!text || (size[0] == size[1] && !memcmp(text, whole, size[0])));
        if (strstr(errors, "is not finite")) /* it came as far */
            REQUIRE(strstr(errors, text ? "step " : "it could not be written: "));
        const int result = megabyte_checkpoint_open(out, NULL, &c);
        REQUIRE(result == 0 || result == -ENOENT || result == -EINVAL);
        megabyte_checkpoint_close(&c);
        free(text);
    }
    free(whole);
    *more_settings = NULL;
    all_steps = "4";
    return failures;
}

int main(int argc, char **argv)
{
    const char *whole, *out;
    const int stride = argc > 1 ? atoi(argv[1]) : 6 * tests_every();
    char errors[1000], paths[2][600], data[3000];
    int count, kills = 0, failures = 0;
    setenv("OMP_NUM_THREADS", "1", 1);
    setenv("GOMP_SPINCOUNT", "0", 1); /* else the program begins by running itself once more */
    snprintf(paths[0], sizeof *paths, "%s", fixture_path("whole"));
    snprintf(paths[1], sizeof *paths, "%s", fixture_path("out"));
    whole = paths[0];
    out = paths[1];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)("the quick brown fox. "[i % 21] + (i % 97 == 0));
    fixture_write(fixture_path("data"), data, sizeof data);
    REQUIRE(train(whole, CALLS_FAIL, EIO, -1, errors, &count) == 0 && !*errors);
    check_metrics(whole, 4);
    REQUIRE(count > 100);
    for (int at = 1; at <= count; at += stride, failures += 2) {
        kill_at(whole, out, CALLS_KILL, at, &kills);
        kill_at(whole, out, CALLS_KILL_HALF, at + 1, &kills);
        fail_at(whole, out, CALLS_FAIL, ENOSPC, at);
        fail_at(whole, out, CALLS_HALF_FAIL, EIO, at + 1);
    }
    failures += fail_not_finite(out, stride);
    printf("%d calls, %d kills, %d failures\n", count, kills, failures);
    REQUIRE(kills > count / stride / 2);
    return 0;
}
