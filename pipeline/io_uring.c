/*
 * The engine of choice: one ring for all files.
 *
 * Any thread may submit and any may wait. Of the threads that wait, one at a time (the reaper)
 * sleeps in the kernel, hands out what has arrived, and wakes the others.
 */
#include "pipeline/io_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef PIPELINE_HAVE_URING
#include <liburing.h>

struct ring {
    struct engine engine;
    struct io_uring uring;
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    bool reaping;
    unsigned in_flight, most;
    struct __kernel_timespec delay; /* before each request; for tests */
};

/* With the lock held: give the kernel what was pushed. EAGAIN: it is short of memory for now. */
static int ring_flush(struct ring *ring)
{
    int result;

    do {
        result = io_uring_submit(&ring->uring);
        if (result == -EAGAIN)
            usleep(1000);
    } while (result == -EINTR || result == -EAGAIN);
    return result;
}

static struct io_uring_sqe *next_entry(struct ring *ring, unsigned room)
{
    while (io_uring_sq_space_left(&ring->uring) < room)
        ring_flush(ring);
    return io_uring_get_sqe(&ring->uring);
}

/* With the lock held: (re)start the part of the request that is still missing. readv instead of
 * read because kernels before 5.6 know only that. */
static void ring_push(struct ring *ring, struct request *r)
{
    struct io_uring_sqe *sqe;

    if (ring->delay.tv_sec || ring->delay.tv_nsec) {
        sqe = next_entry(ring, 2); /* both in one submission, or they are no chain */
        io_uring_prep_timeout(sqe, &ring->delay, 0, IORING_TIMEOUT_ETIME_SUCCESS);
        io_uring_sqe_set_data(sqe, NULL);
        sqe->flags |= IOSQE_IO_LINK;
    }
    sqe = next_entry(ring, 1);
    r->iov = (struct iovec){r->buffer + r->got, r->want - r->got};
    io_uring_prep_readv(sqe, r->fd, &r->iov, 1, r->offset + r->got);
    io_uring_sqe_set_data(sqe, r);
    ring->in_flight++;
}

/* With the lock held: what one completion means for its request. */
static void ring_complete(struct ring *ring, struct request *r, int result)
{
    ring->in_flight--;
    if (result > 0)
        r->got += (uint32_t)result;
    else if (result < 0 && result != -EAGAIN && result != -EINTR)
        r->error = -result;
    if (result != 0 && !r->error && r->got < r->need) {
        request_align(r);
        ring_push(ring, r);
        return;
    }
    atomic_store(&r->state, REQUEST_DONE);
}

/* With the lock held: sleep until at least one completion was handed out. */
static void ring_reap(struct ring *ring)
{
    struct io_uring_cqe *cqe;
    int result;

    if (ring->reaping) {
        pthread_cond_wait(&ring->arrived, &ring->lock);
        return;
    }
    ring->reaping = true;
    ring_flush(ring);
    pthread_mutex_unlock(&ring->lock);
    do
        result = io_uring_wait_cqe(&ring->uring, &cqe);
    while (result == -EINTR);
    pthread_mutex_lock(&ring->lock);
    while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
        struct request *r = io_uring_cqe_get_data(cqe);

        result = cqe->res;
        io_uring_cqe_seen(&ring->uring, cqe);
        if (r) /* else a delay is over */
            ring_complete(ring, r, result);
    }
    ring_flush(ring);
    ring->reaping = false;
    pthread_cond_broadcast(&ring->arrived);
}

static void ring_submit(struct engine *engine, struct request **requests, unsigned n)
{
    struct ring *ring = (struct ring *)engine;

    pthread_mutex_lock(&ring->lock);
    for (unsigned i = 0; i < n; i++) {
        /* More than the completion queue holds would make the kernel keep them aside, which
         * older kernels answer with EBUSY. */
        while (ring->in_flight >= ring->most)
            ring_reap(ring);
        ring_push(ring, requests[i]);
    }
    ring_flush(ring);
    pthread_mutex_unlock(&ring->lock);
}

static void ring_wait(struct engine *engine, struct request *request)
{
    struct ring *ring = (struct ring *)engine;

    if (atomic_load(&request->state) != REQUEST_BUSY)
        return;
    pthread_mutex_lock(&ring->lock);
    while (atomic_load(&request->state) == REQUEST_BUSY)
        ring_reap(ring);
    pthread_mutex_unlock(&ring->lock);
}

static void ring_destroy(struct engine *engine)
{
    struct ring *ring = (struct ring *)engine;

    io_uring_queue_exit(&ring->uring);
    pthread_cond_destroy(&ring->arrived);
    pthread_mutex_destroy(&ring->lock);
    free(ring);
}

/* Some sandboxes let a ring be made and refuse its use: send one empty request around. */
static int ring_try(struct io_uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(uring);
    struct io_uring_cqe *cqe;
    int result;

    io_uring_prep_nop(sqe);
    result = io_uring_submit_and_wait(uring, 1);
    if (result < 0)
        return result;
    result = io_uring_peek_cqe(uring, &cqe);
    if (result == 0)
        io_uring_cqe_seen(uring, cqe);
    return result;
}

int pipeline_engine_uring(unsigned depth, uint32_t delay_us, struct engine **out)
{
    struct ring *ring = calloc(1, sizeof(*ring));
    unsigned entries = depth < 8 ? 32 : depth * 4;
    int result;

    if (!ring)
        return -ENOMEM;
    /* Old kernels count the ring against the limit of locked memory: a smaller one may still fit.
     */
    do
        result = io_uring_queue_init(entries, &ring->uring, 0);
    while (result == -ENOMEM && (entries /= 2) >= 2);
    if (result == 0) {
        result = ring_try(&ring->uring);
        if (result < 0)
            io_uring_queue_exit(&ring->uring);
    }
    if (result < 0) {
        free(ring);
        return result;
    }
    ring->engine = (struct engine){"io_uring", ring_submit, ring_wait, ring_destroy};
    ring->most = entries;
    ring->delay = (struct __kernel_timespec){delay_us / 1000000, delay_us % 1000000 * 1000};
    pthread_mutex_init(&ring->lock, NULL);
    pthread_cond_init(&ring->arrived, NULL);
    *out = &ring->engine;
    return 0;
}

#else

int pipeline_engine_uring(unsigned depth, uint32_t delay_us, struct engine **out)
{
    (void)depth;
    (void)delay_us;
    (void)out;
    return -EOPNOTSUPP;
}

#endif
