#include "pipeline/loader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "pipeline/internal.h"

enum { BLOCKS = 3, FIRST_BYTES = 4 << 20 };

/* A block of windows, or the end of them (n_windows == 0). */
struct block {
    uint8_t *bytes; /* (block_windows, T) */
    uint64_t n_bytes;
    uint32_t n_windows, next;         /* next: windows handed out */
    struct pipeline_lane_cursor from; /* its beginning: window == 0 */
    struct pipeline_lane_cursor then; /* behind it */
    uint64_t damaged;
    int result; /* of a block without windows: 0 the end, or -errno */
    char line[PIPELINE_MAX_LINE];
};

/* One lane's worker and blocks. */
struct lane {
    struct pipeline_loader *loader;
    struct pipeline_stream *stream;
    uint32_t index;
    double weight;
    pthread_t worker;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct block blocks[BLOCKS];
    unsigned filled;  /* blocks that are ready; guarded by lock */
    bool leaving;     /* guarded by lock */
    unsigned current; /* the consumer's block */
    bool held;        /* the consumer holds blocks[current] */
    struct pipeline_lane_cursor start;
    uint64_t damaged; /* as far as handed out */
};

struct pipeline_loader {
    struct pipeline_loader_params params;
    uint32_t block_windows; /* of a lane */
    size_t block_bytes;
    struct lane *lanes; /* (cursor.n) */
    bool by_epoch;      /* lanes wait for one another at the end of an epoch */
    struct pipeline_cursor cursor;
    struct pipeline_loader_stats stats;
};

