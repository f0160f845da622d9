#include "pipeline/loader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "pipeline/internal.h"

enum { BLOCKS = 2, FIRST_WINDOWS = 64, BLOCK_BYTES = 16 << 20 };

/* A block of windows, or the end of them (n_windows == 0). */
struct block {
    uint8_t *bytes; /* (block_windows, T) */
    uint64_t n_bytes;
    uint32_t n_windows, next;    /* next: windows handed out */
    struct pipeline_cursor from; /* its beginning: window == 0 */
    struct pipeline_cursor then; /* behind it */
    uint64_t damaged;
    int result; /* of a block without windows: 0 the end, or -errno */
    char line[PIPELINE_MAX_LINE];
};

struct pipeline_loader {
    struct pipeline_loader_params params;
    size_t block_bytes;
    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct block blocks[BLOCKS];
    unsigned filled;  /* blocks that are ready; guarded by lock */
    bool leaving;     /* guarded by lock */
    unsigned current; /* the consumer's block */
    bool held;        /* the consumer holds blocks[current] */
    struct pipeline_cursor cursor;
    struct pipeline_loader_stats stats;
};

static uint64_t mix(uint64_t x)
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
    uint64_t key = mix(mix(mix(seed + 0x9e3779b97f4a7c15ull) + epoch) + block);
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

            right = left ^ ((uint32_t)mix(key + (round << 32 | right)) & mask);
            left = swap;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

/* Windows that block number `block` of an epoch holds, if there are enough bytes. */
static uint32_t windows_of(const struct pipeline_loader *l, uint64_t epoch, uint64_t block)
{
    uint64_t n = l->params.block_windows;

    if (epoch == 0 && block < 26 && ((uint64_t)FIRST_WINDOWS << block) < n)
        n = (uint64_t)FIRST_WINDOWS << block;
    return (uint32_t)n;
}

/* The worker's next block to fill, or NULL when it is to leave. */
static struct block *wait_for_room(struct pipeline_loader *l, unsigned index)
{
    bool leaving;

    pthread_mutex_lock(&l->lock);
    while (l->filled == BLOCKS && !l->leaving)
        pthread_cond_wait(&l->changed, &l->lock);
    leaving = l->leaving;
    pthread_mutex_unlock(&l->lock);
    return leaving ? NULL : &l->blocks[index];
}

