/*
 * FLAC, through libFLAC, which checks the sum of all samples, too.
 */
#include <FLAC/stream_decoder.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/audio.h"
#include "pipeline/internal.h"

enum {
    HEAD_BYTES = 42, /* the mark, and the block of metadata that must come first */
    PIECE = 4096,    /* bytes that the decoder is given at a time ... */
    BEFORE = 16,     /* ... and of those before them, kept: more than it looks at behind a frame */
    TAIL_BYTES = 8,  /* behind the last frame, that tell what it is */
};

struct flac {
    struct audio_decoder base;
    FLAC__StreamDecoder *decoder;
    const uint8_t *run; /* what below gave and nobody took yet */
    size_t run_size;
    int failed;                    /* -errno of below */
    uint8_t bytes[BEFORE + PIECE]; /* given to the decoder, the last ones of all ... */
    size_t n_bytes;
    uint64_t fed;       /* ... of which there were so many */
    size_t head_given;  /* of the first HEAD_BYTES */
    uint64_t total;     /* frames that its head promises; 0: it does not say */
    bool summed;        /* its head has the sum of all samples */
    uint64_t made;      /* frames that were decoded */
    uint64_t frame_end; /* the byte behind the last of them */
    const char *lost;   /* what the decoder said first, or NULL */
    float *frames;      /* (n, channels), what it decoded last, of which `at` are given */
    size_t room, n, at;
    bool ended; /* nothing more is decoded */
};

bool pipeline_audio_is_flac(const uint8_t *head, size_t n)
{
    return n >= 4 && !memcmp(head, "fLaC", 4);
}

/* ---- bytes ---- */

/* The next bytes below; fewer at the end, or where reading failed. */
static size_t take(struct flac *f, uint8_t *to, size_t want)
{
    size_t have = 0;

    while (have < want && !f->failed) {
        size_t n;

        if (f->run_size == 0) {
            const void *data;

            f->failed = pipeline_layer_read(f->base.below, &data, &f->run_size);
            if (f->failed || f->run_size == 0)
                break;
            f->run = data;
        }
        n = want - have < f->run_size ? want - have : f->run_size;
        memcpy(to + have, f->run, n);
        f->run += n;
        f->run_size -= n;
        have += n;
    }
    return have;
}

/* Puts n bytes behind those that were kept. */
static uint8_t *keep(struct flac *f, size_t n)
{
    if (f->n_bytes > BEFORE) {
        memmove(f->bytes, f->bytes + f->n_bytes - BEFORE, BEFORE);
        f->n_bytes = BEFORE;
    }
    f->n_bytes += n;
    f->fed += n;
    return f->bytes + f->n_bytes - n;
}

/* The first bytes behind the last frame; none if those are gone, because the decoder took them for
 * a frame. */
static size_t read_tail(struct flac *f, uint8_t tail[TAIL_BYTES])
{
    uint64_t back = f->fed - f->frame_end;
    size_t n = back < TAIL_BYTES ? (size_t)back : TAIL_BYTES;

    if (back > f->n_bytes)
        return 0;
    memcpy(tail, f->bytes + f->n_bytes - back, n);
    return n + take(f, tail + n, TAIL_BYTES - n);
}

/* ---- libFLAC's ---- */

static FLAC__StreamDecoderReadStatus on_read(const FLAC__StreamDecoder *decoder, FLAC__byte bytes[],
                                             size_t *size, void *user)
{
    struct flac *f = user;
    uint8_t piece[PIECE];
    size_t n = 0;

    if (f->head_given < HEAD_BYTES) {
        n = HEAD_BYTES - f->head_given < *size ? HEAD_BYTES - f->head_given : *size;
        memcpy(bytes, f->bytes + f->head_given, n);
        f->head_given += n;
        *size = n;
        return FLAC__STREAM_DECODER_READ_STATUS_CONTINUE;
    }
    if (!f->lost)
        n = take(f, piece, *size < PIECE ? *size : PIECE);
    /* At an end within a frame it would look for another one in there, and, as some distributions
     * build it, print that it does. */
    if (f->failed || f->lost || (n == 0 && f->fed != f->frame_end))
        return FLAC__STREAM_DECODER_READ_STATUS_ABORT;
    memcpy(keep(f, n), piece, n);
    memcpy(bytes, piece, n);
    *size = n;
    return n ? FLAC__STREAM_DECODER_READ_STATUS_CONTINUE
             : FLAC__STREAM_DECODER_READ_STATUS_END_OF_STREAM;
}

static FLAC__StreamDecoderTellStatus on_tell(const FLAC__StreamDecoder *decoder, FLAC__uint64 *at,
                                             void *user)
{
    *at = ((struct flac *)user)->fed;
    return FLAC__STREAM_DECODER_TELL_STATUS_OK;
}

