/*
 * Blocks of a file, in order, with several requests in flight.
 *
 * One `pipeline_io` serves all open files of a process: it is one io_uring, or, where the kernel or
 * a container refuses io_uring, a small pool of threads that call pread. Each open file asks for
 * its next blocks ahead of time, so that decoding one block and fetching the next ones overlap. The
 * bytes delivered are the same either way.
 */
#ifndef PIPELINE_IO_H
#define PIPELINE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pipeline/pipeline.h"

/* How to read. */
enum pipeline_io_mode {
    PIPELINE_IO_AUTO,    /* io_uring; threads where it is refused, with one note that says why */
    PIPELINE_IO_URING,   /* io_uring, or fail and say why */
    PIPELINE_IO_THREADS, /* pread in a pool of threads */
};

/* Zero means default in every field. */
struct pipeline_io_params {
    enum pipeline_io_mode mode;
    uint32_t block_bytes; /* bytes of one request, a multiple of 4096; 0 = 262144 */
    uint32_t depth;       /* requests in flight for one file, 1..64; 0 = 8 */
    uint32_t threads;     /* size of the pool, if threads are used, 1..64; 0 = 4 */
    bool direct;          /* read regular files past the page cache, where the file system can: for
                             data larger than memory on a fast disk */
    uint32_t delay_us;    /* for tests: each request takes so much longer, as on a slow disk; with
                             io_uring Linux 5.16 is needed; up to 1000000 */
};

struct pipeline_io;

/*
 * Make the engine. params may be NULL (all defaults).
 * On success *out owns a ring or threads; give it to pipeline_io_destroy after every file that was
 * opened on it is closed. On failure nothing is kept.
 * Errors: -EINVAL (a field out of range), -ENOMEM, and with PIPELINE_IO_URING what refused it.
 * Thread-safety: the engine may be shared by threads; each file belongs to one thread at a time.
 */
int pipeline_io_create(const struct pipeline_io_params *params, struct pipeline_io **out);

/* Frees the engine and sets *io to NULL; a NULL engine is left alone. */
void pipeline_io_destroy(struct pipeline_io **io);

/* "io_uring" or "threads". */
const char *pipeline_io_name(const struct pipeline_io *io);

/*
 * Makes every read that waits, and every later one, fail with -ECANCELED. For leaving a program
 * that may be waiting for a pipe. Thread-safe.
 */
void pipeline_io_cancel(struct pipeline_io *io);

struct pipeline_file;

/*
 * Open a file for reading. Regular files are read by request; pipes and devices, and files whose
 * size says nothing (as in /proc), by plain reads until they end.
 * A regular file is the size that it had when it was opened: what is appended later is not read,
 * and one that shrinks is an error (-EBADMSG), never a silent end.
 * Errors: what open(2) says, -EISDIR, -ENOMEM. On failure nothing is kept.
 */
int pipeline_file_open(struct pipeline_io *io, const char *path, struct pipeline_file **out);

/* Waits for what is in flight, frees the file and sets *file to NULL; NULL is left alone. */
void pipeline_file_close(struct pipeline_file **file);

/*
 * The next bytes. *size is 0 at the end of the file, otherwise 1 to block_bytes.
 * *data belongs to the file and holds until the next call with the same file.
 * Errors: -EIO and its like with file and byte; -EBADMSG where the file shrank; -ECANCELED.
 */
int pipeline_file_read(struct pipeline_file *file, const void **data, size_t *size);

/*
 * Go to a byte, 0 to the size. Blocks that are at hand are kept, so small steps cost nothing; after
 * a long step reading ahead starts small again. Errors: -ESPIPE for a pipe, -EINVAL past the end.
 */
int pipeline_file_seek(struct pipeline_file *file, uint64_t offset);

/* Whether pipeline_file_seek works. */
bool pipeline_file_seekable(const struct pipeline_file *file);

/* Size in bytes when the file was opened; 0 where that is unknown. */
uint64_t pipeline_file_size(const struct pipeline_file *file);

/* Bytes from the beginning of the file to the next byte that pipeline_file_read will give. */
uint64_t pipeline_file_position(const struct pipeline_file *file);

#endif
