/*
 * WAV and FLAC as they are met: sizes that nobody filled in, that do not fit into 32 bits or that
 * promise too much; filling that was forgotten, tags, sums. What is there comes out bit for bit,
 * what is missing is named or counted, and what cannot be decoded is not called damage.
 */
#include <errno.h>

#include "tests/pipeline/mixed.h"

#ifdef PIPELINE_HAVE_AUDIO

#include <sndfile.h>

#include "pipeline/audio.h"

enum { N = 10000, MAX_FILE = 1 << 20 };

static const uint32_t M = UINT32_MAX;
static uint8_t samples[N]; /* any 16-bit samples */

/* ---- files ---- */

static uint8_t file[MAX_FILE];
static size_t size;

static void add(const void *bytes, size_t n)
{
    CHECK(size + n <= MAX_FILE);
    if (n)
        memcpy(file + size, bytes, n);
    size += n;
}

static void add_number(uint64_t value, size_t bytes)
{
    uint8_t le[8];

    for (size_t i = 0; i < 8; i++)
        le[i] = (uint8_t)(value >> 8 * i);
    add(le, bytes);
}

static void add_chunk(const char *id, const void *bytes, uint32_t n)
{
    add(id, 4);
    add_number(n, 4);
    add(bytes, n);
}

struct format {
    uint16_t tag, channels;
    uint32_t rate;
    uint16_t align, bits;
    uint32_t size; /* 0: 16 */
};

static const struct format usual = {1, 1, 16000, 2, 16, 0};

static void add_format(struct format f)
{
    static const uint8_t pcm[] = {22, 0, 16, 0, 4,   0, 0, 0,    1, 0,    0,    0,
                                  0,  0, 16, 0, 128, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71};
    size_t at = size + 8;

    if (f.size == 0)
        f.size = 16;
    add("fmt ", 4);
    add_number(f.size, 4);
    add_number(f.tag, 2);
    add_number(f.channels, 2);
    add_number(f.rate, 4);
    add_number((uint64_t)f.rate * f.align, 4);
    add_number(f.align, 2);
    add_number(f.bits, 2);
    add(pcm, sizeof(pcm));
    size = at + f.size;
}

static void begin(const char *magic, uint32_t r)
{
    size = 0;
    add(magic, 4);
    add_number(r, 4);
    add("WAVE", 4);
}

static void add_ds64(uint64_t r, uint64_t d)
{
    add("ds64\34\0\0\0", 8);
    add_number(r, 8);
    add_number(d, 8);
    add_number(0, 8);
    add_number(0, 4);
}

/* A data chunk that says d, and has n bytes. */
static void add_data(uint32_t d, size_t n)
{
    add("data", 4);
    add_number(d, 4);
    add(samples, n);
}

static void wav(uint32_t d, uint32_t r, size_t n)
{
    begin("RIFF", r);
    add_format(usual);
    add_data(d, n);
}

static const char list[] = "LIST\22\0\0\0INFOISFT\6\0\0\0abcde"; /* and its last byte, 0 */

/* ---- what comes out ---- */

static char noted[1024];
static int notes;

static void on_note(void *user, const char *line)
{
    notes++;
    snprintf(noted, sizeof(noted), "%s", line);
}

struct got {
    uint8_t *bytes;
    size_t n;
    int result;
    struct pipeline_stream_stats stats;
};

static struct got read_path(const char *path, struct pipeline_choice choice)
{
    struct opened o = open_data(&path, 1, &choice, NULL);
    struct got got = {.bytes = malloc(2 * MAX_FILE)};
    const uint8_t *data;
    size_t n = 1;

    CHECK(got.bytes);
    notes = 0;
    noted[0] = 0;
    while ((got.result = pipeline_stream_next(o.stream, &data, &n)) == 0 && n) {
        CHECK(got.n + n <= 2 * MAX_FILE);
        memcpy(got.bytes + got.n, data, n);
        got.n += n;
    }
    got.stats = pipeline_stream_stats(o.stream);
    close_data(&o);
    return got;
}

static struct pipeline_choice audio(uint32_t rate, enum pipeline_on_corrupt on_corrupt)
{
    return (struct pipeline_choice){
        .nested = 3, .content = {.audio_rate = rate}, .on_corrupt = on_corrupt};
}

