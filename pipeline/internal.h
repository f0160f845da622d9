/*
 * What the library's own files share; not installed.
 */
#ifndef PIPELINE_INTERNAL_H
#define PIPELINE_INTERNAL_H

#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>

#include "pipeline/pipeline.h"

enum { PIPELINE_MAX_LINE = 1024, PIPELINE_MAX_NAME = 300 };

/* Keeps the line for pipeline_error() and returns -error, so that one can write
 * `return pipeline_fail(ENOENT, "%s: ...", ...)`. */
int pipeline_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Hands a line to the log callback, if there is one. */
void pipeline_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Four bytes as a number, the lowest first. */
static inline uint32_t pipeline_little32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

#endif
