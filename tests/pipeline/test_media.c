/*
 * Images and audio as bytes: every kind of PNG, JPEG, WAV and FLAC against a plain reckoning of
 * what must come out; what is damaged is named or counted, and never comes out in part.
 */
#include <errno.h>
#include <math.h>

#include "tests/pipeline/check.h"

#if defined(PIPELINE_HAVE_IMAGES) && defined(PIPELINE_HAVE_AUDIO)

#include <jpeglib.h>
#include <png.h>
#include <sndfile.h>

#include "pipeline/content.h"
#include "tests/every.h"
#include "tests/pipeline/flips.h"

enum { MAX_FILE = 1 << 22 };

/* ---- what comes out ---- */

static struct pipeline_choice images(uint32_t size, uint32_t patch)
{
    return (struct pipeline_choice){.nested = 3,
                                    .content = {.image_size = size, .image_patch = patch}};
}

static struct pipeline_choice audio(uint32_t rate)
{
    return (struct pipeline_choice){.nested = 3, .content = {.audio_rate = rate}};
}

/* All bytes of one source; *result is 0 or what the stream said. The caller frees them. */
static uint8_t *content_of(const char *path, struct pipeline_choice choice, size_t *size,
                           int *result, struct pipeline_stream_stats *stats)
{
    struct opened o = open_data(&path, 1, &choice, NULL);
    size_t room = 1 << 20, have = 0, n = 1;
    uint8_t *bytes = malloc(room);
    const uint8_t *data;

    CHECK(bytes);
    while ((*result = pipeline_stream_next(o.stream, &data, &n)) == 0 && n) {
        while (have + n > room)
            bytes = realloc(bytes, room *= 2);
        CHECK(bytes);
        memcpy(bytes + have, data, n);
        have += n;
    }
    if (stats)
        *stats = pipeline_stream_stats(o.stream);
    *size = have;
    close_data(&o);
    return bytes;
}

static uint8_t *good(const char *path, struct pipeline_choice choice, size_t size)
{
    size_t n;
    int result;
    uint8_t *bytes = content_of(path, choice, &n, &result, NULL);

    if (result < 0)
        fprintf(stderr, "%s: %s\n", path, pipeline_error());
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(n, size);
    return bytes;
}

/* Refused with a line that holds `pattern`, or passed over and counted. */
static void bad(const char *path, struct pipeline_choice choice, const char *pattern)
{
    struct pipeline_stream_stats stats;
    size_t n;
    int result;

    free(content_of(path, choice, &n, &result, NULL));
    CHECK_EQUAL(result, -EBADMSG);
    if (!strstr(pipeline_error(), pattern) || !strstr(pipeline_error(), path)) {
        fprintf(stderr, "%s: not '%s': %s\n", path, pattern, pipeline_error());
        exit(1);
    }
    choice.on_corrupt = PIPELINE_CORRUPT_SKIP;
    free(content_of(path, choice, &n, &result, &stats));
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(stats.damaged, 1);
}

/* ---- files ---- */

/* A picture whose every pixel tells its place. */
static uint8_t *picture(uint32_t width, uint32_t height)
{
    uint8_t *rgb = malloc(3 * (size_t)width * height);

    CHECK(rgb);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            uint8_t *p = rgb + 3 * ((size_t)y * width + x);

            p[0] = (uint8_t)(x * 255 / width);
            p[1] = (uint8_t)(y * 255 / height);
            p[2] = (uint8_t)((x * 7 + y * 13) % 64 + 100);
        }
    }
    return rgb;
}

static void write_png(const char *path, uint32_t format, const void *pixels, uint32_t width,
                      uint32_t height)
{
    png_image png = {
        .version = PNG_IMAGE_VERSION, .width = width, .height = height, .format = format};
    png_alloc_size_t n = MAX_FILE;
    uint8_t *file = malloc(n);

    CHECK(file && png_image_write_to_memory(&png, file, &n, 0, pixels, 0, NULL));
    write_file(path, file, n);
    free(file);
}

