#include <errno.h>
#include <setjmp.h>
#include <stdio.h> /* before jpeglib.h, which needs it */
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "pipeline/content.h"
#include "pipeline/internal.h"

enum { MAX_SCANS = 500 }; /* each goes over the whole image: a few bytes could take minutes */

/* All that lives across a longjmp, outside of the function that calls setjmp. */
struct job {
    struct jpeg_decompress_struct d; /* its client_data is the job */
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf leave;
    const uint8_t *file;
    size_t size;
    uint8_t *rgb, *row; /* row: of a CMYK image, four bytes a pixel */
    char *why;          /* (256) */
    int error;
    bool has_exif;
    unsigned orientation;  /* what the first Exif data tells */
    bool stray;            /* there are bytes between what belongs to the image */
    const uint8_t *behind; /* its last row, once that is read; else NULL */
};

static void leave(struct job *job, int error)
{
    job->error = error;
    longjmp(job->leave, 1);
}

static void on_error(j_common_ptr common)
{
    char text[JMSG_LENGTH_MAX];

    common->err->format_message(common, text);
    snprintf(((struct job *)common->client_data)->why, 256, "cannot be decoded: %.200s", text);
    leave(common->client_data, EBADMSG);
}

/* Whether a warning leaves the pixels what they are. */
static bool is_harmless(struct job *job, const struct jpeg_error_mgr *e)
{
    switch (e->msg_code) {
    case JWRN_ADOBE_XFORM:    /* a colour transform of a number that nobody uses: the usual one */
    case JWRN_JFIF_MAJOR:     /* a new version of what this is packed in */
    case JWRN_NOT_SEQUENTIAL: /* numbers that mean nothing in an image of this kind */
        return true;
    case JWRN_EXTRANEOUS_DATA:
        /* Cameras leave bytes of their own behind the picture, before the end marker. Those that
         * are left over at a restart marker were meant to be pixels. */
        job->stray = true;
        return e->msg_parm.i[1] < JPEG_RST0 || e->msg_parm.i[1] >= JPEG_RST0 + 8;
    default:
        return false;
    }
}

/* Other warnings (below 0) tell of bytes that are missing or wrong: what comes out would be made
 * up. */
static void on_message(j_common_ptr common, int level)
{
    if (level < 0 && !is_harmless(common->client_data, common->err))
        on_error(common);
}

/* Looks at an APP1 segment, of which the file in memory has all or it is cut, and passes over it.
 */
static boolean on_app1(j_decompress_ptr d)
{
    struct job *job = d->client_data;
    struct jpeg_source_mgr *src = d->src;
    const uint8_t *at = src->next_input_byte;
    size_t length = src->bytes_in_buffer < 2 ? 2 : (size_t)at[0] << 8 | at[1];

    if (!job->has_exif && length >= 8 && length <= src->bytes_in_buffer &&
        !memcmp(at + 2, "Exif", 5)) {
        job->has_exif = true;
        job->orientation = pipeline_image_orientation(at + 8, length - 8);
    }
    src->skip_input_data(d, length < 2 ? 2 : (long)length);
    return TRUE;
}

static void on_progress(j_common_ptr common)
{
    struct job *job = common->client_data;

    if (job->d.input_scan_number <= MAX_SCANS)
        return;
    snprintf(job->why, 256, "has more than %d scans", MAX_SCANS);
    leave(job, EBADMSG);
}

/* Inks to light, as well as can be said without a profile. Programs of Adobe, and so nearly all,
 * store the complement of the inks. */
static void from_cmyk(const struct job *job, uint8_t *rgb)
{
    const uint8_t *in = job->row;
    const unsigned flip = job->d.saw_Adobe_marker ? 0 : 255;

    for (uint32_t x = 0; x < job->d.output_width; x++, in += 4, rgb += 3) {
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(((in[c] ^ flip) * (in[3] ^ flip) + 127) / 255);
    }
}

static void decode(struct job *job)
{
    struct jpeg_decompress_struct *d = &job->d;
    bool cmyk;

    jpeg_create_decompress(d);
    d->progress = &job->progress;
    jpeg_mem_src(d, (unsigned char *)job->file, job->size);
    jpeg_set_marker_processor(d, JPEG_APP0 + 1, on_app1);
    jpeg_read_header(d, TRUE);
    if (!pipeline_image_fits(d->image_width, d->image_height, job->why))
        leave(job, EBADMSG);
    cmyk = d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK;
    d->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(d);
    job->rgb = malloc(3 * (size_t)d->output_width * d->output_height);
    job->row = malloc(4 * (size_t)d->output_width);
    if (!job->rgb || !job->row)
        leave(job, ENOMEM);
    while (d->output_scanline < d->output_height) {
        uint8_t *to = job->rgb + 3 * (size_t)d->output_scanline * d->output_width;
        JSAMPROW row = cmyk ? job->row : to;

        jpeg_read_scanlines(d, &row, 1);
        if (cmyk)
            from_cmyk(job, to);
    }
    if (!jpeg_has_multiple_scans(d))
        job->behind = d->src->next_input_byte;
    jpeg_finish_decompress(d);
}

/* Whether what libjpeg stumbled over lay behind the whole picture and before an end marker: a
 * camera's own bytes, in which there is anything that looks like a marker. */
static bool is_whole(const struct job *job)
{
    return job->behind && job->error == EBADMSG &&
           memmem(job->behind, (size_t)(job->file + job->size - job->behind), "\xff\xd9", 2);
}

/* Apart, so that no variable of a function lives across the jump. */
static void run(struct job *job)
{
    if (setjmp(job->leave) == 0)
        decode(job);
    if (is_whole(job)) {
        job->error = 0;
        job->stray = true;
    }
}

int pipeline_image_jpeg(const uint8_t *file, size_t size, struct image *out, char why[256])
{
    struct job *job = calloc(1, sizeof(*job));
    int result;

    if (!job)
        return pipeline_fail(ENOMEM, "out of memory");
    job->file = file;
    job->size = size;
    job->why = why;
    job->orientation = 1;
    job->d.err = jpeg_std_error(&job->errors);
    job->d.client_data = job; /* jpeg_create_decompress may fail, and keeps both */
    job->errors.error_exit = on_error;
    job->errors.emit_message = on_message;
    job->progress.progress_monitor = on_progress;
    run(job);
    result = job->error == ENOMEM ? pipeline_fail(ENOMEM, "out of memory") : -job->error;
    if (result == 0)
        *out = (struct image){.rgb = job->rgb,
                              .width = job->d.output_width,
                              .height = job->d.output_height,
                              .orientation = job->orientation,
                              .stray = job->stray};
    else
        free(job->rgb);
    jpeg_destroy_decompress(&job->d);
    free(job->row);
    free(job);
    return result;
}
