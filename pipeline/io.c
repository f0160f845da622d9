/*
 * Files on an engine: which blocks to ask for, and in which order to hand them out.
 */
#include "pipeline/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pipeline/internal.h"
#include "pipeline/io_engine.h"

enum { SPARE_BUFFERS = 4 };

struct pipeline_io {
    struct engine *engine;
    uint32_t block_bytes, depth;
    _Atomic bool canceled;
    bool direct;
    pthread_mutex_t lock;          /* guards the spare buffers */
    uint8_t *spare[SPARE_BUFFERS]; /* of closed files: opening many small files must not mmap */
    unsigned n_spare;
};

struct pipeline_file {
    struct pipeline_io *io;
    int fd;
    bool by_request; /* a regular file of known size; otherwise plain reads until it ends */
    bool ended;
    uint64_t size, position;
    uint64_t next_block; /* the block after the last one handed out: are we reading in order? */
    uint32_t ahead;      /* blocks to have in flight beyond the wanted one */
    bool direct;         /* it is read past the page cache */
    uint8_t *buffer;     /* depth * block_bytes, page-aligned */
    char *path;
    struct request slots[]; /* block b lives in slots[b % depth] */
};

/* The first number in a small file of the kernel's, or -1. */
static int number_in(const char *path, const char *after)
{
    char text[4096];
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    const char *found;

    if (f)
        fclose(f);
    text[n] = 0;
    found = n ? strstr(text, after) : NULL;
    return found ? atoi(found + strlen(after)) : -1;
}

static void say_why_not(int error, char *out, size_t size)
{
    int sysctl = number_in("/proc/sys/kernel/io_uring_disabled", "");
    int seccomp = number_in("/proc/self/status", "Seccomp:");

    if (error == EOPNOTSUPP)
        snprintf(out, size, "this build has no liburing");
    else if (error == EPERM && sysctl > 0)
        snprintf(out, size,
                 "the sysctl kernel.io_uring_disabled is %d; an administrator can set it to 0",
                 sysctl);
    else if ((error == EPERM || error == ENOSYS) && seccomp > 0)
        snprintf(out, size,
                 "%s; a seccomp filter is active, as in the default profile of containers; "
                 "allow io_uring_setup, io_uring_enter and io_uring_register there",
                 error == EPERM ? "not permitted" : "no such call");
    else if (error == ENOSYS)
        snprintf(out, size, "this kernel has none; Linux 5.1 or newer is needed");
    else if (error == ENOMEM)
        snprintf(out, size, "the limit of locked memory is too low; raise `ulimit -l`");
    else
        snprintf(out, size, "%s", strerror(error));
}

static int engine_create(struct pipeline_io *io, const struct pipeline_io_params *p)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    char why[256];
    int result = -EOPNOTSUPP;

    if (p->mode != PIPELINE_IO_THREADS) {
        result = pipeline_engine_uring(p->depth, p->delay_us, &io->engine);
        if (result == 0)
            return 0;
        say_why_not(-result, why, sizeof(why));
        if (p->mode == PIPELINE_IO_URING)
            return pipeline_fail(-result, "io_uring is refused (%s)", why);
        if (!atomic_flag_test_and_set(&said))
            pipeline_note("io_uring is refused (%s): reading with %u threads instead", why,
                          p->threads);
    }
    result = pipeline_engine_threads(p->threads, p->delay_us, &io->engine);
    if (result < 0)
        pipeline_fail(-result, "cannot start threads for reading: %s", strerror(-result));
    return result;
}

int pipeline_io_create(const struct pipeline_io_params *params, struct pipeline_io **out)
{
    struct pipeline_io_params p = params ? *params : (struct pipeline_io_params){0};
    struct pipeline_io *io;
    int result;

    p.block_bytes = p.block_bytes ? p.block_bytes : 256 * 1024;
    p.depth = p.depth ? p.depth : 8;
    p.threads = p.threads ? p.threads : 4;
    if (p.block_bytes % 4096 || p.block_bytes > (64u << 20) || p.depth > 64 || p.threads > 64 ||
        p.delay_us > 1000000)
        return pipeline_fail(EINVAL,
                             "reading: block of %u bytes, depth %u, %u threads: a block is a "
                             "multiple of 4096 up to 64 MiB, the others are 1 to 64",
                             p.block_bytes, p.depth, p.threads);
    io = calloc(1, sizeof(*io));
    if (!io)
        return pipeline_fail(ENOMEM, "out of memory");
    io->block_bytes = p.block_bytes;
    io->depth = p.depth;
    io->direct = p.direct;
    result = engine_create(io, &p);
    if (result < 0) {
        free(io);
        return result;
    }
    pthread_mutex_init(&io->lock, NULL);
    *out = io;
    return 0;
}

