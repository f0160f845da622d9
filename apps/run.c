#include "apps/run.h"

#include "apps/common.h"

static void note(void *user, const char *line)
{
    (void)user;
    app_note("%s", line);
}

const struct megabyte_run_log app_run_log = {.line = note};

int app_checkpoint_open(const char *path, bool model_only, struct megabyte_checkpoint **checkpoint)
{
    const struct megabyte_checkpoint_params params = {.model_only = model_only,
                                                      .log = app_run_log};

    return megabyte_checkpoint_open(path, &params, checkpoint);
}