static void fail_case(const char *name, const char *path, const struct got *got)
{
    fprintf(stderr, "%s (%s): result %d, %zu bytes, %d notes '%s', %llu damaged, line: %s\n", name,
            path, got->result, got->n, notes, noted, (unsigned long long)got->stats.damaged,
            pipeline_error());
    exit(1);
}

/* What is in `file` gives the first n bytes of `want`, as a file and inside an archive that cannot
 * seek; with a note that holds `note`, if any; and if `error` is not NULL, ends with a line that
 * holds it, or is passed over and counted. */
static void expect(const char *name, const uint8_t *want, size_t n, const char *note,
                   const char *error)
{
    static const char *const paths[] = {"x", "x.tgz"};

    write_file("x", file, size);
    run_or_skip("tar -czf x.tgz x");
    for (int i = 0; i < 4; i++) {
        enum pipeline_on_corrupt how = i & 2 ? PIPELINE_CORRUPT_SKIP : PIPELINE_CORRUPT_STOP;
        const char *path = paths[i & 1];
        struct got got = read_path(path, audio(16000, how));
        bool fails = error && how == PIPELINE_CORRUPT_STOP;

        if ((got.result < 0) != fails || got.n != n || memcmp(got.bytes, want, n) != 0 ||
            got.stats.damaged != (error && !fails) ||
            (error && (!strstr(pipeline_error(), error) || !strstr(pipeline_error(), path))))
            fail_case(name, path, &got);
        if (fails && got.result != (strstr(error, "support") ? -EPROTONOSUPPORT : -EBADMSG))
            fail_case(name, path, &got);
        if (fails && strstr(error, "support") && strstr(pipeline_error(), "fetch"))
            fail_case(name, path, &got);
        if (note ? notes != 1 || !strstr(noted, note) : notes != (error && !fails))
            fail_case(name, path, &got);
        free(got.bytes);
    }
}

static void gives(const char *name, size_t n, const char *note)
{
    expect(name, samples, n, note, NULL);
}

static void refused(const char *name, const char *error)
{
    expect(name, samples, 0, NULL, error);
}

/* ---- sizes ---- */

static const char streamed[] = "does not say how many samples it has";

static void check_streamed(void)
{
    static const uint32_t sizes[][2] = {
        {0, 0},
        {0, 36},
        {0, N + 36},
        {0, UINT32_MAX},
        {UINT32_MAX, UINT32_MAX},
        {UINT32_MAX, 0},
        {UINT32_MAX, N + 36},
        {UINT32_MAX - 36, UINT32_MAX},
        {0xffffff00, 0xffffff24},
        {0x7fffff00, 0x7fffff24},
        {0x7fffff00, 0},
        {0x7fffffff, 0x7fffffff},
        {0x7ffff000, 0x7ffff024},
        {0x7fffeffc, 0x7ffff020},
        {0x80000000, 0x80000024},
    };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char name[64];

        snprintf(name, sizeof(name), "d %x, r %x", sizes[i][0], sizes[i][1]);
        wav(sizes[i][0], sizes[i][1], N);
        gives(name, N, streamed);
        wav(sizes[i][0], sizes[i][1], N - 1); /* broken off within a sample */
        gives(name, N - 2, streamed);
        wav(sizes[i][0], sizes[i][1], 0);
        gives(name, 0, NULL);
    }
    for (int wide = 0; wide < 6; wide++) {
        begin(wide % 2 ? "RF64" : "BW64", M);
        if (wide < 4)
            add_ds64(wide < 2 ? 0 : UINT64_MAX, wide < 2 ? 0 : UINT64_MAX);
        add_format(usual);
        add_data(M, N);
        gives("RF64 without sizes", N, streamed);
    }
    /* There are no samples, and that is true. */
    wav(0, 36, 0);
    gives("empty", 0, NULL);
    wav(0, 36, 0);
    add(list, sizeof(list));
    gives("empty, and a list that r forgets", 0, NULL);
    wav(0, 36 + sizeof(list), 0);
    add(list, sizeof(list));
    gives("empty, and a list", 0, NULL);
    wav(0, 36, 0);
    add_chunk("zzzz", samples, 100);
    gives("empty, and an unknown chunk", 0, NULL);
    begin("RF64", M);
    add_ds64(72, 0);
    add_format(usual);
    add_data(M, 0);
    gives("empty RF64", 0, NULL);
}

