/*
 * Audio as bytes: 16-bit little-endian samples of one channel at one rate.
 */
#include "pipeline/audio.h"

#include <errno.h>
#include <math.h>
#include <samplerate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"

enum {
    FRAMES = 4096,           /* decoded at a time */
    LOOK_BYTES = 12,         /* they show what a file is */
    TAG_HEADER = 10,         /* bytes of an ID3v2 tag before what it holds */
    MAX_TAG_BYTES = 1 << 28, /* what such a tag can hold, and more than covers and lyrics take */
};

enum kind { KIND_OTHER, KIND_WAV, KIND_FLAC };

struct audio_layer {
    struct layer layer;
    struct layer *below;
    uint32_t rate;
    struct content_damage damage;
    struct audio_decoder *decoder;
    SRC_STATE *resampler; /* NULL if the rate is right */
    float *frames;        /* (FRAMES, channels) */
    float *mono;          /* (FRAMES), of which the resampler ... */
    long mono_at, mono_n; /* ... has taken the first ones */
    float *resampled;     /* (FRAMES) */
    uint8_t *bytes;       /* (FRAMES, 2) */
    bool opened, ended;
};

/* Bytes of an ID3v2 tag that begins here, or 0. Players and taggers put it before a FLAC, too. */
static size_t tag_bytes(const uint8_t *head, size_t n)
{
    size_t size = 0;

    if (n < TAG_HEADER || memcmp(head, "ID3", 3) != 0)
        return 0;
    for (int i = 6; i < TAG_HEADER; i++) {
        if (head[i] > 127)
            return 0;
        size = size << 7 | head[i];
    }
    return size + (head[5] & 0x10 ? 2 * TAG_HEADER : TAG_HEADER);
}

/* What the member is, and where that begins: behind tags. */
static int find_kind(struct layer *leaf, enum kind *kind, size_t *from)
{
    const uint8_t *head;
    size_t n, tag = 0;

    *kind = KIND_OTHER;
    *from = 0;
    do {
        int result;

        *from += tag;
        if (*from > MAX_TAG_BYTES)
            return 0;
        result = pipeline_layer_peek(leaf, *from + LOOK_BYTES, &head, &n);
        if (result < 0 || n <= *from)
            return result;
        head += *from;
        n -= *from;
        tag = tag_bytes(head, n);
    } while (tag);
    if (pipeline_audio_is_wav(head, n))
        *kind = KIND_WAV;
    else if (pipeline_audio_is_flac(head, n))
        *kind = KIND_FLAC;
    return 0;
}

int pipeline_content_is_audio(struct layer *leaf)
{
    enum kind kind;
    size_t from;
    int result = find_kind(leaf, &kind, &from);

    return result < 0 ? result : kind != KIND_OTHER;
}

/* 0, or a failure with or without why, as a decoder's. */
static int open_audio(struct audio_layer *au, char why[256])
{
    enum kind kind;
    size_t from;
    int error = 0, result = find_kind(au->below, &kind, &from);

    if (result < 0)
        return result;
    result = (kind == KIND_WAV ? pipeline_audio_wav_open : pipeline_audio_flac_open)(
        au->below, from, &au->damage, &au->decoder, why);
    if (result < 0)
        return result;
    if (au->decoder->rate != au->rate) {
        if (!src_is_valid_ratio((double)au->rate / au->decoder->rate)) {
            snprintf(why, 256, "has %u samples a second, which cannot become %u", au->decoder->rate,
                     au->rate);
            return -EBADMSG;
        }
        au->resampler = src_new(SRC_SINC_MEDIUM_QUALITY, 1, &error);
    }
    au->frames = malloc(FRAMES * (size_t)au->decoder->channels * sizeof(float));
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
    uint32_t channels = au->decoder->channels;
    size_t n = 0;
    int result = au->decoder->read(au->decoder, au->frames, FRAMES, &n, why);

    au->mono_at = 0;
    au->mono_n = 0;
    if (result < 0)
        return result;
    au->decoder->decoded += n;
    au->mono_n = (long)n;
    for (size_t i = 0; i < n; i++) {
        float sum = 0;

        for (uint32_t c = 0; c < channels; c++)
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
        SRC_DATA d = {.src_ratio = (double)au->rate / au->decoder->rate,
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

/* Tells of a failure. What reading the layer then returns. */
static int tell(struct audio_layer *au, int result, const char *why)
{
    char told[280];

    if (!why[0]) {
        memcpy(au->layer.why, au->below->why, sizeof(au->layer.why));
        return result;
    }
    snprintf(told, sizeof(told), "the audio %s", why);
    result = (result == -ENOTSUP ? au->damage.refuse : au->damage.tell)(au->damage.user, 0, told);
    if (result < 0)
        snprintf(au->layer.why, sizeof(au->layer.why), "%.255s", told);
    return result;
}

static int audio_read(struct layer *layer, const void **data, size_t *size)
{
    struct audio_layer *au = (struct audio_layer *)layer;
    char why[256] = "";
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
        return tell(au, result, why);
    }
    *data = au->bytes;
    *size = 2 * (size_t)n;
    return 0;
}

static void audio_close(struct layer *layer)
{
    struct audio_layer *au = (struct audio_layer *)layer;

    if (au->decoder)
        au->decoder->close(au->decoder);
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
