/* Any bytes as JSON lines; texts come out, or lines are damage. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_content("source.jsonl", data, size,
                 (struct pipeline_choice){.content = {.jsonl_field = "text"}});
    return 0;
}
