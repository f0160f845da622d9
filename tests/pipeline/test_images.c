/*
 * Images as people have them: transparent ones, those that say which way up they are, and JPEGs
 * with bytes in them that belong to nothing. Everything is reckoned here again, pixel by pixel.
 */
#include <errno.h>

#include "tests/pipeline/check.h"

#ifdef PIPELINE_HAVE_IMAGES

#include <jpeglib.h>
#include <zlib.h>

#include "pipeline/content.h"
#include "tests/pipeline/mixed.h"

/* ---- what comes out ---- */

/* The bytes of a file as an image, of which there must be enough; the caller frees them. */
static uint8_t *square_of(const char *path, uint32_t S, uint32_t patch)
{
    struct pipeline_choice choice = {.content = {.image_size = S, .image_patch = patch}};
    struct opened o = open_data(&path, 1, &choice, NULL);
    uint8_t *bytes = malloc(3 * (size_t)S * S + 1);
    size_t got;

    CHECK(bytes);
    CHECK_EQUAL(pipeline_stream_read(o.stream, bytes, 3 * (size_t)S * S + 1, &got), 0);
    CHECK_EQUAL(got, 3 * (size_t)S * S);
    close_data(&o);
    return bytes;
}

static void check_same(const char *path, const char *other, uint32_t S, uint32_t patch)
{
    uint8_t *a = square_of(path, S, patch), *b = square_of(other, S, patch);

    if (memcmp(a, b, 3 * (size_t)S * S)) {
        fprintf(stderr, "%s is not %s, to %u in patches of %u\n", path, other, S, patch);
        exit(1);
    }
    free(a);
    free(b);
}

static void check_damaged(const char *path, const char *pattern)
{
    struct pipeline_choice choice = {.content = {.image_size = 8}};
    struct opened o = open_data(&path, 1, &choice, NULL);
    const uint8_t *data;
    size_t n;

    CHECK_EQUAL(pipeline_stream_next(o.stream, &data, &n), -EBADMSG);
    CHECK(strstr(pipeline_error(), pattern));
    close_data(&o);
}

/* ---- files ---- */

struct bytes {
    uint8_t at[1 << 20];
    size_t n;
};

static void add(struct bytes *b, const void *from, size_t n)
{
    CHECK(n <= sizeof(b->at) - b->n);
    memcpy(b->at + b->n, from, n);
    b->n += n;
}

static void add_number(struct bytes *b, uint32_t value, int n, bool big)
{
    for (int i = 0; i < n; i++)
        add(b, &(uint8_t){(uint8_t)(value >> 8 * (big ? n - 1 - i : i))}, 1);
}

static void add_chunk(struct bytes *b, const char *name, const void *data, size_t n)
{
    size_t from = b->n + 4;

    add_number(b, (uint32_t)n, 4, true);
    add(b, name, 4);
    add(b, data, n);
    add_number(b, (uint32_t)crc32(0, b->at + from, (uInt)n + 4), 4, true);
}

/* What a PNG is made of besides its pixels; zeroed: 8 bits, nothing more. */
struct png {
    uint32_t width, height;
    uint8_t type, depth, interlaced; /* depth 0: 8 */
    const uint8_t *palette, *transparent, *gamma, *exif;
    size_t palette_bytes, transparent_bytes, exif_bytes;
    bool exif_late;
};

static uint32_t channels_of(uint8_t type)
{
    return type == 2 ? 3 : type == 4 ? 2 : type == 6 ? 4 : 1;
}

/* One row of every step-th sample-group from x on, of numbers of 16 bits. */
static void add_row(struct bytes *rows, const struct png *p, const uint16_t *row, uint32_t x,
                    uint32_t step)
{
    const uint32_t channels = channels_of(p->type), depth = p->depth ? p->depth : 8;
    uint32_t word = 0, bits = 0;

    add(rows, "", 1);
    for (; x < p->width; x += step) {
        for (uint32_t c = 0; c < channels; c++) {
            word = word << depth | row[channels * x + c];
            bits += depth;
            for (; bits >= 8; bits -= 8)
                add(rows, &(uint8_t){(uint8_t)(word >> (bits - 8))}, 1);
        }
    }
    if (bits)
        add(rows, &(uint8_t){(uint8_t)(word << (8 - bits))}, 1);
}