/* Kinds that libpng's simple way of writing does not offer. */
static void write_png_as(const char *path, const uint8_t *rows, size_t row_bytes, uint32_t width,
                         uint32_t height, int depth, int type, int interlace)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    FILE *f = fopen(path, "wb");
    png_color palette[16];
    png_bytep *list = calloc(height, sizeof(*list));

    CHECK(f && list);
    for (int i = 0; i < 16; i++)
        palette[i] = (png_color){(png_byte)(i * 16), (png_byte)(255 - i), (png_byte)(i * i)};
    for (uint32_t y = 0; y < height; y++)
        list[y] = (png_bytep)(rows + y * row_bytes);
    png_init_io(png, f);
    png_set_IHDR(png, info, width, height, depth, type, interlace, PNG_COMPRESSION_TYPE_BASE,
                 PNG_FILTER_TYPE_BASE);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, palette, 16);
    png_write_info(png, info);
    png_write_image(png, list);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    fclose(f);
    free(list);
}

static bool adobe_marker;

static void write_jpeg(const char *path, const uint8_t *pixels, uint32_t width, uint32_t height,
                       int channels, J_COLOR_SPACE space, bool progressive)
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    FILE *f = fopen(path, "wb");

    CHECK(f);
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_stdio_dest(&c, f);
    c.image_width = width;
    c.image_height = height;
    c.input_components = channels;
    c.in_color_space = space;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, 100, TRUE);
    for (int i = 0; i < c.num_components; i++)
        c.comp_info[i].h_samp_factor = c.comp_info[i].v_samp_factor = 1;
    c.write_Adobe_marker = adobe_marker;
    if (progressive)
        jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < height) {
        JSAMPROW row = (JSAMPROW)(pixels + (size_t)c.next_scanline * width * (size_t)channels);

        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    fclose(f);
}

/* A bit of a coefficient in each pass: all allowed, and endless work for a large picture. */
static void write_many_scans(const char *path, const uint8_t *gray, uint32_t size)
{
    static jpeg_scan_info scans[1 + 63 * 8];
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    FILE *f = fopen(path, "wb");
    int n = 0;

    CHECK(f);
    scans[n++] = (jpeg_scan_info){.comps_in_scan = 1};
    for (int bit = 7; bit >= 0; bit--) {
        for (int k = 1; k < 64; k++)
            scans[n++] = (jpeg_scan_info){
                .comps_in_scan = 1, .Ss = k, .Se = k, .Ah = bit == 7 ? 0 : bit + 1, .Al = bit};
    }
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_stdio_dest(&c, f);
    c.image_width = c.image_height = size;
    c.input_components = 1;
    c.in_color_space = JCS_GRAYSCALE;
    jpeg_set_defaults(&c);
    c.scan_info = scans;
    c.num_scans = n;
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < size) {
        JSAMPROW row = (JSAMPROW)(gray + (size_t)c.next_scanline * size);

        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    fclose(f);
}

/* ---- images ---- */

/* The mean of the source over output pixel (x, y), in doubles and without any running sum. */
static void mean(const uint8_t *rgb, uint32_t width, uint32_t height, uint32_t S, uint32_t x,
                 uint32_t y, double out[3])
{
    uint32_t m = width < height ? width : height;
    double step = (double)m / S, x0 = (width - m) / 2 + x * step, y0 = (height - m) / 2 + y * step;
    double sum[3] = {0};

    for (uint32_t j = (uint32_t)y0; j < height && j < y0 + step; j++) {
        double h = fmin(j + 1, y0 + step) - fmax(j, y0);

        for (uint32_t i = (uint32_t)x0; i < width && i < x0 + step; i++) {
            double w = fmin(i + 1, x0 + step) - fmax(i, x0);

            for (int c = 0; c < 3; c++)
                sum[c] += h * w * rgb[3 * ((size_t)j * width + i) + (size_t)c];
        }
    }
    for (int c = 0; c < 3; c++)
        out[c] = sum[c] / (step * step);
}

