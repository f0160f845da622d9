/* Any bytes as the state of a run of mb-train: refused, or its cursor can be gone on from, which
 * ends with bytes, with the end, or with an error. */
#include "apps/train_state.h"
#include "tests/fuzz/fuzz.h"

enum { ROWS = 2, WINDOW = 16 };

static void go_on(const struct pipeline_cursor *cursor)
{
    static const uint8_t content[] = "some bytes to read, as long as a few windows of the loader.";
    static struct pipeline_io *io;
    static struct pipeline_sources *sources;
    const char *path = fuzz_file("data", content, sizeof content);
    const struct pipeline_choice choice = {.nested = 3, .max_ratio = 1000};
    struct pipeline_mix *mix = NULL;
    struct pipeline_loader *loader = NULL;
    uint8_t to[ROWS * WINDOW];
    uint32_t lengths[ROWS];
    struct pipeline_cursor after;
    int rows;

    if (!io) {
        HOLDS(pipeline_io_create(&(struct pipeline_io_params){.mode = PIPELINE_IO_THREADS,
                                                              .threads = 1}, &io) == 0);
        HOLDS(pipeline_sources_create(&path, 1, &sources) == 0);
    }
    HOLDS(pipeline_mix_create(io, sources, &choice, 1, &mix) == 0);
    const struct pipeline_loader_params params = {
        .mix = mix, .window_bytes = WINDOW, .shuffle_bytes = 4 * WINDOW, .start = cursor,
        .once = true};
    const int result = pipeline_loader_create(&params, &loader);
    if (result < 0) {
        fuzz_error(result);
    } else {
        rows = pipeline_loader_next(loader, ROWS, to, lengths, &after);
        if (rows < 0 && rows != -ENODATA)
            fuzz_error(rows);
        HOLDS(rows <= ROWS);
        for (int row = 0; row < rows; row++)
            HOLDS(lengths[row] <= WINDOW);
    }
    pipeline_loader_destroy(&loader);
    pipeline_mix_destroy(&mix);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct train_state state;
    const char *wrong = NULL;
    char *text = malloc(size + 1), words[100];
    int result;

    HOLDS(text);
    memcpy(text, data, size);
    text[size] = '\0';
    result = train_state_parse(text, &state, &wrong);
    HOLDS(result == 0 || (result == -EBADMSG && wrong && *wrong));
    if (result == 0) {
        train_state_changes(&state, &state, words, sizeof words);
        HOLDS(!*words);
        go_on(&state.cursor);
        train_state_finish(&state);
    }
    free(text);
    return 0;
}
