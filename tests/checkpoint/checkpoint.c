/* checkpoint.c - checkpoints and run folders: there and back, what is refused, who may write. */
#include "fixture.h"
#include "megabyte/error.h"
#include "megabyte/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char logged[2048];

static void keep_line(void *user, const char *line)
{
    snprintf(logged, sizeof logged, "%s", line);
}

static const struct megabyte_checkpoint_params with_log = {.log = {keep_line, NULL}};

static bool file_is(const char *path, const char *text)
{
    size_t size;
    unsigned char *bytes = fixture_read(path, &size);
    bool same = strcmp((char *)bytes, text) == 0;
    free(bytes);
    return same;
}

/* Changes one byte of a file. */
static void damage(const char *path, long at)
{
    size_t size;
    unsigned char *bytes = fixture_read(path, &size);
    bytes[at < 0 ? (long)size + at : at] ^= 1;
    fixture_write(path, bytes, size);
    free(bytes);
}

static void there_and_back(struct fixture *f)
{
    const char *run = fixture_path("some/where/run");
    uint64_t seed;
    char *config, *path = NULL;
    REQUIRE_OK(fixture_save(f, run, 500, 3, 0));
    REQUIRE(fixture_open(f, run, &seed) == 500 && seed == 3);
    REQUIRE(file_is(fixture_path("some/where/run/latest"), "checkpoints/00000500\n"));
    REQUIRE(fixture_open(f, fixture_path("some/where/run/checkpoints/00000500"), &seed) == 500);
    /* A checkpoint folder stands alone. */
    REQUIRE(rename(fixture_path("some/where/run/checkpoints/00000500"), fixture_path("moved")) ==
            0);
    REQUIRE(fixture_open(f, fixture_path("moved"), &seed) == 500 && seed == 3);
    REQUIRE_OK(megabyte_run_config(run, &config));
    REQUIRE(strcmp(config, "{\"preset\":\"tiny\",\"seed\":3}") == 0);
    free(config);
    /* Without an optimizer; and steps of more than 8 digits come after those of 8. */
    const struct megabyte_checkpoint_write w = {
        .step = 1234567890123, .config = "{}", .model = f->model, .model_count = f->count};
    REQUIRE_OK(fixture_save(f, run, 99999999, 3, 0));
    REQUIRE_OK(megabyte_checkpoint_save(run, &w, &path));
    REQUIRE(strstr(path, "run/checkpoints/1234567890123"));
    struct megabyte_checkpoint *c = NULL;
    REQUIRE_OK(megabyte_checkpoint_open(run, NULL, &c));
    REQUIRE(strcmp(megabyte_checkpoint_path(c), path) == 0);
    REQUIRE(megabyte_checkpoint_step(c) == 1234567890123);
    REQUIRE(strcmp(megabyte_checkpoint_state(c), "{}") == 0);
    REQUIRE(megabyte_checkpoint_file(c, MEGABYTE_CHECKPOINT_OPTIMIZER) == NULL);
    REQUIRE_ERROR(megabyte_checkpoint_load(c, MEGABYTE_CHECKPOINT_OPTIMIZER, NULL, 0), ENOENT,
                  "has no optimizer.safetensors");
    megabyte_checkpoint_close(&c);
    free(path);
}

static void wrong_lists(struct fixture *f)
{
    const char *run = fixture_path("lists");
    struct megabyte_checkpoint *c = NULL;
    REQUIRE_OK(fixture_save(f, run, 1, 1, 0));
    REQUIRE_OK(megabyte_checkpoint_open(run, NULL, &c));
    fixture_fill(f, 2);
    REQUIRE_ERROR(megabyte_checkpoint_load(c, MEGABYTE_CHECKPOINT_MODEL, f->model, f->count - 1),
                  EINVAL, "too many");
    REQUIRE_ERROR(megabyte_checkpoint_load(c, MEGABYTE_CHECKPOINT_OPTIMIZER, f->model, f->count),
                  ENOENT, "has no tensor 'global.block.0.weight'");
    struct tensor_named list[FIXTURE_TENSORS_MAX];
    memcpy(list, f->model, sizeof list);
    list[f->count - 1].tensor = f->model[0].tensor;
    REQUIRE_ERROR(megabyte_checkpoint_load(c, MEGABYTE_CHECKPOINT_MODEL, list, f->count), EINVAL,
                  "is wanted");
    REQUIRE(fixture_holds(f, 2));
    megabyte_checkpoint_close(&c);
    struct megabyte_checkpoint_write w = {
        .config = "[]", .model = f->model, .model_count = f->count};
    REQUIRE_ERROR(megabyte_checkpoint_save(run, &w, NULL), EINVAL, "settings to save are no JSON");
    w.config = "{";
    REQUIRE_ERROR(megabyte_checkpoint_save(run, &w, NULL), EINVAL, "settings to save are no JSON");
    w.config = "{}";
    w.state = "3";
    REQUIRE_ERROR(megabyte_checkpoint_save(run, &w, NULL), EINVAL, "state to save is no JSON");
    w.state = "[]";
    REQUIRE_ERROR(megabyte_checkpoint_save(run, &w, NULL), EINVAL, "state to save is no JSON");
    w.state = NULL;
    w.step = UINT64_MAX;
    REQUIRE_ERROR(megabyte_checkpoint_save(run, &w, NULL), EINVAL, "2^63");
    REQUIRE(fixture_count(fixture_path("lists/checkpoints"), "") == 1);
}

