#include "pipeline/zstd_frames.h"

#include <stdio.h>

#include "pipeline/internal.h"

enum { AT_HEADER, AT_BLOCK, AT_SKIP_SIZE, AT_END };

static const uint32_t MAGIC = 0xfd2fb528;

static uint64_t little(const uint8_t *p, size_t n)
{
    uint64_t value = 0;

    while (n--)
        value = value << 8 | p[n];
    return value;
}

static size_t dictionary_bytes(uint8_t descriptor)
{
    static const uint8_t sizes[] = {0, 1, 2, 4};

    return sizes[descriptor & 3];
}

static size_t content_bytes(uint8_t descriptor)
{
    if (descriptor >> 6)
        return (size_t)1 << (descriptor >> 6);
    return descriptor & 32 ? 1 : 0;
}

/* Bytes of the whole header, if its first five are known. */
static size_t header_bytes(uint8_t descriptor)
{
    return 5u + !(descriptor & 32) + dictionary_bytes(descriptor) + content_bytes(descriptor);
}

bool pipeline_zstd_frame_fits(const uint8_t *h, size_t n, uint64_t most, char why[256])
{
    uint64_t window, dictionary;
    size_t at = 5;

    if (n < 6 || pipeline_little32(h) != MAGIC || n < header_bytes(h[4]))
        return true;
    window = 0;
    if (!(h[4] & 32)) {
        uint64_t base = 1ull << (10 + (h[5] >> 3));

        window = base + base / 8 * (h[5] & 7);
        at++;
    }
    dictionary = little(h + at, dictionary_bytes(h[4]));
    at += dictionary_bytes(h[4]);
    if (h[4] & 32) /* one segment: the window is the content */
        window = little(h + at, content_bytes(h[4])) + (h[4] >> 6 == 1 ? 256 : 0);
    if (dictionary) {
        snprintf(why, 256,
                 "it is packed with the zstd dictionary %llu, which cannot be given: unpack it "
                 "first (zstd -d -D DICTIONARY)",
                 (unsigned long long)dictionary);
        return false;
    }
    if (window <= most)
        return true;
    snprintf(why, 256,
             "the zstd data asks for a window of %llu MiB, more than the %llu MiB allowed: pack it "
             "again with a smaller one (zstd --long=%d or less)",
             (unsigned long long)((window >> 20) + ((window & 0xfffff) != 0)),
             (unsigned long long)(most >> 20), most >= 1ull << 30 ? 30 : 27);
    return false;
}

/* Takes a whole field; returns false if it wants more bytes first. */
static bool on_field(struct zstd_frames *f)
{
    uint32_t value = pipeline_little32(f->header);

    if (f->state == AT_BLOCK) {
        if (f->have < 3)
            return false;
        value &= 0xffffff;
        f->last = value & 1;
        f->pass = (value >> 1 & 3) == 1 ? 1 : value >> 3; /* one byte that is repeated */
        if (f->last) {
            f->pass += f->checked ? 4 : 0;
            f->state = AT_HEADER;
        }
        return true;
    }
    if (f->have < 4)
        return false;
    if (f->state == AT_SKIP_SIZE) {
        f->pass = value;
        f->state = AT_HEADER;
        return true;
    }
    if ((value & 0xfffffff0) == 0x184d2a50) {
        f->state = AT_SKIP_SIZE;
        return true;
    }
    if (value != MAGIC) {
        f->state = AT_END; /* zeros, or damage, which the decoder finds */
        return true;
    }
    if (f->have < 5 || f->have < header_bytes(f->header[4]))
        return false;
    f->checked = f->header[4] & 4;
    f->state = AT_BLOCK;
    return true;
}

bool pipeline_zstd_frames_feed(struct zstd_frames *f, const uint8_t *data, size_t n, uint64_t most,
                               char why[256])
{
    while (n && f->state != AT_END) {
        if (f->pass) {
            size_t step = f->pass < n ? (size_t)f->pass : n;

            f->pass -= step;
            data += step;
            n -= step;
            continue;
        }
        f->header[f->have++] = *data++;
        n--;
        if (!on_field(f))
            continue;
        if (!pipeline_zstd_frame_fits(f->header, f->have, most, why))
            return false;
        f->have = 0;
    }
    return true;
}
