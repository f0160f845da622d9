/*
 * The loop of mb-train: batches in, steps done, progress out.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "apps/train.h"
#include "megabyte/error.h"

#define PLAIN_SECONDS 5.0 /* between plain progress lines, where there is no terminal */

/* What happened since the last line of the metrics, and since this process began. */
struct meter {
    double began, line_began, printed;
    uint64_t began_bytes, began_step;
    uint64_t line_began_bytes;
    double grad_norm, rate;
    double waited, busy; /* for data, and the device, when the line began */
    double save_began;   /* the last one of this process, or the process */
};

/* A batch that was read into the trainer's memory. */
struct next_batch {
    bool there;
    int rows;                     /* what the loader returned */
    struct pipeline_cursor after; /* behind it */
};

/* ---- validation ---- */

static int read_stream(void *user, uint8_t *to, size_t size, size_t *got)
{
    return pipeline_stream_read(user, to, size, got);
}

static bool go_on(void *user, uint64_t bytes, double nats)
{
    (void)user;
    app_progress("validating: %" PRIu64 " bytes, %.4f bits per byte", bytes,
                 megabyte_bits_per_byte(nats, (double)bytes));
    return !app_interrupted();
}

static int score(struct train *t)
{
    const struct pipeline_position start = {0};
    struct megabyte_evaluation_params params = {
        .limit = t->options->val_bytes, .read = read_stream, .progress = go_on,
        .user = t->val_stream};
    struct megabyte_evaluation result = {0};
    int status;

    if (pipeline_stream_seek(t->val_stream, start) < 0)
        return app_fail_pipeline(-EIO);
    status = megabyte_evaluate(t->evaluator, &params, &result);
    app_progress_end();
    if (status == -EINTR || status == -ECANCELED)
        return APP_INTERRUPTED;
    if (status < 0)
        return app_fail(APP_FAILED, "validation: %s", *pipeline_error() ? pipeline_error()
                                                                        : megabyte_error());
    train_split_scored(t, result.bytes, result.bytes < params.limit);
    t->val_bits_per_byte = megabyte_bits_per_byte(result.nats, (double)result.bytes);
    return APP_DONE;
}

int train_validate(struct train *t)
{
    const int status = t->evaluator ? score(t) : APP_DONE;

    if (!t->evaluator || status != APP_DONE)
        return status;
    app_note("step %" PRIu64 ": %.4f bits per byte on held-out data", t->step,
             t->val_bits_per_byte);
    if (t->validated == t->step)
        return APP_DONE;
    t->validated = t->step;
    return train_run_log(t, json_pack("{s:I, s:f}", "step", (json_int_t)t->step,
                                      "val_bits_per_byte", t->val_bits_per_byte));
}

static bool validation_due(const struct train *t)
{
    const uint64_t every = t->options->val_every;

    return (t->steps && t->step >= t->steps) || (every && t->step % every == 0);
}

/* ---- progress ---- */

static const char *duration(double seconds, char out[32])
{
    const long s = seconds > 0 ? lround(seconds) : 0;

    if (s >= 3600)
        snprintf(out, 32, "%ldh %02ldm", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, 32, "%ldm %02lds", s / 60, s % 60);
    else
        snprintf(out, 32, "%lds", s);
    return out;
}

/* Seconds that are left, by the pace so far and the budget. */
static double seconds_left(const struct train *t, const struct meter *m, double now)
{
    if (!t->steps)
        return t->options->minutes * 60 - (now - m->began);
    return (now - m->began) / (double)(t->step - m->began_step) * (double)(t->steps - t->step);
}

/* A line that is longer than the terminal is wide would not be replaced by the next one. */
static void cut_to_terminal(char *text)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 &&
        strlen(text) >= size.ws_col)
        text[size.ws_col - 1] = '\0';
}

/* "step 7 | 28.0 KiB", or where the end is known "step 7/2000 | 28.0 KiB of 7.8 MiB" */
static void place(const struct train *t, char *text, size_t size)
{
    const double a_step = (double)t->model->config.batch * t->model->config.seq_len;
    char done[32], all[32];

    app_bytes((double)t->bytes, done);
    if (t->steps)
        snprintf(text, size, "step %" PRIu64 "/%" PRIu64 " | %s of %s", t->step, t->steps, done,
                 app_bytes(a_step * (double)t->steps, all));
    else
        snprintf(text, size, "step %" PRIu64 " | %s", t->step, done);
}

