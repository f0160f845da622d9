/*
 * Decoders of audio files, one a format; not installed. audio.c makes one channel at one rate of
 * what they give.
 */
#ifndef PIPELINE_AUDIO_H
#define PIPELINE_AUDIO_H

#include "pipeline/content.h"

struct audio_decoder {
    struct layer *below;              /* of the member's bytes; borrowed */
    const struct content_damage *say; /* borrowed */
    uint32_t rate, channels;          /* both above 0 */
    uint64_t decoded;                 /* frames that were given: a sample of each channel */
    /* The next frames, up to `most`; *n is 0 at the end. 0; -EBADMSG (damage) or -ENOTSUP (cannot
     * be decoded here) with why in words that follow "the audio"; or, with why left alone, what
     * reading below says. After a failure it is not called again. */
    int (*read)(struct audio_decoder *decoder, float *frames, size_t most, size_t *n,
                char why[256]);
    void (*close)(struct audio_decoder *decoder); /* frees it */
};

enum { AUDIO_MAX_CHANNELS = 1024 }; /* libsndfile's limit */

/* Whether these are the first 12 bytes of such a file, or more. */
bool pipeline_audio_is_wav(const uint8_t *head, size_t n);
bool pipeline_audio_is_flac(const uint8_t *head, size_t n);

/* Decoders of a file that begins at byte `from` of below, which was only peeked at. Errors as
 * those of read; then *out is left alone. */
int pipeline_audio_wav_open(struct layer *below, uint64_t from, const struct content_damage *say,
                            struct audio_decoder **out, char why[256]);
int pipeline_audio_flac_open(struct layer *below, uint64_t from, const struct content_damage *say,
                             struct audio_decoder **out, char why[256]);

#endif