/* What comes after the first error is made up, or what lies behind the end. */
static FLAC__StreamDecoderWriteStatus on_write(const FLAC__StreamDecoder *decoder,
                                               const FLAC__Frame *frame,
                                               const FLAC__int32 *const buffer[], void *user)
{
    struct flac *f = user;
    uint32_t channels = f->base.channels, n = frame->header.blocksize;
    size_t need = (size_t)n * channels;
    int bits = (int)frame->header.bits_per_sample;

    if (!f->lost &&
        (frame->header.channels != channels || frame->header.sample_rate != f->base.rate))
        f->lost = "a frame has other channels, or another rate, than its header says";
    if (f->lost)
        return FLAC__STREAM_DECODER_WRITE_STATUS_ABORT;
    if (need > f->room) {
        float *more = realloc(f->frames, need * sizeof(*more));

        if (!more) {
            f->failed = pipeline_fail(ENOMEM, "out of memory");
            return FLAC__STREAM_DECODER_WRITE_STATUS_ABORT;
        }
        f->frames = more;
        f->room = need;
    }
    for (uint32_t c = 0; c < channels; c++) {
        for (uint32_t i = 0; i < n; i++)
            f->frames[(size_t)i * channels + c] = ldexpf((float)buffer[c][i], 1 - bits);
    }
    f->n = n;
    return FLAC__STREAM_DECODER_WRITE_STATUS_CONTINUE;
}

static const char no_frame[] = "there is no frame where one must begin";

static void on_error(const FLAC__StreamDecoder *decoder, FLAC__StreamDecoderErrorStatus status,
                     void *user)
{
    struct flac *f = user;

    if (f->lost)
        return;
    if (status == FLAC__STREAM_DECODER_ERROR_STATUS_FRAME_CRC_MISMATCH)
        f->lost = "a frame does not have its checksum";
    else if (status == FLAC__STREAM_DECODER_ERROR_STATUS_UNPARSEABLE_STREAM)
        f->lost = "a frame is coded in a way that libFLAC does not know";
    else
        f->lost = no_frame;
}

/* Whether it stopped for something else than what the bytes are. */
static bool has_failed(struct flac *f)
{
    if (FLAC__stream_decoder_get_state(f->decoder) == FLAC__STREAM_DECODER_MEMORY_ALLOCATION_ERROR)
        f->failed = pipeline_fail(ENOMEM, "out of memory");
    return f->failed;
}

/* ---- the end ---- */

/* Whether what follows the last frame can be a frame, cut or damaged; else it is a tag or stray
 * bytes. */
static bool is_frame_cut(struct flac *f)
{
    uint8_t tail[TAIL_BYTES] = {0};
    bool gone = f->fed - f->frame_end > f->n_bytes;
    size_t n = read_tail(f, tail);

    if (!memcmp(tail, "TAG", 3) || !memcmp(tail, "ID3", 3) || !memcmp(tail, "APETAGEX", 8) ||
        !memcmp(tail, "LYRICSBE", 8) || !memcmp(tail, "fLaC", 4))
        return gone;
    return gone || n == TAIL_BYTES || tail[0] == 0xff; /* no frame is so short */
}

/* Another stream behind the first is not read; other things there are tags, or nothing. */
static void note_second(struct flac *f)
{
    uint8_t tail[TAIL_BYTES];

    if (read_tail(f, tail) >= 4 && !memcmp(tail, "fLaC", 4))
        f->base.say->note(f->base.say->user,
                          "another FLAC follows the first in the same file, and is not read");
}

/* No more frames can be decoded, or none are wanted: whether that is the end. */
static int at_end(struct flac *f, char why[256])
{
    const unsigned long long made = f->made, total = f->total;
    bool cut = f->total ? f->made < f->total : !f->summed && is_frame_cut(f), sum_fails;

    f->ended = true;
    if (f->failed)
        return f->failed;
    if (f->made > f->total && f->total) {
        snprintf(why, 256, "has more samples than the %llu that its header promises", total);
        return -EBADMSG;
    }
    sum_fails = !cut && f->summed && !FLAC__stream_decoder_finish(f->decoder);
    if (f->lost && (cut || (sum_fails && !f->total)))
        snprintf(why, 256, "cannot be decoded from sample %llu on: %s", made, f->lost);
    else if (cut && f->total)
        snprintf(why, 256, "ends early: it has %llu samples of %llu", made, total);
    else if (cut)
        snprintf(why, 256, "ends early, in the frame behind sample %llu", made);
    else if (sum_fails)
        snprintf(why, 256,
                 "does not have the checksum (MD5) that its header gives: of its %llu "
                 "samples some are missing or wrong",
                 made);
    else
        note_second(f);
    return cut || sum_fails ? -EBADMSG : f->failed;
}

/* Whether the decoder has bytes behind the last frame that begin none. It would look for one in all
 * that follows, and take what it finds into its sum. */
static bool is_no_frame(const struct flac *f)
{
    uint64_t back = f->fed - f->frame_end;
    const uint8_t *p;

    if (back < 2 || back > f->n_bytes)
        return false;
    p = f->bytes + f->n_bytes - back;
    return p[0] != 0xff || (p[1] & 0xfe) != 0xf8;
}

