/*
 * WAV, RF64 and BW64. Sizes in real headers are often wrong: recorders and programs that write into
 * pipes fill in none, or none in the end, and 32 bits do not count beyond 4 GiB. So the chunks are
 * walked here, up to the samples and behind them, and libsndfile is given the samples with sizes
 * that are right.
 */
#include <errno.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/audio.h"
#include "pipeline/internal.h"

enum {
    HEADER = 8,           /* of a chunk: its name and size */
    MIN_FORMAT = 16,      /* bytes of a format chunk ... */
    MAX_FORMAT = 1024,    /* ... of which no more are looked at */
    RESYNC_BYTES = 65536, /* in which the next chunk is looked for where there is none ... */
    MAX_RESYNCS = 16,     /* ... so many times */
    MAX_CHUNKS = 1000,    /* that are walked before the samples, and behind them */
    NEAR = 65536,         /* of a size to the most that 31 or 32 bits hold: nobody counted */
    TAG_EXTENSIBLE = 0xfffe,
};

struct chunk {
    uint8_t id[HEADER]; /* 4, and as much of what follows */
    uint64_t at, body;  /* its header, and what follows that */
    uint64_t size;      /* as it says */
};

struct wav {
    struct audio_decoder base;
    const uint8_t *run; /* what below gave and nobody took yet */
    size_t run_size;
    int failed; /* -errno of below */
    uint64_t from, end;
    bool wide;          /* RF64 or BW64 */
    uint64_t long_size; /* of the samples, in its ds64 chunk */
    uint8_t format[MAX_FORMAT];
    uint32_t format_size;
    uint64_t data_at, data_size; /* the samples */
    /* What libsndfile sees: a head of our own, if any, and the samples. */
    uint8_t head[12 + HEADER + MAX_FORMAT + HEADER];
    size_t head_size;
    uint64_t view_size;
    uint64_t place; /* where it reads next ... */
    bool moved;     /* ... and whether below does not stand there */
    SNDFILE *file;
    SF_INFO info;
};

static uint16_t little16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint64_t little64(const uint8_t *p)
{
    return pipeline_little32(p) | (uint64_t)pipeline_little32(p + 4) << 32;
}

