/*
 * The engine that works everywhere: a queue of requests and a few threads that pread.
 */
#include "pipeline/io_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct pool {
    struct engine engine;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    struct request *first, **last;
    bool leaving;
    unsigned n_threads;
    uint32_t delay_us;
    pthread_t threads[];
};

static void read_whole(struct request *r)
{
    while (r->got < r->need) {
        ssize_t n = pread(r->fd, r->buffer + r->got, r->want - r->got, (off_t)(r->offset + r->got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r->error = errno;
        if (n <= 0)
            return;
        r->got += (uint32_t)n;
        if (r->got < r->need)
            request_align(r);
    }
}

static void *pool_thread(void *argument)
{
    struct pool *pool = argument;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct request *r = pool->first;

        if (!r && pool->leaving)
            break;
        if (!r) {
            pthread_cond_wait(&pool->work, &pool->lock);
            continue;
        }
        pool->first = r->next;
        if (!pool->first)
            pool->last = &pool->first;
        pthread_mutex_unlock(&pool->lock);
        if (pool->delay_us)
            usleep(pool->delay_us);
        read_whole(r);
        pthread_mutex_lock(&pool->lock);
        atomic_store(&r->state, REQUEST_DONE);
        pthread_cond_broadcast(&pool->done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void pool_submit(struct engine *engine, struct request **requests, unsigned n)
{
    struct pool *pool = (struct pool *)engine;

    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < n; i++) {
        requests[i]->next = NULL;
        *pool->last = requests[i];
        pool->last = &requests[i]->next;
    }
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

static void pool_wait(struct engine *engine, struct request *request)
{
    struct pool *pool = (struct pool *)engine;

    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&request->state) == REQUEST_BUSY)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static void pool_destroy(struct engine *engine)
{
    struct pool *pool = (struct pool *)engine;

    pthread_mutex_lock(&pool->lock);
    pool->leaving = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int pipeline_engine_threads(unsigned threads, uint32_t delay_us, struct engine **out)
{
    struct pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));
    int error = 0;

    if (!pool)
        return -ENOMEM;
    pool->engine = (struct engine){"threads", pool_submit, pool_wait, pool_destroy};
    pool->last = &pool->first;
    pool->delay_us = delay_us;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (; pool->n_threads < threads && !error; pool->n_threads += !error)
        error = pthread_create(&pool->threads[pool->n_threads], NULL, pool_thread, pool);
    /* Fewer threads than asked for are slower, not wrong. */
    if (pool->n_threads == 0) {
        pool_destroy(&pool->engine);
        return -error;
    }
    *out = &pool->engine;
    return 0;
}