static void publish(struct pipeline_loader *l)
{
    pthread_mutex_lock(&l->lock);
    l->filled++;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

/* Reads in pieces, so that leaving does not wait for a whole block. */
static int fill(struct pipeline_loader *l, uint8_t *to, size_t size, size_t *got)
{
    bool leaving = false;
    size_t n = 1;
    int result = 0;

    *got = 0;
    while (*got < size && n && result == 0 && !leaving) {
        size_t piece = size - *got < 262144 ? size - *got : 262144;

        result = pipeline_stream_read(l->params.stream, to + *got, piece, &n);
        if (result == 0)
            *got += n;
        pthread_mutex_lock(&l->lock);
        leaving = l->leaving;
        pthread_mutex_unlock(&l->lock);
    }
    return result;
}

/* Fills one block from `c` on and moves c behind it; goes into the next epoch when one is over. */
static int fill_block(struct pipeline_loader *l, struct block *b, struct pipeline_cursor *c)
{
    uint32_t T = l->params.window_bytes;
    bool fresh = c->block == 0 && !c->at.source && !c->at.member && !c->at.inner && !c->at.offset;
    size_t got;
    int result;

    for (;;) {
        b->from = *c;
        result = fill(l, b->bytes, (size_t)windows_of(l, c->epoch, c->block) * T, &got);
        if (result < 0)
            return result;
        if (got > 0)
            break;
        /* Without a byte, epochs would follow each other for ever. */
        if (fresh)
            return pipeline_stream_probe(l->params.stream);
        if (l->params.once)
            return 0;
        *c = (struct pipeline_cursor){.epoch = c->epoch + 1};
        fresh = true;
        result = pipeline_stream_seek(l->params.stream, c->at);
        if (result < 0)
            return result;
    }
    *c =
        (struct pipeline_cursor){c->epoch, c->block + 1, 0, pipeline_stream_tell(l->params.stream)};
    b->then = *c;
    b->n_bytes = got;
    b->n_windows = (uint32_t)((got + T - 1) / T);
    return 0;
}

static void *work(void *argument)
{
    struct pipeline_loader *l = argument;
    struct pipeline_cursor c = l->params.start;
    uint64_t passed = c.window; /* windows of the first block that were given before */
    struct block *b;
    int result = pipeline_stream_seek(l->params.stream, c.at);

    c.window = 0;
    for (unsigned index = 0; (b = wait_for_room(l, index)); index = (index + 1) % BLOCKS) {
        b->n_windows = 0;
        if (result == 0)
            result = fill_block(l, b, &c);
        if (result == 0 && passed > b->n_windows)
            result = pipeline_fail(ESTALE,
                                   "the checkpoint stands at window %llu of a block of %u: "
                                   "the data is not what the run was started with",
                                   (unsigned long long)passed, b->n_windows);
        if (result < 0)
            b->n_windows = 0;
        b->damaged = pipeline_stream_stats(l->params.stream).damaged;
        b->next = (uint32_t)passed;
        passed = 0;
        b->result = result;
        memcpy(b->line, pipeline_error(), sizeof(b->line));
        publish(l);
        if (b->n_windows == 0)
            break;
    }
    return NULL;
}

int pipeline_loader_create(const struct pipeline_loader_params *params,
                           struct pipeline_loader **out)
{
    struct pipeline_loader *l;
    uint32_t T = params->window_bytes;
    int error = 0;

    if (T == 0)
        return pipeline_fail(EINVAL, "a window has at least one byte");
    l = calloc(1, sizeof(*l));
    if (!l)
        return pipeline_fail(ENOMEM, "out of memory");
    l->params = *params;
    l->cursor = params->start;
    if (!l->params.block_windows)
        l->params.block_windows = T < BLOCK_BYTES ? BLOCK_BYTES / T : 1;
    l->block_bytes = (size_t)l->params.block_windows * T;
    for (unsigned i = 0; i < BLOCKS && !error; i++) {
        l->blocks[i].bytes = mmap(NULL, l->block_bytes, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (l->blocks[i].bytes == MAP_FAILED) {
            l->blocks[i].bytes = NULL;
            error = ENOMEM;
        }
    }
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    if (!error)
        error = pthread_create(&l->worker, NULL, work, l);
    if (error) {
        l->leaving = true;
        l->params.stream = NULL;
        pipeline_loader_destroy(&l);
        return pipeline_fail(error, "cannot start reading %zu bytes at a time: %s", (size_t)T,
                             strerror(error));
    }
    *out = l;
    return 0;
}

void pipeline_loader_destroy(struct pipeline_loader **loader)
{
    struct pipeline_loader *dead = *loader;

    if (!dead)
        return;
    if (dead->params.stream) { /* otherwise the worker never started */
        pthread_mutex_lock(&dead->lock);
        dead->leaving = true;
        pthread_cond_broadcast(&dead->changed);
        pthread_mutex_unlock(&dead->lock);
        pthread_join(dead->worker, NULL);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (dead->blocks[i].bytes)
            munmap(dead->blocks[i].bytes, dead->block_bytes);
    }
    pthread_cond_destroy(&dead->changed);
    pthread_mutex_destroy(&dead->lock);
    free(dead);
    *loader = NULL;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The block that the next window comes from; one without windows at the end. */
static struct block *current_block(struct pipeline_loader *l)
{
    struct block *b = &l->blocks[l->current];

    while (!l->held || (b->n_windows && b->next >= b->n_windows)) {
        double began = 0;

        pthread_mutex_lock(&l->lock);
        if (l->held) {
            l->filled--;
            l->current = (l->current + 1) % BLOCKS;
            pthread_cond_broadcast(&l->changed);
        }
        if (l->filled == 0)
            began = now();
        while (l->filled == 0)
            pthread_cond_wait(&l->changed, &l->lock);
        pthread_mutex_unlock(&l->lock);
        if (began != 0 && l->stats.windows == 0)
            l->stats.waited_first += now() - began;
        else if (began != 0)
            l->stats.waited += now() - began;
        l->held = true;
        b = &l->blocks[l->current];
    }
    return b;
}

/* Hands out window number `b->next` of the block's order. */
static uint32_t give_window(struct pipeline_loader *l, struct block *b, uint8_t *to)
{
    uint32_t T = l->params.window_bytes;
    uint32_t i = b->next++;
    uint64_t from, left;

    if (!l->params.in_order)
        i = pipeline_shuffle(l->params.seed, b->from.epoch, b->from.block, b->n_windows, i);
    from = (uint64_t)i * T;
    left = b->n_bytes - from < T ? b->n_bytes - from : T;
    memcpy(to, b->bytes + from, left);
    memset(to + left, 0, T - left);
    if (b->next == b->n_windows) {
        l->cursor = b->then;
    } else {
        l->cursor = b->from;
        l->cursor.window = b->next;
    }
    l->stats.windows++;
    l->stats.bytes += left;
    return (uint32_t)left;
}

int pipeline_loader_next(struct pipeline_loader *l, uint32_t rows, uint8_t *to, uint32_t *lengths,
                         struct pipeline_cursor *after)
{
    uint32_t T = l->params.window_bytes;
    uint32_t row = 0;

    for (; row < rows; row++) {
        struct block *b = current_block(l);
        uint32_t length;

        if (b->n_windows == 0 && b->result < 0)
            return pipeline_fail(-b->result, "%s", b->line);
        l->stats.damaged = b->damaged;
        if (b->n_windows == 0)
            break;
        length = give_window(l, b, to + (size_t)row * T);
        lengths[row] = length;
    }
    for (uint32_t r = row; r < rows; r++) {
        memset(to + (size_t)r * T, 0, T);
        lengths[r] = 0;
    }
    if (after)
        *after = l->cursor;
    return (int)row;
}

struct pipeline_loader_stats pipeline_loader_stats(const struct pipeline_loader *l)
{
    return l->stats;
}