/* pixels: (height, width, channels). */
static void write_png(const char *path, struct png p, const uint16_t *pixels)
{
    static const uint8_t adam7[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                        {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    static const uint8_t all[1][4] = {{0, 0, 1, 1}};
    static struct bytes rows, file;
    static uint8_t packed[1 << 20];
    const uint8_t(*passes)[4] = p.interlaced ? adam7 : all;
    uLongf n = sizeof(packed);

    rows.n = file.n = 0;
    for (int i = 0; i < (p.interlaced ? 7 : 1); i++) {
        for (uint32_t y = passes[i][1]; y < p.height && passes[i][0] < p.width; y += passes[i][3])
            add_row(&rows, &p, pixels + (size_t)y * p.width * channels_of(p.type), passes[i][0],
                    passes[i][2]);
    }
    CHECK_EQUAL(compress(packed, &n, rows.at, rows.n), Z_OK);
    add(&file, "\x89PNG\r\n\x1a\n", 8);
    rows.n = 0;
    add_number(&rows, p.width, 4, true);
    add_number(&rows, p.height, 4, true);
    add(&rows, (uint8_t[]){p.depth ? p.depth : 8, p.type, 0, 0, p.interlaced}, 5);
    add_chunk(&file, "IHDR", rows.at, rows.n);
    if (p.gamma)
        add_chunk(&file, "gAMA", p.gamma, 4);
    if (p.palette)
        add_chunk(&file, "PLTE", p.palette, p.palette_bytes);
    if (p.transparent)
        add_chunk(&file, "tRNS", p.transparent, p.transparent_bytes);
    if (p.exif && !p.exif_late)
        add_chunk(&file, "eXIf", p.exif, p.exif_bytes);
    add_chunk(&file, "IDAT", packed, n);
    if (p.exif && p.exif_late)
        add_chunk(&file, "eXIf", p.exif, p.exif_bytes);
    add_chunk(&file, "IEND", "", 0);
    write_file(path, file.at, file.n);
}

enum { RESTART = 1, PROGRESSIVE = 2 };

static void write_jpeg(const char *path, const uint8_t *rgb, uint32_t width, uint32_t height,
                       int how, const void *exif, size_t exif_bytes)
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
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    if (how & RESTART)
        c.restart_interval = 2;
    if (how & PROGRESSIVE)
        jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    if (exif)
        jpeg_write_marker(&c, JPEG_APP0 + 1, exif, (unsigned)exif_bytes);
    while (c.next_scanline < height) {
        JSAMPROW row = (JSAMPROW)(rgb + (size_t)c.next_scanline * width * 3);

        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    fclose(f);
}

static void read_file(const char *path, struct bytes *out)
{
    FILE *f = fopen(path, "rb");

    CHECK(f);
    out->n = fread(out->at, 1, sizeof(out->at), f);
    CHECK(out->n < sizeof(out->at));
    fclose(f);
}

/* A copy of `from` with n bytes put in before byte `at`. */
static void write_with(const char *path, const struct bytes *from, size_t at, const void *bytes,
                       size_t n)
{
    static struct bytes file;

    file.n = 0;
    add(&file, from->at, at);
    add(&file, bytes, n);
    add(&file, from->at + at, from->n - at);
    write_file(path, file.at, file.n);
}

static size_t find(const struct bytes *in, const char *bytes, size_t n)
{
    const uint8_t *found = memmem(in->at, in->n, bytes, n);

    CHECK(found);
    return (size_t)(found - in->at);
}

/* ---- transparency ---- */

/* What a channel is on white: to the nearest, in the file's own numbers. */
static int on_white(unsigned channel, unsigned alpha)
{
    return (int)((double)(channel * alpha + 255 * (255 - alpha)) / 255 + 0.5);
}

/* A picture of S by S whose pixels are want(x, y, channel). */
static void check_pixels(const char *path, uint32_t S, int (*want)(uint32_t, uint32_t, int))
{
    uint8_t *bytes = square_of(path, S, 1);

    for (uint32_t i = 0; i < 3 * S * S; i++) {
        int wanted = want(i / 3 % S, i / 3 / S, (int)(i % 3));

        if (bytes[i] != wanted) {
            fprintf(stderr, "%s: at %u, %u, channel %u: %d, not %d\n", path, i / 3 % S, i / 3 / S,
                    i % 3, bytes[i], wanted);
            exit(1);
        }
    }
    free(bytes);
}

/* Every number under every alpha: x and its complement, alpha y. */
static int want_all(uint32_t x, uint32_t y, int c)
{
    return on_white(c == 1 ? 255 - x : c == 2 ? 0 : x, y);
}

static int want_all_gray(uint32_t x, uint32_t y, int c)
{
    return on_white(x, y);
}

static const uint8_t shades[] = {0, 10, 200, 0, 0, 0, 255, 254, 253, 90, 100, 110};

static int want_palette(uint32_t x, uint32_t y, int c)
{
    return on_white(shades[3 * ((x + y) % 4) + (uint32_t)c],
                    ((const unsigned[]){128, 0, 1, 255})[(x + y) % 4]);
}

/* Pixels (x, y, 7) of which that at (3, 5) is the transparent colour. */
static int want_key(uint32_t x, uint32_t y, int c)
{
    return x == 3 && y == 5 ? 255 : c == 0 ? (int)x : c == 1 ? (int)y : 7;
}

/* Gray of 2 bits, 1 of which is the transparent shade. */
static int want_gray_key(uint32_t x, uint32_t y, int c)
{
    return (x + y) % 4 == 1 ? 255 : (int)(x + y) % 4 * 85;
}

static void check_transparent(void)
{
    static uint16_t rgba[256][256][4], gray[256][256][2], cells[16][16], rgb[16][16][3];
    static const uint8_t alphas[] = {128, 0, 1}, key[] = {0, 3, 0, 5, 0, 7};
    static const uint8_t wide_key[] = {3, 3, 5, 5, 7, 7}, gray_key[] = {0, 1};

    CHECK_EQUAL(on_white(0, 128), 127);
    CHECK(on_white(77, 0) == 255 && on_white(77, 255) == 77);
    for (int wide = 0; wide < 2; wide++) {
        const uint16_t unit = wide ? 257 : 1;
        const uint8_t depth = wide ? 16 : 8;

        for (uint16_t y = 0; y < 256; y++) {
            for (uint16_t x = 0; x < 256; x++) {
                gray[y][x][0] = rgba[y][x][0] = (uint16_t)(x * unit);
                rgba[y][x][1] = (uint16_t)((255 - x) * unit);
                gray[y][x][1] = rgba[y][x][3] = (uint16_t)(y * unit);
                if (x >= 16 || y >= 16)
                    continue;
                cells[y][x] = (x + y) % 4;
                rgb[y][x][0] = (uint16_t)(x * unit);
                rgb[y][x][1] = (uint16_t)(y * unit);
                rgb[y][x][2] = (uint16_t)(7 * unit);
            }
        }
        for (uint8_t interlaced = 0; interlaced < 2; interlaced++) {
            write_png("p.png", (struct png){256, 256, 6, depth, interlaced}, &rgba[0][0][0]);
            check_pixels("p.png", 256, want_all);
            write_png("p.png", (struct png){256, 256, 4, depth, interlaced}, &gray[0][0][0]);
            check_pixels("p.png", 256, want_all_gray);
            write_png("p.png",
                      (struct png){16, 16, 2, depth, interlaced,
                                   .transparent = wide ? wide_key : key, .transparent_bytes = 6},
                      &rgb[0][0][0]);
            check_pixels("p.png", 16, want_key);
        }
    }
    /* All 16 bits of the transparent colour count, and none of it is there now. */
    write_png("q.png", (struct png){16, 16, 2, 16}, &rgb[0][0][0]);
    write_png("p.png", (struct png){16, 16, 2, 16, .transparent = key, .transparent_bytes = 6},
              &rgb[0][0][0]);
    check_same("p.png", "q.png", 16, 1);
    for (uint8_t depth = 2; depth <= 8; depth *= 2) {
        write_png("p.png",
                  (struct png){16, 16, 3, depth, depth == 4, .palette = shades, .palette_bytes = 12,
                               .transparent = alphas, .transparent_bytes = 3},
                  &cells[0][0]);
        check_pixels("p.png", 16, want_palette);
    }
    write_png("p.png", (struct png){16, 16, 0, 2, .transparent = gray_key, .transparent_bytes = 2},
              &cells[0][0]);
    check_pixels("p.png", 16, want_gray_key);
    /* What light the numbers mean is not asked. */
    for (int opaque = 0; opaque < 2; opaque++) {
        for (int i = 0; i < 256 * 256; i++) {
            for (int c = 0; c < 4; c++)
                rgba[i / 256][i % 256][c] &= 255;
            if (opaque)
                rgba[i / 256][i % 256][3] = 255;
        }
        write_png("p.png", (struct png){256, 256, 6, .gamma = (const uint8_t *)"\0\1\x86\xa0"},
                  &rgba[0][0][0]);
        write_png("q.png", (struct png){256, 256, 6}, &rgba[0][0][0]);
        check_same("p.png", "q.png", 256, 1);
    }
}

/* ---- which way up ---- */

enum { TAG = 0x112, SHORT = 3 };

/* A TIFF directory with others around the one that counts. */
static void make_exif(struct bytes *to, bool big, uint32_t tag, uint32_t type, uint32_t count,
                      uint32_t value)
{
    to->n = 0;
    add(to, big ? "MM" : "II", 2);
    add_number(to, 42, 2, big);
    add_number(to, 10, 4, big); /* where the directory is */
    add(to, "..", 2);
    add_number(to, 3, 2, big);
    for (uint32_t i = 0; i < 3; i++) {
        add_number(to, i == 1 ? tag : 0x10f + i, 2, big);
        add_number(to, i == 1 ? type : SHORT, 2, big);
        add_number(to, i == 1 ? count : 1, 4, big);
        add_number(to, i == 1 ? value : 2, type == SHORT || i != 1 ? 2 : 4, big);
        if (type == SHORT || i != 1)
            add_number(to, 0, 2, big);
    }
    add_number(to, 0, 4, big);
}

/* Of just its size, so that a sanitizer sees what goes beyond it. */
static unsigned orientation(const void *exif, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    unsigned found;

    CHECK(copy);
    memcpy(copy, exif, n);
    found = pipeline_image_orientation(copy, n);
    CHECK(found >= 1 && found <= 8);
    free(copy);
    return found;
}

static void check_exif(void)
{
    static struct bytes exif;
    uint64_t seed = 4;

    for (int big = 0; big < 2; big++) {
        for (uint32_t value = 0; value < 12; value++) {
            make_exif(&exif, big, TAG, SHORT, 1, value);
            CHECK_EQUAL(orientation(exif.at, exif.n), value >= 1 && value <= 8 ? value : 1);
        }
        make_exif(&exif, big, TAG, 4, 1, 6);
        CHECK_EQUAL(orientation(exif.at, exif.n), 1);
        make_exif(&exif, big, TAG, SHORT, 2, 6);
        CHECK_EQUAL(orientation(exif.at, exif.n), 1);
        make_exif(&exif, big, TAG + 9, SHORT, 1, 6);
        CHECK_EQUAL(orientation(exif.at, exif.n), 1);
        make_exif(&exif, big, TAG, SHORT, 1, 6);
        for (size_t n = 0; n < exif.n; n++) /* its entry ends at byte 36 */
            CHECK_EQUAL(orientation(exif.at, n), n < 36 ? 1 : 6);
        for (int i = 0; i < 20000; i++) {
            static struct bytes other;

            other = (struct bytes){.n = exif.n};
            memcpy(other.at, exif.at, exif.n);
            for (int k = 0; k < 1 + i % 3; k++)
                other.at[random_next(&seed) % exif.n] = (uint8_t)random_next(&seed);
            orientation(other.at, exif.n);
        }
        exif.at[big ? 3 : 2] = 43;
        CHECK_EQUAL(orientation(exif.at, exif.n), 1);
    }
    CHECK_EQUAL(orientation("II*\0\xff\xff\xff\xff", 8), 1);
    CHECK_EQUAL(orientation("II*\0\7\0\0\0", 8), 1);
    CHECK_EQUAL(orientation("IM\0*\0\0\0\x8", 8), 1);
}

/* An RGB picture as it is shown: where each of its pixels is stored, by Exif's own words. */
static void turn(const uint8_t *from, uint32_t width, uint32_t height, unsigned way, uint16_t *to)
{
    const uint32_t wide = way < 5 ? width : height, high = way < 5 ? height : width;

    for (uint32_t y = 0; y < high; y++) {
        for (uint32_t x = 0; x < wide; x++) {
            const uint32_t right = width - 1, bottom = height - 1;
            const uint32_t stored[9][2] = {
                {0, 0},                  /* the first row is shown as, the first column as */
                {x, y},                  /* 1: top, left */
                {right - x, y},          /* 2: top, right */
                {right - x, bottom - y}, /* 3: bottom, right */
                {x, bottom - y},         /* 4: bottom, left */
                {y, x},                  /* 5: left, top */
                {y, bottom - x},         /* 6: right, top */
                {right - y, bottom - x}, /* 7: right, bottom */
                {right - y, x},          /* 8: left, bottom */
            };
            const uint8_t *p = from + 3 * ((size_t)stored[way][1] * width + stored[way][0]);

            for (int c = 0; c < 3; c++)
                *to++ = p[c];
        }
    }
}

static void write_turned(const char *path, const uint8_t *rgb, uint32_t width, uint32_t height,
                         unsigned way)
{
    static uint16_t turned[3 * 64 * 64];

    turn(rgb, width, height, way, turned);
    write_png(path, (struct png){way < 5 ? width : height, way < 5 ? height : width, 2}, turned);
}

static void check_turned(void)
{
    static const uint32_t sizes[][2] = {{7, 4}, {4, 7}, {33, 20}, {20, 33}, {16, 16}, {1, 5}};
    static const uint32_t squares[][2] = {{4, 1}, {8, 2}, {13, 13}, {24, 8}};
    static struct bytes exif, segment;
    static uint8_t rgb[3 * 64 * 64];
    static uint16_t stored[3 * 64 * 64];
    uint64_t seed = 6;

    for (size_t i = 0; i < 6 * 8; i++) {
        const uint32_t width = sizes[i / 8][0], height = sizes[i / 8][1];
        const uint32_t S = squares[i % 4][0], patch = squares[i % 4][1];
        const unsigned way = 1 + i % 8;
        struct image image;
        char why[256];

        for (size_t k = 0; k < 3 * (size_t)width * height; k++)
            rgb[k] = (uint8_t)random_next(&seed);
        turn(rgb, width, height, 1, stored);
        make_exif(&exif, i % 2, TAG, SHORT, 1, way);
        write_turned("want.png", rgb, width, height, way);
        for (int late = 0; late < 2; late++) {
            write_png("p.png",
                      (struct png){width, height, 2, .exif = exif.at, .exif_bytes = exif.n,
                                   .exif_late = late},
                      stored);
            check_same("p.png", "want.png", S, patch);
        }
        segment.n = 0;
        add(&segment, "Exif\0", 6);
        add(&segment, exif.at, exif.n);
        write_jpeg("p.jpg", rgb, width, height, i % 3 == 2 ? PROGRESSIVE : 0, segment.at,
                   segment.n);
        /* The pixels as they are stored, turned here. */
        read_file("p.jpg", &segment);
        CHECK_EQUAL(pipeline_image_jpeg(segment.at, segment.n, &image, why), 0);
        CHECK(image.width == width && image.height == height && image.orientation == way);
        write_turned("want.png", image.rgb, width, height, way);
        free(image.rgb);
        check_same("p.jpg", "want.png", S, patch);
    }
}

static void add_app1(struct bytes *to, const char *head, size_t n, const struct bytes *more)
{
    add_number(to, 0xffe1, 2, true);
    add_number(to, (uint32_t)(2 + n + (more ? more->n : 0)), 2, true);
    add(to, head, n);
    if (more)
        add(to, more->at, more->n);
}

/* What Exif data an image has at all. */
static void check_which_exif(void)
{
    static struct bytes exif, first, file;
    static uint8_t rgb[3 * 7 * 4];
    static uint16_t stored[3 * 7 * 4];
    uint64_t seed = 7;
    size_t at;

    for (size_t k = 0; k < sizeof(rgb); k++)
        stored[k] = rgb[k] = (uint8_t)random_next(&seed);
    write_turned("1.png", rgb, 7, 4, 1);
    make_exif(&exif, true, TAG, SHORT, 1, 8);
    write_png("p.png", (struct png){7, 4, 2, .exif = exif.at, .exif_bytes = exif.n}, stored);
    read_file("p.png", &file);
    file.at[find(&file, "eXIf", 4) + 4 + exif.n] ^= 1; /* its checksum is wrong */
    write_file("p.png", file.at, file.n);
    check_same("p.png", "1.png", 4, 1);
    write_png("p.png", (struct png){7, 4, 2, .exif = exif.at, .exif_bytes = 0}, stored);
    check_same("p.png", "1.png", 4, 1);
    /* The first of two counts, and another kind of segment is none. */
    write_jpeg("1.jpg", rgb, 7, 4, 0, NULL, 0);
    read_file("1.jpg", &file);
    at = find(&file, "\xff\xdb", 2);
    add_app1(&first, "http://ns.ad", 12, NULL);
    add_app1(&first, "Exif\0", 6, &exif);
    make_exif(&exif, false, TAG, SHORT, 1, 3);
    add_app1(&first, "Exif\0", 6, &exif);
    write_with("p.jpg", &file, at, first.at, first.n);
    {
        struct image image;
        char why[256];

        CHECK_EQUAL(pipeline_image_jpeg(file.at, file.n, &image, why), 0);
        write_turned("8.png", image.rgb, 7, 4, 8);
        free(image.rgb);
    }
    check_same("p.jpg", "8.png", 4, 1);
    first.n = exif.n = 0;
    add_app1(&first, "", 0, NULL);
    add_app1(&first, "Ex", 2, NULL);
    add_app1(&first, "Exif\0", 6, NULL);
    add_app1(&first, "Exif\0\0MM", 8, NULL);
    write_with("p.jpg", &file, at, first.at, first.n);
    check_same("p.jpg", "1.jpg", 4, 1);
}

/* ---- bytes that belong to nothing ---- */

static void check_stray(void)
{
    static const struct {
        const char *bytes;
        size_t n;
        bool marks; /* has something like markers in it */
    } strays[] = {{"\0", 1, false},
                  {"MKNOTE 0123456789 maker's own", 29, false},
                  {"\xff\xff\xff", 3, false},
                  {"\xff\0\xff\0", 4, false},
                  {"\xff\xd8\xff\xe0\0\x10JFIF", 10, true},
                  {"ab\xff\xe5\xff\xff zz", 9, true},
                  {"\xff\xda\0", 3, true}};
    static struct bytes file;
    static uint8_t rgb[3 * 60 * 40];
    uint64_t seed = 9;

    for (size_t i = 0; i < sizeof(rgb); i++)
        rgb[i] = (uint8_t)(i / 9 + random_next(&seed) % 20);
    for (int how = 0; how < 4; how++) {
        size_t sos;

        write_jpeg("ok.jpg", rgb, 60, 40, how, NULL, 0);
        read_file("ok.jpg", &file);
        sos = find(&file, "\xff\xda", 2);
        for (size_t i = 0; i < sizeof(strays) / sizeof(strays[0]); i++) {
            if (strays[i].marks && how & PROGRESSIVE)
                continue; /* what is behind a scan may be another */
            write_with("p.jpg", &file, file.n - 2, strays[i].bytes, strays[i].n);
            check_same("p.jpg", "ok.jpg", 16, 4);
            if (strays[i].marks)
                continue;
            write_with("p.jpg", &file, sos, strays[i].bytes, strays[i].n);
            check_same("p.jpg", "ok.jpg", 16, 4);
            write_with("p.jpg", &file, 2, strays[i].bytes, strays[i].n);
            if (strays[i].bytes[0] == -1) /* else it does not begin as a JPEG does */
                check_same("p.jpg", "ok.jpg", 16, 4);
        }
        write_with("p.jpg", &file, file.n, "whatever \xff\xd8 comes behind", 23);
        check_same("p.jpg", "ok.jpg", 16, 4);
        /* Cut short is cut short: its end marker, or some of the picture. */
        for (size_t cut = 1; cut < 30; cut++) {
            write_file("p.jpg", file.at, file.n - cut);
            check_damaged("p.jpg", "p.jpg");
        }
        if (how & RESTART) {
            size_t restart = find(&file, "\xff\xd1", 2);

            write_with("p.jpg", &file, restart, "as many bytes as no buffer has", 30);
            check_damaged("p.jpg", "extraneous bytes before marker 0xd1");
        }
    }
    /* Other things that change no pixel: versions, and numbers that say nothing. */
    write_jpeg("ok.jpg", rgb, 60, 40, 0, NULL, 0);
    read_file("ok.jpg", &file);
    file.at[find(&file, "JFIF", 4) + 5] = 3;
    write_file("p.jpg", file.at, file.n);
    check_same("p.jpg", "ok.jpg", 16, 4);
    file.at[find(&file, "\xff\xda", 2) + 12] = 0; /* the last coefficient of the scan */
    write_file("p.jpg", file.at, file.n);
    check_same("p.jpg", "ok.jpg", 16, 4);
}

int main(void)
{
    enter_scratch();
    check_transparent();
    check_exif();
    check_turned();
    check_which_exif();
    check_stray();
    return 0;
}

#else

int main(void)
{
    fprintf(stderr, "skipped: built without images\n");
    return SKIP_STATUS;
}

#endif
