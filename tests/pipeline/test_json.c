/*
 * The texts of JSON lines: each rule of the grammar kept and broken, every length, and random
 * changes, on which jansson must agree.
 */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>

#include "pipeline/json_line.h"
#include "tests/pipeline/check.h"

/* A line, and the text of its member `t` or the words that refuse it. */
static const struct line {
    const char *json, *text, *why;
} lines[] = {
    {"{\"t\":\"\"}", "", NULL},
    {" \t\r\n{ \"a\" : 1 , \"t\" : \"x\" } \t", "x", NULL},
    {"{\"t\":\"a\",\"t\":\"b\"}", "b", NULL},
    {"{\"\\u0074\":\"by its number\"}", "by its number", NULL},
    {"{\"tt\":\"a\",\"\":\"b\",\"T\":\"c\",\"t\":\"d\"}", "d", NULL},
    {"{\"o\":{\"t\":\"not this\"},\"l\":[{\"t\":\"nor this\"},[],[[1]]],\"t\":\"z\",\"e\":{}}", "z",
     NULL},
    {"{\"t\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "\"\\/\b\f\n\r\t", NULL},
    {"{\"t\":\"\\u0041\\u00e9\\u20ac\\uD83D\\uDE00\\uFffD\"}",
     "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd", NULL},
    /* Half of a surrogate pair is U+FFFD, and what stands beside it stays. */
    {"{\"t\":\"\\ud83d\"}", "\xef\xbf\xbd", NULL},
    {"{\"t\":\"\\udc00\"}", "\xef\xbf\xbd", NULL},
    {"{\"t\":\"a\\uDFFFb\\uD800c\"}",
     "a\xef\xbf\xbd"
     "b\xef\xbf\xbd"
     "c",
     NULL},
    {"{\"t\":\"\\ud800\\n\"}", "\xef\xbf\xbd\n", NULL},
    {"{\"t\":\"\\ud800\\u0041\"}",
     "\xef\xbf\xbd"
     "A",
     NULL},
    {"{\"t\":\"\\ud800\\ue000\"}", "\xef\xbf\xbd\xee\x80\x80", NULL},
    {"{\"t\":\"\\ud800\\ud83d\\ude00\"}", "\xef\xbf\xbd\xf0\x9f\x98\x80", NULL},
    {"{\"t\":\"\\ude00\\ud83d\"}", "\xef\xbf\xbd\xef\xbf\xbd", NULL},
    {"{\"t\":\"\\ud83d\xf0\x9f\x98\x80\"}", "\xef\xbf\xbd\xf0\x9f\x98\x80", NULL},
    {"{\"\\ud83d\":{\"\\udc00\":1},\"t\":\"x\"}", "x", NULL},
    {"{\"t\\ud83d\":\"no\",\"t\":\"x\"}", "x", NULL},
    {"{\"t\":\"\xc3\xa9\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\xf1\x80"
     "\x80\x80\"}",
     "\xc3\xa9\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\xf1\x80\x80\x80",
     NULL},
    {"{\"n\":[0,-1,10,2.5,1e9,1E+9,1e-09,-0.0],\"v\":[true,false,null],\"t\":\"n\"}", "n", NULL},
    {"{\"t\":[\"x\"]}", NULL, "has a field 't' that is not a text"},
    {"{\"t\":\"x\",\"t\":7}", NULL, "has a field 't' that is not a text"},
    {"{\"t\":{}}", NULL, "has a field 't' that is not a text"},
    {"{}", NULL, "has no field 't'"},
    {"[\"t\",\"x\"]", NULL, "is JSON, but not an object"},
    {"[]", NULL, "is JSON, but not an object"},
    {"\"t\"", NULL, "is JSON, but not an object"},
    {"", NULL, "is not JSON (an end too early at byte 0 of it)"},
    {"{\"t\":\"x\"", NULL, "is not JSON (an end too early at byte 8 of it)"},
    {"{\"t\":", NULL, "an end too early"},
    {"{\"t\"", NULL, "no colon"},
    {"{\"t\" 1}", NULL, "no colon"},
    {"{", NULL, "no name of a member"},
    {"{1:2}", NULL, "no name of a member"},
    {"{\"t\":\"x\",}", NULL, "no name of a member"},
    {"{\"a\" \"b\"}", NULL, "no colon"},
    {"{\"t\":\"x\"]", NULL, "no comma"},
    {"[1}", NULL, "no comma"},
    {"[1 2]", NULL, "no comma"},
    {"[1,]", NULL, "no value"},
    {"[,1]", NULL, "no value"},
    {"[tru]", NULL, "no value"},
    {"[+1]", NULL, "no value"},
    {"[1", NULL, "an end too early"},
    {"{\"t\":\"x\"} 1", NULL, "more behind its end"},
    {"{\"t\":\"x\"}}", NULL, "more behind its end"},
    {"[01]", NULL, "a broken number"},
    {"[-]", NULL, "a broken number"},
    {"[-", NULL, "a broken number"},
    {"[1.]", NULL, "a broken number"},
    {"[1e]", NULL, "a broken number"},
    {"[1e+]", NULL, "a broken number"},
    {"[1e", NULL, "a broken number"},
    {"1.5e3", NULL, "not an object"},
    {"0", NULL, "not an object"},
    {"1.", NULL, "a broken number"},
    {"{\"t\":\"x", NULL, "a text without end"},
    {"{\"t", NULL, "a text without end"},
    {"{\"t\":\"a\nb\"}", NULL, "a control character"},
    {"{\"t\":\"\\x\"}", NULL, "a broken escape"},
    {"{\"t\":\"\\", NULL, "a broken escape"},
    {"{\"t\":\"\\u12", NULL, "a broken escape"},
    {"{\"t\":\"\\u12G4\"}", NULL, "a broken escape"},
    {"{\"t\":\"\\u12/4\"}", NULL, "a broken escape"},
    {"{\"t\":\"\\u12@4\"}", NULL, "a broken escape"},
    {"{\"t\":\"\\ud800", NULL, "a text without end"},
    {"{\"t\":\"\\ud800\\", NULL, "a broken escape"},
    {"{\"t\":\"\\ud800\\x\"}", NULL, "a broken escape"},
    {"{\"t\":\"\\ud800\\u00\"}", NULL, "a broken escape"},
    {"{\"t\":\"\x80\"}", NULL, "not UTF-8"},
    {"{\"t\":\"\xc1\xbf\"}", NULL, "not UTF-8"},
    {"{\"t\":\"\xc3\"}", NULL, "not UTF-8"},
    {"{\"t\":\"\xc3", NULL, "not UTF-8"},
    {"{\"t\":\"\xe0\x9f\xbf\"}", NULL, "not UTF-8"},
    {"{\"t\":\"\xed\xa0\x80\"}", NULL, "not UTF-8"},
    {"{\"t\":\"\xe1\x80\xc0\"}", NULL, "not UTF-8"},
    {"{\"t\":\"\xf0\x8f\xbf\xbf\"}", NULL, "not UTF-8"},
    {"{\"t\":\"\xf4\x90\x80\x80\"}", NULL, "not UTF-8"},
    {"{\"t\":\"\xf5\x80\x80\x80\"}", NULL, "not UTF-8"},
};

