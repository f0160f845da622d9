/*
 * What mb-train says about the data that it holds out: how much that is, and where it is too little
 * to tell anything.
 */
#include <inttypes.h>
#include <sys/stat.h>

#include "apps/train.h"
#include "pipeline/split.h"

static void warn(const struct train *t, uint64_t bytes)
{
    const uint32_t window = t->model->config.seq_len;

    if (bytes < window)
        app_note("held out: %" PRIu64 " bytes are less than one window of %" PRIu32 ", and their "
                 "score tells little; hold out more with %s", bytes, window,
                 t->val_sources ? "--val" : "--val-fraction, or name held-out data with --val");
}

void train_split_scored(struct train *t, uint64_t bytes, bool all)
{
    if (t->held_out_told)
        return;
    t->held_out_told = true;
    if (!all) {
        app_note("held out: more than the %" PRIu64 " bytes that are scored (--val-bytes)", bytes);
        return;
    }
    t->held_out = bytes;
    app_note("held out: %" PRIu64 " bytes", bytes);
    warn(t, bytes);
}

/* Whether all can be read again from the beginning. */
static bool rereadable(const struct pipeline_sources *sources)
{
    bool files = true;
    struct stat st;

    for (size_t i = 0; i < sources->n; i++)
        files = files && (sources->list[i].folder ||
                          (stat(sources->list[i].path, &st) == 0 && S_ISREG(st.st_mode)));
    return files;
}

/* Reads so much of the held-out data that one knows whether it is a window, as training would be
 * long under way before the first validation. */
static int look(struct train *t)
{
    const uint32_t window = t->model->config.seq_len;
    uint64_t bytes = 0;
    const uint8_t *data;
    size_t n = 1;

    while (n && bytes < window) {
        const int result = pipeline_stream_next(t->val_stream, &data, &n);
        if (result < 0)
            return app_fail_pipeline(result);
        bytes += n;
    }
    if (bytes < window)
        train_split_scored(t, bytes, true);
    return APP_DONE;
}

static void tell(const struct train *t, const struct pipeline_split_sizes *sizes)
{
    const uint64_t held = t->val_sources ? sizes->all : sizes->held_out;

    if (t->val_sources)
        app_note("held out: %" PRIu64 " bytes of --val", held);
    else
        app_note("held out: %" PRIu64 " of %" PRIu64 " bytes (%.1f %%)", held, sizes->all,
                 sizes->all ? 100 * (double)held / (double)sizes->all : 0);
    warn(t, held);
}

int train_split_tell(struct train *t)
{
    const struct pipeline_sources *sources = t->val_sources ? t->val_sources : t->sources;
    struct pipeline_split_sizes sizes;
    int result;

    t->held_out_told = !t->val_stream;
    if (!t->val_stream)
        return APP_DONE;
    if (!rereadable(sources))
        return APP_DONE;
    result = pipeline_split_measure(t->io, sources, &t->options->data.choice, &sizes);
    if (result < 0)
        return app_fail_pipeline(result);
    if (!sizes.known)
        return look(t);
    t->held_out_told = true;
    t->held_out = t->val_sources ? sizes.all : sizes.held_out;
    tell(t, &sizes);
    return APP_DONE;
}
