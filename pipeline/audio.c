/*
 * Audio as bytes: 16-bit little-endian samples of one channel at one rate.
 */
#include <errno.h>
#include <math.h>
#include <samplerate.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/content.h"
#include "pipeline/internal.h"

enum { FRAMES = 4096 }; /* decoded at a time */

struct audio_layer {
    struct layer layer;
    struct layer *below;
    uint32_t rate;
    struct content_damage damage;
    const uint8_t *run; /* what below gave and the decoder did not take yet */
    size_t run_size;
    int below_failed; /* -errno */
    SNDFILE *file;
    SF_INFO info;
    SRC_STATE *resampler; /* NULL if the rate is right */
    sf_count_t decoded;   /* frames */
    float *frames;        /* (FRAMES, channels) */
    float *mono;          /* (FRAMES), of which the resampler ... */
    long mono_at, mono_n; /* ... has taken the first ones */
    float *resampled;     /* (FRAMES) */
    uint8_t *bytes;       /* (FRAMES, 2) */
    bool opened, ended;
};

static bool is_wav(const uint8_t *head, size_t n)
{
    return n >= 12 && (!memcmp(head, "RIFF", 4) || !memcmp(head, "RF64", 4)) &&
           !memcmp(head + 8, "WAVE", 4);
}

bool pipeline_content_is_audio(const uint8_t *head, size_t n)
{
    return is_wav(head, n) || (n >= 4 && !memcmp(head, "fLaC", 4));
}

/* ---- libsndfile reads the layer below ---- */

static sf_count_t file_length(void *user)
{
    return (sf_count_t)((struct audio_layer *)user)->below->size;
}

static sf_count_t file_tell(void *user)
{
    struct audio_layer *au = user;

    return (sf_count_t)(au->below->position - au->run_size);
}

static sf_count_t file_seek(sf_count_t offset, int whence, void *user)
{
    struct audio_layer *au = user;
    int result;

    if (whence == SEEK_CUR)
        offset += file_tell(user);
    else if (whence == SEEK_END)
        offset += file_length(user);
    if (offset < 0 || offset > file_length(user))
        return -1;
    au->run_size = 0;
    result = pipeline_layer_seek(au->below, (uint64_t)offset);
    if (result < 0)
        au->below_failed = result;
    return result < 0 ? -1 : offset;
}

static sf_count_t file_read(void *to, sf_count_t want, void *user)
{
    struct audio_layer *au = user;
    size_t have = 0;

    while (have < (size_t)want && !au->below_failed) {
        size_t n;

        if (au->run_size == 0) {
            const void *data;
            int result = pipeline_layer_read(au->below, &data, &au->run_size);

            if (result < 0)
                au->below_failed = result;
            if (result < 0 || au->run_size == 0)
                break;
            au->run = data;
        }
        n = (size_t)want - have < au->run_size ? (size_t)want - have : au->run_size;
        memcpy((uint8_t *)to + have, au->run, n);
        au->run += n;
        au->run_size -= n;
        have += n;
    }
    return (sf_count_t)have;
}

/* ---- decoding ---- */

/* The decoder takes a file that was cut for a shorter one. */
static bool is_cut(const struct audio_layer *au, const uint8_t *head, size_t n)
{
    uint32_t stated = n >= 12 ? pipeline_little32(head + 4) : 0;

    return is_wav(head, n) && !memcmp(head, "RIFF", 4) && stated != UINT32_MAX &&
           (uint64_t)stated + 8 > au->below->size;
}

/* 0, or -EBADMSG with why, or another failure. */
static int open_audio(struct audio_layer *au, char why[256])
{
    SF_VIRTUAL_IO io = {file_length, file_seek, file_read, NULL, file_tell};
    int result, error = 0;
    const uint8_t *head;
    size_t n;

    result = pipeline_layer_peek(au->below, 12, &head, &n);
    if (result == 0)
        result = pipeline_layer_hold(au->below, CONTENT_AUDIO_BYTES);
    if (result < 0) {
        au->below_failed = result;
        return result;
    }
    if (!au->below->seek) {
        snprintf(why, 256, "is larger than %d MiB, too much to be decoded inside an archive",
                 CONTENT_AUDIO_BYTES >> 20);
        return -EBADMSG;
    }
    result = pipeline_layer_peek(au->below, 12, &head, &n);
    if (result == 0 && is_cut(au, head, n)) {
        snprintf(why, 256, "ends early: it has %llu bytes of %llu",
                 (unsigned long long)au->below->size,
                 (unsigned long long)pipeline_little32(head + 4) + 8);
        return -EBADMSG;
    }
    result = result == 0 ? pipeline_layer_seek(au->below, 0) : result;
    if (result < 0) {
        au->below_failed = result;
        return result;
    }
    au->file = sf_open_virtual(&io, SFM_READ, &au->info, au);
    if (au->below_failed)
        return au->below_failed;
    if (!au->file) {
        snprintf(why, 256, "cannot be decoded: %.200s", sf_strerror(NULL));
        return -EBADMSG;
    }
    if ((uint32_t)au->info.samplerate != au->rate) {
        if (au->info.samplerate < 1 ||
            !src_is_valid_ratio((double)au->rate / au->info.samplerate)) {
            snprintf(why, 256, "has %d samples a second, which cannot become %u",
                     au->info.samplerate, au->rate);
            return -EBADMSG;
        }
        au->resampler = src_new(SRC_SINC_MEDIUM_QUALITY, 1, &error);
    }
    au->frames = malloc(FRAMES * (size_t)au->info.channels * sizeof(float));
    au->mono = malloc(FRAMES * sizeof(float));
    au->resampled = malloc(FRAMES * sizeof(float));
    au->bytes = malloc(FRAMES * 2);
    if (error || !au->frames || !au->mono || !au->resampled || !au->bytes)
        return pipeline_fail(ENOMEM, "out of memory");
    return 0;
}