static void check_too_much(void)
{
    static const uint32_t r[] = {0, N + 36, 2 * N + 36, UINT32_MAX};

    for (size_t i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
        wav(2 * N, r[i], N);
        refused("d is 2 N", "ends early: it has 10000 bytes of samples of 20000");
        wav(N + 1, r[i], N);
        refused("d is N + 1", "ends early: it has 10000 bytes of samples of 10001");
        wav(N, r[i], 0);
        refused("cut at the samples", "ends early: it has 0 bytes");
    }
    for (int wide = 0; wide < 2; wide++) {
        begin(wide ? "RF64" : "BW64", M);
        add_ds64(5000000072, 5000000000);
        add_format(usual);
        add_data(M, N);
        refused("cut RF64", "ends early: it has 10000 bytes of samples of 5000000000");
    }
    wav(N, N + 36, N);
    size = 40;
    refused("cut in a header", "has no samples");
    size = 30;
    refused("cut in the format", "ends early: its chunk 'fmt '");
    begin("RIFF", N + 36);
    add("LIST\377\377\377\0INFO", 12);
    refused("a list to nowhere", "ends early: its chunk 'LIST'");
}

static void check_wrong_frame(void)
{
    static const uint32_t r[] = {0, 100, N + 36, N + 5036, UINT32_MAX};

    for (size_t i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
        wav(N, r[i], N);
        gives("complete under any r", N, NULL);
        wav(N - 1, r[i], N - 1);
        gives("odd, without filling", N - 2, NULL);
        add(list, sizeof(list));
        gives("odd, without filling before a list", N - 2, NULL);
        wav(N - 1, r[i], N - 1);
        add("", 1);
        add(list, sizeof(list));
        gives("odd, and a list", N - 2, NULL);
        size -= 5;
        gives("a list that was cut", N - 2, NULL);
    }
    for (int filled = 0; filled < 2; filled++) {
        begin("RIFF", M);
        add_chunk("JUNK", samples, 999);
        add("", (size_t)filled);
        add_format(usual);
        add_chunk("LIST", "INFOx", 5);
        add("", (size_t)filled);
        add_data(N, N);
        gives("odd chunks before", N, NULL);
    }
    begin("RIFF", M);
    add_format(usual);
    add("\0\0", 2); /* two bytes more than it says */
    add_data(N, N);
    gives("a longer format", N, NULL);
    wav(N / 2, N + 36, N);
    gives("less than there is", N / 2, "5000 bytes behind the samples");
    wav(N, N + 36, N);
    add(samples, 1);
    gives("a stray byte", N, "1 bytes behind");
    wav(N, N + 36, N);
    add("TAG", 3);
    add(samples, 125);
    gives("ID3v1", N, NULL);
    wav(N, N + 36, N);
    memmove(file + 20, file, size);
    memcpy(file, "ID3\4\0\0\0\0\0\12\0\0\0\0\0\0\0\0\0", 20);
    size += 20;
    gives("ID3v2", N, NULL);
    begin("BW64", M);
    add_ds64(N + 72, N);
    add_format(usual);
    add_data(M, N);
    add(list, sizeof(list));
    gives("BW64", N, NULL);
}

/* ---- what the samples are ---- */

static void check_formats(void)
{
    static const struct {
        struct format format;
        size_t gives; /* of N bytes; 0: none */
        const char *error;
    } kinds[] = {
        {{1, 1, 16000, 2, 16, 16}, N, NULL},
        {{1, 1, 16000, 2, 16, 18}, N, NULL},
        {{0xfffe, 1, 16000, 2, 16, 40}, N, NULL},
        {{1, 1, 16000, 0, 16, 16}, N, NULL}, /* whatever the alignment says */
        {{1, 1, 16000, 2, 16, 14}, 0, "has a format chunk of 14 bytes"},
        {{1, 0, 16000, 2, 16, 16}, 0, "0 channels"},
        {{1, 65535, 16000, 2, 16, 16}, 0, "65535 channels, of which no more than 1024 are support"},
        {{1, 1, 0, 2, 16, 16}, 0, "0 samples a second"},
        {{1, 1, 1, 2, 16, 16}, 0, "1 samples a second, which cannot become 16000"},
        {{1, 1, UINT32_MAX, 2, 16, 16}, 0, "4294967295 samples a second"},
        {{1, 1, 16000, 8, 64, 16}, 0, "(format 0x0001, 64 bits) is not support"},
        {{3, 1, 16000, 2, 16, 16}, 0, "(format 0x0003, 16 bits) is not support"},
        {{0x55, 1, 16000, 1, 0, 30}, 0, "(format 0x0055, MP3, 0 bits) is not support"},
        {{0x161, 1, 16000, 1, 16, 18}, 0, "(format 0x0161, 16 bits) is not support"},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        begin("RIFF", M);
        add_format(kinds[i].format);
        add_data(N, N);
        expect("format", samples, kinds[i].gives, NULL, kinds[i].error);
    }
    wav(N, M, N);
    add_data(N, N);
    refused("two data chunks", "more than one data chunk, which is not support");
    begin("RIFF", M);
    add_data(N, N);
    add_format(usual);
    refused("the format behind the samples", "does not say what its samples are");
}

