/*
 * Any place in any source: going there ends with the place or with an error, and what is then told
 * of the place leads back to it. The input is a position's numbers, then the source.
 */
#include "tests/fuzz/fuzz.h"

static uint64_t number(const uint8_t **at, const uint8_t *end, uint64_t most)
{
    uint64_t value = 0;
    unsigned bytes = *at < end ? *(*at)++ % 9 : 0;

    while (bytes-- && *at < end)
        value = value << 8 | *(*at)++;
    return most ? value % most : value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *end = data + size, *bytes, *again;
    const struct pipeline_choice choice = {.nested = 3, .max_ratio = 1000};
    struct pipeline_position to = {.source = number(&at, end, 3)}, here;
    struct pipeline_stream *stream;
    const char *path;
    size_t n, m;
    int result;

    to.member = number(&at, end, 0);
    to.inner = number(&at, end, 0);
    to.offset = number(&at, end, 0);
    to.hint.header = number(&at, end, 0);
    to.hint.in = number(&at, end, 0);
    to.hint.out = number(&at, end, 0);
    to.check_bytes = number(&at, end, 0);
    to.check = number(&at, end, 0);
    path = fuzz_file("source", at, (size_t)(end - at));
    stream = fuzz_open(path, &choice);
    result = pipeline_stream_seek(stream, to);
    if (result < 0)
        fuzz_error(result);
    if (result == 0) {
        here = pipeline_stream_tell(stream);
        HOLDS(here.source == to.source && here.member == to.member && here.inner == to.inner &&
              here.offset == to.offset);
        result = pipeline_stream_next(stream, &bytes, &n);
    }
    if (result == 0 && n) {
        uint8_t first = bytes[0];

        pipeline_stream_destroy(&stream);
        stream = fuzz_open(path, &choice);
        HOLDS(pipeline_stream_seek(stream, here) == 0);
        HOLDS(pipeline_stream_next(stream, &again, &m) == 0 && m && again[0] == first);
    } else if (result < 0) {
        fuzz_error(result);
    }
    pipeline_stream_destroy(&stream);
    return 0;
}