/* The next frames into mono; mono_n is 0 at the end. */
static int next_mono(struct audio_layer *au, char why[256])
{
    int channels = au->info.channels;
    sf_count_t n = sf_readf_float(au->file, au->frames, FRAMES);

    au->mono_at = 0;
    au->mono_n = 0;
    if (au->below_failed)
        return au->below_failed;
    if (sf_error(au->file)) {
        snprintf(why, 256, "cannot be decoded from sample %lld on: %.200s", (long long)au->decoded,
                 sf_strerror(au->file));
        return -EBADMSG;
    }
    if (n == 0 && au->info.frames > 0 && au->info.frames < SF_COUNT_MAX &&
        au->decoded < au->info.frames) {
        snprintf(why, 256, "ends early: it has %lld samples of %lld", (long long)au->decoded,
                 (long long)au->info.frames);
        return -EBADMSG;
    }
    au->decoded += n;
    au->mono_n = (long)n;
    for (sf_count_t i = 0; i < n; i++) {
        float sum = 0;

        for (int c = 0; c < channels; c++)
            sum += au->frames[i * channels + c];
        au->mono[i] = sum / (float)channels;
    }
    return 0;
}

static void to_bytes(struct audio_layer *au, const float *samples, long n)
{
    for (long i = 0; i < n; i++) {
        /* 16 bits come as k / 32768, which a float holds exactly. A file may hold any float. */
        float x = samples[i] * 32768.0f;
        int value = x >= 32767 ? 32767 : x <= -32768 ? -32768 : x == x ? (int)lrintf(x) : 0;

        au->bytes[2 * i] = (uint8_t)(value & 255);
        au->bytes[2 * i + 1] = (uint8_t)(value >> 8 & 255);
    }
}

/* The next samples into bytes; *n is 0 at the end. */
static int next_samples(struct audio_layer *au, long *n, char why[256])
{
    int result = 0;

    *n = 0;
    if (!au->resampler) {
        result = next_mono(au, why);
        *n = au->mono_n;
        to_bytes(au, au->mono, *n);
        return result;
    }
    while (*n == 0 && !au->ended) {
        SRC_DATA d = {.src_ratio = (double)au->rate / au->info.samplerate,
                      .data_out = au->resampled,
                      .output_frames = FRAMES};

        if (au->mono_at == au->mono_n && (result = next_mono(au, why)) < 0)
            return result;
        d.data_in = au->mono + au->mono_at;
        d.input_frames = au->mono_n - au->mono_at;
        d.end_of_input = au->mono_n == 0;
        if (src_process(au->resampler, &d) != 0) {
            snprintf(why, 256, "cannot be brought to %u samples a second", au->rate);
            return -EBADMSG;
        }
        au->mono_at += d.input_frames_used;
        *n = d.output_frames_gen;
        au->ended = d.end_of_input && *n == 0;
    }
    to_bytes(au, au->resampled, *n);
    return 0;
}

static int audio_read(struct layer *layer, const void **data, size_t *size)
{
    struct audio_layer *au = (struct audio_layer *)layer;
    char why[256] = "", told[280];
    long n = 0;
    int result = 0;

    *size = 0;
    if (au->ended)
        return 0;
    if (!au->opened)
        result = open_audio(au, why);
    au->opened = true;
    if (result == 0)
        result = next_samples(au, &n, why);
    if (result < 0) {
        au->ended = true;
        if (au->below_failed)
            memcpy(layer->why, au->below->why, sizeof(layer->why));
        if (au->below_failed || !why[0])
            return result;
        snprintf(told, sizeof(told), "the audio %s", why);
        result = au->damage.tell(au->damage.user, 0, told);
        if (result < 0)
            snprintf(layer->why, sizeof(layer->why), "%.255s", told);
        return result;
    }
    *data = au->bytes;
    *size = 2 * (size_t)n;
    return 0;
}

static void audio_close(struct layer *layer)
{
    struct audio_layer *au = (struct audio_layer *)layer;

    if (au->file)
        sf_close(au->file);
    if (au->resampler)
        src_delete(au->resampler);
    free(au->frames);
    free(au->mono);
    free(au->resampled);
    free(au->bytes);
    pipeline_layer_destroy(&au->below);
}

int pipeline_content_audio_create(const struct pipeline_content *wanted, struct layer *leaf,
                                  const struct content_damage *damage, struct layer **out)
{
    struct audio_layer *au = calloc(1, sizeof(*au));

    if (!au)
        return pipeline_fail(ENOMEM, "out of memory");
    au->layer.read = audio_read;
    au->layer.close = audio_close;
    au->below = leaf;
    au->rate = wanted->audio_rate;
    au->damage = *damage;
    *out = &au->layer;
    return 0;
}