enum { LINES = sizeof(lines) / sizeof(*lines) };

/* Reads a copy of just the line's size, so that a sanitizer sees what goes beyond it. */
static int read_line(const char *json, size_t n, uint8_t **text, size_t *length, char why[128])
{
    uint8_t *line = malloc(n ? n : 1);
    size_t counted = 0;
    int result;

    *text = malloc(n ? n : 1);
    CHECK(line && *text);
    memcpy(line, json, n);
    why[0] = '\0';
    *length = 0;
    result = pipeline_json_text("t", line, n, *text, length, why);
    CHECK_EQUAL(pipeline_json_text("t", line, n, NULL, &counted, why), result);
    CHECK(result < 0 || (counted == *length && counted <= n));
    free(line);
    return result;
}

static void check_lines(void)
{
    for (size_t i = 0; i < LINES; i++) {
        uint8_t *text;
        size_t length;
        char why[128];
        const int result = read_line(lines[i].json, strlen(lines[i].json), &text, &length, why);

        if (lines[i].why ? result != -EBADMSG || !strstr(why, lines[i].why)
                         : result || length != strlen(lines[i].text) ||
                               memcmp(text, lines[i].text, length)) {
            fprintf(stderr, "%s: %d, '%.*s', '%s'\n", lines[i].json, result, (int)length, text,
                    why);
            exit(1);
        }
        free(text);
    }
}