static void no_checkpoints(struct fixture *f)
{
    struct megabyte_checkpoint *c = NULL;
    REQUIRE_ERROR(megabyte_checkpoint_open(fixture_path("nowhere"), NULL, &c), ENOENT,
                  "cannot open");
    fixture_write(fixture_path("file"), "x", 1);
    REQUIRE_ERROR(megabyte_checkpoint_open(fixture_path("file"), NULL, &c), ENOTDIR, "is a file");
    REQUIRE(mkdir(fixture_path("empty"), 0777) == 0);
    REQUIRE_ERROR(megabyte_checkpoint_open(fixture_path("empty"), NULL, &c), EINVAL, "neither");
    REQUIRE(mkdir(fixture_path("empty/checkpoints"), 0777) == 0);
    REQUIRE_ERROR(megabyte_checkpoint_open(fixture_path("empty"), NULL, &c), ENOENT,
                  "has no checkpoint yet");
    /* Names that are not ours are not looked at. */
    static const char *const names[] = {"500",
                                        "0000050a",
                                        "00000500.old",
                                        "000000000500",
                                        "99999999999999999999999",
                                        "99999999999999999999",
                                        "notes"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        REQUIRE(mkdir(fixture_path("empty/checkpoints/%s", names[i]), 0777) == 0);
    REQUIRE_ERROR(megabyte_checkpoint_open(fixture_path("empty"), NULL, &c), ENOENT,
                  "has no checkpoint yet");
    REQUIRE_OK(fixture_save(f, fixture_path("empty"), 1, 1, 1));
    REQUIRE(fixture_count(fixture_path("empty/checkpoints"), "") == 8);
    REQUIRE(unlink(fixture_path("empty/checkpoints/00000001/state.json")) == 0);
    REQUIRE_ERROR(megabyte_checkpoint_open(fixture_path("empty/checkpoints/00000001"), NULL, &c),
                  EBADMSG, "state.json is missing");
    REQUIRE_ERROR(megabyte_checkpoint_open(fixture_path("empty"), NULL, &c), EBADMSG,
                  "state.json is missing");
    REQUIRE(mkdir(fixture_path("empty/checkpoints/00000001/state.json"), 0777) == 0);
    REQUIRE_ERROR(megabyte_checkpoint_open(fixture_path("empty/checkpoints/00000001"), NULL, &c),
                  EINVAL, "not a regular file");
    REQUIRE(c == NULL);
    /* A link that leads nowhere but to itself. */
    REQUIRE_OK(fixture_save(f, fixture_path("links"), 1, 1, 1));
    const char *model = fixture_path("links/checkpoints/00000001/model.safetensors");
    REQUIRE(unlink(model) == 0 && symlink("model.safetensors", model) == 0);
    REQUIRE_ERROR(megabyte_checkpoint_open(fixture_path("links"), NULL, &c), ELOOP,
                  "cannot open model.safetensors");
}

/* Each file cut at many lengths, each byte of state.json changed: an error, or an older checkpoint.
 */
static void damaged(struct fixture *f)
{
    static const char *const names[] = {"state.json", "model.safetensors", "optimizer.safetensors"};
    struct megabyte_checkpoint *c = NULL;
    const char *run = fixture_path("damaged");
    uint64_t seed;
    REQUIRE_OK(fixture_save(f, run, 1, 1, 0));
    REQUIRE_OK(fixture_save(f, run, 2, 2, 0));
    for (int i = 0; i < 3; i++) {
        const char *newest = fixture_path("damaged/checkpoints/00000002");
        const char *path = fixture_path("damaged/checkpoints/00000002/%s", names[i]);
        size_t size;
        unsigned char *bytes = fixture_read(path, &size);
        for (size_t length = size, step = i ? size / 50 : 1; length > step;) {
            length -= step;
            REQUIRE(truncate(path, (off_t)length) == 0);
            REQUIRE_ERROR(megabyte_checkpoint_open(newest, NULL, &c), EBADMSG, names[i]);
            REQUIRE(strstr(megabyte_error(), "cut short"));
        }
        REQUIRE_OK(megabyte_checkpoint_open(run, &with_log, &c));
        REQUIRE(megabyte_checkpoint_step(c) == 1 && strstr(logged, "took the older"));
        REQUIRE(strstr(logged, names[i]));
        megabyte_checkpoint_close(&c);
        REQUIRE(fixture_open(f, run, &seed) == 1 && seed == 1);
        REQUIRE(unlink(path) == 0);
        REQUIRE_ERROR(megabyte_checkpoint_open(newest, NULL, &c), EBADMSG, "is missing");
        fixture_write(path, bytes, size);
        for (size_t at = 0, step = i ? 97 : 1; at < size; at += step) {
            damage(path, (long)at);
            int result = megabyte_checkpoint_open(newest, NULL, &c);
            REQUIRE((result == -EBADMSG || result == -ENOTSUP) &&
                    strstr(megabyte_error(), names[i]));
            damage(path, (long)at);
        }
        bytes = realloc(bytes, size + 1);
        REQUIRE(bytes != NULL);
        bytes[size] = ' ';
        fixture_write(path, bytes, size + 1);
        REQUIRE_ERROR(megabyte_checkpoint_open(newest, NULL, &c), EBADMSG,
                      i ? "too long" : "digest");
        fixture_write(path, bytes, size);
        free(bytes);
        REQUIRE(fixture_open(f, run, &seed) == 2 && seed == 2);
    }
    /* Taken away while `latest` names it: told; a line of one that is not newer is not. */
    REQUIRE(rename(fixture_path("damaged/checkpoints/00000002"), fixture_path("away")) == 0);
    logged[0] = '\0';
    REQUIRE_OK(megabyte_checkpoint_open(run, &with_log, &c));
    REQUIRE(megabyte_checkpoint_step(c) == 1 && strstr(logged, "the newest is gone"));
    REQUIRE(strstr(logged, "latest names checkpoints/00000002"));
    megabyte_checkpoint_close(&c);
    fixture_write(fixture_path("damaged/latest"), "checkpoints/00000001\n", 21);
    logged[0] = '\0';
    REQUIRE_OK(megabyte_checkpoint_open(run, &with_log, &c));
    REQUIRE(!logged[0]);
    megabyte_checkpoint_close(&c);
    REQUIRE(rename(fixture_path("away"), fixture_path("damaged/checkpoints/00000002")) == 0);
    /* To evaluate, the model is enough. */
    const struct megabyte_checkpoint_params model = {.model_only = true};
    REQUIRE(unlink(fixture_path("damaged/checkpoints/00000002/optimizer.safetensors")) == 0);
    REQUIRE_OK(megabyte_checkpoint_open(run, &model, &c));
    REQUIRE(megabyte_checkpoint_step(c) == 2);
    REQUIRE(megabyte_checkpoint_file(c, MEGABYTE_CHECKPOINT_OPTIMIZER) == NULL);
    megabyte_checkpoint_close(&c);
    damage(fixture_path("damaged/checkpoints/00000001/model.safetensors"), -1);
    REQUIRE_ERROR(megabyte_checkpoint_open(run, NULL, &c), EBADMSG, "no checkpoint of");
    REQUIRE(strstr(megabyte_error(), "00000002: optimizer.safetensors is missing"));
}

/* Files that state.json does not describe: another program's, a later version's. */
static void other_versions(struct fixture *f)
{
    static const struct {
        const char *text;
        int code;
        const char *line;
    } states[] = {
        {"{\"format\":\"megabyte-checkpoint\",\"version\":2}", ENOTSUP, "use a newer megabyte"},
        {"{\"format\":\"megabyte-checkpoint\",\"version\":9000000000}", ENOTSUP, "9000000000"},
        {"{\"format\":\"megabyte-checkpoint\",\"version\":0}", EBADMSG, "no version"},
        {"{\"format\":\"megabyte-checkpoint\",\"version\":\"1\"}", EBADMSG, "no version"},
        {"{\"format\":\"megabyte-checkpoint\",\"version\":1}", EBADMSG, "does not fit its digest"},
        {"{\"format\":\"other\",\"version\":1}", EBADMSG, "not one of a megabyte checkpoint"},
        {"{\"version\":1,\"version\":1}", EBADMSG, "uplicate"},
        {"{}", EBADMSG, "not one of a megabyte checkpoint"},
        {"[]", EBADMSG, "no JSON object"},
        {"", EBADMSG, "state.json"},
    };
    struct megabyte_checkpoint *c = NULL;
    REQUIRE_OK(fixture_save(f, fixture_path("versions"), 1, 1, 0));
    REQUIRE_OK(fixture_save(f, fixture_path("versions"), 2, 1, 0));
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        const char *path = fixture_path("versions/checkpoints/00000002");
        fixture_write(fixture_path("versions/checkpoints/00000002/state.json"), states[i].text,
                      strlen(states[i].text));
        REQUIRE_ERROR(megabyte_checkpoint_open(path, NULL, &c), states[i].code, states[i].line);
        if (states[i].code == ENOTSUP) /* no way back to an older one in silence */
            REQUIRE_ERROR(megabyte_checkpoint_open(fixture_path("versions"), NULL, &c), ENOTSUP,
                          "newer");
    }
}

