/*
 * Whether a run of lz4 frames is whole; not installed.
 *
 * libarchive takes an lz4 stream that stops after any block for complete. The frame format has an
 * end mark, so we walk the block lengths beside it: a few additions per 64 KiB to 4 MiB block.
 */
#ifndef PIPELINE_LZ4_FRAMES_H
#define PIPELINE_LZ4_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero at the start. */
struct lz4_frames {
    int state;
    bool legacy, checked_blocks, checked_content;
    bool with_dictionary; /* a frame asks for one */
    uint32_t dictionary;  /* its number */
    uint64_t pass; /* bytes to pass over before the next field */
    uint8_t field[16];
    size_t have; /* bytes of the field so far */
};

/* The next n bytes of the file. */
void pipeline_lz4_frames_feed(struct lz4_frames *frames, const uint8_t *data, size_t n);

/* Whether the bytes so far end where a frame ends. */
bool pipeline_lz4_frames_whole(const struct lz4_frames *frames);

#endif
