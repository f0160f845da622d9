#include "pipeline/content.h"

#include <errno.h>

#include "pipeline/internal.h"

enum { HEAD_BYTES = 16 };

int pipeline_content_check(const struct pipeline_content *wanted)
{
    uint32_t size = wanted->image_size, patch = wanted->image_patch;

    if ((wanted->jsonl_field != NULL) + (size != 0) + (wanted->audio_rate != 0) > 1)
        return pipeline_fail(EINVAL, "JSON lines, images and audio are read one kind at a time");
    if (size > PIPELINE_MAX_IMAGE_SIZE)
        return pipeline_fail(EINVAL, "images are read at up to %d pixels a side",
                             PIPELINE_MAX_IMAGE_SIZE);
    if (size && patch > 1 && size % patch)
        return pipeline_fail(EINVAL, "%u pixels a side cannot be cut into patches of %u", size,
                             patch);
    if (wanted->audio_rate && (wanted->audio_rate < 1000 || wanted->audio_rate > 384000))
        return pipeline_fail(EINVAL, "audio is read at 1000 to 384000 samples a second");
#ifndef PIPELINE_HAVE_IMAGES
    if (size)
        return pipeline_fail(ENOTSUP, "this build reads no images: libpng or libjpeg was missing; "
                                      "install both (tools/install build) and build again");
#endif
#ifndef PIPELINE_HAVE_AUDIO
    if (wanted->audio_rate)
        return pipeline_fail(ENOTSUP,
                             "this build reads no audio: libsndfile, libFLAC or libsamplerate was "
                             "missing; install them (tools/install build) and build again");
#endif
    return 0;
}

int pipeline_content_wants(const struct pipeline_content *wanted, struct layer *leaf)
{
    const uint8_t *head;
    size_t n;
    int result;

    if (!wanted->image_size && !wanted->audio_rate)
        return 1;
    result = pipeline_layer_peek(leaf, HEAD_BYTES, &head, &n);
    if (result < 0)
        return result;
#ifdef PIPELINE_HAVE_IMAGES
    if (wanted->image_size)
        return pipeline_content_is_image(head, n);
#endif
#ifdef PIPELINE_HAVE_AUDIO
    if (wanted->audio_rate)
        return pipeline_content_is_audio(leaf);
#endif
    return 0;
}

int pipeline_content_open(const struct pipeline_content *wanted, const char *name,
                          struct layer *leaf, const struct content_damage *damage,
                          struct layer **out)
{
    int result = 0;

    *out = leaf;
#ifdef PIPELINE_HAVE_IMAGES
    if (wanted->image_size)
        return pipeline_content_image_create(wanted, leaf, damage, out);
#endif
#ifdef PIPELINE_HAVE_AUDIO
    if (wanted->audio_rate)
        return pipeline_content_audio_create(wanted, leaf, damage, out);
#endif
    if (wanted->jsonl_field)
        result = pipeline_content_is_jsonl(wanted->jsonl_field, name, leaf, damage, false);
    if (result > 0)
        result = pipeline_content_jsonl_create(wanted->jsonl_field, leaf, damage, out);
    return result;
}