/* One that is larger than what is held of a member is not damaged. Its bytes are all the same. */
static int endless_read(struct layer *layer, const void **data, size_t *n)
{
    *data = file;
    *n = MAX_FILE;
    return 0;
}

static void check_too_large(void)
{
    struct layer layer = {.read = endless_read};
    struct audio_decoder *decoder;
    char why[256] = "";

    memset(file, 0, MAX_FILE);
    CHECK_EQUAL(pipeline_audio_wav_open(&layer, 0, NULL, &decoder, why), -ENOTSUP);
    CHECK(strstr(why, "is larger than 512 MiB") && strstr(why, "take it out of the archive"));
    free(layer.owned);
}

/* ---- FLAC ---- */

enum { FRAMES = 20011 };

static uint8_t wanted[2 * FRAMES];

static void put_total(uint8_t *flac, uint32_t total)
{
    flac[21] &= 0xf0;
    for (int i = 0; i < 4; i++)
        flac[22 + i] = (uint8_t)(total >> (24 - 8 * i));
}

static void with_tail(const uint8_t *flac, size_t n, const char *tail, size_t tail_size)
{
    size = 0;
    add(flac, n);
    add(tail, strlen(tail));
    while (size < n + tail_size)
        add(samples, n + tail_size - size < N ? n + tail_size - size : N);
}

static void check_flac(void)
{
    static const char id3[] = "ID3\4\0\0\0\0\2\20", foot[] = "ID3\4\0\20\0\0\0\12";
    static const struct {
        const char *tail;
        size_t size;
        bool known; /* even where nothing says how long the FLAC is */
    } tails[] = {{"", 0, true},           {"x", 1, true},         {"TAG", 128, true},
                 {"APETAGEX", 999, true}, {"LYRICSBE", 50, true}, {"ID3", 30, true},
                 {"junk", 70000, false}};
    SF_INFO info = {
        .samplerate = 16000, .channels = 1, .format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16};
    SNDFILE *f = sf_open("f.flac", SFM_WRITE, &info);
    static uint8_t flac[MAX_FILE], other[MAX_FILE];
    struct pipeline_choice raw = {0};
    int16_t *values = malloc(2 * FRAMES);
    uint64_t seed = 5;
    struct got got;
    size_t n;

    CHECK(f && values);
    for (int i = 0; i < FRAMES; i++) {
        values[i] = (int16_t)(random_next(&seed) % 3000);
        wanted[2 * i] = (uint8_t)values[i];
        wanted[2 * i + 1] = (uint8_t)(values[i] >> 8);
    }
    CHECK_EQUAL(sf_writef_short(f, values, FRAMES), FRAMES);
    sf_close(f);
    free(values);
    got = read_path("f.flac", raw);
    n = got.n;
    memcpy(flac, got.bytes, n);
    free(got.bytes);
    for (int way = 0; way < 4; way++) { /* with and without its length and sum */
        memcpy(other, flac, n);
        if (way & 1)
            put_total(other, 0);
        if (way & 2)
            memset(other + 26, 0, 16);
        for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
            with_tail(other, n, tails[i].tail, tails[i].size);
            expect(tails[i].tail, wanted, sizeof(wanted), NULL,
                   way == 3 && !tails[i].known ? "cannot be decoded from sample 20011 on" : NULL);
        }
        with_tail(other, n, "", 0);
        add(other, n);
        expect("two", wanted, sizeof(wanted), "another FLAC follows", NULL);
        size = 0;
        add(foot, 10);
        add(samples, 20);
        add(id3, 10);
        add(samples, 2 * 128 + 16);
        add(other, n);
        expect("behind tags", wanted, sizeof(wanted), NULL, NULL);
        with_tail(other, n - 1, "", 0);
        expect("a byte less", wanted, FRAMES / 4096 * 4096 * 2, NULL, "the audio");
        with_tail(other, n, "", 0);
        file[n / 2] ^= 1;
        expect("a bit", wanted, 2 * 4096 * 2, NULL, "cannot be decoded from sample 8192 on");
        with_tail(other, 42, "", 0);
        refused("only its header", "ends early");
    }
    for (int summed = 0; summed < 2; summed++) {
        if (summed)
            memcpy(other + 26, flac + 26, 16);
        put_total(other, FRAMES + 1);
        with_tail(other, n, "", 0);
        expect("more promised", wanted, sizeof(wanted), NULL, "it has 20011 samples of 20012");
        put_total(other, FRAMES - 1);
        with_tail(other, n, "", 0);
        expect("less promised", wanted, FRAMES / 4096 * 4096 * 2, NULL, "has more samples than");
        put_total(other, 4096);
        with_tail(other, n, "", 0);
        expect("a frame promised", wanted, 4096 * 2, NULL,
               summed ? "does not have the checksum" : "has more samples than the 4096");
    }
    for (int unknown = 0; unknown < 2; unknown++) {
        put_total(other, unknown ? 0 : FRAMES);
        other[30] ^= 1;
        with_tail(other, n, "", 0);
        expect("another sum", wanted, sizeof(wanted), NULL, "does not have the checksum (MD5)");
        other[30] ^= 1;
    }
}

