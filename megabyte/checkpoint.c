/* checkpoint.c - the opening half of checkpoint.h; checkpoint_save.c is the other. */
#include "megabyte/checkpoint.h"
#include "megabyte/checkpoint_state.h"
#include "megabyte/error.h"
#include "megabyte/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct megabyte_checkpoint {
    char *path;
    struct megabyte_checkpoint_state state;
    const char *config; /* in the model's metadata */
    struct tensor_safetensors *file[2];
};

static int from_tensor(int result)
{
    return megabyte_fail(-result, "%s", tensor_error());
}

/* The length first: it is quick, and it says more than a digest that does not fit. */
static int check_length(int folder, const char *name, uint64_t wanted)
{
    struct stat info;
    if (fstatat(folder, name, &info, 0) != 0 && errno == ENOENT)
        return megabyte_fail(EBADMSG, "%s is missing", name);
    if (fstatat(folder, name, &info, 0) != 0)
        return megabyte_fail(errno, "cannot open %s: %s", name, strerror(errno));
    if ((uint64_t)info.st_size == wanted)
        return 0;
    return megabyte_fail(EBADMSG, "%s %s: %lld of %" PRIu64 " bytes", name,
                         (uint64_t)info.st_size < wanted ? "was cut short" : "is too long",
                         (long long)info.st_size, wanted);
}

static int open_file(struct megabyte_checkpoint *c, int folder, int which)
{
    const char *name = megabyte_checkpoint_names[which];
    const struct tensor_digest *wanted = &c->state.digest[which];
    struct tensor_digest found;
    int result = check_length(folder, name, wanted->size);
    if (result < 0)
        return result;
    result = tensor_safetensors_open(folder, name, &c->file[which]);
    if (result == 0)
        result = tensor_safetensors_digest(c->file[which], &found);
    if (result < 0)
        return from_tensor(result);
    if (found.size != wanted->size || found.xxh64 != wanted->xxh64)
        return megabyte_fail(EBADMSG, "%s is damaged: its bytes do not fit its digest", name);
    return 0;
}

static int read_model_metadata(struct megabyte_checkpoint *c)
{
    const struct tensor_safetensors *model = c->file[MEGABYTE_CHECKPOINT_MODEL];
    const char *format = tensor_safetensors_metadata(model, "format");
    c->config = tensor_safetensors_metadata(model, "config");
    if (!format || strcmp(format, "megabyte") != 0 || !c->config)
        return megabyte_fail(EBADMSG, "model.safetensors has no settings of a megabyte model");
    return 0;
}

/* Checks and opens one checkpoint; lines do not name the folder yet. */
static int open_checkpoint(int folder, bool model_only, struct megabyte_checkpoint *c)
{
    int result = megabyte_checkpoint_state_read(folder, &c->state);
    for (int i = 0; i < 2 && result == 0; i++)
        if (c->state.has[i] && (i == MEGABYTE_CHECKPOINT_MODEL || !model_only))
            result = open_file(c, folder, i);
    return result < 0 ? result : read_model_metadata(c);
}

/* As open_checkpoint(), for a folder by its path; takes ownership of `path`. */
static int open_path(char *path, bool model_only, struct megabyte_checkpoint **c)
{
    struct megabyte_checkpoint *opened = path ? calloc(1, sizeof *opened) : NULL;
    if (!opened) {
        free(path);
        return megabyte_fail(ENOMEM, "no memory to open a checkpoint");
    }
    opened->path = path;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result;
    if (folder < 0) {
        result = megabyte_fail(errno, "%s", strerror(errno));
    } else {
        result = open_checkpoint(folder, model_only, opened);
        close(folder);
    }
    if (result < 0)
        megabyte_fail(-result, "checkpoint %s: %s", path, megabyte_error());
    if (result < 0)
        megabyte_checkpoint_close(&opened);
    else
        *c = opened;
    return result;
}

/* Failures that an older checkpoint would not heal, or that should not be passed over in silence.
 */
