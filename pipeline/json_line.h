/*
 * The text of one member of a JSON object; not installed.
 *
 * All of the object is read (RFC 8259), so that damage is found wherever in it, but nothing is kept
 * of it except the text, and no memory is taken.
 */
#ifndef PIPELINE_JSON_LINE_H
#define PIPELINE_JSON_LINE_H

#include <stddef.h>
#include <stdint.h>

enum { PIPELINE_JSON_DEPTH = 2048 }; /* of arrays and objects in one another */

/*
 * The text under `field` in the object that is line[0 .. size), as UTF-8 with the escapes resolved;
 * an escape that is half a surrogate pair becomes U+FFFD. Where the field is there more than once,
 * it is the last one's. `text` has room for `size` bytes, as no
 * text is longer than its JSON; NULL: only *length is wanted.
 * Errors: -EBADMSG, and why[] says in words that follow "line 1" that it is no JSON, no object, or
 * has no such text. What `text` holds is then undefined.
 */
int pipeline_json_text(const char *field, const uint8_t *line, size_t size, uint8_t *text,
                       size_t *length, char why[128]);

#endif