static void replaced_and_pruned(struct fixture *f)
{
    const char *run = fixture_path("kept"), *checkpoints = fixture_path("kept/checkpoints");
    uint64_t seed;
    for (uint64_t step = 1; step <= 6; step++)
        REQUIRE_OK(fixture_save(f, run, step, step, 3));
    REQUIRE(fixture_count(checkpoints, "") == 3);
    REQUIRE_OK(fixture_save(f, run, 6, 60, 3));
    REQUIRE(fixture_open(f, run, &seed) == 6 && seed == 60);
    REQUIRE(fixture_count(checkpoints, "") == 3);
    /* Later checkpoints than the one saved are not counted, and stay. */
    REQUIRE_OK(fixture_save(f, run, 5, 50, 1));
    REQUIRE(fixture_count(checkpoints, "0000000") == 2 &&
            fixture_count(checkpoints, "00000006") == 1);
    REQUIRE(file_is(fixture_path("kept/latest"), "checkpoints/00000005\n"));
    const struct megabyte_checkpoint_write w = {.step = 7,
                                                .config = "{}",
                                                .model = f->model,
                                                .model_count = f->count,
                                                .keep = 1,
                                                .keep_every = 5};
    REQUIRE_OK(megabyte_checkpoint_save(run, &w, NULL));
    REQUIRE(fixture_count(checkpoints, "00000005") == 1 && fixture_count(checkpoints, "") == 2);
    /* What a crash leaves, by name; and names that only look alike. */
    REQUIRE(mkdir(fixture_path("kept/checkpoints/.tmp-00000009-12"), 0777) == 0);
    fixture_write(fixture_path("kept/checkpoints/.tmp-00000009-12/model.safetensors"), "x", 1);
    REQUIRE(mkdir(fixture_path("kept/checkpoints/.tmp-notes"), 0777) == 0);
    REQUIRE(mkdir(fixture_path("kept/checkpoints/.tmp-00000009-12x"), 0777) == 0);
    REQUIRE(mkdir(fixture_path("kept/checkpoints/.tmp-00000009-"), 0777) == 0);
    REQUIRE(rename(fixture_path("kept/checkpoints/00000007"),
                   fixture_path("kept/checkpoints/00000005.new")) == 0);
    int lock = -1;
    REQUIRE_OK(megabyte_run_lock(run, &lock));
    megabyte_run_unlock(&lock);
    REQUIRE(fixture_count(checkpoints, ".tmp-") == 3 && fixture_count(checkpoints, "") == 4);
    struct megabyte_checkpoint *c = NULL;
    REQUIRE_OK(megabyte_checkpoint_open(fixture_path("kept/checkpoints/00000005"), NULL, &c));
    REQUIRE(megabyte_checkpoint_step(c) == 7);
    megabyte_checkpoint_close(&c);
}