static void put_little32(uint8_t *p, uint64_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static bool is_wide(const uint8_t *id)
{
    return !memcmp(id, "RF64", 4) || !memcmp(id, "BW64", 4);
}

bool pipeline_audio_is_wav(const uint8_t *head, size_t n)
{
    return n >= 12 && (!memcmp(head, "RIFF", 4) || is_wide(head)) && !memcmp(head + 8, "WAVE", 4);
}

/* ---- bytes ---- */

static int go_to(struct wav *w, uint64_t offset)
{
    int result = pipeline_layer_seek(w->base.below, offset);

    w->run_size = 0;
    if (result < 0)
        w->failed = result;
    return result;
}

/* The next bytes; fewer at the end, or where reading failed. */
static size_t take(struct wav *w, uint8_t *to, size_t want)
{
    size_t have = 0;

    while (have < want && !w->failed) {
        size_t n;

        if (w->run_size == 0) {
            const void *data;

            w->failed = pipeline_layer_read(w->base.below, &data, &w->run_size);
            if (w->failed || w->run_size == 0)
                break;
            w->run = data;
        }
        n = want - have < w->run_size ? want - have : w->run_size;
        memcpy(to + have, w->run, n);
        w->run += n;
        w->run_size -= n;
        have += n;
    }
    return have;
}

static size_t take_at(struct wav *w, uint64_t offset, uint8_t *to, size_t want)
{
    return offset < w->end && go_to(w, offset) == 0 ? take(w, to, want) : 0;
}

/* ---- chunks ---- */

static bool could_be_id(const uint8_t *p)
{
    for (int i = 0; i < 4; i++) {
        if (p[i] < ' ' || p[i] > '~')
            return false;
    }
    return true;
}

static bool is_known_id(const uint8_t *p)
{
    static const char known[][5] = {"data", "fmt ", "LIST", "fact", "bext", "JUNK", "junk", "PAD ",
                                    "FLLR", "cue ", "smpl", "inst", "PEAK", "id3 ", "ID3 ", "iXML",
                                    "axml", "chna", "plst", "levl", "umid", "minf", "elm1", "regn",
                                    "DISP", "acid", "cart", "afsp", "_PMX", "ds64"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (!memcmp(p, known[i], 4))
            return true;
    }
    return false;
}

/* The chunk at a byte. Behind one of an odd size there is a byte more, which some programs forget.
 * False if no header fits in there. */
static bool read_chunk(struct wav *w, uint64_t at, bool odd, struct chunk *c)
{
    uint8_t h[HEADER + 1] = {0};
    size_t n = take_at(w, at, h, sizeof(h));
    size_t pad = odd && !(n >= HEADER && is_known_id(h) && !is_known_id(h + 1));

    if (n < HEADER + pad)
        return false;
    memcpy(c->id, h + pad, HEADER);
    c->at = at + pad;
    c->body = c->at + HEADER;
    c->size = pipeline_little32(h + pad + 4);
    return true;
}

/* The next place behind `at` where a known chunk begins, or 0. */
static uint64_t next_known(struct wav *w, uint64_t at)
{
    uint8_t *bytes = malloc(RESYNC_BYTES);
    size_t n = bytes ? take_at(w, at + 1, bytes, RESYNC_BYTES) : 0;
    uint64_t found = 0;

    for (size_t i = 0; i + HEADER <= n && !found; i++) {
        if (is_known_id(bytes + i))
            found = at + 1 + i;
    }
    free(bytes);
    return found;
}

static int read_format(struct wav *w, const struct chunk *c, char why[256])
{
    uint32_t size = c->size < MAX_FORMAT ? (uint32_t)c->size : MAX_FORMAT;

    if (w->format_size)
        return 0; /* a second one is not heeded */
    if (size < MIN_FORMAT) {
        snprintf(why, 256, "has a format chunk of %u bytes: it takes %d", size, MIN_FORMAT);
        return -EBADMSG;
    }
    w->format_size = (uint32_t)take_at(w, c->body, w->format, size);
    return w->failed;
}

/* Finds the samples and what is said of them on the way. */
static int find_samples(struct wav *w, struct chunk *c, char why[256])
{
    uint64_t at = w->from + 12;
    int result = 0, chunks = 0, resyncs = 0;
    bool odd = false;

    while (result == 0 && read_chunk(w, at, odd, c) && memcmp(c->id, "data", 4) != 0) {
        uint8_t sizes[24];

        if (++chunks > MAX_CHUNKS)
            break;
        if (!could_be_id(c->id) || is_wide(c->id) || !memcmp(c->id, "RIFF", 4)) {
            /* The chunk before is longer than it says, or has more filling. */
            odd = false;
            at = resyncs++ < MAX_RESYNCS ? next_known(w, at) : 0;
            if (at == 0)
                break;
            continue;
        }
        if (c->size > w->end - c->body) {
            snprintf(why, 256,
                     "ends early: its chunk '%.4s' has %llu bytes of %llu, and its samples are "
                     "to follow",
                     (const char *)c->id, (unsigned long long)(w->end - c->body),
                     (unsigned long long)c->size);
            return -EBADMSG;
        }
        if (!memcmp(c->id, "fmt ", 4))
            result = read_format(w, c, why);
        else if (w->wide && !memcmp(c->id, "ds64", 4) && c->size >= sizeof(sizes) &&
                 take_at(w, c->body, sizes, sizeof(sizes)) == sizeof(sizes))
            w->long_size = little64(sizes + 8);
        at = c->body + c->size;
        odd = c->size & 1;
    }
    if (result < 0 || w->failed)
        return result < 0 ? result : w->failed;
    if (memcmp(c->id, "data", 4) != 0) {
        snprintf(why, 256, "has no samples: its chunks end, or break off, before any");
        return -EBADMSG;
    }
    if (w->format_size == 0) {
        snprintf(why, 256, "does not say what its samples are before they begin");
        return -EBADMSG;
    }
    w->data_at = c->body;
    if (w->wide && c->size == UINT32_MAX)
        c->size = w->long_size ? w->long_size : UINT64_MAX;
    return 0;
}

enum behind {
    BEHIND_NOTHING,
    BEHIND_CHUNKS, /* up to the end, or to a tag; the last one may be cut */
    BEHIND_DATA,   /* a second data chunk, at *at */
    BEHIND_MIXED,  /* chunks, and then something that is none, at *at */
    BEHIND_OTHER,  /* no chunk, at *at */
};

static bool is_tag(const uint8_t *head)
{
    return !memcmp(head, "TAG", 3) || !memcmp(head, "APETAGEX", 8) ||
           !memcmp(head, "LYRICSBE", 8) || (!memcmp(head, "ID3", 3) && head[3] != ' ');
}

/* What is there behind samples of this size. */
static enum behind look_behind(struct wav *w, uint64_t size, uint64_t *at)
{
    bool odd = size & 1, known = false;

    *at = w->data_at + size;
    if (*at + odd >= w->end)
        return BEHIND_NOTHING;
    for (int i = 0; i < MAX_CHUNKS && *at + odd < w->end; i++) {
        struct chunk c;

        if (!read_chunk(w, *at, odd, &c))
            return known ? BEHIND_MIXED : BEHIND_OTHER;
        *at = c.at;
        if (is_tag(c.id))
            return BEHIND_CHUNKS;
        if (!memcmp(c.id, "data", 4))
            return BEHIND_DATA;
        known = known || is_known_id(c.id);
        if (!could_be_id(c.id) || !memcmp(c.id, "RIFF", 4) || is_wide(c.id) ||
            (c.size > w->end - c.body && !is_known_id(c.id)))
            return known ? BEHIND_MIXED : BEHIND_OTHER;
        if (c.size > w->end - c.body)
            return BEHIND_CHUNKS;
        *at = c.body + c.size;
        odd = c.size & 1;
    }
    return BEHIND_CHUNKS;
}

/* ---- how many samples there are ---- */

/*
 * What a header says of the size of its samples is one of these:
 *     right      there are as many bytes, or more of which the rest is chunks
 *     nothing    0, or a size that only stands for one (within 64 KiB below 2^31 or 2^32, or, in 64
 *                bits, from 2^63 on), and behind the samples that it says there is something that
 *                is no chunk, or they do not fit: it was written into a pipe, or never finished,
 *                and all that is there are samples
 *     modulo     32 bits of a size from 4 GiB on, which that many bytes and chunks make whole
 *     too much   more than there is: the file was cut
 */
static bool stands_for_none(const struct wav *w, uint64_t stated)
{
    return w->wide && stated > UINT32_MAX
               ? stated > INT64_MAX
               : stated == 0 || (stated <= 1u << 31 && stated >= (1u << 31) - NEAR) ||
                     (stated <= UINT32_MAX && stated >= UINT32_MAX - (uint64_t)NEAR + 1);
}

static void note(struct wav *w, const char *format, unsigned long long a, unsigned long long b)
{
    char line[200];

    snprintf(line, sizeof(line), format, a, b);
    w->base.say->note(w->base.say->user, line);
}

static int measure(struct wav *w, uint64_t stated, char why[256])
{
    const uint64_t here = w->end - w->data_at, over = here > stated ? here - stated : 0;
    enum behind behind = BEHIND_NOTHING;
    uint64_t at = 0;

    w->data_size = stated;
    if (stated <= here)
        behind = look_behind(w, stated, &at);
    if (stands_for_none(w, stated) && (stated > here || behind == BEHIND_OTHER)) {
        w->data_size = here;
        if (here)
            note(w,
                 "its header does not say how many samples it has, as of what was written into a "
                 "pipe: all %llu bytes from byte %llu on are read as samples",
                 here, w->data_at);
        return w->failed;
    }
    if (stated > here) {
        snprintf(why, 256, "ends early: it has %llu bytes of samples of %llu",
                 (unsigned long long)here, (unsigned long long)stated);
        return -EBADMSG;
    }
    if (!w->wide && behind == BEHIND_OTHER && over >> 32) {
        uint64_t whole = stated + (over >> 32 << 32);
        enum behind then = look_behind(w, whole, &at);

        if (then == BEHIND_NOTHING || then == BEHIND_CHUNKS) {
            w->data_size = whole;
            note(w,
                 "32 bits in its header count %llu bytes of samples, of which there are %llu: "
                 "all of them are read",
                 stated, whole);
            return w->failed;
        }
        behind = look_behind(w, stated, &at);
    }
    if (behind == BEHIND_DATA) {
        snprintf(why, 256,
                 "has its samples in more than one data chunk, which is not supported: "
                 "convert it to a WAV with one, or to FLAC");
        return -ENOTSUP;
    }
    if (behind == BEHIND_OTHER || behind == BEHIND_MIXED)
        note(w, "%llu bytes behind the samples, from byte %llu on, are no chunk and are not read",
             w->end - at, at);
    return w->failed;
}

/* ---- what the samples are ---- */

static uint16_t format_tag(const struct wav *w)
{
    static const uint8_t usual[14] = {0, 0, 0, 0, 16, 0, 128, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71},
                         ambisonic[14] = {0, 0, 0x21, 7, 0xd3, 0x11, 0x86, 0x44, 0xc8, 0xc1, 0xca};
    uint16_t tag = little16(w->format);

    if (tag == TAG_EXTENSIBLE && w->format_size >= 40 &&
        (!memcmp(w->format + 26, usual, 14) || !memcmp(w->format + 26, ambisonic, 14)))
        tag = little16(w->format + 24);
    return tag;
}

/* libsndfile's name for samples that lie one beside the other, or 0 for those that are coded in
 * blocks, or of which it must find out what they are. */
static int plain_format(const struct wav *w)
{
    static const int whole[] = {0, SF_FORMAT_PCM_U8, SF_FORMAT_PCM_16, SF_FORMAT_PCM_24,
                                SF_FORMAT_PCM_32};
    unsigned bits = little16(w->format + 14), bytes = (bits + 7) / 8;
    bool loose = bits == 24 && little16(w->format + 12) == 4 * w->base.channels;

    switch (format_tag(w)) {
    case 1:
        return bytes > 4 || (loose && little16(w->format) == 1) ? 0 : whole[bytes];
    case 3:
        return bytes == 4 ? SF_FORMAT_FLOAT : bytes == 8 ? SF_FORMAT_DOUBLE : 0;
    case 6:
        return SF_FORMAT_ALAW;
    case 7:
        return SF_FORMAT_ULAW;
    default:
        return 0;
    }
}

/* Whether libsndfile decodes such a coding, without printing lines of its own. */
static bool is_decoded(uint16_t tag, unsigned bits)
{
    static const uint16_t known[] = {6, 7, 2, 0x11, 0x31, 0x38, 0x40, 0x101, 0x102};

    if (tag == 1)
        return bits <= 32;
    if (tag == 3)
        return bits == 32 || bits == 64;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (tag == known[i])
            return true;
    }
    return false;
}

