/* safetensors_parse.h - the header of a safetensors file: text in, a checked list of tensors out;
 * and what reading and writing share (private to the library).
 *
 * The parser knows no file: what it is given is hostile, and every branch of it is taken by a test
 * (tools/coverage).
 */
#ifndef TENSOR_SAFETENSORS_PARSE_H
#define TENSOR_SAFETENSORS_PARSE_H

#include "tensor/safetensors.h"

#include <jansson.h>

#define SAFETENSORS_METADATA   "__metadata__"
#define SAFETENSORS_HEADER_MAX 100000000u /* bytes: the limit of the public library */
#define SAFETENSORS_PIECE      (8u << 20) /* bytes of a tensor that are moved at a time */

/* What enum tensor_type is called in a file. */
extern const char *const tensor_safetensors_dtypes[TENSOR_TYPES];

/* The tensors of a file. Names, dtypes and metadata point into `header`. */
struct tensor_safetensors_list {
    json_t *header;
    const json_t *metadata;                 /* NULL: none */
    struct tensor_safetensors_entry *entry; /* (count), by their place in the data */
    uint64_t *shapes;                       /* of all entries, one behind the other */
    uint64_t count;
};

/* How long the header is, from the first 8 bytes of a file of `size` bytes. -EBADMSG: it is shorter
 * than 8 bytes or than that, or the header is above the limit. `raw` is not read where there are
 * no 8 bytes. */
int tensor_safetensors_header_length(const char *file, const unsigned char raw[8], uint64_t size,
                                     uint64_t *length);

/* Reads a header of `length` bytes, behind whose 8 + length bytes the file has `data` more. `file`
 * is what messages call it. On success the list is the caller's to end; on failure it is empty.
 * Errors: -EBADMSG what safetensors.h refuses, -ENOMEM. */
int tensor_safetensors_parse(const char *file, const char *text, uint64_t length, uint64_t data,
                             struct tensor_safetensors_list *list);
/* Ends a list that was parsed, or is all zero. */
void tensor_safetensors_list_finish(struct tensor_safetensors_list *list);

/* -EBADMSG with a line that says what is wrong, of the tensor called `name` unless NULL. */
int tensor_safetensors_damaged(const char *file, const char *what, const char *name);

/* A foreign name made fit for one line on a terminal. */
struct tensor_safetensors_shown {
    char text[96];
};
struct tensor_safetensors_shown tensor_safetensors_show(const char *name);

#endif
