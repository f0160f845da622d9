/*
 * The seam between files and the two ways of reading them; not installed.
 */
#ifndef PIPELINE_IO_ENGINE_H
#define PIPELINE_IO_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "pipeline/io.h"

enum request_state { REQUEST_FREE, REQUEST_BUSY, REQUEST_DONE };

/*
 * One read of [offset, offset + want) into buffer, of which the file has the first `need` bytes.
 * The file fills it in and submits it; the engine owns it while it is BUSY, repeats short and
 * interrupted reads, and makes it DONE with either got >= need, or got < need (the file ended
 * there), or error (a positive errno). Where a file is read past the page cache, only whole blocks
 * of READ_ALIGN may be asked for: want is more than need at its end.
 */
enum { READ_ALIGN = 4096 };

struct request {
    _Atomic int state;
    int fd;
    uint64_t block; /* which block of the file the buffer holds (or will) */
    uint64_t offset;
    uint32_t want, need, got;
    int error;
    uint8_t *buffer;
    struct iovec iov;
    struct request *next;
};

struct engine {
    const char *name;
    void (*submit)(struct engine *engine, struct request **requests, unsigned n);
    void (*wait)(struct engine *engine, struct request *request);
    void (*destroy)(struct engine *engine);
};

/* Ask for `depth` requests in flight for each of several files; each takes delay_us longer than it
 * would. 0 or -errno of what refused it. */
int pipeline_engine_uring(unsigned depth, uint32_t delay_us, struct engine **out);
int pipeline_engine_threads(unsigned threads, uint32_t delay_us, struct engine **out);

/* Where a request goes on after a short read. */
static inline void request_align(struct request *r)
{
    if (r->want != r->need)
        r->got -= r->got % READ_ALIGN;
}

#endif