/* What the first line of a member says about it. */
static void check_kinds(void)
{
    static const struct {
        const char *json;
        enum line_kind kind;
        const char *names;
    } kinds[] = {
        {"{\"a\":1,\"t\":\"x\"}", LINE_TEXT, "a, t"},
        {"{\"a\":{\"b\":{}},\"c\":[{\"d\":1}]}", LINE_NO_FIELD, "a, c"},
        {"{\"t\":null}", LINE_NO_TEXT, "t"},
        {"{}", LINE_NO_FIELD, ""},
        {"{\"\":0}", LINE_NO_FIELD, ""},
        {"[{\"a\":1}]", LINE_VALUE, ""},
        {"{", LINE_BEGUN, ""},
        {"{ \"a\"", LINE_BEGUN, ""},
        {"{\"a\":", LINE_BEGUN, "a"},
        {"{\"a\": [1, {\"b\": 2},\r", LINE_BEGUN, "a"},
        {"{\"a\":\"x", LINE_BROKEN, "a"},
        {"{\"a\":\"\\u00", LINE_BROKEN, "a"},
        {"{\"a\":1.", LINE_BROKEN, "a"},
        {"{\"a\":1} {", LINE_BROKEN, "a"},
        {"{'a':1}", LINE_BROKEN, ""},
        {"{\"name\":1,\"long name\":2,\"c\":3}", LINE_NO_FIELD, "name, ..."},
        {"{\"a name too long for it\":1,\"b\":2}", LINE_NO_FIELD, "..."},
        {"{\"a\\\"\\n\":1}", LINE_NO_FIELD, "a\\\"\\n"},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        const size_t n = strlen(kinds[i].json);
        uint8_t *line = malloc(n);
        char *names = malloc(20), why[128];

        CHECK(line && names);
        memcpy(line, kinds[i].json, n);
        if (pipeline_json_kind("t", line, n, names, 20, why) != kinds[i].kind ||
            strcmp(names, kinds[i].names)) {
            fprintf(stderr, "%s: '%s', %s\n", kinds[i].json, names, why);
            exit(1);
        }
        free(line);
        free(names);
    }
}

static void check_zero(void)
{
    uint8_t *text;
    size_t length;
    char why[128];

    CHECK_EQUAL(read_line("{\"a\\u0000\":1,\"t\":\"a\\u0000b\"}", 28, &text, &length, why), 0);
    CHECK(length == 3 && !memcmp(text, "a\0b", 3));
    free(text);
    CHECK_EQUAL(read_line("{\"t\":\"a\0b\"}", 11, &text, &length, why), -EBADMSG);
    free(text);
    CHECK_EQUAL(read_line("{\"t\":\"ab\"}\0", 11, &text, &length, why), -EBADMSG);
    free(text);
}