/* Within `off` of the reckoning at every byte; in blocks of p by p pixels. */
static void check_square(const char *path, const uint8_t *rgb, uint32_t width, uint32_t height,
                         uint32_t S, uint32_t p, double off)
{
    uint8_t *bytes = good(path, images(S, p), 3 * (size_t)S * S), *at = bytes;
    double want[3];

    p = p ? p : 1;
    for (uint32_t by = 0; by < S; by += p) {
        for (uint32_t bx = 0; bx < S; bx += p) {
            for (uint32_t i = 0; i < p * p; i++, at += 3) {
                mean(rgb, width, height, S, bx + i % p, by + i / p, want);
                for (int c = 0; c < 3; c++) {
                    if (fabs(at[c] - want[c]) > off) {
                        fprintf(stderr,
                                "%s: %u by %u to %u, p %u: at %u, %u, channel %d: %d, not "
                                "%g\n",
                                path, width, height, S, p, bx + i % p, by + i / p, c, at[c],
                                want[c]);
                        exit(1);
                    }
                }
            }
        }
    }
    free(bytes);
}

static void check_sizes(void)
{
    static const uint32_t sizes[][2] = {{64, 64}, {1, 1},    {200, 100}, {100, 333},
                                        {7, 5},   {1, 1000}, {65, 64},   {31, 129}};
    static const uint32_t S[] = {64, 1, 8, 24, 63};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t width = sizes[i][0], height = sizes[i][1];
        uint8_t *rgb = picture(width, height);

        write_png("p.png", PNG_FORMAT_RGB, rgb, width, height);
        write_jpeg("p.jpg", rgb, width, height, 3, JCS_RGB, false);
        for (size_t k = 0; k < sizeof(S) / sizeof(S[0]); k++) {
            check_square("p.png", rgb, width, height, S[k], 0, 0.5001);
            check_square("p.png", rgb, width, height, S[k], S[k], 0.5001);
            if (S[k] % 8 == 0)
                check_square("p.png", rgb, width, height, S[k], 8, 0.5001);
            check_square("p.jpg", rgb, width, height, S[k], 1, 5);
        }
        free(rgb);
    }
}

static void check_kinds_of_png(void)
{
    enum { W = 48, H = 40 };
    static uint8_t wide[H][W][3][2], rgba[H][W][4], gray[H][W], cells[H][W / 2], bits[H][W / 8];
    uint8_t *rgb = picture(W, H), *as = malloc(3 * W * H);

    CHECK(as);
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++) {
            const uint8_t *p = rgb + 3 * (y * W + x);
            uint8_t alpha = x < W / 2 ? 255 : y < H / 2 ? 0 : 128;
            uint8_t index = (uint8_t)((x + y) % 16), bit = (x ^ y) & 1;

            for (int c = 0; c < 3; c++)
                wide[y][x][c][0] = wide[y][x][c][1] = rgba[y][x][c] = p[c];
            rgba[y][x][3] = alpha;
            gray[y][x] = (uint8_t)(x * 5);
            cells[y][x / 2] = (uint8_t)(x % 2 ? cells[y][x / 2] | index : index << 4);
            bits[y][x / 8] = (uint8_t)((x % 8 ? bits[y][x / 8] : 0) | bit << (7 - x % 8));
        }
    }
    write_png_as("p.png", &wide[0][0][0][0], sizeof(wide[0]), W, H, 16, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE);
    check_square("p.png", rgb, W, H, 40, 8, 0.5001);
    write_png_as("p.png", rgb, 3 * W, W, H, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_ADAM7);
    check_square("p.png", rgb, W, H, 40, 8, 0.5001);
    for (int i = 0; i < W * H; i++) {
        for (int c = 0; c < 3; c++)
            as[3 * i + c] = (&gray[0][0])[i];
    }
    write_png_as("p.png", &gray[0][0], W, W, H, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE);
    check_square("p.png", as, W, H, 40, 1, 0.5001);
    for (int i = 0; i < W * H; i++) {
        int index = (i % W + i / W) % 16;

        as[3 * i] = (uint8_t)(index * 16);
        as[3 * i + 1] = (uint8_t)(255 - index);
        as[3 * i + 2] = (uint8_t)(index * index);
    }
    write_png_as("p.png", &cells[0][0], W / 2, W, H, 4, PNG_COLOR_TYPE_PALETTE,
                 PNG_INTERLACE_ADAM7);
    check_square("p.png", as, W, H, 40, 1, 0.5001);
    for (int i = 0; i < W * H; i++)
        memset(as + 3 * i, ((i % W ^ i / W) & 1) * 255, 3);
    write_png_as("p.png", &bits[0][0], W / 8, W, H, 1, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE);
    check_square("p.png", as, W, H, 40, 1, 0.5001);
    /* Transparent parts lie on white; see test_images.c. */
    write_png_as("p.png", &rgba[0][0][0], sizeof(rgba[0]), W, H, 8, PNG_COLOR_TYPE_RGBA,
                 PNG_INTERLACE_NONE);
    {
        uint8_t *bytes = good("p.png", images(40, 1), 3 * 40 * 40);

        for (int i = 0; i < 3 * 40 * 40; i++) {
            int x = i / 3 % 40 + 4, y = i / 120, own = rgb[3 * (y * W + x) + i % 3];

            CHECK(x < W / 2   ? bytes[i] == own
                  : y < H / 2 ? bytes[i] == 255
                              : bytes[i] == (own * 128 + 255 * 127 + 127) / 255);
        }
        free(bytes);
    }
    free(rgb);
    free(as);
}