/* On a terminal a line that changes, but for the last; elsewhere a line now and then. */
static void show(struct train *t, struct meter *m, bool first, bool last)
{
    const double now = app_seconds(), waited = pipeline_loader_stats(t->loader).waited - m->waited;
    const double share = now > m->line_began ? waited / (now - m->line_began) : 0;
    const bool changing = isatty(STDERR_FILENO) && !last;
    char text[300], at[120], speed[32], left[32], wait[48] = "";

    if (changing ? !app_progress_wanted() : !first && !last && now - m->printed < PLAIN_SECONDS)
        return;
    m->printed = now;
    place(t, at, sizeof at);
    if (share > 0.01)
        snprintf(wait, sizeof wait, " | %.0f%% waiting for data", 100 * share);
    snprintf(text, sizeof text, "%s | %.4f bpb | %s/s | ETA %s%s", at, t->bits_per_byte,
             app_bytes(t->bytes_per_second, speed), duration(seconds_left(t, m, now), left), wait);
    if (!changing) {
        app_note("%s", text);
        return;
    }
    cut_to_terminal(text);
    app_progress("%s", text);
}

static int log_line(struct train *t, struct meter *m)
{
    const double now = app_seconds(), seconds = now - m->line_began;
    const double speed = seconds > 0 ? (double)(t->bytes - m->line_began_bytes) / seconds : 0;
    const double waited = pipeline_loader_stats(t->loader).waited;
    const double busy = tensor_device_busy(t->device);
    json_t *line = json_pack(
        "{s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "step", (json_int_t)t->step, "bytes",
        (json_int_t)t->bytes, "bits_per_byte",
        megabyte_bits_per_byte(t->line_nats, (double)t->line_bytes), "learning_rate", m->rate,
        "grad_norm", m->grad_norm, "bytes_per_second", speed, "flops_per_second",
        megabyte_config_training_flops(&t->model->config) * speed, "data_wait_share",
        seconds > 0 ? (waited - m->waited) / seconds : 0.0, "host_share",
        seconds > 0 ? 1 - (busy - m->busy) / seconds : 0.0);

    if (line && tensor_device_info(t->device)->precision == TENSOR_PRECISION_FP16)
        json_object_set_new(line, "loss_scale",
                            json_real(megabyte_trainer_scale(t->trainer).scale));
    m->line_began = now;
    m->line_began_bytes = t->bytes;
    t->line_bytes = 0;
    t->line_nats = 0;
    m->waited = waited;
    m->busy = busy;
    return train_run_log(t, line);
}

/* ---- steps ---- */

static double rate_of(const struct train *t, uint64_t step)
{
    const struct megabyte_config *c = &t->model->config;

    if (t->steps)
        return nn_schedule_polynomial(c->lr, step, c->warmup, t->steps);
    return step < c->warmup ? c->lr * (double)step / c->warmup : c->lr;
}

/* --minutes: once the pace is known, the number of steps is fixed, and with it the schedule. */
static void settle_steps(struct train *t, const struct meter *m)
{
    const double budget = t->options->minutes * 60, spent = app_seconds() - m->began;
    const uint64_t done = t->step - m->began_step;

    if (t->steps || done < 2 || spent < 0.2 * budget)
        return;
    const double left = (budget - spent) / (spent / (double)done);
    t->steps = t->step + (left > 1 ? (uint64_t)left : 1);
    app_note("--minutes %g: the run will take %" PRIu64 " steps at this speed",
             t->options->minutes, t->steps);
}

static void read_batch(struct train *t, struct next_batch *next)
{
    const struct megabyte_batch to = megabyte_trainer_batch(t->trainer);

    next->rows = pipeline_loader_next(t->loader, t->model->config.batch, to.bytes, to.lengths,
                                      &next->after);
    next->there = true;
}

/* Takes a finite loss into the sums. */
static void count_loss(struct train *t, const struct megabyte_trainer_result *r)
{
    const double bits = megabyte_bits_per_byte(r->nats, 1), weight = 0.1;
    const double before = t->bits_per_byte > 0 ? t->bits_per_byte : bits;

    t->line_nats += r->nats * (double)r->bytes;
    t->line_bytes += r->bytes;
    t->bits_per_byte = (1 - weight) * before + weight * bits;
    train_outlier_note(t, r->nats);
}

/* One step, and meanwhile the batch of the next. */
static int one_step(struct train *t, struct meter *m, struct next_batch *next)
{
    struct train_step s = {.number = t->step + 1, .rate = rate_of(t, t->step + 1),
                           .limit = train_outlier_limit(t)};
    const struct megabyte_trainer_result *r = &s.result;

    if (!next->there)
        read_batch(t, next);
    if (next->rows < 0)
        return app_fail_pipeline(next->rows);
    const struct pipeline_cursor after = next->after;
    m->rate = s.rate;
    megabyte_trainer_limit(t->trainer, s.limit);
    int status = megabyte_trainer_submit(t->trainer, s.number, s.rate);
    next->there = false;
    if (status == 0 && s.number != t->steps)
        read_batch(t, next); /* what goes wrong there is a matter of the next step */
    if (status == 0)
        status = megabyte_trainer_collect(t->trainer, &s.result);
    if (status < 0) {
        t->device_failed = true;
        return app_fail(APP_FAILED, "step %" PRIu64 ": %s", s.number, megabyte_error());
    }
    status = r->applied ? APP_DONE : train_not_applied(t, &s);
    if (status != APP_DONE)
        return status;
    t->step++;
    t->bytes += r->bytes;
    t->cursor = after;
    if (r->applied)
        m->grad_norm = r->grad_norm;
    if (isfinite(r->nats))
        count_loss(t, r);
    t->bytes_per_second = (double)(t->bytes - m->began_bytes) / (app_seconds() - m->began);
    return APP_DONE;
}

