#include "apps/media.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef APPS_HAVE_PNG
#include <png.h>
#endif
#ifdef APPS_HAVE_SNDFILE
#include <sndfile.h>
#endif

#include "apps/common.h"
#include "pipeline/scan.h"

static void take(const json_t *choice, const char *key, uint32_t *out)
{
    const json_int_t number = json_integer_value(json_object_get(choice, key));

    if (number > 0 && number <= INT32_MAX)
        *out = (uint32_t)number;
}

void app_media_from_state(struct app_media *media, const char *state)
{
    json_t *object = json_loads(state, 0, NULL);
    const json_t *choice = json_object_get(json_object_get(object, "data"), "choice");

    take(choice, "images", &media->image_size);
    take(choice, "image-patch", &media->image_patch);
    take(choice, "audio-rate", &media->audio_rate);
    json_decref(object);
}

/* ---- prompts ---- */

/* All that is left of a member; the caller's to free in any case. */
static int read_all(struct pipeline_archive *archive, uint8_t **bytes, size_t *size)
{
    const uint8_t *data;
    size_t n = 1;
    int result = 0;

    while (result == 0 && n) {
        result = pipeline_archive_read(archive, &data, &n);
        uint8_t *grown = result == 0 ? realloc(*bytes, *size + n + 1) : NULL;

        if (!grown)
            return result < 0 ? app_fail_pipeline(result) : app_fail(APP_FAILED, "out of memory");
        *bytes = grown;
        memcpy(grown + *size, data, n);
        *size += n;
    }
    return APP_DONE;
}

/* As app_media_decode(), from a source of one file. */
static int decode(const struct pipeline_source *source, struct pipeline_io *io,
                  const struct pipeline_archive_params *params, uint8_t **bytes, size_t *size)
{
    struct pipeline_archive *archive = NULL;
    struct pipeline_member m;
    int taken = 0, result = pipeline_archive_open(io, source, params, &archive);

    if (result == -ENOTSUP)
        return 0; /* a build that cannot decode them */
    if (result == 0 && pipeline_archive_single(archive) &&
        !strcmp(pipeline_archive_filter(archive), "none")) {
        result = pipeline_archive_next(archive, &m);
        taken = result > 0 && !m.other;
    }
    if (result < 0) {
        app_fail_pipeline(result);
        taken = -1;
    } else if (taken && read_all(archive, bytes, size) != APP_DONE) {
        taken = -1;
    }
    pipeline_archive_close(&archive);
    return taken;
}

/* The bytes as a file of which the pipeline can read; -1 after a line. They may have come out of a
 * pipe, so that the file that was named cannot be read again. */
