#include "apps/generate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/common.h"
#include "apps/room.h"
#include "apps/run.h"
#include "apps/utf8.h"
#include "megabyte/error.h"
#include "megabyte/generator.h"
#include "megabyte/model_files.h"

#define BYTES 1024 /* of a sequence, where nobody says */

/* One sequence. */
struct job {
    const struct generate_prompt *prompt;
    uint64_t made; /* bytes so far */
    uint8_t *held; /* those that are not written yet; where they become a file or JSON, all */
    size_t size, room;
    bool done;
};

struct run {
    const struct generate_options *options;
    struct tensor_device *device;
    struct megabyte_checkpoint *checkpoint;
    struct megabyte_model *model;
    struct megabyte_generator *generator;
    struct app_media media;
    uint64_t bytes;
    bool keep, text;
    bool audio; /* it was trained on sounds, or the options say so */

    struct job *jobs; /* (count) */
    uint64_t count, begun, finished; /* jobs; those before `finished` are written */
    uint64_t *slots;                 /* (sequences): the job there; `count`: none */
    uint32_t sequences;
    struct app_utf8 utf8;
    json_t *list;
    double start, prefill, first_byte, advance; /* seconds */
};

/* ---- before ---- */

static int plan(const struct megabyte_model *model, uint32_t sequences, struct app_room *room)
{
    struct megabyte_generator_plan p;
    const int status = megabyte_generator_plan(model, sequences, &p);

    if (status == 0)
        *room = (struct app_room){.device = p.device, .host = p.host + p.scratch};
    return status;
}