static void check_kinds_of_jpeg(void)
{
    enum { W = 56, H = 70 };
    uint8_t *rgb = picture(W, H), *as = malloc(4 * W * H);

    CHECK(as);
    write_jpeg("p.jpg", rgb, W, H, 3, JCS_RGB, true);
    check_square("p.jpg", rgb, W, H, 28, 4, 4);
    for (int i = 0; i < W * H; i++)
        as[i] = rgb[3 * i];
    write_jpeg("p.jpg", as, W, H, 1, JCS_GRAYSCALE, false);
    for (int i = 0; i < W * H; i++)
        rgb[3 * i + 1] = rgb[3 * i + 2] = rgb[3 * i];
    check_square("p.jpg", rgb, W, H, 28, 4, 4);
    /* CMYK, with the marker that says that it is complemented, and without: 255 is all ink. */
    free(rgb);
    rgb = picture(W, H);
    for (int marker = 0; marker < 2; marker++) {
        for (int i = 0; i < W * H; i++) {
            for (int c = 0; c < 3; c++)
                as[4 * i + c] = (uint8_t)(marker ? rgb[3 * i + c] : 255 - rgb[3 * i + c]);
            as[4 * i + 3] = marker ? 255 : 0;
        }
        adobe_marker = marker;
        write_jpeg("p.jpg", as, W, H, 4, JCS_CMYK, false);
        check_square("p.jpg", rgb, W, H, 28, 4, 4);
    }
    free(rgb);
    free(as);
}

/* Only images are taken, wherever they lie, in order; others are left out and counted. */
static void check_choice(void)
{
    struct pipeline_choice choice = images(16, 4);
    struct pipeline_stream_stats stats;
    uint8_t *rgb = picture(40, 30), *one, *all;
    size_t n;
    int result;

    write_png("p.png", PNG_FORMAT_RGB, rgb, 40, 30);
    write_jpeg("p.jpg", rgb, 40, 30, 3, JCS_RGB, false);
    write_noise("noise", 70000, 1);
    one = good("p.png", choice, 768);
    run_or_skip("mkdir -p f/a && cp p.png f/a/1 && cp p.jpg f/2.txt && cp noise f/3.png && "
                "cp p.png f/4.PNG && : > f/5 && gzip -c p.png > f/6.png.gz && "
                "tar -cf f/7.tar p.jpg noise p.png && tar --sort=name -czf f.tgz f && "
                "bsdtar -cf f.zip --format=zip f");
    for (int i = 0; i < 3; i++) {
        static const char *const paths[] = {"f.tgz", "f.zip", "f"};
        size_t images_in = i == 2 ? 3 : 6; /* files of a folder are not opened */

        all = content_of(paths[i], choice, &n, &result, &stats);
        CHECK_EQUAL(result, 0);
        CHECK_EQUAL(n, images_in * 768);
        CHECK_EQUAL(stats.members, images_in);
        CHECK_EQUAL(stats.left_out, i == 2 ? 4 : 3);
        if (i == 2)
            CHECK(!memcmp(all + 768, one, 768) || !memcmp(all, one, 768));
        free(all);
    }
    choice.include = (const char *const[]){"*.txt"};
    choice.n_include = 1;
    free(content_of("f.tgz", choice, &n, &result, &stats));
    CHECK(result == 0 && n == 768 && stats.members == 1);
    /* Nothing of the kind: the line says so. */
    {
        const char *path = "noise";
        struct pipeline_choice wanted = images(16, 0);
        struct opened o = open_data(&path, 1, &wanted, NULL);

        CHECK_EQUAL(pipeline_stream_probe(o.stream), -ENODATA);
        CHECK(strstr(pipeline_error(), "--images takes PNG and JPEG"));
        close_data(&o);
        wanted = audio(16000);
        o = open_data(&path, 1, &wanted, NULL);
        CHECK_EQUAL(pipeline_stream_probe(o.stream), -ENODATA);
        CHECK(strstr(pipeline_error(), "--audio takes WAV and FLAC"));
        close_data(&o);
    }
    free(one);
    free(rgb);
}