void pipeline_io_destroy(struct pipeline_io **io)
{
    struct pipeline_io *dead = *io;

    if (!dead)
        return;
    dead->engine->destroy(dead->engine);
    for (unsigned i = 0; i < dead->n_spare; i++)
        munmap(dead->spare[i], (size_t)dead->depth * dead->block_bytes);
    pthread_mutex_destroy(&dead->lock);
    free(dead);
    *io = NULL;
}

const char *pipeline_io_name(const struct pipeline_io *io)
{
    return io->engine->name;
}

void pipeline_io_cancel(struct pipeline_io *io)
{
    atomic_store(&io->canceled, true);
}

static uint8_t *buffer_take(struct pipeline_io *io)
{
    uint8_t *buffer = NULL;

    pthread_mutex_lock(&io->lock);
    if (io->n_spare)
        buffer = io->spare[--io->n_spare];
    pthread_mutex_unlock(&io->lock);
    if (!buffer) {
        buffer = mmap(NULL, (size_t)io->depth * io->block_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (buffer == MAP_FAILED)
            return NULL;
    }
    return buffer;
}

static void buffer_give(struct pipeline_io *io, uint8_t *buffer)
{
    pthread_mutex_lock(&io->lock);
    if (io->n_spare < SPARE_BUFFERS) {
        io->spare[io->n_spare++] = buffer;
        buffer = NULL;
    }
    pthread_mutex_unlock(&io->lock);
    if (buffer)
        munmap(buffer, (size_t)io->depth * io->block_bytes);
}

/* Past the page cache, if that was asked for and the file system can. */
static void go_direct(struct pipeline_file *file)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    char shown[PIPELINE_MAX_NAME];

    if (!file->io->direct || !file->by_request)
        return;
    file->direct = fcntl(file->fd, F_SETFL, O_DIRECT) == 0;
    if (!file->direct && !atomic_flag_test_and_set(&said))
        pipeline_note("%s: cannot be read past the page cache (%s): reading through it",
                      pipeline_printable(file->path, shown, sizeof(shown)), strerror(errno));
}

/* `file` names the file as far as it got; close() takes apart what is there. */
static int file_fill(struct pipeline_file *file, const char *path)
{
    char shown[PIPELINE_MAX_NAME];
    struct stat st;

    file->path = strdup(path);
    file->buffer = buffer_take(file->io);
    if (!file->path || !file->buffer)
        return pipeline_fail(ENOMEM, "out of memory");
    pipeline_printable(path, shown, sizeof(shown));
    /* Without O_NONBLOCK, opening a pipe that nobody writes to yet could not be interrupted. */
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file->fd < 0 || fstat(file->fd, &st) < 0)
        return pipeline_fail(errno, "%s: %s", shown, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return pipeline_fail(EISDIR, "%s: is a folder", shown);
    file->by_request = S_ISREG(st.st_mode) && st.st_size > 0;
    file->size = file->by_request ? (uint64_t)st.st_size : 0;
    file->ahead = file->io->depth > 1;
    for (uint32_t i = 0; i < file->io->depth; i++)
        file->slots[i].buffer = file->buffer + (size_t)i * file->io->block_bytes;
    go_direct(file);
    return 0;
}

int pipeline_file_open(struct pipeline_io *io, const char *path, struct pipeline_file **out)
{
    struct pipeline_file *file = calloc(1, sizeof(*file) + io->depth * sizeof(file->slots[0]));
    int result;

    if (!file)
        return pipeline_fail(ENOMEM, "out of memory");
    file->io = io;
    file->fd = -1;
    result = file_fill(file, path);
    if (result < 0)
        pipeline_file_close(&file);
    else
        *out = file;
    return result;
}

void pipeline_file_close(struct pipeline_file **file)
{
    struct pipeline_file *dead = *file;

    if (!dead)
        return;
    for (uint32_t i = 0; i < dead->io->depth; i++) {
        /* The kernel or a thread may still be writing there. */
        if (atomic_load(&dead->slots[i].state) == REQUEST_BUSY)
            dead->io->engine->wait(dead->io->engine, &dead->slots[i]);
    }
    if (dead->fd >= 0)
        close(dead->fd);
    if (dead->buffer)
        buffer_give(dead->io, dead->buffer);
    free(dead->path);
    free(dead);
    *file = NULL;
}

static int file_fail(struct pipeline_file *file, int error, uint64_t offset)
{
    char shown[PIPELINE_MAX_NAME];

    return pipeline_fail(error, "%s: reading at byte %llu: %s",
                         pipeline_printable(file->path, shown, sizeof(shown)),
                         (unsigned long long)offset, strerror(error));
}

