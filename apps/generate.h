/*
 * The parts of mb-generate: options (mb-generate.c), the run (generate.c).
 */
#ifndef APPS_GENERATE_H
#define APPS_GENERATE_H

#include "apps/device.h"
#include "apps/media.h"
#include "nn/sampling.h"

struct generate_prompt {
    uint8_t *bytes;
    size_t size;
    const char *path; /* of the file that it came from; NULL: the command line */
};

enum generate_form {
    GENERATE_AUTO, /* text on a terminal, else raw */
    GENERATE_RAW,  /* bytes as they are */
    GENERATE_TEXT, /* valid UTF-8 (apps/utf8.h) */
};

struct generate_options {
    struct app_device_options device;
    struct nn_sampling sampling;
    struct generate_prompt *prompts; /* (prompt_count), at least one, which may be empty */
    size_t prompt_count;
    uint64_t count; /* sequences of each prompt */
    uint64_t batch; /* sequences that advance together, at most */
    uint64_t prompt_bytes; /* of each prompt, at most */
    uint64_t bytes; /* of each sequence; UINT64_MAX: what is usual for the kind of output */
    enum generate_form form;
    const char *png, *wav;    /* files instead of standard output, or NULL */
    struct app_media media;   /* what the options say; 0: what the checkpoint says */
    bool json;
    const char *checkpoint;
};

/* Generates, and returns an exit status. */
int generate_run(const struct generate_options *options);

#endif