static void check_wishes(void)
{
    static const struct pipeline_content wrong[] = {{.image_size = 64, .audio_rate = 16000},
                                                    {.image_size = 64, .jsonl_field = "text"},
                                                    {.image_size = 4097},
                                                    {.image_size = 64, .image_patch = 7},
                                                    {.image_size = 64, .image_patch = 65},
                                                    {.audio_rate = 999},
                                                    {.audio_rate = 384001}};
    const char *path = "noise";
    struct opened o = open_data(&path, 1, NULL, NULL);

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct pipeline_choice choice = {.content = wrong[i]};
        struct pipeline_archive_params params = {.content = wrong[i]};
        struct pipeline_stream *stream;
        struct pipeline_archive *archive;

        CHECK_EQUAL(pipeline_stream_create(o.io, o.sources, &choice, &stream), -EINVAL);
        CHECK_EQUAL(pipeline_archive_open(o.io, &o.sources->list[0], &params, &archive), -EINVAL);
    }
    close_data(&o);
}

static uint8_t *file_bytes(const char *path, size_t *size)
{
    struct pipeline_choice raw = {0};
    int result;
    uint8_t *bytes = content_of(path, raw, size, &result, NULL);

    CHECK_EQUAL(result, 0);
    return bytes;
}

/* Cut anywhere, the member is refused or passed over; what came before it and after it is there. */
static void check_cut(const char *name, struct pipeline_choice choice, size_t bytes)
{
    size_t size, n;
    uint8_t *file = file_bytes(name, &size);
    struct pipeline_stream_stats stats;
    int result;

    CHECK(size > 100);
    run_or_skip("rm -rf t && mkdir t");
    for (int percent = 2; percent < 100; percent += tests_every()) {
        char command[256];

        write_file("t/2", file, size * (size_t)percent / 100);
        snprintf(command, sizeof(command), "cp %s t/1 && cp %s t/3 && tar -C t -cf t.tar 1 2 3",
                 name, name);
        run_or_skip(command);
        choice.on_corrupt = PIPELINE_CORRUPT_STOP;
        free(content_of("t.tar", choice, &n, &result, NULL));
        CHECK_EQUAL(result, -EBADMSG);
        CHECK(strstr(pipeline_error(), "t.tar: member '2'"));
        choice.on_corrupt = PIPELINE_CORRUPT_SKIP;
        free(content_of("t.tar", choice, &n, &result, &stats));
        CHECK_EQUAL(result, 0);
        CHECK_EQUAL(stats.damaged, 1);
        CHECK(n >= 2 * bytes && n < 3 * bytes);
    }
    free(file);
}

