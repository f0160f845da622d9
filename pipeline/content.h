/*
 * What is inside a member: the bytes that training sees of it; not installed. What may be asked
 * for, and what becomes of it, is described at struct pipeline_content (archive.h).
 *
 * A decoder is one more layer on the member's own (layer.h), so that places in a stream count the
 * bytes that come out of it.
 */
#ifndef PIPELINE_CONTENT_H
#define PIPELINE_CONTENT_H

#include "pipeline/archive.h"
#include "pipeline/layer.h"

/* Hears of a part that cannot be decoded, a line counted from 1 or 0 for the member; why says which
 * and what. 0: it is passed over; else what the layer's read returns. */
struct content_damage {
    int (*tell)(void *user, uint64_t part, const char *why);
    /* As tell, of what is whole and cannot be decoded here. */
    int (*refuse)(void *user, uint64_t part, const char *why);
    /* Hears of what is decoded all the same, but in another way than its header says. */
    void (*note)(void *user, const char *why);
    void *user;
    struct pipeline_seen *seen; /* JSON lines add to it; NULL: they do not */
};

/* Whether this may be asked for, here: 0, -EINVAL or -ENOTSUP. */
int pipeline_content_check(const struct pipeline_content *wanted);

/* Whether a member is of the kind asked for; looks at its first bytes. 1, 0, or what reading says.
 */
int pipeline_content_wants(const struct pipeline_content *wanted, struct layer *leaf);

/*
 * A layer that gives the content of the member called `name`, whose bytes are `leaf` and which is
 * wanted. It is `leaf` itself where those are what is wanted; otherwise it owns leaf. *wanted,
 * damage and leaf are borrowed. On failure leaf is still the caller's.
 */
int pipeline_content_open(const struct pipeline_content *wanted, const char *name,
                          struct layer *leaf, const struct content_damage *damage,
                          struct layer **out);

/* ---- jsonl.c ---- */

/*
 * Whether the member is JSON lines, by its name or by its first lines. 1; 0; or a negative errno if
 * they cannot be read. Notes what looks like JSON and is not taken for JSON lines, and adds to
 * damage->seen. If `look`, it looks at the first line whatever the name, and counts the member as
 * one with texts if they are there: for who does not go on to read it.
 */
int pipeline_content_is_jsonl(const char *field, const char *name, struct layer *leaf,
                              const struct content_damage *damage, bool look);

/* The texts; owns leaf. A line is at most CONTENT_LINE_BYTES long, and held twice: as it is, and
 * its text. */
enum { CONTENT_LINE_BYTES = 1 << 28 };
int pipeline_content_jsonl_create(const char *field, struct layer *leaf,
                                  const struct content_damage *damage, struct layer **out);

/* ---- image.c ---- */

enum {
    CONTENT_IMAGE_BYTES = 1 << 28,  /* of a member that is an image */
    CONTENT_IMAGE_PIXELS = 1 << 27, /* of three bytes, or as docs/data.md says */
};

#ifdef PIPELINE_HAVE_IMAGES

/* An image decoded: (height, width, 3) uint8, RGB, as it is stored. rgb is the receiver's to free.
 */
struct image {
    uint8_t *rgb;
    uint32_t width, height;
    unsigned orientation; /* which way up it is shown: Exif's number, 1 to 8; 1: as it is stored */
    bool stray;           /* there were bytes that belong to nothing, passed over */
};

/* Decode a whole file. On failure nothing is kept, and why says what is wrong in words that follow
 * "the image". Errors: -EBADMSG, -ENOMEM. */
int pipeline_image_png(const uint8_t *file, size_t size, struct image *out, char why[256]);
int pipeline_image_jpeg(const uint8_t *file, size_t size, struct image *out, char why[256]);

/* Whether width by height is one that is decoded; if not, why says so. */
bool pipeline_image_fits(uint64_t width, uint64_t height, char why[256]);

/* The orientation that Exif data tells, from its "II" or "MM" on: 1 to 8; 1 where it tells none or
 * is not sound. */
unsigned pipeline_image_orientation(const uint8_t *exif, size_t size);

/* The centre square of `from`, turned the way that it is shown, as (S, S, 3) in scan order, to
 * `to`. Errors: -ENOMEM. */
int pipeline_image_square(const struct image *from, uint32_t S, uint32_t patch, uint8_t *to);

bool pipeline_content_is_image(const uint8_t *head, size_t n);

/* The image's bytes; owns leaf. */
int pipeline_content_image_create(const struct pipeline_content *wanted, struct layer *leaf,
                                  const struct content_damage *damage, struct layer **out);
#endif

/* ---- audio.c ---- */

enum { CONTENT_AUDIO_BYTES = 1 << 29 }; /* held of a WAV that cannot seek */

#ifdef PIPELINE_HAVE_AUDIO

/* Whether the member is a WAV or FLAC; looks at its first bytes, and behind tags there. 1, 0, or
 * what reading says. */
int pipeline_content_is_audio(struct layer *leaf);

/* The samples; owns leaf. */
int pipeline_content_audio_create(const struct pipeline_content *wanted, struct layer *leaf,
                                  const struct content_damage *damage, struct layer **out);
#endif

#endif