static bool final(int result)
{
    return result == -ENOTSUP || result == -ENOMEM || result == -EMFILE || result == -ENFILE;
}

static void say_older(const struct megabyte_checkpoint_params *params, const char *first,
                      const struct megabyte_checkpoint *c)
{
    char line[2048];
    if (!params->log.line)
        return;
    snprintf(line, sizeof line, "took the older %s, as the newest cannot be used: %s", c->path,
             first);
    params->log.line(params->log.user, line);
}

/* What came of looking through the checkpoints of a run. */
struct search {
    int result;       /* of the newest that failed */
    char first[1024]; /* its line */
    bool vanished;    /* one that was listed is not there any more */
};

/* The newest of the list that verifies. */
static int open_newest_of(const char *path, const struct megabyte_run_step *list, uint32_t count,
                          const struct megabyte_checkpoint_params *params, struct search *search,
                          struct megabyte_checkpoint **c)
{
    *search = (struct search){0};
    for (uint32_t i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/checkpoints/%s", path, list[i].name);
        int result = open_path(strdup(name), params->model_only, c);
        if (result == 0 && search->result < 0)
            say_older(params, search->first, *c);
        if (result == 0 || final(result))
            return result;
        if (access(name, F_OK) != 0) {
            search->vanished = true;
        } else if (search->result == 0) {
            search->result = result;
            snprintf(search->first, sizeof search->first, "%s", megabyte_error());
        }
    }
    return search->result < 0 ? search->result : -ENOENT;
}

static bool has(int folder, const char *name)
{
    return faccessat(folder, name, F_OK, 0) == 0;
}

/* `latest` may name a checkpoint that was taken away by hand, or never came back from a backup.
 * One that is newer than what was taken and is there was saved in the meantime. */
static void say_gone(const char *path, int run, const struct megabyte_checkpoint_params *params,
                     const struct megabyte_checkpoint *c)
{
    char *text = NULL, name[MEGABYTE_RUN_NAME], folder[64], line[2048];
    uint64_t step = 0;
    if (!params->log.line || megabyte_file_read(run, "latest", 4096, &text, NULL) < 0)
        return;
    const bool named = sscanf(text, "checkpoints/%" SCNu64, &step) == 1;
    free(text);
    megabyte_run_step_name(step, name);
    snprintf(folder, sizeof folder, "checkpoints/%s", name);
    if (!named || step <= c->state.step || has(run, folder))
        return;
    snprintf(line, sizeof line, "took the older %s, as the newest is gone: %s/latest names %s",
             c->path, path, folder);
    params->log.line(params->log.user, line);
}

static int list_run(const char *path, int run, struct megabyte_run_step **list, uint32_t *count)
{
    int checkpoints = openat(run, "checkpoints", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = checkpoints < 0 ? -errno : megabyte_run_list(checkpoints, list, count);
    if (checkpoints >= 0)
        close(checkpoints);
    if (result < 0 && result != -ENOENT)
        return megabyte_fail(-result, "cannot list the checkpoints of %s: %s", path,
                             strerror(-result));
    if (*count == 0)
        return megabyte_fail(ENOENT, "the run %s has no checkpoint yet", path);
    return 0;
}

static int open_run(const char *path, int run, const struct megabyte_checkpoint_params *params,
                    struct megabyte_checkpoint **c)
{
    struct search search = {.vanished = true};
    int result = -ENOENT;
    /* A run in training may remove what we have just listed, always after it added a newer one; so
     * look again while names vanish, but not for ever. */
    for (int attempt = 0; attempt < 8 && result < 0 && search.vanished; attempt++) {
        struct megabyte_run_step *list = NULL;
        uint32_t count = 0;
        result = list_run(path, run, &list, &count);
        if (result < 0)
            return result;
        result = open_newest_of(path, list, count, params, &search, c);
        if (result == 0 && search.result == 0)
            say_gone(path, run, params, *c);
        free(list);
        if (final(result))
            return result;
    }
    if (result < 0)
        return megabyte_fail(-result, "no checkpoint of %s can be used; the newest: %s", path,
                             *search.first ? search.first : "it was removed");
    return 0;
}

int megabyte_checkpoint_open(const char *path, const struct megabyte_checkpoint_params *params,
                             struct megabyte_checkpoint **c)
{
    static const struct megabyte_checkpoint_params defaults;
    if (!params)
        params = &defaults;
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 && errno == ENOTDIR)
        return megabyte_fail(ENOTDIR, "%s is a file; give a checkpoint folder or a run folder",
                             path);
    if (folder < 0)
        return megabyte_fail(errno, "cannot open folder %s: %s", path, strerror(errno));
    int result;
    if (has(folder, MEGABYTE_STATE_NAME))
        result = open_path(strdup(path), params->model_only, c);
    else if (has(folder, "model.safetensors"))
        result = megabyte_fail(EBADMSG,
                               "checkpoint %s: state.json is missing, so it cannot be verified; "
                               "copy the whole folder",
                               path);
    else if (has(folder, "checkpoints") || has(folder, "config.json"))
        result = open_run(path, folder, params, c);
    else
        result = megabyte_fail(EINVAL,
                               "%s is neither a checkpoint nor a run: it has no state.json and no "
                               "checkpoints",
                               path);
    close(folder);
    return result;
}