static void check_damaged_images(void)
{
    uint8_t *rgb = picture(60, 60), huge[57] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    size_t size;
    uint8_t *file;

    write_png("ok.png", PNG_FORMAT_RGB, rgb, 60, 60);
    write_jpeg("ok.jpg", rgb, 60, 60, 3, JCS_RGB, false);
    write_jpeg("ok2.jpg", rgb, 60, 60, 3, JCS_RGB, true);
    check_cut("ok.png", images(16, 4), 768);
    check_cut("ok.jpg", images(16, 4), 768);
    check_cut("ok2.jpg", images(16, 4), 768);
    /* A header that asks for gigabytes. */
    memcpy(huge + 16, "\0\1\0\0\0\1\0\0\x08\2\0\0\0", 13); /* 65536 by 65536 */
    {
        uint32_t crc = ~0u;

        for (int i = 12; i < 29; i++) {
            crc ^= huge[i];
            for (int b = 0; b < 8; b++)
                crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
        crc = ~crc;
        for (int i = 0; i < 4; i++)
            huge[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    memcpy(huge + 33, "\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82", 24);
    write_file("huge.png", huge, 57);
    bad("huge.png", images(16, 0), "has 65536 by 65536 pixels");
    file = file_bytes("ok.jpg", &size);
    for (size_t i = 0; i + 9 < size; i++) {
        if (file[i] == 0xff && file[i + 1] == 0xc0)
            memcpy(file + i + 5, "\xff\xdc\xff\xdc", 4); /* height and width */
    }
    write_file("huge.jpg", file, size);
    bad("huge.jpg", images(16, 0), "has 65500 by 65500 pixels");
    free(file);
    write_many_scans("many.jpg", rgb, 60);
    bad("many.jpg", images(16, 0), "has more than 500 scans");
    free(rgb);
}

/* ---- audio ---- */

/* (frames, channels); whole numbers of 16 bits where the file holds whole numbers. */
static void write_audio(const char *path, int format, int rate, int channels, const float *samples,
                        long frames)
{
    SF_INFO info = {.samplerate = rate, .channels = channels, .format = format};
    int kind = format & SF_FORMAT_SUBMASK;
    SNDFILE *f = sf_open(path, SFM_WRITE, &info);
    short *whole = malloc((size_t)(frames * channels) * sizeof(*whole));

    CHECK(f && whole);
    for (long i = 0; i < frames * channels; i++)
        whole[i] = (short)fmax(-32768, fmin(32767, lrint(32768.0 * samples[i])));
    if (kind == SF_FORMAT_FLOAT || kind == SF_FORMAT_DOUBLE)
        CHECK_EQUAL(sf_writef_float(f, samples, frames), frames);
    else
        CHECK_EQUAL(sf_writef_short(f, whole, frames), frames);
    CHECK_EQUAL(sf_close(f), 0);
    free(whole);
}

static int sample(const uint8_t *bytes, long i)
{
    return (int16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8);
}

static void check_audio(void)
{
    enum { FRAMES = 30011, WAV = SF_FORMAT_WAV, FLAC = SF_FORMAT_FLAC };
    static const struct {
        int format, channels, off; /* off: what the bits of the format leave open */
    } kinds[] = {{WAV | SF_FORMAT_PCM_16, 1, 0},
                 {FLAC | SF_FORMAT_PCM_16, 1, 0},
                 {WAV | SF_FORMAT_PCM_16, 2, 1},
                 {FLAC | SF_FORMAT_PCM_24, 1, 0},
                 {WAV | SF_FORMAT_PCM_24, 1, 0},
                 {WAV | SF_FORMAT_PCM_32, 1, 0},
                 {WAV | SF_FORMAT_FLOAT, 1, 0},
                 {WAV | SF_FORMAT_DOUBLE, 3, 1},
                 {WAV | SF_FORMAT_PCM_U8, 1, 255},
                 {SF_FORMAT_WAVEX | SF_FORMAT_PCM_16, 1, 0},
                 {SF_FORMAT_RF64 | SF_FORMAT_PCM_16, 1, 0},
                 {FLAC | SF_FORMAT_PCM_16, 2, 1}};
    float *samples = malloc(3 * FRAMES * sizeof(float));
    uint64_t seed = 3;

    CHECK(samples);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        int channels = kinds[k].channels;
        uint8_t *bytes;

        for (int i = 0; i < FRAMES * channels; i++)
            samples[i] = (float)((int)(random_next(&seed) % 65536) - 32768) / 32768;
        write_audio("s", kinds[k].format, 16000, channels, samples, FRAMES);
        bytes = good("s", audio(16000), 2 * FRAMES);
        for (long i = 0; i < FRAMES; i++) {
            double sum = 0;

            for (int c = 0; c < channels; c++)
                sum += 32768.0 * samples[i * channels + c];
            if (fabs(sample(bytes, i) - sum / channels) > kinds[k].off + 0.5 * (channels > 1)) {
                fprintf(stderr, "kind %zu, sample %ld: %d, not %g\n", k, i, sample(bytes, i),
                        sum / channels);
                exit(1);
            }
        }
        free(bytes);
    }
    /* Floats may be anything. */
    for (int i = 0; i < 8; i++)
        samples[i] = ((float[]){0, 2, -2, NAN, INFINITY, -INFINITY, 1, -1})[i];
    write_audio("s", WAV | SF_FORMAT_FLOAT, 16000, 1, samples, 8);
    {
        static const int want[] = {0, 32767, -32768, 0, 32767, -32768, 32767, -32768};
        uint8_t *bytes = good("s", audio(16000), 16);

        for (int i = 0; i < 8; i++)
            CHECK_EQUAL(sample(bytes, i), want[i]);
        free(bytes);
    }
    free(samples);
}

/* A tone keeps its pitch and strength at another rate, and one above the new rate is gone. */
static void check_rates(void)
{
    static const int rates[][2] = {{44100, 16000}, {48000, 16000}, {8000, 16000}, {16000, 44100}};
    enum { SECONDS = 2, MAX = 48000 * SECONDS };
    float *samples = malloc(MAX * sizeof(float));

    CHECK(samples);
    for (size_t k = 0; k < sizeof(rates) / sizeof(rates[0]); k++) {
        long from = rates[k][0] * SECONDS, to = rates[k][1] * SECONDS;
        double sine = 0, cosine = 0, all = 0;
        struct pipeline_choice choice = audio((uint32_t)rates[k][1]);
        uint8_t *bytes;
        size_t n;
        int result;

        for (long i = 0; i < from; i++) {
            double t = (double)i / rates[k][0];

            samples[i] = (float)(0.5 * sin(2 * M_PI * 1000 * t));
            if (rates[k][0] > 40000)
                samples[i] += (float)(0.4 * sin(2 * M_PI * 12000 * t));
        }
        write_audio("s.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, rates[k][0], 1, samples, from);
        bytes = content_of("s.flac", choice, &n, &result, NULL);
        CHECK_EQUAL(result, 0);
        CHECK(labs((long)n / 2 - to) <= 2);
        for (long i = 1000; i < to - 1000; i++) {
            double t = (double)i / rates[k][1], x = sample(bytes, i) / 32768.0;

            sine += x * sin(2 * M_PI * 1000 * t);
            cosine += x * cos(2 * M_PI * 1000 * t);
            all += x * x;
        }
        sine *= 2.0 / (double)(to - 2000);
        cosine *= 2.0 / (double)(to - 2000);
        all *= 2.0 / (double)(to - 2000);
        CHECK(fabs(sqrt(sine * sine + cosine * cosine) - 0.5) < 0.003);
        CHECK(fabs(all - 0.25) < 0.003); /* and nothing else is in it */
        free(bytes);
    }
    free(samples);
}

static void check_damaged_audio(void)
{
    enum { FRAMES = 20000 };
    float *samples = malloc(FRAMES * sizeof(float));
    uint64_t seed = 1;
    uint8_t *file;
    size_t size;

    CHECK(samples);
    for (int i = 0; i < FRAMES; i++)
        samples[i] = (float)(random_next(&seed) % 1000) / 5000;
    write_audio("ok.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, samples, FRAMES);
    write_audio("ok.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 16000, 1, samples, FRAMES);
    check_cut("ok.wav", audio(16000), 2 * FRAMES);
    check_cut("ok.flac", audio(16000), 2 * FRAMES);
    file = file_bytes("ok.flac", &size);
    file[size / 2] ^= 0x10; /* each frame has a checksum */
    write_file("flip.flac", file, size);
    bad("flip.flac", audio(16000), "flip.flac");
    write_audio("short.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, samples, 500);
    write_audio("short.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 16000, 1, samples, 500);
    write_audio("odd.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1, 1, samples, 100);
    bad("odd.wav", audio(16000), "cannot become 16000");
    free(file);
    free(samples);
}

/* Places within a member that is decoded as a whole. */
static void check_places(struct pipeline_choice choice)
{
    static const char *const path = "places.tar";
    struct opened o = open_data(&path, 1, &choice, NULL);
    size_t size, got;
    uint8_t *whole = read_all(o.stream, &size), part[5000];
    uint64_t seed = 8;

    close_data(&o);
    CHECK(size > 20000);
    for (int i = 0; i < 30; i++) {
        size_t cut = random_next(&seed) % (size - sizeof(part));
        struct pipeline_position at;
        uint8_t *skipped = malloc(cut + 1);

        o = open_data(&path, 1, &choice, NULL);
        CHECK_EQUAL(pipeline_stream_read(o.stream, skipped, cut, &got), 0);
        at = pipeline_stream_tell(o.stream);
        close_data(&o);
        o = open_data(&path, 1, &choice, NULL);
        CHECK_EQUAL(pipeline_stream_seek(o.stream, at), 0);
        CHECK_EQUAL(pipeline_stream_read(o.stream, part, sizeof(part), &got), 0);
        CHECK(got == sizeof(part) && !memcmp(part, whole + cut, got));
        close_data(&o);
        free(skipped);
    }
    free(whole);
}

/* Small files of each kind, for the corpus of tests/fuzz. */
static void write_seeds(void)
{
    uint8_t *rgb = picture(9, 7);
    float samples[64];

    for (int i = 0; i < 64; i++)
        samples[i] = (float)sin(0.3 * i) / 2;
    write_png("rgb.png", PNG_FORMAT_RGB, rgb, 9, 7);
    write_png("gray.png", PNG_FORMAT_GRAY, rgb, 9, 7);
    write_png_as("palette.png", rgb, 5, 9, 7, 4, PNG_COLOR_TYPE_PALETTE, PNG_INTERLACE_ADAM7);
    write_jpeg("rgb.jpg", rgb, 9, 7, 3, JCS_RGB, false);
    write_jpeg("progressive.jpg", rgb, 9, 7, 3, JCS_RGB, true);
    write_jpeg("cmyk.jpg", rgb, 5, 4, 4, JCS_CMYK, false);
    write_audio("16.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, samples, 64);
    write_audio("float.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 44100, 2, samples, 32);
    write_audio("rf64.wav", SF_FORMAT_RF64 | SF_FORMAT_PCM_24, 16000, 1, samples, 64);
    write_audio("16.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 16000, 1, samples, 64);
    write_audio("24.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_24, 8000, 2, samples, 32);
    free(rgb);
}

/* With a folder as argument it only writes files there. */
int main(int argc, char **argv)
{
    if (argc > 1) {
        CHECK(chdir(argv[1]) == 0);
        write_seeds();
        return 0;
    }
    enter_scratch();
    check_sizes();
    check_kinds_of_png();
    check_kinds_of_jpeg();
    check_choice();
    check_wishes();
    check_damaged_images();
    check_audio();
    check_rates();
    check_damaged_audio();
    run_or_skip("tar -cf places.tar ok.png noise ok.jpg ok.flac ok.png s.flac ok.wav ok2.jpg");
    flips_try("ok.png", images(16, 4), FLIPS_ENDS);
    flips_try("ok.jpg", images(16, 4), FLIPS_ENDS);
    flips_try("ok2.jpg", images(16, 4), FLIPS_ENDS);
    flips_try("short.wav", audio(16000), FLIPS_ENDS);
    flips_try("short.flac", audio(16000), FLIPS_ENDS);
    check_places(images(64, 8));
    check_places(audio(16000));
    check_places(audio(8000));
    return 0;
}

#else

int main(void)
{
    fprintf(stderr, "skipped: built without images or audio\n");
    return SKIP_STATUS;
}

#endif