static void check_depth(void)
{
    char *json = malloc(4 * PIPELINE_JSON_DEPTH + 100);

    CHECK(json);
    for (int more = 0; more < 2; more++) {
        /* One level is the object's own. */
        const size_t depth = PIPELINE_JSON_DEPTH - 1 + (size_t)more;
        uint8_t *text;
        size_t n = (size_t)sprintf(json, "{\"d\":"), length;
        char why[128];

        memset(json + n, '[', depth);
        memset(json + n + depth, ']', depth);
        n += 2 * depth;
        n += (size_t)sprintf(json + n, ",\"t\":\"x\"}");
        CHECK_EQUAL(read_line(json, n, &text, &length, why), more ? -EBADMSG : 0);
        CHECK(!more || strstr(why, "nested too deep"));
        free(text);
    }
    free(json);
}

/* The number behind a \u at json[at], or -1. */
static long unit_at(const char *json, size_t n, size_t at)
{
    char digits[5] = "", *end;
    long unit;

    if (at + 6 > n || json[at] != '\\' || json[at + 1] != 'u' || !isxdigit((uint8_t)json[at + 2]))
        return -1;
    memcpy(digits, json + at + 2, 4);
    unit = strtol(digits, &end, 16);
    return end == digits + 4 ? unit : -1;
}

/* jansson refuses half a surrogate pair: to has the replacement character in its place. */
static void mend_pairs(const char *json, size_t n, char *to)
{
    size_t step;

    memcpy(to, json, n);
    for (size_t i = 0; i < n; i += step) {
        long unit = unit_at(json, n, i), next = unit_at(json, n, i + 6);

        step = json[i] == '\\' ? 2 : 1;
        if (unit < 0xd800 || unit > 0xdfff)
            continue;
        step = 6;
        if (unit < 0xdc00 && next >= 0xdc00 && next < 0xe000)
            step = 12;
        else
            memcpy(to + i, "\\ufffd", 6);
    }
}

/* What jansson makes of the line: whether it is as ours. Only its limits on numbers, and on zeros
 * in names, are not ours, nor what it thinks of half a surrogate pair. */
static void compare(const char *json, size_t n)
{
    json_error_t error;
    char mended[256];
    json_t *theirs;
    const json_t *member;
    uint8_t *text;
    size_t length;
    char why[128];
    const int result = read_line(json, n, &text, &length, why);
    bool limit;

    CHECK(n <= sizeof(mended));
    mend_pairs(json, n, mended);
    theirs = json_loadb(mended, n, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    member = json_object_get(theirs, "t");
    limit = !theirs && (strstr(error.text, "too big") || strstr(error.text, "overflow") ||
                        strstr(error.text, "NUL byte in object key"));

    if (!limit &&
        (json_is_string(member) ? result || length != json_string_length(member) ||
                                      memcmp(text, json_string_value(member), length)
                                : !result || !theirs != !strncmp(why, "is not JSON", 11))) {
        fprintf(stderr, "%.*s: ours says %d, %s; jansson %s\n", (int)n, json, result, why,
                theirs ? "reads it" : error.text);
        exit(1);
    }
    json_decref((json_t *)theirs);
    free(text);
}

static void check_changes(void)
{
    static const char bytes[] = "{}[]\",:\\u0te19-+.aE \xc3\xa9\xed\xf0\x90\x80";
    uint64_t draw = 1;

    for (size_t i = 0; i < LINES; i++)
        for (size_t n = 0; n <= strlen(lines[i].json); n++)
            compare(lines[i].json, n);
    for (int i = 0; i < 30000; i++) {
        const char *from = lines[i % LINES].json;
        const size_t n = strlen(from);
        char json[256];

        memcpy(json, from, n);
        for (int k = 0; k < 1 + i / LINES % 3 && n; k++) {
            draw = draw * 6364136223846793005u + 1442695040888963407u;
            json[(draw >> 33) % n] = bytes[(draw >> 50) % (sizeof(bytes) - 1)];
        }
        compare(json, n);
    }
}

int main(void)
{
    check_lines();
    check_kinds();
    check_zero();
    check_depth();
    check_changes();
    puts("json: all as it should be");
    return 0;
}