static int check_format(struct wav *w, char why[256])
{
    uint16_t tag = format_tag(w), bits = little16(w->format + 14);

    w->base.channels = little16(w->format + 2);
    w->base.rate = pipeline_little32(w->format + 4);
    if (!is_decoded(tag, bits)) {
        snprintf(why, 256,
                 "is a WAV whose coding (format 0x%04x%s, %u bits) is not supported: convert it "
                 "to 16-bit PCM or FLAC",
                 tag, tag == 0x50 || tag == 0x55 ? ", MP3" : "", bits);
        return -ENOTSUP;
    }
    if (w->base.channels > AUDIO_MAX_CHANNELS) {
        snprintf(why, 256,
                 "has %u channels, of which no more than %d are supported: leave some out",
                 w->base.channels, AUDIO_MAX_CHANNELS);
        return -ENOTSUP;
    }
    if (w->base.channels == 0 || w->base.rate == 0 || w->base.rate > INT32_MAX) {
        snprintf(why, 256, "says that it has %u channels, and %u samples a second",
                 w->base.channels, w->base.rate);
        return -EBADMSG;
    }
    return 0;
}

/* ---- libsndfile reads the head and the samples ---- */

static sf_count_t file_length(void *user)
{
    return (sf_count_t)((struct wav *)user)->view_size;
}

