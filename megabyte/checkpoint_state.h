/* checkpoint_state.h - state.json, which makes a folder a checkpoint (private to the library).
 *
 *     {
 *      "xxh64": "…",          of this file's own text, with these 16 digits as zeros
 *      "format": "megabyte-checkpoint", "version": 1,
 *      "step": 500,
 *      "files": {"model.safetensors": {"size": bytes, "xxh64": "16 hexadecimal digits"}, …},
 *      "state": {…}           the caller's
 *     }
 */
#ifndef MEGABYTE_CHECKPOINT_STATE_H
#define MEGABYTE_CHECKPOINT_STATE_H

#include "tensor/safetensors.h"

#define MEGABYTE_STATE_NAME "state.json"

extern const char *const megabyte_checkpoint_names[2]; /* by enum megabyte_checkpoint_file */

struct megabyte_checkpoint_state {
    uint64_t step;
    bool has[2]; /* which files there are, by enum megabyte_checkpoint_file */
    struct tensor_digest digest[2];
    char *state; /* JSON text, to be freed by megabyte_checkpoint_state_finish() */
};

/* The text of state.json, the caller's to free(). -EINVAL: s->state is no JSON object; -ENOMEM. */
int megabyte_checkpoint_state_text(const struct megabyte_checkpoint_state *s, char **text);

/* Verifies the text of a state.json, in which the digits of its digest become zeros. On failure
 * there is nothing to finish. Errors: -EBADMSG, -ENOTSUP a newer version, -ENOMEM. */
int megabyte_checkpoint_state_parse(char *text, size_t size, struct megabyte_checkpoint_state *s);

/* The same for the file in a folder. Errors: those, -EBADMSG also where it is missing, others as
 * the system says. */
int megabyte_checkpoint_state_read(int folder, struct megabyte_checkpoint_state *s);

void megabyte_checkpoint_state_finish(struct megabyte_checkpoint_state *s);

#endif