/* Decodes the next frame; n stays 0 at the end. */
static int next_frame(struct flac *f, char why[256])
{
    FLAC__uint64 place;

    f->n = f->at = 0;
    /* A sum that holds tells that there are no more. */
    if (f->total && f->summed && f->made >= f->total)
        return at_end(f, why);
    if (is_no_frame(f)) {
        f->lost = f->lost ? f->lost : no_frame;
        return at_end(f, why);
    }
    FLAC__stream_decoder_process_single(f->decoder);
    if (has_failed(f))
        return f->failed;
    if (f->n == 0)
        return at_end(f, why);
    f->made += f->n;
    if (f->total && f->made > f->total)
        return at_end(f, why);
    if (FLAC__stream_decoder_get_decode_position(f->decoder, &place))
        f->frame_end = place;
    return 0;
}

static int flac_read(struct audio_decoder *decoder, float *frames, size_t most, size_t *n,
                     char why[256])
{
    struct flac *f = (struct flac *)decoder;
    uint32_t channels = decoder->channels;
    size_t m;

    if (f->at == f->n && !f->ended) {
        int result = next_frame(f, why);

        if (result < 0)
            return result;
    }
    m = f->n - f->at < most ? f->n - f->at : most;
    if (m)
        memcpy(frames, f->frames + f->at * channels, m * channels * sizeof(*frames));
    f->at += m;
    *n = m;
    return 0;
}

static void flac_close(struct audio_decoder *decoder)
{
    struct flac *f = (struct flac *)decoder;

    if (f->decoder)
        FLAC__stream_decoder_delete(f->decoder);
    free(f->frames);
    free(f);
}

/* Reads what the head says, and takes the number of samples out of it: the decoder would stop
 * there without a word, and we want to know whether there are more. */
static int read_head(struct flac *f, char why[256])
{
    uint8_t *head = keep(f, HEAD_BYTES), *info = head + 8;
    size_t n = take(f, head, HEAD_BYTES);

    if (f->failed)
        return f->failed;
    if (n < HEAD_BYTES || (head[4] & 127) != 0 || head[5] || head[6] || head[7] != 34) {
        snprintf(why, 256,
                 n < HEAD_BYTES ? "ends early: it has no more than the beginning of its "
                                  "header"
                                : "does not begin with what its samples are");
        return -EBADMSG;
    }
    f->base.rate = (uint32_t)info[10] << 12 | (uint32_t)info[11] << 4 | info[12] >> 4;
    f->base.channels = (info[12] >> 1 & 7) + 1u;
    f->total = (uint64_t)(info[13] & 15) << 32 | (uint64_t)info[14] << 24 |
               (uint64_t)info[15] << 16 | (uint64_t)info[16] << 8 | info[17];
    for (int i = 18; i < 34; i++)
        f->summed = f->summed || info[i];
    info[13] &= 0xf0;
    memset(info + 14, 0, 4);
    if (f->base.rate == 0) {
        snprintf(why, 256, "says that it has 0 samples a second");
        return -EBADMSG;
    }
    return 0;
}

static int open_flac(struct flac *f, uint64_t from, char why[256])
{
    FLAC__uint64 place;
    int result = pipeline_layer_jump(f->base.below, from);

    if (result == 0)
        result = read_head(f, why);
    if (result < 0)
        return result;
    f->decoder = FLAC__stream_decoder_new();
    if (!f->decoder || !FLAC__stream_decoder_set_md5_checking(f->decoder, f->summed) ||
        FLAC__stream_decoder_init_stream(f->decoder, on_read, NULL, on_tell, NULL, NULL, on_write,
                                         NULL, on_error, f) != FLAC__STREAM_DECODER_INIT_STATUS_OK)
        return pipeline_fail(ENOMEM, "out of memory");
    FLAC__stream_decoder_process_until_end_of_metadata(f->decoder);
    if (has_failed(f))
        return f->failed;
    if (FLAC__stream_decoder_get_state(f->decoder) != FLAC__STREAM_DECODER_SEARCH_FOR_FRAME_SYNC ||
        !FLAC__stream_decoder_get_decode_position(f->decoder, &place)) {
        snprintf(why, 256, "ends early, or is damaged, before its first frame");
        return -EBADMSG;
    }
    f->frame_end = place;
    return 0;
}

int pipeline_audio_flac_open(struct layer *below, uint64_t from, const struct content_damage *say,
                             struct audio_decoder **out, char why[256])
{
    struct flac *f = calloc(1, sizeof(*f));
    int result;

    if (!f)
        return pipeline_fail(ENOMEM, "out of memory");
    f->base =
        (struct audio_decoder){.below = below, .say = say, .read = flac_read, .close = flac_close};
    result = open_flac(f, from, why);
    if (result < 0)
        flac_close(&f->base);
    else
        *out = &f->base;
    return result;
}