/* ---- places and sides ---- */

/* A streamed WAV and a FLAC behind a tag, at their rate and at another: what follows a place is the
 * same when one goes there, and the two sides of a split hold all of it. */
static void check_places(void)
{
    static const char *const paths[] = {"p.wav", "p.tar"};

    begin("RIFF", M);
    add_format(usual);
    add_data(M, N);
    for (int i = 0; i < 40; i++)
        add(samples, N);
    write_file("p.wav", file, size);
    run_or_skip("{ printf 'ID3\\4\\0\\0\\0\\0\\0\\12'; printf '0123456789'; cat f.flac; } > p.flac "
                "&& tar -cf p.tar p.flac p.wav");
    for (int i = 0; i < 4; i++) {
        struct pipeline_choice choice = audio(i & 1 ? 8000 : 16000, PIPELINE_CORRUPT_STOP);
        struct got whole = read_path(paths[i / 2], choice), sides[2];
        uint64_t seed = 8;

        CHECK_EQUAL(whole.result, 0);
        CHECK(whole.n >= (i & 1 ? 41 * N / 2 : 41 * N));
        for (int k = 0; k < 10; k++) {
            struct opened o = open_data(&paths[i / 2], 1, &choice, NULL);
            size_t cut = random_next(&seed) % whole.n, got;
            struct pipeline_position at;
            uint8_t *bytes = malloc(whole.n);

            CHECK(bytes);
            CHECK_EQUAL(pipeline_stream_read(o.stream, bytes, cut, &got), 0);
            at = pipeline_stream_tell(o.stream);
            close_data(&o);
            o = open_data(&paths[i / 2], 1, &choice, NULL);
            CHECK_EQUAL(pipeline_stream_seek(o.stream, at), 0);
            CHECK_EQUAL(pipeline_stream_read(o.stream, bytes, whole.n, &got), 0);
            CHECK(got == whole.n - cut && !memcmp(bytes, whole.bytes + cut, got));
            close_data(&o);
            free(bytes);
        }
        choice.val_fraction = 0.4;
        for (int k = 0; k < 2; k++) {
            choice.side = k ? PIPELINE_SIDE_VAL : PIPELINE_SIDE_TRAIN;
            sides[k] = read_path(paths[i / 2], choice);
            free(sides[k].bytes);
        }
        CHECK_EQUAL(sides[0].n + sides[1].n, whole.n);
        free(whole.bytes);
    }
}

int main(void)
{
    uint64_t seed = 1;

    enter_scratch();
    pipeline_log_to(on_note, NULL);
    for (int i = 0; i < N; i++)
        samples[i] = (uint8_t)random_next(&seed);
    check_streamed();
    check_too_much();
    check_wrong_frame();
    check_formats();
    check_too_large();
    check_flac();
    check_places();
    return 0;
}

#else

int main(void)
{
    fprintf(stderr, "skipped: built without audio\n");
    return SKIP_STATUS;
}

#endif
