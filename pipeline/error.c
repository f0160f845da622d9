#include "pipeline/internal.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_error[PIPELINE_MAX_LINE];

static struct {
    pipeline_log_fn log;
    void *user;
} notes;

const char *pipeline_error(void)
{
    return last_error;
}

void pipeline_log_to(pipeline_log_fn log, void *user)
{
    notes.log = log;
    notes.user = user;
}

/* One line is promised, and libraries whose words are in it end some of theirs with a break. */
static void write_line(char line[PIPELINE_MAX_LINE], const char *format, va_list args)
{
    char *to = line;

    vsnprintf(line, PIPELINE_MAX_LINE, format, args);
    for (const char *from = line; *from; from++) {
        bool control = (unsigned char)*from < ' ' || *from == 0x7f;

        if (control && (from[1] == ')' || from[1] == 0))
            continue;
        *to++ = control ? ' ' : *from;
    }
    *to = 0;
}

int pipeline_fail(int error, const char *format, ...)
{
    /* Built aside, because an argument may be the present line itself. */
    char line[PIPELINE_MAX_LINE];
    va_list args;

    va_start(args, format);
    write_line(line, format, args);
    va_end(args);
    memcpy(last_error, line, sizeof(last_error));
    return -error;
}

void pipeline_note(const char *format, ...)
{
    char line[PIPELINE_MAX_LINE];
    va_list args;

    if (!notes.log)
        return;
    va_start(args, format);
    write_line(line, format, args);
    va_end(args);
    notes.log(notes.user, line);
}

/* Length of the well-formed UTF-8 character at s (2..4), or 0. */
static size_t utf8_length(const unsigned char *s)
{
    size_t n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : 0;

    if (s[0] >= 0xf0 && s[0] < 0xf5)
        n = 4;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    /* Overlong forms, surrogates, beyond U+10FFFF, and C1 controls. */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f) ||
        (s[0] == 0xc2 && s[1] < 0xa0))
        return 0;
    return n;
}

char *pipeline_printable(const char *name, char *out, size_t size)
{
    const unsigned char *s = (const unsigned char *)name;
    size_t used = 0;

    while (*s) {
        char piece[8];
        size_t take = 1;
        size_t n = s[0] >= 0x80 ? utf8_length(s) : 0;

        if (n) {
            memcpy(piece, s, n);
            piece[n] = 0;
            take = n;
        } else if (*s == '\n' || *s == '\t' || *s == '\r' || *s == '\\') {
            const char letters[] = {'\\',
                                    *s == '\n'   ? 'n'
                                    : *s == '\t' ? 't'
                                    : *s == '\r' ? 'r'
                                                 : '\\',
                                    0};
            memcpy(piece, letters, sizeof(letters));
        } else if (*s < 0x20 || *s >= 0x7f) {
            snprintf(piece, sizeof(piece), "\\x%02x", *s);
        } else {
            piece[0] = (char)*s;
            piece[1] = 0;
        }
        n = strlen(piece);
        if (used + n + 4 > size) {
            memcpy(out + used, "...", 4);
            return out;
        }
        memcpy(out + used, piece, n);
        used += n;
        s += take;
    }
    out[used] = 0;
    return out;
}
