/*
 * metrics.jsonl: a line for each logged step, each once, whatever stopped the run before.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/train.h"
#include "tensor/json.h"

#define WAITING_MOST (64u << 20) /* bytes of lines that wait to be written */

static int fail_metrics(const struct train *t, int error)
{
    return app_fail(APP_FAILED, "%s/metrics.jsonl: %s", t->options->out, strerror(error));
}

/* Where the lines of this run end: those of steps behind the one at which it goes on, and what a
 * crash left of a line, go. Returns an exit status. */
static int find_end(struct train *t, FILE *file, off_t *end)
{
    char *line = NULL;
    size_t room = 0;
    bool ours = true;
    int result = 0;

    *end = 0;
    while (ours && result != -ENOMEM && getline(&line, &room, file) > 0) {
        json_t *object = NULL;
        result = tensor_json_read(line, strlen(line), &object);
        const json_t *step = json_object_get(object, "step");
        ours = step && (uint64_t)json_integer_value(step) <= t->step;
        if (ours && json_object_get(object, "val_bits_per_byte"))
            t->validated = (uint64_t)json_integer_value(step);
        if (ours)
            *end = ftello(file);
        json_decref(object);
    }
    free(line);
    if (result == -ENOMEM)
        return fail_metrics(t, ENOMEM);
    return ferror(file) ? fail_metrics(t, errno) : APP_DONE;
}

int train_metrics_open(struct train *t)
{
    char path[4096];
    FILE *file;
    off_t end;
    int status;

    if ((size_t)snprintf(path, sizeof path, "%s/metrics.jsonl", t->options->out) >= sizeof path)
        return app_fail(APP_USAGE, "%s: the name is too long", t->options->out);
    t->metrics.fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (t->metrics.fd < 0)
        return fail_metrics(t, errno);
    file = fopen(path, "re");
    if (!file)
        return fail_metrics(t, errno);
    status = find_end(t, file, &end);
    fclose(file);
    if (status == APP_DONE && ftruncate(t->metrics.fd, end))
        status = fail_metrics(t, errno);
    return status;
}

int train_metrics_flush(struct train *t)
{
    struct train_metrics *m = &t->metrics;
    size_t done = 0;
    int error = 0;

    while (done < m->waiting_size && !error) {
        const ssize_t n = write(m->fd, m->waiting + done, m->waiting_size - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            error = n == 0 ? EIO : errno;
    }
    /* What was written in part is gone on with, so the file never lacks a piece. */
    if (done)
        memmove(m->waiting, m->waiting + done, m->waiting_size - done);
    m->waiting_size -= done;
    if (error && error != m->told && -error != t->save_failed)
        app_fail(APP_FAILED, "%s/metrics.jsonl: %s; training goes on, and its lines wait until "
                 "they can be written", t->options->out, strerror(error));
    if (!error && m->told)
        app_note("%s/metrics.jsonl is written again", t->options->out);
    m->told = error;
    return -error;
}

int train_run_log(struct train *t, json_t *line)
{
    struct train_metrics *m = &t->metrics;
    char *text = line ? tensor_json_write(line, JSON_COMPACT) : NULL;
    const size_t length = text ? strlen(text) : 0;
    char *larger = text ? realloc(m->waiting, m->waiting_size + length + 1) : NULL;

    json_decref(line);
    if (larger)
        m->waiting = larger;
    if (!larger || m->waiting_size > WAITING_MOST) {
        free(text);
        return fail_metrics(t, larger ? m->told : ENOMEM);
    }
    memcpy(m->waiting + m->waiting_size, text, length);
    m->waiting[m->waiting_size + length] = '\n';
    m->waiting_size += length + 1;
    free(text);
    train_metrics_flush(t);
    return APP_DONE;
}

void train_metrics_close(struct train *t)
{
    struct train_metrics *m = &t->metrics;

    if (m->fd >= 0) {
        train_metrics_flush(t);
        close(m->fd);
    }
    free(m->waiting);
    *m = (struct train_metrics){.fd = -1};
}