static int as_file(const char *path, const uint8_t *bytes, size_t size)
{
    const int fd = memfd_create("prompt", MFD_CLOEXEC);
    size_t done = 0;
    ssize_t n = 0;

    while (fd >= 0 && done < size && (n = write(fd, bytes + done, size - done)) > 0)
        done += (size_t)n;
    if (fd >= 0 && done == size)
        return fd;
    app_fail(APP_FAILED, "%s: no memory to decode it: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int app_media_decode(const struct app_media *media, bool images, const char *path, uint8_t **bytes,
                     size_t *size)
{
    const struct pipeline_archive_params params = {
        .content = {.image_size = images ? media->image_size : 0,
                    .image_patch = images ? media->image_patch : 0,
                    .audio_rate = images ? 0 : media->audio_rate}};
    const struct pipeline_io_params io_params = {0};
    struct pipeline_source source = {.weight = 1, .size = *size};
    struct pipeline_io *io = NULL;
    uint8_t *decoded = NULL;
    char name[64];
    size_t n = 0;
    int taken = -1;
    const int fd = as_file(path, *bytes, *size);

    if (fd < 0)
        return -1;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    source.path = name;
    const int result = pipeline_io_create(&io_params, &io);
    if (result < 0)
        app_fail_pipeline(result);
    else
        taken = decode(&source, io, &params, &decoded, &n);
    pipeline_io_destroy(&io);
    close(fd);
    if (taken < 0)
        app_fail(APP_FAILED, "--prompt-file %s cannot be taken as %s", path,
                 images ? "an image" : "a sound");
    if (taken == 1) {
        free(*bytes);
        *bytes = decoded;
        *size = n;
    } else {
        free(decoded);
    }
    return taken;
}

/* ---- files ---- */

#if defined(APPS_HAVE_PNG) || defined(APPS_HAVE_SNDFILE)

/* The file as it is while it is written; the caller's to free. */
static char *part_of(const char *path)
{
    char *part = NULL;

    return asprintf(&part, "%s.part", path) < 0 ? NULL : part;
}

/* Gives a file that was written, or was not, its name. */
static int finish(const char *path, char *part, const char *why)
{
    int status = APP_DONE;

    if (why)
        status = app_fail(APP_FAILED, "%s: %s", path, why);
    else if (rename(part, path))
        status = app_fail(APP_FAILED, "%s: %s", path, strerror(errno));
    if (status != APP_DONE)
        unlink(part);
    free(part);
    return status;
}

#endif

#ifdef APPS_HAVE_PNG

int app_write_png(const char *path, const struct app_media *media, const uint8_t *bytes,
                  size_t size)
{
    const uint32_t S = media->image_size;
    png_image png = {.version = PNG_IMAGE_VERSION, .width = S, .height = S,
                     .format = PNG_FORMAT_RGB};
    uint8_t *rgb;
    char *part;

    if (size != 3 * (size_t)S * S)
        return app_fail(APP_FAILED, "%s: %zu bytes do not fill an image of %u by %u pixels, which "
                        "takes %zu", path, size, S, S, 3 * (size_t)S * S);
    rgb = malloc(size);
    part = part_of(path);
    if (!rgb || !part) {
        free(rgb);
        free(part);
        return app_fail(APP_FAILED, "out of memory");
    }
    for (uint32_t y = 0; y < S; y++)
        for (uint32_t x = 0; x < S; x++)
            memcpy(rgb + 3 * ((size_t)y * S + x),
                   bytes + pipeline_scan_place(x, y, S, media->image_patch), 3);
    errno = 0;
    const bool written = png_image_write_to_file(&png, part, 0, rgb, 0, NULL);
    const int error = errno;
    free(rgb);
    return finish(path, part, written ? NULL : error ? strerror(error) : png.message);
}

#else

int app_write_png(const char *path, const struct app_media *media, const uint8_t *bytes,
                  size_t size)
{
    return app_fail(APP_FAILED, "%s: this build writes no PNG, as libpng was not there", path);
}

#endif

#ifdef APPS_HAVE_SNDFILE

int app_write_wav(const char *path, const struct app_media *media, const uint8_t *bytes,
                  size_t size)
{
    SF_INFO info = {.samplerate = (int)media->audio_rate, .channels = 1,
                    .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
    const char *why = NULL;
    char *part;
    SNDFILE *file;

    if (size % 2)
        return app_fail(APP_FAILED, "%s: %zu bytes are no whole samples of two", path, size);
    part = part_of(path);
    if (!part)
        return app_fail(APP_FAILED, "out of memory");
    file = sf_open(part, SFM_WRITE, &info);
    if (!file)
        return finish(path, part, sf_strerror(NULL));
    /* The bytes are little-endian, as those of the file are. */
    if (sf_write_raw(file, bytes, (sf_count_t)size) != (sf_count_t)size)
        why = "cannot be written: is there room?";
    if (sf_close(file) && !why)
        why = "cannot be written: is there room?";
    return finish(path, part, why);
}

#else

int app_write_wav(const char *path, const struct app_media *media, const uint8_t *bytes,
                  size_t size)
{
    return app_fail(APP_FAILED, "%s: this build writes no WAV, as libsndfile was not there", path);
}

#endif
