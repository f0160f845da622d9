/* checkpoint_save.c - the saving half of checkpoint.h.
 *
 * Everything is written into a folder that no reader looks at; renaming it is the one moment in
 * which the checkpoint begins to be. Before that moment nothing that exists is touched.
 */
#include "megabyte/checkpoint.h"
#include "megabyte/checkpoint_state.h"
#include "megabyte/error.h"
#include "megabyte/file.h"
#include "tensor/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT(number)    TEXT_OF(number)
#define TEXT_OF(number) #number
#define VERSION_TEXT    TEXT(MEGABYTE_CHECKPOINT_VERSION)

/* One save on its way. */
struct save {
    const struct megabyte_checkpoint_write *w;
    int run, checkpoints, folder; /* open folders; folder: the temporary one */
    char temporary[MEGABYTE_RUN_NAME * 2];
    char name[MEGABYTE_RUN_NAME];
};

static int check_config(const char *text)
{
    json_t *config = NULL;
    int result = tensor_json_read(text, strlen(text), &config);
    if (result == -ENOMEM)
        return megabyte_fail(ENOMEM, "no memory");
    if (result < 0)
        return megabyte_fail(EINVAL, "the settings to save are no JSON object: %s", tensor_error());
    if (!json_is_object(config))
        result = megabyte_fail(EINVAL, "the settings to save are no JSON object");
    json_decref(config);
    return result;
}

static int from_system(const char *what)
{
    return megabyte_fail(errno, "%s: %s", what, strerror(errno));
}

static int write_tensors(struct save *save, enum megabyte_checkpoint_file which,
                         struct megabyte_checkpoint_state *state)
{
    const struct megabyte_checkpoint_write *w = save->w;
    bool model = which == MEGABYTE_CHECKPOINT_MODEL;
    char step[24];
    snprintf(step, sizeof step, "%" PRIu64, w->step);
    const struct tensor_metadata metadata[] = {
        {"format", model ? "megabyte" : "megabyte-optimizer"},
        {"version", VERSION_TEXT},
        {"step", step},
        {"config", w->config},
    };
    int result = tensor_safetensors_write(save->folder, megabyte_checkpoint_names[which],
                                          model ? w->model : w->optimizer,
                                          model ? w->model_count : w->optimizer_count, metadata,
                                          model ? 4 : 3, &state->digest[which]);
    if (result < 0)
        return megabyte_fail(-result, "%s", tensor_error());
    state->has[which] = true;
    return 0;
}

/* The files, the last of them state.json. All are durable when this returns 0, and their names too:
 * megabyte_file_replace() ends with an fsync of the folder. */
static int write_files(struct save *save)
{
    struct megabyte_checkpoint_state state = {.step = save->w->step};
    char *text = NULL;
    state.state = strdup(save->w->state ? save->w->state : "{}");
    int result = state.state ? 0 : megabyte_fail(ENOMEM, "no memory");
    if (result == 0)
        result = write_tensors(save, MEGABYTE_CHECKPOINT_MODEL, &state);
    if (result == 0 && save->w->optimizer)
        result = write_tensors(save, MEGABYTE_CHECKPOINT_OPTIMIZER, &state);
    if (result == 0)
        result = megabyte_checkpoint_state_text(&state, &text);
    if (result == 0)
        result = megabyte_file_replace(save->folder, MEGABYTE_STATE_NAME, text, strlen(text));
    free(text);
    megabyte_checkpoint_state_finish(&state);
    return result;
}

/* Gives the temporary folder its name; where that is taken, by way of STEP.new (run.h). */
static int publish(struct save *save)
{
    char fresh[MEGABYTE_RUN_NAME + 4];
    bool taken = faccessat(save->checkpoints, save->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    snprintf(fresh, sizeof fresh, "%s%s", save->name, taken ? ".new" : "");
    if (renameat(save->checkpoints, save->temporary, save->checkpoints, fresh) != 0)
        return from_system("cannot rename its folder");
    save->temporary[0] = '\0';
    int result = megabyte_folder_sync(save->checkpoints);
    if (result == 0 && taken)
        result = megabyte_run_settle(save->checkpoints);
    if (result < 0)
        return megabyte_fail(-result, "cannot bring it into place: %s", strerror(-result));
    return 0;
}

static int write_checkpoint(struct save *save)
{
    megabyte_run_step_name(save->w->step, save->name);
    megabyte_run_temporary_name(save->w->step, save->temporary);
    if (mkdirat(save->checkpoints, save->temporary, 0777) != 0) {
        save->temporary[0] = '\0';
        return from_system("cannot make its folder");
    }
    save->folder = openat(save->checkpoints, save->temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (save->folder < 0)
        return from_system("cannot open its folder");
    int result = write_files(save);
    return result < 0 ? result : publish(save);
}

/* config.json and latest. The settings are compared first, as most saves do not change them. */
static int write_pointers(struct save *save)
{
    char *config = NULL, line[MEGABYTE_RUN_NAME + 16];
    int result = 0;
    if (megabyte_file_read(save->run, "config.json", 16u << 20, &config, NULL) < 0 ||
        strcmp(config, save->w->config) != 0)
        result = megabyte_file_replace(save->run, "config.json", save->w->config,
                                       strlen(save->w->config));
    free(config);
    if (result < 0)
        return result;
    int n = snprintf(line, sizeof line, "checkpoints/%s\n", save->name);
    return megabyte_file_replace(save->run, "latest", line, (size_t)n);
}

static int open_folders(struct save *save, const char *run_folder)
{
    char *checkpoints = NULL;
    int result = megabyte_folder_create(run_folder, &save->run);
    if (result == 0 && asprintf(&checkpoints, "%s/checkpoints", run_folder) < 0)
        return megabyte_fail(ENOMEM, "no memory");
    if (result == 0)
        result = megabyte_folder_create(checkpoints, &save->checkpoints);
    free(checkpoints);
    return result;
}

static void close_folder(int fd)
{
    if (fd >= 0)
        close(fd);
}

int megabyte_checkpoint_save(const char *run_folder, const struct megabyte_checkpoint_write *w,
                             char **path)
{
    struct save save = {.w = w, .run = -1, .checkpoints = -1, .folder = -1};
    int result = check_config(w->config);
    if (result == 0 && w->step > INT64_MAX)
        result = megabyte_fail(EINVAL, "steps end at 2^63 - 1");
    if (result == 0)
        result = open_folders(&save, run_folder);
    if (result == 0) {
        megabyte_run_settle(save.checkpoints); /* what it cannot clear is in nobody's way */
        result = write_checkpoint(&save);
    }
    if (result < 0 && save.temporary[0])
        megabyte_folder_remove(save.checkpoints, save.temporary);
    if (result == 0)
        result = write_pointers(&save);
    if (result == 0)
        megabyte_run_prune(save.checkpoints, w->step, w->keep, w->keep_every, &w->log);
    close_folder(save.folder);
    close_folder(save.checkpoints);
    close_folder(save.run);
    char *name = NULL;
    if (result == 0 && path && asprintf(&name, "%s/checkpoints/%s", run_folder, save.name) < 0)
        result = megabyte_fail(ENOMEM, "no memory");
    if (result < 0)
        return megabyte_fail(-result, "cannot save step %" PRIu64 " of %s: %s", w->step, run_folder,
                             megabyte_error());
    if (path)
        *path = name;
    return 0;
}
