#include "pipeline/split.h"

#include <endian.h>
#include <math.h>
#include <string.h>

#include <xxhash.h>

enum { GROUP = 8, BLOCKS = 256, SMALL_BLOCK = 1024, FEW_BLOCKS = 16, LEAST_BLOCK = 64 };

uint32_t pipeline_split_bytes(uint64_t size)
{
    uint32_t block = SMALL_BLOCK;

    while (block < PIPELINE_SPLIT_BYTES && size / (2 * block) >= BLOCKS)
        block *= 2;
    while (block > LEAST_BLOCK && size / block < FEW_BLOCKS)
        block /= 2;
    return block < PIPELINE_SPLIT_BYTES ? block : 0;
}

static uint64_t block_hash(uint64_t name_hash, uint64_t block)
{
    const uint64_t number = htole64(block);

    return XXH64(&number, sizeof(number), name_hash);
}

/* How many of the first so many blocks are held out. */
static double share(double val_fraction, uint64_t blocks)
{
    return floor(val_fraction * (double)blocks + 0.5);
}

bool pipeline_split_holds(uint32_t split_bytes, double val_fraction, uint64_t name_hash,
                          uint64_t block)
{
    const uint64_t hash = block_hash(name_hash, block), first = block - block % GROUP;
    const double wanted = share(val_fraction, first + GROUP) - share(val_fraction, first);
    unsigned lower = 0;

    if (split_bytes == 0)
        return pipeline_choice_holds(val_fraction, hash);
    for (uint64_t i = first; i < first + GROUP; i++) {
        const uint64_t other = block_hash(name_hash, i);

        lower += other < hash || (other == hash && i < block);
    }
    return lower < wanted;
}

uint64_t pipeline_split_hash(const struct pipeline_source *source, const char *name)
{
    return source->split_hash ? source->split_hash : pipeline_name_hash(name);
}

/* ---- sizes ---- */

static void add(struct pipeline_split_sizes *sizes, uint64_t bytes, bool held_out)
{
    sizes->all += bytes;
    sizes->held_out += held_out ? bytes : 0;
}

static void measure_folder(const struct pipeline_source *source,
                           const struct pipeline_choice *choice, struct pipeline_split_sizes *sizes)
{
    for (size_t i = 0; i < source->n_entries; i++) {
        const struct pipeline_member m = {.name = source->entries[i].name};

        if (pipeline_choice_takes(choice, &m))
            add(sizes, source->entries[i].size,
                source->unsplit ||
                    pipeline_choice_holds(choice->val_fraction, pipeline_name_hash(m.name)));
    }
}

static void measure_file(const struct pipeline_source *source, const char *name,
                         const struct pipeline_choice *choice, struct pipeline_split_sizes *sizes)
{
    const uint64_t hash = pipeline_split_hash(source, name), size = source->size;
    const uint64_t block = source->split_bytes ? source->split_bytes : PIPELINE_SPLIT_BYTES;

    for (uint64_t at = 0; at < size; at += block)
        add(sizes, size - at < block ? size - at : block,
            source->unsplit ||
                pipeline_split_holds(source->split_bytes, choice->val_fraction, hash, at / block));
}

static int measure(struct pipeline_io *io, const struct pipeline_source *source,
                   const struct pipeline_choice *choice, struct pipeline_split_sizes *sizes)
{
    const struct pipeline_archive_params params = {0};
    struct pipeline_archive *archive = NULL;
    struct pipeline_member m;
    int result;

    if (source->folder) {
        measure_folder(source, choice, sizes);
        return 0;
    }
    if (source->size == 0) { /* or a pipe, of which nothing may be read twice */
        sizes->known = false;
        return 0;
    }
    result = pipeline_archive_open(io, source, &params, &archive);
    if (result == 0 && pipeline_archive_single(archive) &&
        !strcmp(pipeline_archive_filter(archive), "none")) {
        result = pipeline_archive_next(archive, &m);
        if (result > 0 && pipeline_choice_takes(choice, &m))
            measure_file(source, m.name, choice, sizes);
    } else {
        sizes->known = false;
    }
    pipeline_archive_close(&archive);
    return result < 0 ? result : 0;
}

int pipeline_split_measure(struct pipeline_io *io, const struct pipeline_sources *sources,
                           const struct pipeline_choice *choice, struct pipeline_split_sizes *sizes)
{
    const struct pipeline_content *content = &choice->content;
    struct pipeline_split_sizes s = {.known = !content->jsonl_field && !content->image_size &&
                                              !content->audio_rate};
    int result = 0;

    for (size_t i = 0; i < sources->n && s.known && result == 0; i++)
        result = measure(io, &sources->list[i], choice, &s);
    if (result == 0)
        *sizes = s;
    return result;
}
