#include "apps/eval_data.h"

#include <stdlib.h>
#include <string.h>

static const char *side_name(enum pipeline_side side)
{
    static const char *const names[] = {"all", "train", "val"};

    return names[side];
}

const char *eval_data_side(const struct eval_data *d, size_t source)
{
    return side_name(d->sources->list[source].unsplit ? PIPELINE_SIDE_ALL
                                                      : d->options->choice.side);
}

/* ---- sources ---- */

static int identify(struct eval_data *d, const struct app_run_data *run)
{
    const size_t n = d->sources->n;
    struct pipeline_identity *ids = calloc(n, sizeof *ids);
    int result = 0;

    d->own = calloc(n, sizeof *d->own);
    if (!ids || !d->own) {
        free(ids);
        return app_fail(APP_FAILED, "out of memory");
    }
    for (size_t i = 0; i < n && result == 0; i++)
        result = pipeline_source_identify(&d->sources->list[i], &ids[i]);
    if (result == 0)
        d->n_own = app_run_data_own(run, d->sources, ids, d->own);
    free(ids);
    return result < 0 ? app_fail_pipeline(result) : APP_DONE;
}

/* "data.tar", or "3 of the 5 sources". */
static const char *name_sources(const struct eval_data *d, bool own, char text[300])
{
    const size_t n = own ? d->n_own : d->sources->n - d->n_own;
    size_t i = 0;

    while (d->own[i] != own)
        i++;
    if (n == 1)
        return pipeline_printable(d->sources->list[i].path, text, 300);
    snprintf(text, 300, n == d->sources->n ? "all of the %zu sources" : "%zu of the %zu sources", n,
             d->sources->n);
    return text;
}

/* ---- sides ---- */

/* --val-fraction: it holds for all data. */
static void split_as_told(struct eval_data *d, const struct app_run_data *run)
{
    struct pipeline_choice *c = &d->options->choice;
    char name[300];

    if (!d->side_given)
        c->side = c->val_fraction > 0 ? PIPELINE_SIDE_VAL : PIPELINE_SIDE_ALL;
    if (d->n_own && c->side == PIPELINE_SIDE_VAL && c->val_fraction > run->val_fraction)
        app_note("%s is training data of this run, which held out %g of it and not %g: bytes that "
                 "it trained on are scored", name_sources(d, true, name), run->val_fraction,
                 c->val_fraction);
}

/* The run's split, which holds for its own data; of other data all is new to it. */
static int split_as_trained(struct eval_data *d, const struct app_run_data *run)
{
    struct pipeline_choice *c = &d->options->choice;
    char name[300];

    if (!d->side_given)
        c->side = PIPELINE_SIDE_VAL;
    c->val_fraction = run->val_fraction;
    for (size_t i = 0; i < d->sources->n; i++)
        d->sources->list[i].unsplit = !d->own[i];
    app_note("%s is training data of this run: scoring %s (--val-fraction %g; --side all scores "
             "all)", name_sources(d, true, name),
             c->side == PIPELINE_SIDE_VAL ? "what it held out" : "the side it trained on",
             c->val_fraction);
    if (d->n_own < d->sources->n)
        app_note("%s is not: scoring all of it", name_sources(d, false, name));
    return APP_DONE;
}

static int choose_side(struct eval_data *d, const struct app_run_data *run)
{
    struct pipeline_choice *c = &d->options->choice;
    const bool given = d->options->given & APP_DATA_BIT(APP_KEY_VAL_FRACTION);
    const bool splits = run->val_fraction > 0 && !d->ignore_run;
    const bool wants_all = d->side_given && c->side == PIPELINE_SIDE_ALL;
    char name[300];

    if (given && !wants_all) {
        split_as_told(d, run);
        if (c->side != PIPELINE_SIDE_ALL && !(c->val_fraction > 0))
            return app_fail(APP_USAGE, "--side %s wants a --val-fraction above 0",
                            side_name(c->side));
    } else if (splits && d->n_own && !wants_all) {
        split_as_trained(d, run);
    } else if (d->side_given && !wants_all) {
        return app_fail(APP_USAGE, "--side wants --val-fraction: %s",
                        run->val_fraction > 0 ? "this data is not the run's own, which it split"
                                              : "the run held nothing out");
    }
    if (c->side == PIPELINE_SIDE_ALL) {
        c->val_fraction = 0;
        if (d->n_own)
            app_note("%s is training data of this run: the score is not of new data",
                     name_sources(d, true, name));
    }
    return APP_DONE;
}

int eval_data_settle(struct eval_data *d, const struct megabyte_checkpoint *checkpoint, size_t n,
                     const char *const *paths)
{
    struct app_run_data run;
    int status = app_run_data_read(checkpoint, &run);

    if (status == APP_DONE && !d->ignore_run)
        status = app_run_data_take(&run, false, d->options);
    if (status == APP_DONE) {
        const int result = pipeline_sources_create(paths, n, &d->sources);
        status = result < 0 ? app_fail_pipeline(result) : APP_DONE;
    }
    if (status == APP_DONE)
        status = identify(d, &run);
    if (status == APP_DONE)
        status = choose_side(d, &run);
    app_run_data_finish(&run);
    return status;
}

void eval_data_finish(struct eval_data *d)
{
    pipeline_sources_destroy(&d->sources);
    free(d->own);
    d->own = NULL;
}

void eval_data_report(const struct eval_data *d, json_t **result)
{
    json_t *sources = json_object_get(*result, "sources");
    bool mixed = false;

    for (size_t i = 0; i < d->sources->n; i++) {
        json_t *source = json_array_get(sources, i);
        const char *side = eval_data_side(d, i);

        if (!source || json_object_set_new(source, "side", json_string(side)) ||
            json_object_set_new(source, "trained_on", json_boolean(d->own[i]))) {
            json_decref(*result);
            *result = NULL;
            return;
        }
        mixed = mixed || strcmp(side, eval_data_side(d, 0)) != 0;
    }
    app_json_set(result, "side", json_string(mixed ? "mixed" : eval_data_side(d, 0)));
    if (*result)
        app_json_set(result, "val_fraction", json_real(d->options->choice.val_fraction));
}
