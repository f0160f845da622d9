/* checkpoint_state.c - see checkpoint_state.h. */
#include "megabyte/checkpoint_state.h"
#include "megabyte/checkpoint.h"
#include "megabyte/error.h"
#include "megabyte/file.h"
#include "tensor/json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define FORMAT     "megabyte-checkpoint"
#define OPENING    "{\n \"xxh64\": \""
#define DIGITS     16
#define TEXT_LIMIT (64u << 20) /* bytes */

const char *const megabyte_checkpoint_names[2] = {
    [MEGABYTE_CHECKPOINT_MODEL] = "model.safetensors",
    [MEGABYTE_CHECKPOINT_OPTIMIZER] = "optimizer.safetensors",
};

static void hex(uint64_t value, char text[DIGITS + 1])
{
    snprintf(text, DIGITS + 1, "%016" PRIx64, value);
}

static int no_memory(void)
{
    return megabyte_fail(ENOMEM, "no memory for %s", MEGABYTE_STATE_NAME);
}

/* NULL: no memory. */
static json_t *files_object(const struct megabyte_checkpoint_state *s)
{
    json_t *files = json_object();
    int result = 0;
    for (int i = 0; i < 2; i++) {
        char digits[DIGITS + 1];
        if (!s->has[i])
            continue;
        hex(s->digest[i].xxh64, digits);
        result |= json_object_set_new(
            files, megabyte_checkpoint_names[i],
            json_pack("{s:I, s:s}", "size", (json_int_t)s->digest[i].size, "xxh64", digits));
    }
    if (result == 0)
        return files;
    json_decref(files);
    return NULL;
}

int megabyte_checkpoint_state_text(const struct megabyte_checkpoint_state *s, char **text)
{
    json_t *state = NULL;
    const int result = tensor_json_read(s->state, strlen(s->state), &state);
    if (result == -ENOMEM)
        return no_memory();
    if (result < 0)
        return megabyte_fail(EINVAL, "the state to save is no JSON object: %s", tensor_error());
    if (json_typeof(state) != JSON_OBJECT) {
        json_decref(state);
        return megabyte_fail(EINVAL, "the state to save is no JSON object");
    }
    char zeros[DIGITS + 1];
    hex(0, zeros);
    json_t *root = json_pack("{s:s, s:s, s:i, s:I, s:o, s:o}", "xxh64", zeros, "format", FORMAT,
                             "version", MEGABYTE_CHECKPOINT_VERSION, "step", (json_int_t)s->step,
                             "files", files_object(s), "state", state);
    char *whole = root ? tensor_json_write(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!whole)
        return no_memory();
    char digits[DIGITS + 1];
    hex(XXH64(whole, strlen(whole), 0), digits);
    memcpy(whole + strlen(OPENING), digits, DIGITS);
    *text = whole;
    return 0;
}

static int damaged(const char *what)
{
    return megabyte_fail(EBADMSG, "%s is damaged or was cut short: %s", MEGABYTE_STATE_NAME, what);
}

/* Sets the digits to zero, as they were when the digest was taken. A text that says its format and
 * version is longer than what comes before them. */
static bool digest_fits(char *text, size_t size)
{
    char digits[DIGITS + 1], found[DIGITS + 1];
    if (memcmp(text, OPENING, strlen(OPENING)) != 0)
        return false;
    char *place = text + strlen(OPENING);
    memcpy(found, place, DIGITS);
    memset(place, '0', DIGITS);
    hex(XXH64(text, size, 0), digits);
    return memcmp(found, digits, DIGITS) == 0;
}

static bool read_digest(const json_t *file, struct tensor_digest *digest)
{
    const char *digits = json_string_value(json_object_get(file, "xxh64"));
    json_int_t size = json_integer_value(json_object_get(file, "size"));
    if (!digits || strlen(digits) != DIGITS || strspn(digits, "0123456789abcdef") != DIGITS)
        return false;
    *digest = (struct tensor_digest){(uint64_t)size, strtoull(digits, NULL, 16)};
    return size > 0;
}

/* Which version it is, before anything that a later version may have changed is looked at. */
static int check_version(const json_t *root)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    const json_t *version = json_object_get(root, "version");
    if (!format || strcmp(format, FORMAT) != 0)
        return megabyte_fail(EBADMSG, "%s is not one of a megabyte checkpoint",
                             MEGABYTE_STATE_NAME);
    if (!json_is_integer(version) || json_integer_value(version) < 1)
        return damaged("no version");
    if (json_integer_value(version) > MEGABYTE_CHECKPOINT_VERSION)
        return megabyte_fail(ENOTSUP,
                             "%s has format version %" JSON_INTEGER_FORMAT
                             ", this program reads up to %d; use a newer megabyte",
                             MEGABYTE_STATE_NAME, json_integer_value(version),
                             MEGABYTE_CHECKPOINT_VERSION);
    return 0;
}

static int read_fields(const json_t *root, struct megabyte_checkpoint_state *s)
{
    const json_t *step = json_object_get(root, "step"), *state = json_object_get(root, "state");
    const json_t *files = json_object_get(root, "files");
    if (!json_is_integer(step) || json_integer_value(step) < 0 || !json_is_object(state))
        return damaged("no step or no state");
    s->step = (uint64_t)json_integer_value(step);
    for (int i = 0; i < 2; i++) {
        const json_t *file = json_object_get(files, megabyte_checkpoint_names[i]);
        s->has[i] = file != NULL;
        if (file && !read_digest(file, &s->digest[i]))
            return damaged("no digest of a file");
    }
    if (!s->has[MEGABYTE_CHECKPOINT_MODEL])
        return damaged("no digest of a model");
    s->state = tensor_json_write(state, JSON_COMPACT);
    return s->state ? 0 : no_memory();
}

int megabyte_checkpoint_state_parse(char *text, size_t size, struct megabyte_checkpoint_state *s)
{
    json_t *root = NULL;
    *s = (struct megabyte_checkpoint_state){0};
    int result = tensor_json_read(text, size, &root);
    if (result < 0)
        return result == -ENOMEM ? no_memory() : damaged(tensor_error());
    result = json_typeof(root) == JSON_OBJECT ? check_version(root) : damaged("no JSON object");
    if (result == 0 && !digest_fits(text, size))
        result = damaged("its text does not fit its digest");
    if (result == 0)
        result = read_fields(root, s);
    json_decref(root);
    return result;
}

int megabyte_checkpoint_state_read(int folder, struct megabyte_checkpoint_state *s)
{
    char *text = NULL;
    size_t size = 0;
    int result = megabyte_file_read(folder, MEGABYTE_STATE_NAME, TEXT_LIMIT, &text, &size);
    if (result == -ENOENT)
        return megabyte_fail(EBADMSG, "%s is missing", MEGABYTE_STATE_NAME);
    if (result == 0)
        result = megabyte_checkpoint_state_parse(text, size, s);
    free(text);
    return result;
}

void megabyte_checkpoint_state_finish(struct megabyte_checkpoint_state *s)
{
    free(s->state);
    s->state = NULL;
}
