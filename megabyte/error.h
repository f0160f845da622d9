/* error.h - how this library reports errors: as tensor does (tensor/tensor.h), with a line of its
 * own.
 *
 * Functions that can fail return 0 or a negative errno value and leave their result untouched on
 * failure. The line says what failed, where, and what to do; it holds what tensor_error() said
 * where the failure came from there, so that a program shows one line only.
 */
#ifndef MEGABYTE_ERROR_H
#define MEGABYTE_ERROR_H

/* The line of the last failure on this thread, "" before any. Valid until the next one. */
const char *megabyte_error(void);

/* Sets the line, control characters shown as '?', and returns -code. The arguments may hold
 * megabyte_error() itself. */
int megabyte_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