static const sigset_t *save_signal(void)
{
    static sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return &set;
}

void train_listen(void)
{
    const struct sigaction usual = {.sa_handler = SIG_DFL}, ignore = {.sa_handler = SIG_IGN};

    pthread_sigmask(SIG_BLOCK, save_signal(), NULL);
    sigaction(SIGUSR1, &usual, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

/* Whether SIGUSR1 came since this was asked last. */
static bool save_wanted(void)
{
    const struct timespec now = {0};

    return sigtimedwait(save_signal(), NULL, &now) == SIGUSR1;
}

/* Whether a checkpoint of this step is to be saved: it is one of --save-every, or --save-minutes
 * have gone by since the last one. When a checkpoint is saved changes nothing about the steps. */
static bool save_due(const struct train *t, const struct meter *m)
{
    const struct train_options *o = t->options;

    return (o->save_every && t->step % o->save_every == 0) ||
           (o->save_minutes > 0 && app_seconds() - m->save_began >= 60 * o->save_minutes);
}

/* What follows a step: lines, checkpoint, validation. The checkpoint comes first: a validation may
 * take long, and whatever ends it loses no step. It is made up for when the run goes on. */
static int after_step(struct train *t, struct meter *m)
{
    const struct train_options *o = t->options;
    const bool last = t->steps && t->step >= t->steps;
    int status = APP_DONE;

    if (o->minutes > 0)
        settle_steps(t, m);
    if (t->step % o->log_every == 0 || last)
        status = log_line(t, m);
    show(t, m, t->step == m->began_step + 1, last);
    train_run_settle(t, false);
    if (status != APP_DONE)
        return status;
    const bool asked = save_wanted();
    if (asked)
        t->asked = t->step;
    if (last || asked || save_due(t, m)) {
        m->save_began = app_seconds();
        train_run_save(t, last);
    }
    return validation_due(t) ? train_validate(t) : APP_DONE;
}

static int interrupted(struct train *t)
{
    app_progress_end();
    train_run_settle(t, true);
    if (t->saved != t->step)
        train_run_save(t, true);
    if (t->save_failed)
        return APP_FAILED;
    if (!t->step)
        app_note("interrupted before the first step; nothing was saved");
    else
        app_note("interrupted; saved after step %" PRIu64 ", the same command goes on", t->step);
    return APP_INTERRUPTED;
}

/* Where the time to the first step went. */
static void tell_start(const struct train *t)
{
    const struct tensor_kernels_made made = tensor_device_kernels(t->device);
    const double all = app_seconds() - t->began;
    char kernels[96] = "";

    if (made.count)
        snprintf(kernels, sizeof kernels, "; %u kernels made in %.2f s, %u from the cache",
                 made.count, made.seconds, made.cached);
    app_note("first step after %.2f s: device %.2f, model %.2f, recording %.2f, data and step "
             "%.2f%s", all, t->device_seconds, t->model_seconds, t->record_seconds,
             all - t->device_seconds - t->model_seconds - t->record_seconds, kernels);
}

int train_loop(struct train *t)
{
    const double now = app_seconds();
    struct meter m = {.began = now, .line_began = now, .began_bytes = t->bytes,
                      .began_step = t->step, .line_began_bytes = t->bytes,
                      .busy = tensor_device_busy(t->device), .save_began = now};
    struct next_batch next = {.there = false};
    int status = APP_DONE;

    /* An interrupted validation is made up for. */
    if (t->step && t->validated != t->step && validation_due(t))
        status = train_validate(t);
    /* The first step may take long: kernels are compiled, memory is touched for the first time. */
    if (status == APP_DONE)
        app_progress("step %" PRIu64 " ...", t->step + 1);
    while (status == APP_DONE && (!t->steps || t->step < t->steps)) {
        if (app_interrupted()) {
            status = APP_INTERRUPTED;
            break;
        }
        status = one_step(t, &m, &next);
        if (status == APP_DONE && t->step == m.began_step + 1)
            tell_start(t);
        if (status == APP_DONE)
            status = after_step(t, &m);
    }
    app_progress_end();
    if (status == APP_INTERRUPTED)
        status = interrupted(t);
    train_run_settle(t, true);
    const bool whole = train_metrics_flush(t) == 0 && !t->save_failed;
    /* The last validation's line is behind the last checkpoint, which made durable what was before.
     * A file system without fsync is no failure, and a later run makes up for a line. */
    if (fdatasync(t->metrics.fd) && errno != EINVAL)
        app_note("%s/metrics.jsonl: cannot fsync: %s", t->options->out, strerror(errno));
    if ((status == APP_DONE || status == APP_INTERRUPTED) && !whole)
        status = APP_FAILED;
    return status;
}
