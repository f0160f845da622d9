#include "pipeline/mix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "pipeline/internal.h"

static int add_source(struct pipeline_lane *lane, const struct pipeline_source *source)
{
    size_t n = lane->sources.n;
    struct pipeline_source *list = realloc(lane->sources.list, (n + 1) * sizeof(*list));

    if (!list)
        return pipeline_fail(ENOMEM, "out of memory");
    list[n] = *source;
    lane->sources.list = list;
    lane->sources.n = n + 1;
    return 0;
}

static uint64_t lane_bytes(const struct pipeline_lane *lane)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < lane->sources.n; i++)
        bytes += lane->sources.list[i].size;
    return bytes;
}

/* The lane that a source goes to. */
static uint32_t lane_of(const struct pipeline_mix *mix, const struct pipeline_source *source)
{
    uint32_t least = 0;

    if (mix->mixed)
        return source->argument;
    for (uint32_t i = 1; i < mix->n; i++) {
        if (lane_bytes(&mix->lanes[i]) < lane_bytes(&mix->lanes[least]))
            least = i;
    }
    return least;
}

static int deal(struct pipeline_mix *mix, const struct pipeline_sources *sources, uint32_t at_once)
{
    int result = 0;

    mix->mixed = sources->mixed;
    if (mix->mixed && sources->arguments > PIPELINE_MAX_LANES)
        return pipeline_fail(EINVAL, "at most %d things can be mixed by weight; %u were named",
                             PIPELINE_MAX_LANES, sources->arguments);
    if (mix->mixed)
        mix->n = sources->arguments;
    else
        mix->n = at_once < sources->n ? at_once : (uint32_t)sources->n;
    for (size_t i = 0; i < sources->n && result == 0; i++)
        result = add_source(&mix->lanes[lane_of(mix, &sources->list[i])], &sources->list[i]);
    for (uint32_t i = 0; i < mix->n && result == 0; i++) {
        struct pipeline_lane *lane = &mix->lanes[i];
        double bytes = (double)lane_bytes(lane);

        lane->weight = mix->mixed ? lane->sources.list[0].weight : bytes > 1 ? bytes : 1;
    }
    return result;
}

int pipeline_mix_create(struct pipeline_io *io, const struct pipeline_sources *sources,
                        const struct pipeline_choice *choice, uint32_t at_once,
                        struct pipeline_mix **out)
{
    struct pipeline_mix *mix = calloc(1, sizeof(*mix));
    int result;

    if (!mix)
        return pipeline_fail(ENOMEM, "out of memory");
    if (at_once == 0)
        at_once = PIPELINE_AT_ONCE;
    result =
        at_once > PIPELINE_MAX_LANES
            ? pipeline_fail(EINVAL, "at most %d archives can be read at once", PIPELINE_MAX_LANES)
            : deal(mix, sources, at_once);
    for (uint32_t i = 0; i < mix->n && result == 0; i++)
        result = pipeline_stream_create(io, &mix->lanes[i].sources, choice, &mix->lanes[i].stream);
    if (result < 0)
        pipeline_mix_destroy(&mix);
    else
        *out = mix;
    return result;
}

void pipeline_mix_destroy(struct pipeline_mix **mix)
{
    struct pipeline_mix *dead = *mix;

    if (!dead)
        return;
    for (uint32_t i = 0; i < dead->n; i++) {
        pipeline_stream_destroy(&dead->lanes[i].stream);
        free(dead->lanes[i].sources.list);
    }
    free(dead);
    *mix = NULL;
}

int pipeline_mix_probe(struct pipeline_mix *mix)
{
    int result = -ENODATA;

    for (uint32_t i = 0; i < mix->n; i++) {
        result = pipeline_stream_probe(mix->lanes[i].stream);
        if (result == -ENODATA && mix->mixed) {
            char why[PIPELINE_MAX_LINE], path[PIPELINE_MAX_NAME];

            snprintf(why, sizeof(why), "%s", pipeline_error());
            pipeline_printable(mix->lanes[i].sources.list[0].path, path, sizeof(path));
            return pipeline_fail(ENODATA, "%s: %s", path, why);
        }
        if (mix->mixed ? result < 0 : result != -ENODATA)
            break;
    }
    return result;
}

uint64_t pipeline_mix_damaged(const struct pipeline_mix *mix)
{
    uint64_t damaged = 0;

    for (uint32_t i = 0; i < mix->n; i++)
        damaged += pipeline_stream_stats(mix->lanes[i].stream).damaged;
    return damaged;
}

struct pipeline_seen pipeline_mix_seen(const struct pipeline_mix *mix)
{
    struct pipeline_seen seen = {0};

    for (uint32_t i = 0; i < mix->n; i++) {
        const struct pipeline_seen lane = pipeline_stream_stats(mix->lanes[i].stream).seen;

        pipeline_seen_add(&seen, &lane);
    }
    return seen;
}