static sf_count_t file_tell(void *user)
{
    return (sf_count_t)((struct wav *)user)->place;
}

static sf_count_t file_seek(sf_count_t offset, int whence, void *user)
{
    struct wav *w = user;

    if (whence == SEEK_CUR)
        offset += file_tell(user);
    else if (whence == SEEK_END)
        offset += file_length(user);
    if (offset < 0 || offset > file_length(user))
        return -1;
    w->moved = w->moved || (uint64_t)offset != w->place;
    w->place = (uint64_t)offset;
    return offset;
}

static sf_count_t file_read(void *to, sf_count_t want, void *user)
{
    struct wav *w = user;
    uint8_t *out = to;
    size_t have = 0, n;

    if (w->place < w->head_size) {
        have = w->head_size - (size_t)w->place;
        have = have < (size_t)want ? have : (size_t)want;
        memcpy(out, w->head + w->place, have);
        w->place += have;
        w->moved = true;
    }
    n = (size_t)want - have;
    if (n > w->view_size - w->place)
        n = (size_t)(w->view_size - w->place);
    if (n == 0)
        return (sf_count_t)have;
    if (w->moved && go_to(w, w->data_at + (w->place - w->head_size)) < 0)
        return (sf_count_t)have;
    w->moved = false;
    n = take(w, out + have, n);
    w->place += n;
    return (sf_count_t)(have + n);
}