/* What cannot be removed is said, and stops nothing. */
static void not_removable(struct fixture *f)
{
    const char *run = fixture_path("stuck");
    struct megabyte_checkpoint_write w = {.config = "{}",
                                          .model = f->model,
                                          .model_count = f->count,
                                          .keep = 1,
                                          .log = {keep_line, NULL}};
    REQUIRE_OK(megabyte_checkpoint_save(run, &w, NULL));
    REQUIRE(mkdir(fixture_path("stuck/checkpoints/00000000/mine"), 0777) == 0);
    logged[0] = '\0';
    w.step = 1;
    REQUIRE_OK(megabyte_checkpoint_save(run, &w, NULL));
    REQUIRE(strstr(logged, "cannot remove the old checkpoint 00000000"));
    w.step = 2;
    REQUIRE_OK(megabyte_checkpoint_save(run, &w, NULL));
    REQUIRE(fixture_count(fixture_path("stuck/checkpoints"), "0") == 1);
}

static void locked(void)
{
    const char *run = fixture_path("locked/run");
    int lock = -1, to_child[2], to_parent[2], status;
    char byte;
    REQUIRE(pipe(to_child) == 0 && pipe(to_parent) == 0);
    pid_t child = fork();
    if (child == 0) {
        int held = -1;
        byte = megabyte_run_lock(run, &held) == 0 ? 'y' : 'n';
        if (write(to_parent[1], &byte, 1) == 1 && read(to_child[0], &byte, 1) == 1)
            _exit(0);
        _exit(1);
    }
    REQUIRE(read(to_parent[0], &byte, 1) == 1 && byte == 'y');
    REQUIRE_ERROR(megabyte_run_lock(run, &lock), EBUSY, "is training in");
    char number[16];
    snprintf(number, sizeof number, " %d ", (int)child);
    REQUIRE(lock == -1 && strstr(megabyte_error(), number));
    REQUIRE(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
    REQUIRE_OK(megabyte_run_lock(run, &lock));
    int second = -1;
    REQUIRE_ERROR(megabyte_run_lock(run, &second), EBUSY, "is training in");
    megabyte_run_unlock(&lock);
    REQUIRE(lock == -1);
    megabyte_run_unlock(&lock);
    REQUIRE_OK(megabyte_run_lock(run, &lock));
    megabyte_run_unlock(&lock);
    fixture_write(fixture_path("plain"), "x", 1);
    REQUIRE_ERROR(megabyte_run_lock(fixture_path("plain"), &lock), ENOTDIR, "cannot create folder");
    REQUIRE_ERROR(megabyte_run_lock(fixture_path("plain/below"), &lock), ENOTDIR, "cannot create");
    REQUIRE_ERROR(megabyte_run_lock("", &lock), ENOENT, "cannot create");
}

static void small_files(void)
{
    int folder = -1;
    char *text = NULL;
    size_t size;
    REQUIRE_OK(megabyte_folder_create(fixture_path("small//files/"), &folder));
    REQUIRE_OK(megabyte_file_replace(folder, "a", "one", 3));
    fixture_write(fixture_path("small/files/.tmp-a"), "stale", 5);
    REQUIRE_OK(megabyte_file_replace(folder, "a", "two\0!", 5));
    REQUIRE_OK(megabyte_file_read(folder, "a", 5, &text, &size));
    REQUIRE(size == 5 && memcmp(text, "two\0!", 6) == 0);
    free(text);
    REQUIRE_ERROR(megabyte_file_read(folder, "a", 4, &text, &size), EFBIG, "cannot read a");
    REQUIRE_ERROR(megabyte_file_read(folder, "b", 4, &text, &size), ENOENT, "cannot read b");
    REQUIRE_ERROR(megabyte_file_read(folder, ".", 4, &text, &size), EINVAL, "not a regular file");
    REQUIRE(mkdir(fixture_path("small/files/d"), 0777) == 0);
    REQUIRE_ERROR(megabyte_file_replace(folder, "d", "x", 1), EISDIR, "cannot write d");
    REQUIRE(fixture_count(fixture_path("small/files"), "") == 2);
    close(folder);
}

int main(void)
{
    struct fixture f;
    fixture_create(&f, 12, 500);
    there_and_back(&f);
    wrong_lists(&f);
    no_checkpoints(&f);
    damaged(&f);
    other_versions(&f);
    replaced_and_pruned(&f);
    not_removable(&f);
    locked();
    small_files();
    fixture_destroy(&f);
    return 0;
}
