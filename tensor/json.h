/* json.h - JSON that someone else wrote, and JSON that must be right (private to the libraries and
 * programs here).
 *
 * jansson does the work, and is kept from what it does not do well: it recurses as deep as its
 * input is nested; where memory runs out in the middle of reading a text it goes on with a part of
 * it, and beyond the end of that; and where it runs out in the middle of writing, a piece of the
 * text is missing and nothing says so.
 */
#ifndef TENSOR_JSON_H
#define TENSOR_JSON_H

#include "tensor/tensor.h"

#include <jansson.h>

#define TENSOR_JSON_DEPTH 16         /* of arrays and objects in one another */
#define TENSOR_JSON_TOKEN (1u << 20) /* bytes of a string or number */

/* Reads one value: an object or array, of UTF-8, with no key twice in an object and nothing behind
 * it. On success *json is the caller's. Errors, with a few words in tensor_error(): -EBADMSG it is
 * none of that, or beyond a bound; -ENOMEM. Thread-safe. */
int tensor_json_read(const char *text, size_t size, json_t **json);

/* The text, as json_dumps() gives it, the caller's to free(). NULL: no memory, or not UTF-8. */
char *tensor_json_write(const json_t *json, size_t flags);

#endif
