/* error.c - see error.h. */
#include "megabyte/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char error_line[1024];

const char *megabyte_error(void)
{
    return error_line;
}

int megabyte_fail(int code, const char *format, ...)
{
    char line[sizeof error_line]; /* the arguments may point into error_line */
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    /* Paths and names come from outside; none may break the line or command a terminal. */
    for (unsigned char *c = (unsigned char *)line; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
    memcpy(error_line, line, sizeof line);
    return -code;
}