/* A pipe, a device, a file of /proc. */
static int read_plain(struct pipeline_file *file, const void **data, size_t *size)
{
    ssize_t n = 0;

    while (!file->ended) {
        struct pollfd ready = {file->fd, POLLIN, 0};

        if (atomic_load(&file->io->canceled))
            return pipeline_fail(ECANCELED, "interrupted");
        if (poll(&ready, 1, 200) == 0)
            continue;
        n = read(file->fd, file->buffer, file->io->block_bytes);
        if (n >= 0)
            break;
        if (errno != EINTR && errno != EAGAIN)
            return file_fail(file, errno, file->position);
    }
    file->ended = n == 0;
    file->position += (uint64_t)n;
    *data = file->buffer;
    *size = (size_t)n;
    return 0;
}

/* Collects in list[] a request for block b unless it is there, on its way, or its place is taken.
 */
static unsigned ask_for(struct pipeline_file *file, uint64_t b, struct request **list)
{
    struct request *r = &file->slots[b % file->io->depth];
    uint32_t block_bytes = file->io->block_bytes;
    uint64_t left = file->size - b * block_bytes;
    int state = atomic_load(&r->state);

    if (state == REQUEST_BUSY || (state == REQUEST_DONE && r->block == b))
        return 0;
    r->fd = file->fd;
    r->block = b;
    r->offset = b * block_bytes;
    r->need = left < block_bytes ? (uint32_t)left : block_bytes;
    r->want = file->direct ? block_bytes : r->need;
    r->got = 0;
    r->error = 0;
    atomic_store(&r->state, REQUEST_BUSY);
    *list = r;
    return 1;
}

/* Brings block b and sends for the ones after it. */
static struct request *fetch(struct pipeline_file *file, uint64_t b)
{
    struct engine *engine = file->io->engine;
    struct request *r = &file->slots[b % file->io->depth];
    struct request *list[64];
    uint64_t last = (file->size - 1) / file->io->block_bytes;
    unsigned n = 0;

    if (r->block != b)
        engine->wait(engine, r); /* left over from before a seek */
    n += ask_for(file, b, list);
    for (uint64_t k = 1; k <= file->ahead && b + k <= last; k++)
        n += ask_for(file, b + k, list + n);
    if (n)
        engine->submit(engine, list, n);
    engine->wait(engine, r);
    return r;
}

int pipeline_file_read(struct pipeline_file *file, const void **data, size_t *size)
{
    uint32_t block_bytes = file->io->block_bytes;
    uint64_t b = file->position / block_bytes;
    size_t from = file->position % block_bytes;
    struct request *r;

    if (!file->by_request)
        return read_plain(file, data, size);
    if (atomic_load(&file->io->canceled))
        return pipeline_fail(ECANCELED, "interrupted");
    *size = 0;
    if (file->position >= file->size)
        return 0;
    if (b == file->next_block && file->ahead * 2 < file->io->depth)
        file->ahead *= 2;
    else if (b == file->next_block)
        file->ahead = file->io->depth - 1;
    else if (b + 1 != file->next_block)
        file->ahead = file->io->depth > 1;
    file->next_block = b + 1;
    r = fetch(file, b);
    if (r->error || r->got < r->need) {
        char shown[PIPELINE_MAX_NAME];

        atomic_store(&r->state, REQUEST_FREE);
        if (r->error)
            return file_fail(file, r->error, r->offset + r->got);
        return pipeline_fail(EBADMSG, "%s: ends at byte %llu of %llu: it shrank while it was read",
                             pipeline_printable(file->path, shown, sizeof(shown)),
                             (unsigned long long)(r->offset + r->got),
                             (unsigned long long)file->size);
    }
    *data = r->buffer + from;
    *size = r->need - from; /* more may have come, if the file has grown */
    file->position += *size;
    return 0;
}

int pipeline_file_seek(struct pipeline_file *file, uint64_t offset)
{
    if (!file->by_request && offset != file->position)
        return pipeline_fail(ESPIPE, "%s: cannot go to another byte of a pipe", file->path);
    if (file->by_request && offset > file->size)
        return pipeline_fail(EINVAL, "%s: byte %llu is past the end", file->path,
                             (unsigned long long)offset);
    file->position = offset;
    return 0;
}

bool pipeline_file_seekable(const struct pipeline_file *file)
{
    return file->by_request;
}

uint64_t pipeline_file_size(const struct pipeline_file *file)
{
    return file->size;
}

uint64_t pipeline_file_position(const struct pipeline_file *file)
{
    return file->position;
}
