/*
 * The frames of a zstd file, by their headers alone: what a frame asks for that cannot be had is no
 * damage, and no decoder says so; not installed.
 */
#ifndef PIPELINE_ZSTD_FRAMES_H
#define PIPELINE_ZSTD_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ZSTD_FRAME_HEADER = 18 }; /* bytes of the longest header, with the magic number */

/*
 * Whether the frame of which these are the first n bytes can be decoded, so far as they say, in a
 * window of `most` bytes and without a dictionary. If not, why says so and what to do.
 */
bool pipeline_zstd_frame_fits(const uint8_t *header, size_t n, uint64_t most, char why[256]);

/* Follows the bytes of a file from frame to frame; zeroed before the first byte. */
struct zstd_frames {
    uint8_t header[ZSTD_FRAME_HEADER];
    size_t have;   /* bytes of header */
    uint64_t pass; /* bytes up to the next field */
    int state;
    bool checked, last; /* the frame has a checksum; the present block is its last */
};

/* False, with why, once a header comes that asks for what cannot be had. */
bool pipeline_zstd_frames_feed(struct zstd_frames *f, const uint8_t *data, size_t n, uint64_t most,
                               char why[256]);

#endif