static uint64_t scramble(uint64_t x)
{
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

/*
 * A Feistel network is a permutation of the numbers of an even number of bits whatever its round
 * function is; walking on from numbers beyond n makes it one of 0 .. n-1.
 */
uint32_t pipeline_shuffle(uint64_t seed, uint64_t epoch, uint64_t block, uint32_t n, uint32_t i)
{
    uint64_t key = scramble(scramble(scramble(seed + 0x9e3779b97f4a7c15ull) + epoch) + block);
    unsigned half = 1;
    uint32_t mask;

    if (n < 2)
        return 0;
    while (half < 16 && (1ull << 2 * half) < n)
        half++;
    mask = (uint32_t)((1ull << half) - 1);
    do {
        uint32_t left = i >> half, right = i & mask;

        for (uint64_t round = 0; round < 6; round++) {
            uint32_t swap = right;

            right = left ^ ((uint32_t)scramble(key + (round << 32 | right)) & mask);
            left = swap;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

/* Windows of a lane that are shuffled together, of `lanes` lanes. */
static uint64_t most_windows(const struct pipeline_loader_params *params, uint32_t lanes)
{
    const uint64_t bytes = params->shuffle_bytes ? params->shuffle_bytes : PIPELINE_SHUFFLE_BYTES;
    const uint64_t n = bytes / lanes / params->window_bytes;

    return n ? n : 1;
}

/* Windows that block number `block` of an epoch holds, if there are enough bytes; `most` later. */
static uint64_t windows_of(uint64_t most, uint32_t window_bytes, uint64_t epoch, uint64_t block)
{
    const uint64_t first = FIRST_BYTES / window_bytes + 64;

    return epoch == 0 && block < 32 && first << block < most ? first << block : most;
}

uint64_t pipeline_loader_memory(const struct pipeline_loader_params *params, uint32_t lanes,
                                uint64_t bytes)
{
    const uint64_t most = most_windows(params, lanes), T = params->window_bytes;
    uint64_t left = bytes / lanes / T, held = 0, block = 0;

    while (block < 32 && windows_of(most, params->window_bytes, 0, block) < left)
        left -= windows_of(most, params->window_bytes, 0, block++);
    for (uint64_t i = 0; i < BLOCKS; i++)
        held += windows_of(most, params->window_bytes, 0, block + i);
    return held * T * lanes;
}

/* The worker's next block to fill, or NULL when it is to leave. */
static struct block *wait_for_room(struct lane *lane, unsigned index)
{
    bool leaving;

    pthread_mutex_lock(&lane->lock);
    while (lane->filled == BLOCKS && !lane->leaving)
        pthread_cond_wait(&lane->changed, &lane->lock);
    leaving = lane->leaving;
    pthread_mutex_unlock(&lane->lock);
    return leaving ? NULL : &lane->blocks[index];
}

static void publish(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    lane->filled++;
    pthread_cond_broadcast(&lane->changed);
    pthread_mutex_unlock(&lane->lock);
}

/* Reads in pieces, so that leaving does not wait for a whole block. */
static int fill(struct lane *lane, uint8_t *to, size_t size, size_t *got)
{
    bool leaving = false;
    size_t n = 1;
    int result = 0;

    *got = 0;
    while (*got < size && n && result == 0 && !leaving) {
        size_t piece = size - *got < 262144 ? size - *got : 262144;

        result = pipeline_stream_read(lane->stream, to + *got, piece, &n);
        if (result == 0)
            *got += n;
        pthread_mutex_lock(&lane->lock);
        leaving = lane->leaving;
        pthread_mutex_unlock(&lane->lock);
    }
    return result;
}

/* Fills one block from `c` on and moves c behind it; goes into the next epoch when one is over. */
static int fill_block(struct lane *lane, struct block *b, struct pipeline_lane_cursor *c)
{
    const struct pipeline_loader *l = lane->loader;
    uint32_t T = l->params.window_bytes;
    bool fresh = c->block == 0 && !c->at.source && !c->at.member && !c->at.inner && !c->at.offset;
    size_t got;
    int result;

    for (;;) {
        b->from = *c;
        result = fill(lane, b->bytes,
                      (size_t)windows_of(l->block_windows, T, c->epoch, c->block) * T, &got);
        if (result < 0)
            return result;
        if (got > 0)
            break;
        /* Without a byte, epochs would follow each other for ever. */
        if (fresh)
            return pipeline_stream_probe(lane->stream);
        if (l->params.once)
            return 0;
        *c = (struct pipeline_lane_cursor){.epoch = c->epoch + 1};
        fresh = true;
        result = pipeline_stream_seek(lane->stream, c->at);
        if (result < 0)
            return result;
    }
    *c = (struct pipeline_lane_cursor){
        .epoch = c->epoch, .block = c->block + 1, .at = pipeline_stream_tell(lane->stream)};
    b->then = *c;
    b->n_bytes = got;
    b->n_windows = (uint32_t)((got + T - 1) / T);
    return 0;
}

static void *work(void *argument)
{
    struct lane *lane = argument;
    struct pipeline_lane_cursor c = lane->start;
    uint64_t passed = c.window; /* windows of the first block that were given before */
    struct block *b;
    int result = pipeline_stream_seek(lane->stream, c.at);

    c.window = 0;
    for (unsigned index = 0; (b = wait_for_room(lane, index)); index = (index + 1) % BLOCKS) {
        b->n_windows = 0;
        if (result == 0)
            result = fill_block(lane, b, &c);
        if (result == 0 && passed > b->n_windows)
            result = pipeline_fail(ESTALE,
                                   "the checkpoint stands at window %llu of a block of %u: "
                                   "the data is not what the run was started with",
                                   (unsigned long long)passed, b->n_windows);
        if (result < 0)
            b->n_windows = 0;
        b->damaged = pipeline_stream_stats(lane->stream).damaged;
        b->next = (uint32_t)passed;
        passed = 0;
        b->result = result;
        memcpy(b->line, pipeline_error(), sizeof(b->line));
        publish(lane);
        if (b->n_windows == 0)
            break;
    }
    return NULL;
}

static int start_lane(struct pipeline_loader *l, uint32_t index)
{
    struct lane *lane = &l->lanes[index];
    int error = 0;

    lane->loader = l;
    lane->stream = l->params.mix->lanes[index].stream;
    lane->index = index;
    lane->weight = l->params.mix->lanes[index].weight;
    lane->start = l->cursor.lanes[index];
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->changed, NULL);
    for (unsigned i = 0; i < BLOCKS && !error; i++) {
        lane->blocks[i].bytes = mmap(NULL, l->block_bytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (lane->blocks[i].bytes == MAP_FAILED) {
            lane->blocks[i].bytes = NULL;
            error = ENOMEM;
        }
    }
    if (!error)
        error = pthread_create(&lane->worker, NULL, work, lane);
    lane->started = !error;
    if (!error)
        return 0;
    return pipeline_fail(error, "cannot start reading %u bytes at a time: %s",
                         l->params.window_bytes, strerror(error));
}

int pipeline_loader_create(const struct pipeline_loader_params *params,
                           struct pipeline_loader **out)
{
    struct pipeline_loader *l;
    uint32_t T = params->window_bytes, n = params->mix->n;
    int result = 0;

    if (T == 0)
        return pipeline_fail(EINVAL, "a window has at least one byte");
    if (most_windows(params, n) > UINT32_MAX)
        return pipeline_fail(EINVAL, "at most %u windows can be shuffled together", UINT32_MAX);
    if (params->start && params->start->n && params->start->n != n)
        return pipeline_fail(ESTALE,
                             "the checkpoint reads %u things at once, and the data gives %u: it is "
                             "not the data that the run was started with",
                             params->start->n, n);
    l = calloc(1, sizeof(*l));
    if (l)
        l->lanes = calloc(n, sizeof(*l->lanes));
    if (!l || !l->lanes) {
        free(l);
        return pipeline_fail(ENOMEM, "out of memory");
    }
    l->params = *params;
    if (params->start)
        l->cursor = *params->start;
    l->cursor.n = n;
    l->params.start = NULL;
    l->by_epoch = !params->mix->mixed || params->once;
    l->block_windows = (uint32_t)most_windows(params, n);
    l->block_bytes = (size_t)l->block_windows * T;
    for (uint32_t i = 0; i < n && result == 0; i++)
        result = start_lane(l, i);
    if (result < 0)
        pipeline_loader_destroy(&l);
    else
        *out = l;
    return result;
}

static void stop_lane(struct lane *lane, size_t block_bytes)
{
    if (lane->started)
        pthread_join(lane->worker, NULL);
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (lane->blocks[i].bytes)
            munmap(lane->blocks[i].bytes, block_bytes);
    }
    if (!lane->loader)
        return; /* it was never begun */
    pthread_cond_destroy(&lane->changed);
    pthread_mutex_destroy(&lane->lock);
}

void pipeline_loader_destroy(struct pipeline_loader **loader)
{
    struct pipeline_loader *dead = *loader;

    if (!dead)
        return;
    for (uint32_t i = 0; i < dead->cursor.n; i++) {
        struct lane *lane = &dead->lanes[i];

        if (!lane->started)
            continue;
        pthread_mutex_lock(&lane->lock);
        lane->leaving = true;
        pthread_cond_broadcast(&lane->changed);
        pthread_mutex_unlock(&lane->lock);
    }
    for (uint32_t i = 0; i < dead->cursor.n; i++)
        stop_lane(&dead->lanes[i], dead->block_bytes);
    free(dead->lanes);
    free(dead);
    *loader = NULL;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The block that a lane's next window comes from; one without windows at the end. */
static struct block *current_block(struct lane *lane)
{
    struct pipeline_loader_stats *stats = &lane->loader->stats;
    struct block *b = &lane->blocks[lane->current];

    while (!lane->held || (b->n_windows && b->next >= b->n_windows)) {
        bool first = !lane->held;
        double began = 0;

        pthread_mutex_lock(&lane->lock);
        if (lane->held) {
            lane->filled--;
            lane->current = (lane->current + 1) % BLOCKS;
            pthread_cond_broadcast(&lane->changed);
        }
        if (lane->filled == 0)
            began = now();
        while (lane->filled == 0)
            pthread_cond_wait(&lane->changed, &lane->lock);
        pthread_mutex_unlock(&lane->lock);
        if (began != 0)
            *(first ? &stats->waited_first : &stats->waited) += now() - began;
        lane->held = true;
        b = &lane->blocks[lane->current];
        if (b->n_windows || b->result == 0) {
            stats->damaged += b->damaged - lane->damaged;
            lane->damaged = b->damaged;
        }
    }
    return b;
}

/* Whether a lane has no more windows in this epoch. A lane without any byte is no failure here. */
static bool lane_ended(const struct pipeline_loader *l, const struct block *b)
{
    if (b->n_windows)
        return l->by_epoch && b->from.epoch > l->cursor.epoch;
    return b->result == 0 || (l->by_epoch && b->result == -ENODATA);
}

/* The lane whose turn it is, or NULL if none has a window in this epoch. Whether the best one has
 * ended is known only when its next block is there: so it is waited for. */
static struct lane *next_lane(struct pipeline_loader *l)
{
    bool ended[PIPELINE_MAX_LANES] = {false};

    for (;;) {
        struct lane *best = NULL;
        double least = 0;

        for (uint32_t i = 0; i < l->cursor.n; i++) {
            double share = (double)(l->cursor.lanes[i].given + 1) / l->lanes[i].weight;

            if (ended[i] || (best && share >= least))
                continue;
            best = &l->lanes[i];
            least = share;
        }
        if (!best || !lane_ended(l, current_block(best)))
            return best;
        ended[best->index] = true;
    }
}

/* The lane of the next window; goes into the next epoch when this one is over. NULL at the end of
 * everything, with *result 0 or what is wrong. */
static struct lane *turn(struct pipeline_loader *l, int *result)
{
    struct lane *lane = next_lane(l);
    bool any = false;

    *result = 0;
    if (lane)
        return lane;
    for (uint32_t i = 0; i < l->cursor.n; i++) {
        struct block *b = current_block(&l->lanes[i]);

        any = any || b->n_windows || b->result == 0;
    }
    if (!any) /* all lanes are without a byte */
        *result = pipeline_fail(ENODATA, "%s", current_block(&l->lanes[0])->line);
    if (!any || l->params.once)
        return NULL;
    l->cursor.epoch++;
    for (uint32_t i = 0; i < l->cursor.n; i++)
        l->cursor.lanes[i].given = 0;
    return next_lane(l);
}

/* Hands out window number `b->next` of the block's order. */
static uint32_t give_window(struct lane *lane, struct block *b, uint8_t *to)
{
    struct pipeline_loader *l = lane->loader;
    struct pipeline_lane_cursor *cursor = &l->cursor.lanes[lane->index];
    uint64_t seed = l->params.seed + lane->index * 0xd1b54a32d192ed03ull;
    uint64_t from, left, given = cursor->given + 1;
    uint32_t T = l->params.window_bytes;
    uint32_t i = b->next++;

    if (!l->params.in_order)
        i = pipeline_shuffle(seed, b->from.epoch, b->from.block, b->n_windows, i);
    from = (uint64_t)i * T;
    left = b->n_bytes - from < T ? b->n_bytes - from : T;
    memcpy(to, b->bytes + from, left);
    memset(to + left, 0, T - left);
    *cursor = b->next == b->n_windows ? b->then : b->from;
    cursor->window = b->next == b->n_windows ? 0 : b->next;
    cursor->given = given;
    l->stats.windows++;
    l->stats.bytes += left;
    return (uint32_t)left;
}

/* Of a mixture: passes that every lane has finished. */
static uint64_t least_epoch(const struct pipeline_loader *l)
{
    uint64_t least = l->cursor.lanes[0].epoch;

    for (uint32_t i = 1; i < l->cursor.n; i++)
        least = l->cursor.lanes[i].epoch < least ? l->cursor.lanes[i].epoch : least;
    return least;
}

int pipeline_loader_next(struct pipeline_loader *l, uint32_t rows, uint8_t *to, uint32_t *lengths,
                         struct pipeline_cursor *after)
{
    uint32_t T = l->params.window_bytes;
    uint32_t row = 0;

    for (; row < rows; row++) {
        int result;
        struct lane *lane = turn(l, &result);
        struct block *b = lane ? current_block(lane) : NULL;

        if (result < 0)
            return result;
        if (!b)
            break;
        if (b->n_windows == 0)
            return pipeline_fail(-b->result, "%s", b->line);
        lengths[row] = give_window(lane, b, to + (size_t)row * T);
    }
    for (uint32_t r = row; r < rows; r++) {
        memset(to + (size_t)r * T, 0, T);
        lengths[r] = 0;
    }
    if (!l->by_epoch)
        l->cursor.epoch = least_epoch(l);
    if (after)
        *after = l->cursor;
    return (int)row;
}

struct pipeline_loader_stats pipeline_loader_stats(const struct pipeline_loader *l)
{
    return l->stats;
}
