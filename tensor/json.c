/* json.c - see json.h.
 *
 * An allocation that fails while jansson reads is made up for from a small reserve, so that jansson
 * never sees it fail before it asks for more input; it is given none then, and what it made of the
 * rest is thrown away. Between two pieces of input jansson takes less than the reserve has.
 */
#include "tensor/json.h"
#include "tensor/backend.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local bool reading, starved;

static struct {
    pthread_mutex_t lock;
    size_t used, live; /* bytes, blocks */
    _Alignas(16) unsigned char bytes[4 * TENSOR_JSON_TOKEN];
} reserve = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *from_reserve(size_t size)
{
    void *block = NULL;
    const size_t rounded = (size + 15) / 16 * 16;
    starved = true;
    pthread_mutex_lock(&reserve.lock);
    if (rounded <= sizeof reserve.bytes - reserve.used) {
        block = reserve.bytes + reserve.used;
        reserve.used += rounded;
        reserve.live++;
    }
    pthread_mutex_unlock(&reserve.lock);
    return block;
}

static void *take(size_t size)
{
    void *block = malloc(size);
    return block || !reading ? block : from_reserve(size);
}

static void give(void *block)
{
    if ((uintptr_t)block - (uintptr_t)reserve.bytes >= sizeof reserve.bytes) {
        free(block);
        return;
    }
    pthread_mutex_lock(&reserve.lock);
    if (--reserve.live == 0)
        reserve.used = 0;
    pthread_mutex_unlock(&reserve.lock);
}

static void set_functions(void)
{
    json_set_alloc_funcs(take, give);
}

/* What is beyond a bound, or NULL. */
static const char *beyond(const char *text, size_t size)
{
    int depth = 0;
    bool string = false;
    size_t token = 0;
    for (size_t i = 0; i < size; i++) {
        if (++token > TENSOR_JSON_TOKEN)
            return "a text or number in it is longer than 1 MiB";
        if (string) {
            if (text[i] == '\\') {
                i++;
            } else if (text[i] == '"') {
                string = false;
                token = 0;
            }
            continue;
        }
        if (text[i] && strchr("{[}],: \t\r\n\"", text[i]))
            token = 0;
        string = text[i] == '"';
        depth += (text[i] == '{' || text[i] == '[') - (text[i] == '}' || text[i] == ']');
        if (depth > TENSOR_JSON_DEPTH)
            return "it is nested too deep";
    }
    return NULL;
}

struct input {
    const char *text;
    size_t left;
};

static size_t feed(void *to, size_t capacity, void *user)
{
    struct input *input = user;
    const size_t n = capacity < input->left ? capacity : input->left;
    if (starved)
        return (size_t)-1;
    memcpy(to, input->text, n);
    input->text += n;
    input->left -= n;
    return n;
}

int tensor_json_read(const char *text, size_t size, json_t **json)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct input input = {text, size};
    json_error_t error;
    const char *wrong = beyond(text, size);
    if (wrong)
        return tensor_fail(EBADMSG, "%s", wrong);
    pthread_once(&once, set_functions);
    starved = false;
    reading = true;
    json_t *read = json_load_callback(feed, &input, JSON_REJECT_DUPLICATES, &error);
    reading = false;
    if (starved) {
        json_decref(read);
        return tensor_fail(ENOMEM, "no memory");
    }
    if (!read)
        return tensor_fail(EBADMSG, "line %d: %s", error.line < 1 ? 1 : error.line, error.text);
    *json = read;
    return 0;
}

struct output {
    char *text;
    size_t size, capacity;
    bool failed; /* jansson may ask again, and say that all is well */
};

static int append(const char *piece, size_t size, void *user)
{
    struct output *o = user;
    if (size >= o->capacity - o->size) { /* room for the final zero, too */
        const size_t capacity = 2 * (o->size + size) + 1;
        char *larger = o->failed ? NULL : realloc(o->text, capacity);
        o->failed = !larger;
        if (o->failed)
            return -1;
        o->text = larger;
        o->capacity = capacity;
    }
    memcpy(o->text + o->size, piece, size);
    o->size += size;
    return 0;
}

char *tensor_json_write(const json_t *json, size_t flags)
{
    struct output o = {0};
    const int result = json_dump_callback(json, append, &o, flags);
    if (result | o.failed) {
        free(o.text);
        return NULL;
    }
    o.text[o.size] = '\0';
    return o.text;
}
