#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "pipeline/content.h"
#include "pipeline/internal.h"

enum { CHUNK_FRAME = 12 }; /* length, name and checksum of a chunk */

/* All that lives across a longjmp, outside of the function that calls setjmp. */
struct job {
    png_structp png;
    png_infop info;
    const uint8_t *file;
    size_t size, at;
    uint8_t *pixels; /* (height, width, channels): RGB, or RGBA until it lies on white */
    png_bytep *rows; /* (height) */
    uint32_t width, height, channels;
    char *why; /* (256) */
    bool no_memory;
};

static size_t chunk_length(const uint8_t *chunk)
{
    return (size_t)chunk[0] << 24 | (size_t)chunk[1] << 16 | (size_t)chunk[2] << 8 | chunk[3];
}

/*
 * Whether all chunks are there up to the one that ends the image: libpng is content once it has the
 * last row, with its checksum or without. *exif is the first chunk of that kind, or NULL.
 */
static bool is_whole(const uint8_t *file, size_t size, const uint8_t **exif)
{
    *exif = NULL;
    for (size_t at = 8; size - at >= CHUNK_FRAME;) {
        const size_t length = chunk_length(file + at);

        if (length > size - at - CHUNK_FRAME)
            return false;
        if (!memcmp(file + at + 4, "IEND", 4))
            return true;
        if (!*exif && !memcmp(file + at + 4, "eXIf", 4))
            *exif = file + at;
        at += length + CHUNK_FRAME;
    }
    return false;
}

/* The orientation that a chunk of Exif data tells; as libpng would, one with a wrong checksum is
 * passed over. */
static unsigned chunk_orientation(const uint8_t *exif)
{
    const size_t length = chunk_length(exif);
    const uint8_t *sum = exif + 8 + length;

    if (crc32(crc32(0, NULL, 0), exif + 4, (uInt)length + 4) != chunk_length(sum))
        return 1;
    return pipeline_image_orientation(exif + 8, length);
}

static void on_error(png_structp png, png_const_charp text)
{
    struct job *job = png_get_error_ptr(png);

    snprintf(job->why, 256, "cannot be decoded: %.200s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
}

static png_voidp take_memory(png_structp png, png_alloc_size_t n)
{
    struct job *job = png_get_mem_ptr(png);
    void *bytes = malloc(n);

    job->no_memory = job->no_memory || !bytes;
    return bytes;
}

static void give_memory(png_structp png, png_voidp bytes)
{
    free(bytes);
}

static void give_bytes(png_structp png, png_bytep to, size_t n)
{
    struct job *job = png_get_io_ptr(png);

    if (n > job->size - job->at)
        png_error(png, "it ends early");
    memcpy(to, job->file + job->at, n);
    job->at += n;
}

/*
 * Every kind becomes 8 bits of RGB, or of RGBA where a part is transparent. The numbers in the file
 * are what comes out: chunks that say what light they mean (gAMA, cHRM, iCCP, sRGB) are not read.
 */
static void ask_for_rgb(struct job *job)
{
    png_set_expand(job->png);
    png_set_gray_to_rgb(job->png);
    png_set_scale_16(job->png);
    png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    job->channels = png_get_channels(job->png, job->info);
    if (png_get_bit_depth(job->png, job->info) != 8 || (job->channels != 3 && job->channels != 4))
        png_error(job->png, "it is of an unknown kind");
}

static void read_pixels(struct job *job)
{
    size_t row;

    png_set_read_fn(job->png, job, give_bytes);
    png_set_benign_errors(job->png, 1);
#ifdef PNG_SET_UNKNOWN_CHUNKS_SUPPORTED
    png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
#endif
    png_read_info(job->png, job->info);
    job->width = png_get_image_width(job->png, job->info);
    job->height = png_get_image_height(job->png, job->info);
    if (!pipeline_image_fits(job->width, job->height, job->why))
        png_longjmp(job->png, 1);
    ask_for_rgb(job);
    row = (size_t)job->channels * job->width;
    job->pixels = malloc(row * job->height);
    job->rows = malloc(job->height * sizeof(*job->rows));
    job->no_memory = !job->pixels || !job->rows;
    if (job->no_memory)
        png_longjmp(job->png, 1);
    for (uint32_t y = 0; y < job->height; y++)
        job->rows[y] = job->pixels + y * row;
    png_read_image(job->png, job->rows);
}

/* RGBA on white, as RGB in the same place: c alpha + white (1 - alpha) to the nearest, in the
 * file's own numbers, as programs that show images do. */
static void lay_on_white(uint8_t *pixels, size_t n)
{
    const uint8_t *from = pixels;

    for (size_t i = 0; i < n; i++, from += 4) {
        const unsigned alpha = from[3], white = 255 * (255 - alpha);

        for (int c = 0; c < 3; c++)
            *pixels++ = (uint8_t)((from[c] * alpha + white + 127) / 255);
    }
}

/* Apart, so that no variable of a function lives across the jump. */
static bool run(struct job *job)
{
    if (setjmp(png_jmpbuf(job->png)))
        return false;
    read_pixels(job);
    return true;
}

static int decode(struct job *job)
{
    bool read = false;

    job->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, on_error, on_warning, job,
                                        take_memory, give_memory);
    job->info = job->png ? png_create_info_struct(job->png) : NULL;
    if (job->info)
        read = run(job);
    else
        job->no_memory = true;
    png_destroy_read_struct(&job->png, &job->info, NULL);
    free(job->rows);
    if (read)
        return 0;
    free(job->pixels);
    if (!job->no_memory)
        return -EBADMSG;
    job->why[0] = 0;
    return pipeline_fail(ENOMEM, "out of memory");
}

int pipeline_image_png(const uint8_t *file, size_t size, struct image *out, char why[256])
{
    struct job job = {.file = file, .size = size, .why = why};
    const uint8_t *exif;
    int result;

    if (!is_whole(file, size, &exif)) {
        snprintf(why, 256, "ends early");
        return -EBADMSG;
    }
    result = decode(&job);
    if (result < 0)
        return result;
    if (job.channels == 4)
        lay_on_white(job.pixels, (size_t)job.width * job.height);
    *out = (struct image){.rgb = job.pixels,
                          .width = job.width,
                          .height = job.height,
                          .orientation = exif ? chunk_orientation(exif) : 1};
    return 0;
}
