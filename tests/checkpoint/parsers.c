/* parsers.c - what safetensors.c and checkpoint.c cannot show through files: a state.json that fits
 * its digest and is wrong all the same, odd dtypes and shapes, and every allocation failing. */
#include "allocations.h"
#include "fixture.h"
#include "megabyte/checkpoint_state.h"
#include "megabyte/config.h"
#include "megabyte/error.h"
#include "tensor/json.h"
#include "tensor/safetensors_parse.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define BEGIN "{\n \"xxh64\": \""
#define ZEROS "0000000000000000"

/* A state.json with these fields behind its digest, which fits. */
static char *sealed(const char *fields)
{
    static char text[4096];
    char digits[17];
    snprintf(text, sizeof text, BEGIN ZEROS "\"%s}", fields);
    snprintf(digits, sizeof digits, "%016" PRIx64, (uint64_t)XXH64(text, strlen(text), 0));
    memcpy(text + strlen(BEGIN), digits, 16);
    return text;
}

#define HEAD  ",\"format\":\"megabyte-checkpoint\",\"version\":1"
#define FILE_ "{\"size\":9,\"xxh64\":\"0123456789abcdef\"}"
#define FILES ",\"files\":{\"model.safetensors\":" FILE_ "}"
#define REST  ",\"step\":5,\"state\":{\"a\":1}"

static void hostile_states(void)
{
    static const struct {
        const char *fields;
        int code;
        const char *line;
    } wrong[] = {
        {"", EBADMSG, "not one of a megabyte"},
        {",\"format\":1", EBADMSG, "not one of a megabyte"},
        {",\"format\":\"megabyte-checkpoint\"", EBADMSG, "no version"},
        {",\"format\":\"megabyte-checkpoint\",\"version\":1.0", EBADMSG, "no version"},
        {",\"format\":\"megabyte-checkpoint\",\"version\":-1", EBADMSG, "no version"},
        {",\"format\":\"megabyte-checkpoint\",\"version\":2", ENOTSUP, "newer"},
        {HEAD, EBADMSG, "no step or no state"},
        {HEAD FILES ",\"step\":-1,\"state\":{}", EBADMSG, "no step or no state"},
        {HEAD FILES ",\"step\":\"5\",\"state\":{}", EBADMSG, "no step or no state"},
        {HEAD FILES ",\"step\":99999999999999999999,\"state\":{}", EBADMSG, "damaged"},
        {HEAD FILES ",\"step\":5", EBADMSG, "no step or no state"},
        {HEAD FILES ",\"step\":5,\"state\":[]", EBADMSG, "no step or no state"},
        {HEAD FILES ",\"step\":5,\"state\":NaN", EBADMSG, "damaged"},
        {HEAD REST, EBADMSG, "no digest of a model"},
        {HEAD REST ",\"files\":[]", EBADMSG, "no digest of a model"},
        {HEAD REST ",\"files\":{\"optimizer.safetensors\":" FILE_ "}", EBADMSG, "of a model"},
        {HEAD REST ",\"files\":{\"model.safetensors\":[]}", EBADMSG, "no digest of a file"},
        {HEAD REST ",\"files\":{\"model.safetensors\":{\"size\":9}}", EBADMSG, "digest of a file"},
        {HEAD REST ",\"files\":{\"model.safetensors\":{\"size\":9,\"xxh64\":\"0\"}}", EBADMSG,
         "digest of a file"},
        {HEAD REST ",\"files\":{\"model.safetensors\":{\"size\":9,\"xxh64\":\"0123456789ABCDEF\"}}",
         EBADMSG, "digest of a file"},
        {HEAD REST ",\"files\":{\"model.safetensors\":{\"size\":0,\"xxh64\":\"" ZEROS "\"}}",
         EBADMSG, "digest of a file"},
        {HEAD REST ",\"files\":{\"model.safetensors\":{\"size\":-9,\"xxh64\":\"" ZEROS "\"}}",
         EBADMSG, "digest of a file"},
        {HEAD REST FILES FILES, EBADMSG, "uplicate"},
        {HEAD REST FILES ",\"\xff\":1", EBADMSG, "damaged"},
        {HEAD REST FILES "} ,", EBADMSG, "damaged"},
    };
    struct megabyte_checkpoint_state s;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *text = sealed(wrong[i].fields);
        REQUIRE_ERROR(megabyte_checkpoint_state_parse(text, strlen(text), &s), wrong[i].code,
                      wrong[i].line);
    }
    char *text = sealed(HEAD REST FILES);
    REQUIRE_OK(megabyte_checkpoint_state_parse(text, strlen(text), &s));
    REQUIRE(s.step == 5 && strcmp(s.state, "{\"a\":1}") == 0 && s.has[0] && !s.has[1]);
    REQUIRE(s.digest[0].size == 9 && s.digest[0].xxh64 == 0x0123456789abcdef);
    megabyte_checkpoint_state_finish(&s);
    /* The digest in another place than the first, or too short a text for one. */
    char moved[] = "{\"format\":\"megabyte-checkpoint\",\"version\":1,\"xxh64\":\"" ZEROS "\"}";
    REQUIRE_ERROR(megabyte_checkpoint_state_parse(moved, strlen(moved), &s), EBADMSG, "its digest");
    char brief[] = "{\"format\":\"megabyte-checkpoint\",\"version\":1}";
    REQUIRE_ERROR(megabyte_checkpoint_state_parse(brief, strlen(brief), &s), EBADMSG, "its digest");
    /* Deep enough to end a stack, were it not for jansson's bound. */
    char *deep = malloc(3000001);
    REQUIRE(deep != NULL);
    memset(deep, '[', 3000000);
    REQUIRE_ERROR(megabyte_checkpoint_state_parse(deep, 3000000, &s), EBADMSG, "damaged");
    free(deep);
}