void megabyte_checkpoint_close(struct megabyte_checkpoint **c)
{
    if (!*c)
        return;
    tensor_safetensors_close(&(*c)->file[MEGABYTE_CHECKPOINT_MODEL]);
    tensor_safetensors_close(&(*c)->file[MEGABYTE_CHECKPOINT_OPTIMIZER]);
    megabyte_checkpoint_state_finish(&(*c)->state);
    free((*c)->path);
    free(*c);
    *c = NULL;
}

const char *megabyte_checkpoint_path(const struct megabyte_checkpoint *c)
{
    return c->path;
}

uint64_t megabyte_checkpoint_step(const struct megabyte_checkpoint *c)
{
    return c->state.step;
}

const char *megabyte_checkpoint_config(const struct megabyte_checkpoint *c)
{
    return c->config;
}

const char *megabyte_checkpoint_state(const struct megabyte_checkpoint *c)
{
    return c->state.state;
}

struct tensor_safetensors *megabyte_checkpoint_file(const struct megabyte_checkpoint *c,
                                                    enum megabyte_checkpoint_file which)
{
    return c->file[which];
}

/* All of the list are in the file as they should be, and the file has no more. */
static int check_list(const struct megabyte_checkpoint *c, const struct tensor_safetensors *file,
                      const struct tensor_named *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int result = tensor_safetensors_check(file, list[i].name, list[i].tensor);
        if (result < 0)
            return megabyte_fail(-result, "checkpoint %s: %s", c->path, tensor_error());
    }
    const struct tensor_safetensors_entry *entry;
    for (uint32_t i = 0; (entry = tensor_safetensors_entry(file, i)); i++) {
        uint32_t at = 0;
        while (at < count && strcmp(list[at].name, entry->name) != 0)
            at++;
        if (at == count)
            return megabyte_fail(EINVAL, "checkpoint %s: it has a tensor '%.64s' too many", c->path,
                                 entry->name);
    }
    return 0;
}

int megabyte_checkpoint_load(struct megabyte_checkpoint *c, enum megabyte_checkpoint_file which,
                             const struct tensor_named *list, uint32_t count)
{
    struct tensor_safetensors *file = c->file[which];
    if (!file)
        return megabyte_fail(ENOENT, "checkpoint %s has no %s", c->path,
                             megabyte_checkpoint_names[which]);
    int result = check_list(c, file, list, count);
    for (uint32_t i = 0; i < count && result == 0; i++) {
        result = tensor_safetensors_load(file, list[i].name, list[i].tensor);
        if (result < 0)
            megabyte_fail(-result, "checkpoint %s: %s", c->path, tensor_error());
    }
    return result;
}
