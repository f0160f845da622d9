#include "pipeline/lz4_frames.h"

#include "pipeline/internal.h"

enum { AT_MAGIC, AT_SKIP_SIZE, AT_DESCRIPTOR, AT_BLOCK, AT_GARBAGE };

static void on_magic(struct lz4_frames *f, uint32_t magic)
{
    f->legacy = magic == 0x184c2102;
    if (f->legacy)
        f->state = AT_BLOCK;
    else if (magic == 0x184d2204)
        f->state = AT_DESCRIPTOR;
    else if ((magic & 0xfffffff0) == 0x184d2a50)
        f->state = AT_SKIP_SIZE;
    else
        f->state = AT_GARBAGE;
}

static void on_block(struct lz4_frames *f, uint32_t size)
{
    /* The old format has no end mark: a block size that is a magic number begins a new frame. */
    if (f->legacy && (size == 0x184c2102 || size == 0x184d2204)) {
        on_magic(f, size);
    } else if (size == 0 && !f->legacy) {
        f->pass = f->checked_content ? 4 : 0;
        f->state = AT_MAGIC;
    } else {
        f->pass = (size & 0x7fffffff) + (f->checked_blocks && !f->legacy ? 4 : 0);
    }
}

/* Takes a whole field; returns false if it wants one more byte first. */
static bool on_field(struct lz4_frames *f)
{
    if (f->state == AT_DESCRIPTOR) {
        uint8_t flags = f->field[0];
        size_t size = 3u + (flags & 8 ? 8 : 0) + (flags & 1 ? 4 : 0);

        if (f->have < size)
            return false;
        if (flags & 1) {
            f->with_dictionary = true;
            f->dictionary = pipeline_little32(f->field + size - 5);
        }
        f->checked_blocks = flags & 16;
        f->checked_content = flags & 4;
        f->state = AT_BLOCK;
        return true;
    }
    if (f->have < 4)
        return false;
    if (f->state == AT_MAGIC) {
        on_magic(f, pipeline_little32(f->field));
    } else if (f->state == AT_SKIP_SIZE) {
        f->pass = pipeline_little32(f->field);
        f->state = AT_MAGIC;
    } else {
        on_block(f, pipeline_little32(f->field));
    }
    return true;
}

void pipeline_lz4_frames_feed(struct lz4_frames *f, const uint8_t *data, size_t n)
{
    while (n && f->state != AT_GARBAGE) {
        if (f->pass) {
            size_t step = f->pass < n ? (size_t)f->pass : n;

            f->pass -= step;
            data += step;
            n -= step;
            continue;
        }
        f->field[f->have++] = *data++;
        n--;
        if (on_field(f))
            f->have = 0;
    }
}

bool pipeline_lz4_frames_whole(const struct lz4_frames *f)
{
    if (f->state == AT_GARBAGE)
        return true; /* not ours to judge: zeros after the end, or libarchive has complained */
    /* A few bytes where a magic number could begin are padding, or found by who counts the rest. */
    return f->pass == 0 &&
           (f->state == AT_MAGIC || (f->legacy && f->state == AT_BLOCK && f->have == 0));
}