/* Every text of a few bytes around a good one: one byte changed, cut, doubled. */
static void changed_states(void)
{
    struct megabyte_checkpoint_state s;
    static char good[4096], text[4096];
    snprintf(good, sizeof good, "%s", sealed(HEAD REST FILES));
    const size_t size = strlen(good);
    for (size_t at = 0; at <= size; at++) {
        memcpy(text, good, size);
        REQUIRE(at == size ? megabyte_checkpoint_state_parse(text, at, &s) == 0
                           : megabyte_checkpoint_state_parse(text, at, &s) == -EBADMSG);
        if (at == size)
            megabyte_checkpoint_state_finish(&s);
        for (int bit = 0; at < size && bit < 8; bit++) {
            memcpy(text, good, size);
            text[at] = (char)(text[at] ^ 1 << bit);
            const int result = megabyte_checkpoint_state_parse(text, size, &s);
            REQUIRE(result == -EBADMSG || result == -ENOTSUP);
        }
    }
}

static void hostile_headers(void)
{
    static const struct {
        const char *header;
        uint64_t data;
        int result;
    } headers[] = {
        /* Of a rank beyond ours, sizes beyond ours, types that are not ours: listed, not usable. */
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, 0},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, 0},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,4294967296],\"data_offsets\":[0,4294967296]}}",
         1ull << 32, 0},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,1],\"data_offsets\":[0,4294967296]}}",
         1ull << 32, 0},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[0,3],\"data_offsets\":[0,0]}}", 0, 0},
        {"{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[0,3]}}", 3, 0},
        {"{\"a\":{\"dtype\":\"none\",\"shape\":[9],\"data_offsets\":[0,0]}}", 0, 0},
        {"{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2, -EBADMSG},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904,2],\"data_offsets\":[0,0]}}", 0,
         -EBADMSG},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9223372036854775807,"
         "9223372036854775807]}}", 1, -EBADMSG},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 2, 0},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}", 3, 0},
        {"{\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 3, 0},
        {"{\"__metadata__\":null}", 0, -EBADMSG},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[NaN],\"data_offsets\":[0,1]}}", 1, -EBADMSG},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}]", 1, -EBADMSG},
        {"]]]]{}", 0, -EBADMSG},
        {"\"\\", 0, -EBADMSG},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        struct tensor_safetensors_list list;
        const char *text = headers[i].header;
        REQUIRE_ERROR(tensor_safetensors_parse("it", text, strlen(text), headers[i].data, &list),
                      -headers[i].result, headers[i].result ? "it is damaged" : "");
        if (headers[i].result == 0)
            REQUIRE(list.count > 0 && list.entry[0].begin == 8 + strlen(text));
        tensor_safetensors_list_finish(&list);
    }
    const struct tensor_safetensors_shown s = tensor_safetensors_show("\xc2\x80\xc2\xa0\x7f\xc2");
    REQUIRE(strcmp(s.text, "??\xc2\xa0?\xc2") == 0);
}

