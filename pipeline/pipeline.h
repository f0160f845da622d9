/*
 * pipeline: files in, batches of bytes out.
 *
 * A model that predicts bytes needs no step between the files as they lie on disk and the numbers
 * that it trains on. This library opens whatever a user names (archives, compressed files, plain
 * files, folders), reads it with several requests in flight, decodes it member by member, lays the
 * members' bytes end to end, cuts that into windows, shuffles the windows, and hands out batches.
 * It always knows at which byte it stands, so that a run that was stopped goes on at the next one.
 *
 *     io.h       blocks of one file, in order     io_uring, or threads with pread
 *     source.h   what the user named              DATA arguments -> sources; is it the same data?
 *     archive.h  one source -> its members        libarchive on top of io.h; nothing goes to disk
 *     stream.h   all sources -> one run of bytes  choice of members, held-out side, seek
 *     split.h    held-out blocks of a file        and how many bytes are held out
 *     mix.h      which sources at once            lanes: several runs of bytes, by size or weight
 *     loader.h   run of bytes -> batches          windows, shuffle, worker thread, cursor
 *
 * Each header leans only on the ones above it. The library knows no tensor and no model.
 *
 * Letters, the same in every header:
 *     B  batch: windows (sequences) in one batch
 *     T  window: bytes in one window (the model's seq_len)
 *     P  patch: bytes in one patch (the model's patch_size)
 *     K  patches in one window, K = T / P
 * A batch has the shape (B, K, P), which is (B, T) in memory: uint8, row-major, no padding between
 * rows. Cutting a window into patches moves no byte, so this library only needs B and T.
 *
 * Byte 0 is a byte like any other. Whatever is padding is told by a length, never by a value.
 *
 * Errors: functions that can fail return 0 (or a count) or a negative errno, and write their result
 * through the last argument, which is left alone on failure. pipeline_error() holds one line for
 * humans: what is wrong, where (file, member, byte), and what to do.
 *     -EBADMSG          the data is damaged or cut short (on-corrupt applies)
 *     -EPROTONOSUPPORT  it is encrypted, or packed by a method not built in (on-corrupt applies)
 *     -ENODATA          nothing is left to read although something was needed
 *     -ESTALE           the data is not the data that a cursor or identity belongs to
 *     -ECANCELED        pipeline_io_cancel() was called
 *     -EINVAL           the caller's or the user's mistake
 *     anything else     what the operating system said (-ENOENT, -EACCES, -EIO, -ENOMEM ...)
 */
#ifndef PIPELINE_PIPELINE_H
#define PIPELINE_PIPELINE_H

#include <stddef.h>

/*
 * The line that belongs to the last failure in this thread. Never NULL; "" before any failure. It
 * has no newline and names no program. Bytes of file names that would disturb a terminal are
 * escaped. Owned by the library; valid until this thread's next failing call.
 */
const char *pipeline_error(void);

/* Receives one line (no newline) that is no failure: a fall-back taken, a member passed over. */
typedef void (*pipeline_log_fn)(void *user, const char *line);

/*
 * Where notes go; NULL (the default) drops them. Set it once, before other threads use the
 * library: it is process-wide and not locked. log may be called from any thread, also at once.
 */
void pipeline_log_to(pipeline_log_fn log, void *user);

/*
 * A file's name as it may stand in a message or on a terminal: control bytes, backslashes and what
 * is not UTF-8 become \n, \t, \r, \\ or \xNN. At most size - 1 bytes and a zero are written to out
 * (size at least 8); a name that does not fit ends with "...". Four times the name's length, plus
 * 4, always fits. Returns out.
 */
char *pipeline_printable(const char *name, char *out, size_t size);

#endif