/* A head for coded samples, of the format chunk as it is and sizes that hold. */
static void write_head(struct wav *w)
{
    size_t riff = 4 + HEADER + w->format_size + HEADER;
    uint8_t *p = w->head;

    memcpy(p, "RIFF....WAVEfmt ", 16);
    put_little32(p + 4, riff + w->data_size);
    put_little32(p + 16, w->format_size);
    memcpy(p + 20, w->format, w->format_size);
    p += 20 + w->format_size;
    memcpy(p, "data", 4);
    put_little32(p + 4, w->data_size);
    w->head_size = HEADER + riff;
    /* It may ask for the byte behind an odd number of them. */
    w->view_size = w->head_size + w->data_size;
    if (w->data_size % 2 && w->data_at + w->data_size < w->end)
        w->view_size++;
}

static int open_file(struct wav *w, char why[256])
{
    SF_VIRTUAL_IO io = {file_length, file_seek, file_read, NULL, file_tell};
    int plain = plain_format(w);

    if (!plain && w->data_size > UINT32_MAX - sizeof(w->head)) {
        snprintf(why, 256,
                 "has more than 4 GiB of coded samples, which is not supported: convert "
                 "it to PCM or FLAC");
        return -ENOTSUP;
    }
    w->view_size = w->data_size;
    if (plain)
        w->info = (SF_INFO){.samplerate = (int)w->base.rate,
                            .channels = (int)w->base.channels,
                            .format = SF_FORMAT_RAW | SF_ENDIAN_LITTLE | plain};
    else
        write_head(w);
    w->moved = true;
    w->file = sf_open_virtual(&io, SFM_READ, &w->info, w);
    if (w->failed)
        return w->failed;
    if (!w->file) {
        snprintf(why, 256, "cannot be decoded: %.200s", sf_strerror(NULL));
        return -EBADMSG;
    }
    w->base.rate = (uint32_t)w->info.samplerate;
    w->base.channels = (uint32_t)w->info.channels;
    return 0;
}

static int wav_read(struct audio_decoder *decoder, float *frames, size_t most, size_t *n,
                    char why[256])
{
    struct wav *w = (struct wav *)decoder;
    sf_count_t got = w->file ? sf_readf_float(w->file, frames, (sf_count_t)most) : 0;

    if (w->failed)
        return w->failed;
    if (w->file && sf_error(w->file)) {
        snprintf(why, 256, "cannot be decoded from sample %llu on: %.200s",
                 (unsigned long long)decoder->decoded, sf_strerror(w->file));
        return -EBADMSG;
    }
    if (got == 0 && w->file && decoder->decoded < (uint64_t)w->info.frames) {
        snprintf(why, 256, "ends early: it has %llu samples of %lld",
                 (unsigned long long)decoder->decoded, (long long)w->info.frames);
        return -EBADMSG;
    }
    *n = (size_t)got;
    return 0;
}

static void wav_close(struct audio_decoder *decoder)
{
    struct wav *w = (struct wav *)decoder;

    if (w->file)
        sf_close(w->file);
    free(w);
}

static int open_wav(struct wav *w, char why[256])
{
    struct layer *below = w->base.below;
    struct chunk data = {{0}};
    uint8_t id[4];
    int result = pipeline_layer_hold(below, CONTENT_AUDIO_BYTES);

    if (result < 0)
        return result;
    if (!below->seek) {
        snprintf(why, 256,
                 "is larger than %d MiB, too much for a WAV inside an archive: take it "
                 "out of the archive and name the file, or convert it to FLAC",
                 CONTENT_AUDIO_BYTES >> 20);
        return -ENOTSUP;
    }
    w->end = below->size;
    w->wide = take_at(w, w->from, id, 4) == 4 && is_wide(id);
    result = find_samples(w, &data, why);
    if (result == 0)
        result = check_format(w, why);
    if (result == 0)
        result = measure(w, data.size, why);
    return result < 0 || w->data_size == 0 ? result : open_file(w, why);
}

int pipeline_audio_wav_open(struct layer *below, uint64_t from, const struct content_damage *say,
                            struct audio_decoder **out, char why[256])
{
    struct wav *w = calloc(1, sizeof(*w));
    int result;

    if (!w)
        return pipeline_fail(ENOMEM, "out of memory");
    w->base =
        (struct audio_decoder){.below = below, .say = say, .read = wav_read, .close = wav_close};
    w->from = from;
    result = open_wav(w, why);
    if (result < 0)
        wav_close(&w->base);
    else
        *out = &w->base;
    return result;
}