static int open_model(struct run *r)
{
    static const struct app_room_work work = {"generating", "sequences", plan};
    const struct generate_options *o = r->options;

    if (o->count > UINT32_MAX / o->prompt_count)
        return app_fail(APP_USAGE, "--count: %" PRIu64 " of %zu prompts are too many", o->count,
                        o->prompt_count);
    r->count = o->count * o->prompt_count;
    r->sequences = (uint32_t)(o->batch < r->count ? o->batch : r->count);
    if (app_checkpoint_open(o->checkpoint, true, &r->checkpoint) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    const int status = app_room_check(&work, r->checkpoint, r->device, r->sequences);
    if (status != APP_DONE)
        return status;
    if (megabyte_model_load(r->checkpoint, r->device, false, &r->model) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    return APP_DONE;
}

/* How the run read its images or sounds, unless the options say otherwise. */
static void settle_media(struct run *r)
{
    const struct app_media *said = &r->options->media;
    struct app_data_options scan = {.choice.content.image_size = said->image_size};

    app_media_from_state(&r->media, megabyte_checkpoint_state(r->checkpoint));
    if (said->image_size && said->image_size != r->media.image_size) {
        if ((r->options->png || r->options->prompts[0].path) && !said->image_patch)
            app_choose_scan(&scan, r->model->config.patch_size);
        r->media.image_patch = scan.choice.content.image_patch;
        r->media.image_size = said->image_size;
    }
    if (said->image_patch)
        r->media.image_patch = said->image_patch;
    if (said->audio_rate)
        r->media.audio_rate = said->audio_rate;
    r->audio = r->media.audio_rate != 0;
    if (!r->media.audio_rate)
        r->media.audio_rate = 16000;
}

/* Prompts from files as a model of images or sounds was trained on them. */
static int settle_prompts(struct run *r)
{
    const struct generate_options *o = r->options;
    const bool images = r->media.image_size != 0;

    for (size_t i = 0; i < o->prompt_count; i++) {
        struct generate_prompt *p = &o->prompts[i];
        const size_t size = p->size;

        if (p->path && size && (images || r->audio)) {
            const int taken = app_media_decode(&r->media, images, p->path, &p->bytes, &p->size);
            if (taken < 0)
                return APP_FAILED;
            if (taken && images)
                app_note("prompt %s: an image, taken as %u by %u pixels, %zu bytes", p->path,
                         r->media.image_size, r->media.image_size, p->size);
            else if (taken)
                app_note("prompt %s: a sound, taken as %zu samples, %u a second", p->path,
                         p->size / 2, r->media.audio_rate);
            else
                app_note("prompt %s: no %s, taken as the model's own %zu bytes", p->path,
                         images ? "image file" : "sound file", p->size);
        }
        if (p->size > o->prompt_bytes)
            p->size = o->prompt_bytes;
    }
    return APP_DONE;
}

/* An image is filled by a prompt and what follows it. */
static int settle_image(struct run *r)
{
    const uint64_t S = r->media.image_size, whole = 3 * S * S;
    const size_t first = r->options->prompts[0].size;

    if (!S)
        return app_fail(APP_USAGE, "--png: this run was not trained on images; --image-size N "
                        "says how large they are");
    if (r->media.image_patch > 1 && S % r->media.image_patch)
        return app_fail(APP_USAGE, "--image-patch: patches of %u do not fill a side of %" PRIu64
                        " pixels", r->media.image_patch, S);
    if (r->options->bytes == UINT64_MAX)
        r->bytes = first < whole ? whole - first : 0;
    for (size_t i = 0; i < r->options->prompt_count; i++)
        if (r->options->prompts[i].size > whole ||
            r->options->prompts[i].size + r->bytes != whole)
            return app_fail(APP_USAGE, "--png: an image of %" PRIu64 " by %" PRIu64 " pixels takes "
                            "%" PRIu64 " bytes; prompt %zu has %zu, and %" PRIu64 " are to be "
                            "generated", S, S, whole, i + 1, r->options->prompts[i].size,
                            r->bytes);
    return APP_DONE;
}

static int settle(struct run *r)
{
    const struct generate_options *o = r->options;

    settle_media(r);
    const int status = settle_prompts(r);
    if (status != APP_DONE)
        return status;
    r->bytes = o->bytes != UINT64_MAX ? o->bytes : o->wav ? 2ull * r->media.audio_rate : BYTES;
    r->keep = o->json || o->png || o->wav;
    r->text = o->form == GENERATE_TEXT || (o->form == GENERATE_AUTO && isatty(STDOUT_FILENO));
    if (o->png)
        return settle_image(r);
    for (size_t i = 0; o->wav && i < o->prompt_count; i++)
        if ((o->prompts[i].size + r->bytes) % 2)
            return app_fail(APP_USAGE, "--wav: samples have two bytes; prompt %zu has %zu, and "
                            "%" PRIu64 " are to be generated", i + 1, o->prompts[i].size,
                            r->bytes);
    return APP_DONE;
}

static int prepare(struct run *r)
{
    const struct generate_options *o = r->options;
    const struct megabyte_generator_params params = {.sequences = r->sequences};

    if (megabyte_generator_create(r->model, &params, &r->generator) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    r->jobs = calloc(r->count, sizeof *r->jobs);
    r->slots = calloc(r->sequences, sizeof *r->slots);
    r->list = json_array();
    if (!r->jobs || !r->slots || !r->list)
        return app_fail(APP_FAILED, "out of memory");
    for (uint64_t i = 0; i < r->count; i++)
        r->jobs[i].prompt = &o->prompts[i / o->count];
    for (uint32_t n = 0; n < r->sequences; n++)
        r->slots[n] = r->count;
    return APP_DONE;
}

/* ---- output ---- */

static int write_out(const uint8_t *bytes, size_t size)
{
    while (size) {
        const ssize_t done = write(STDOUT_FILENO, bytes, size);
        if (done >= 0) {
            bytes += done;
            size -= (size_t)done;
        } else if (errno == EPIPE) {
            return APP_FAILED; /* who read it has enough */
        } else if (errno != EINTR) {
            return app_fail(APP_FAILED, "standard output: %s", strerror(errno));
        } else if (app_interrupted()) {
            return APP_INTERRUPTED;
        }
    }
    return APP_DONE;
}

/* What a sequence has so far, to standard output. */
static int stream(struct run *r, struct job *job)
{
    uint8_t text[APP_UTF8_ROOM(256)];
    int status = APP_DONE;

    if (job->size && !r->first_byte)
        r->first_byte = app_seconds() - r->start;
    if (!r->text)
        status = write_out(job->held, job->size);
    for (size_t i = 0; r->text && i < job->size && status == APP_DONE; i += 256) {
        const size_t n = job->size - i < 256 ? job->size - i : 256;
        status = write_out(text, app_utf8(&r->utf8, job->held + i, n, text));
    }
    job->size = 0;
    if (status == APP_DONE && job->done && r->text)
        status = write_out(text, app_utf8_end(&r->utf8, text));
    return status;
}

/* FILE for one sequence, FILE-1, FILE-2 … for several, with what stands behind the last dot at the
 * end; the caller's to free. */
static char *name_of(const char *file, uint64_t number, uint64_t count)
{
    const char *slash = strrchr(file, '/'), *dot = strrchr(slash ? slash : file, '.');
    const size_t stem = dot ? (size_t)(dot - file) : strlen(file);
    char *name = NULL;

    if (count == 1)
        return strdup(file);
    if (asprintf(&name, "%.*s-%" PRIu64 "%s", (int)stem, file, number + 1, file + stem) < 0)
        return NULL;
    return name;
}

/* Prompt and bytes as a PNG or WAV. */
static int write_media(struct run *r, const struct job *job, const char *path)
{
    const size_t size = job->prompt->size + job->size;
    uint8_t *whole = malloc(size + 1);
    int status;

    if (!whole)
        return app_fail(APP_FAILED, "out of memory");
    if (job->prompt->size)
        memcpy(whole, job->prompt->bytes, job->prompt->size);
    if (job->size)
        memcpy(whole + job->prompt->size, job->held, job->size);
    status = r->options->png ? app_write_png(path, &r->media, whole, size)
                             : app_write_wav(path, &r->media, whole, size);
    free(whole);
    return status;
}

static json_t *hexadecimal(const uint8_t *bytes, size_t size)
{
    char *hex = malloc(2 * size + 1);
    json_t *text = NULL;

    for (size_t i = 0; hex && i < size; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    if (hex)
        text = json_stringn(hex, 2 * size);
    free(hex);
    return text;
}

/* A sequence that is whole, as a file, as JSON or both. */
static int finish_kept(struct run *r, const struct job *job)
{
    const struct generate_options *o = r->options;
    char *path = NULL;
    int status = APP_DONE;

    if (o->png || o->wav) {
        path = name_of(o->png ? o->png : o->wav, (uint64_t)(job - r->jobs), r->count);
        status = path ? write_media(r, job, path) : app_fail(APP_FAILED, "out of memory");
    }
    if (status == APP_DONE && o->json) {
        json_t *text = json_stringn((const char *)job->held, job->size); /* NULL unless UTF-8 */
        json_t *one = path ? json_pack("{s:s}", "file", path)
                           : json_pack("{s:o, s:o}", "hex", hexadecimal(job->held, job->size),
                                       "text", text ? json_incref(text) : json_null());
        json_decref(text);
        if (json_array_append_new(r->list, one))
            status = app_fail(APP_FAILED, "out of memory");
    } else if (status == APP_DONE) {
        app_note("%s", path);
    }
    free(path);
    return status;
}

/* Writes what can be written: of the first sequence that is not whole, and of those before it. */
static int flush_jobs(struct run *r)
{
    int status = APP_DONE;

    while (r->finished < r->count && status == APP_DONE) {
        struct job *job = &r->jobs[r->finished];
        if (!r->keep)
            status = stream(r, job);
        else if (job->done)
            status = finish_kept(r, job);
        if (!job->done)
            break;
        free(job->held);
        job->held = NULL;
        r->finished++;
    }
    return status;
}

/* ---- work ---- */

/* Puts the next sequence where one has ended, or none was. */
static int fill_slot(struct run *r, uint32_t n)
{
    const double began = app_seconds();
    const uint64_t next = r->begun;

    r->slots[n] = r->count;
    if (next == r->count) {
        megabyte_generator_stop(r->generator, n);
        return APP_DONE;
    }
    r->begun++;
    r->slots[n] = next;
    const struct generate_prompt *prompt = r->jobs[next].prompt;
    if (megabyte_generator_start(r->generator, n, prompt->bytes, prompt->size,
                                 &r->options->sampling, (uint32_t)next) < 0)
        return app_fail(APP_FAILED, "%s", megabyte_error());
    r->prefill += app_seconds() - began;
    return APP_DONE;
}

static int take_bytes(struct run *r, uint32_t n)
{
    struct job *job = &r->jobs[r->slots[n]];
    uint32_t count;
    const uint8_t *bytes = megabyte_generator_bytes(r->generator, n, &count);

    if (count > r->bytes - job->made)
        count = (uint32_t)(r->bytes - job->made);
    if (job->size + count > job->room) {
        const size_t room = 2 * job->room + count;
        uint8_t *larger = realloc(job->held, room);
        if (!larger)
            return app_fail(APP_FAILED, "out of memory");
        job->held = larger;
        job->room = room;
    }
    memcpy(job->held + job->size, bytes, count);
    job->size += count;
    job->made += count;
    job->done = job->made == r->bytes;
    return job->done ? fill_slot(r, n) : APP_DONE;
}

/* All sequences, each where there is room for it. */
static int work(struct run *r)
{
    int status = APP_DONE;

    r->start = app_seconds();
    for (uint64_t i = 0; r->bytes == 0 && i < r->count; i++)
        r->jobs[i].done = true;
    if (r->bytes == 0)
        return flush_jobs(r);
    for (uint32_t n = 0; n < r->sequences && status == APP_DONE; n++)
        status = fill_slot(r, n);
    while (r->finished < r->count && status == APP_DONE) {
        const double began = app_seconds();
        if (app_interrupted())
            return APP_INTERRUPTED;
        if (megabyte_generator_advance(r->generator) < 0)
            return app_fail(APP_FAILED, "%s", megabyte_error());
        r->advance += app_seconds() - began;
        for (uint32_t n = 0; n < r->sequences && status == APP_DONE; n++)
            if (r->slots[n] < r->count)
                status = take_bytes(r, n);
        if (status == APP_DONE)
            status = flush_jobs(r);
    }
    return status;
}

static int report(struct run *r)
{
    const struct generate_options *o = r->options;
    const double bytes = (double)r->bytes * (double)r->count;
    const double speed = r->advance > 0 ? bytes / r->advance : 0;

    if (o->json)
        return app_json(json_pack(
            "{s:O, s:I, s:f, s:f, s:f, s:f, s:I, s:s, s:s, s:s}", "sequences", r->list, "bytes",
            (json_int_t)(r->bytes * r->count), "bytes_per_second", speed, "seconds",
            app_seconds() - r->start, "prefill_seconds", r->prefill, "first_byte_seconds",
            r->first_byte, "batch", (json_int_t)r->sequences, "checkpoint",
            megabyte_checkpoint_path(r->checkpoint), "device", tensor_device_info(r->device)->name,
            "precision", tensor_precision_name(tensor_device_info(r->device)->precision)));
    /* On a terminal the bytes end somewhere in a line. */
    if (!r->keep && isatty(STDOUT_FILENO) && write_out((const uint8_t *)"\n", 1) != APP_DONE)
        return APP_FAILED;
    if (r->keep || isatty(STDOUT_FILENO))
        app_note("%.0f bytes a second", speed);
    return APP_DONE;
}

int generate_run(const struct generate_options *options)
{
    struct run r = {.options = options};
    int status = app_device_open(&options->device, &r.device);

    if (status == APP_DONE)
        status = open_model(&r);
    if (status == APP_DONE)
        status = settle(&r);
    if (status == APP_DONE)
        status = prepare(&r);
    if (status == APP_DONE)
        status = work(&r);
    if (status == APP_DONE)
        status = report(&r);
    for (uint64_t i = 0; r.jobs && i < r.count; i++)
        free(r.jobs[i].held);
    free(r.jobs);
    free(r.slots);
    json_decref(r.list);
    megabyte_generator_destroy(&r.generator);
    megabyte_model_destroy(&r.model);
    megabyte_checkpoint_close(&r.checkpoint);
    tensor_device_close(&r.device);
    return status;
}