/* Bounds that keep jansson within what it can do. */
static void long_texts(void)
{
    const size_t most = TENSOR_JSON_TOKEN;
    char *text = malloc(8 * most);
    json_t *json = NULL;
    REQUIRE(text != NULL);
    for (size_t length = most - 2; length <= most + 1; length += 3) {
        memset(text, 'x', length + 4);
        memcpy(text, "[\"", 2);
        memcpy(text + 2 + length, "\"]", 2);
        if (length > most) {
            REQUIRE_ERROR(tensor_json_read(text, length + 4, &json), EBADMSG, "longer than 1 MiB");
            continue;
        }
        REQUIRE_OK(tensor_json_read(text, length + 4, &json));
        REQUIRE(json_string_length(json_array_get(json, 0)) == length);
        json_decref(json);
    }
    memset(text, '1', 2 * most);
    text[0] = '[';
    REQUIRE_ERROR(tensor_json_read(text, 2 * most, &json), EBADMSG, "longer than 1 MiB");
    /* An object of so many keys that its table is more than the reserve, and cannot be had. */
    size_t size = 1;
    text[0] = '{';
    for (int i = 0; i < 300000; i++)
        size += (size_t)sprintf(text + size, "\"%d\":0,", i);
    text[size - 1] = '}';
    allocations_fail_of(5 * most);
    REQUIRE_ERROR(tensor_json_read(text, size, &json), ENOMEM, "no memory");
    REQUIRE(allocations_failed());
    REQUIRE_OK(tensor_json_read(text, size, &json));
    REQUIRE(json_object_size(json) == 300000);
    json_decref(json);
    free(text);
    /* Nothing more is to be had, from some moment on. */
    const char *small = "{\"a\":[1,2,{\"b\":\"c\"}],\"d\":{\"e\":[[]],\"f\":1.5}}";
    for (long from = 1; from <= 40; from++) {
        allocations_fail_from(from);
        const int result = tensor_json_read(small, strlen(small), &json);
        REQUIRE(result == (allocations_failed() ? -ENOMEM : 0));
        if (result == 0)
            json_decref(json);
    }
    REQUIRE(tensor_json_write(NULL, 0) == NULL);
}

/* A model file that fits its digest and is not one of a megabyte model. */
static void foreign_models(void)
{
    static const struct tensor_metadata metadata[][2] = {
        {{"format", "pt"}, {"config", "{}"}},
        {{"config", "{}"}, {"more", ""}},
        {{"format", "megabyte"}, {"more", ""}},
        {{"format", "megabyte"}, {"config", "{}"}},
    };
    for (int i = 0; i < 4; i++) {
        struct megabyte_checkpoint_state s = {.step = 1, .has = {true, false}};
        struct megabyte_checkpoint *c = NULL;
        const char *folder = fixture_path("foreign%d", i);
        const char *model = fixture_path("foreign%d/model.safetensors", i);
        char state[] = "{}", *text = NULL;
        REQUIRE(mkdir(folder, 0777) == 0);
        REQUIRE_OK(tensor_safetensors_write(AT_FDCWD, model, NULL, 0, metadata[i], 2,
                                            &s.digest[0]));
        s.state = state;
        REQUIRE_OK(megabyte_checkpoint_state_text(&s, &text));
        fixture_write(fixture_path("foreign%d/state.json", i), text, strlen(text));
        free(text);
        if (i < 3)
            REQUIRE_ERROR(megabyte_checkpoint_open(folder, NULL, &c), EBADMSG, "has no settings");
        else
            REQUIRE_OK(megabyte_checkpoint_open(folder, NULL, &c));
        megabyte_checkpoint_close(&c);
    }
}

/* ---- memory ---- */

static char *config_text;

static int parse_header(void)
{
    const char *text = "{\"__metadata__\":{\"a\":\"b\"},"
                       "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}";
    struct tensor_safetensors_list list;
    const int result = tensor_safetensors_parse("it", text, strlen(text), 2, &list);
    if (result == 0)
        tensor_safetensors_list_finish(&list);
    return result;
}

static int parse_state(void)
{
    char *text = sealed(HEAD REST FILES);
    struct megabyte_checkpoint_state s;
    const int result = megabyte_checkpoint_state_parse(text, strlen(text), &s);
    if (result == 0)
        megabyte_checkpoint_state_finish(&s);
    return result;
}

static int write_state(void)
{
    char text[] = "{\"n\":1}", *whole = NULL;
    const struct megabyte_checkpoint_state s = {
        .step = 1, .has = {true, true}, .digest = {{1, 2}, {3, 4}}, .state = text};
    const int result = megabyte_checkpoint_state_text(&s, &whole);
    free(whole);
    return result;
}

static int parse_config(void)
{
    struct megabyte_config c;
    return megabyte_config_parse(config_text, &c);
}

static int write_config(void)
{
    struct megabyte_config c;
    REQUIRE_OK(megabyte_config_preset("tiny", &c));
    char *text = megabyte_config_text(&c);
    free(text);
    return text ? 0 : -ENOMEM;
}

/* Each allocation of a call fails in turn: that is told as what it is, and nothing leaks. */
static void without_memory(int (*call)(void))
{
    long at = 1;
    for (bool failed = true; failed; at++) {
        allocations_fail_at(at);
        const int result = call();
        failed = allocations_failed();
        REQUIRE(result == (failed ? -ENOMEM : 0));
    }
    REQUIRE(at > 3);
}

int main(void)
{
    struct megabyte_config c;
    hostile_states();
    changed_states();
    hostile_headers();
    long_texts();
    foreign_models();
    REQUIRE_OK(megabyte_config_preset("tiny", &c));
    config_text = megabyte_config_text(&c);
    without_memory(parse_header);
    without_memory(parse_state);
    without_memory(write_state);
    without_memory(parse_config);
    without_memory(write_config);
    free(config_text);
    return 0;
}
