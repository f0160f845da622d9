/* Any bytes as a source: an archive, compressed, nested, or none of these. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_content("source", data, size, (struct pipeline_choice){.nested = 3, .max_ratio = 1000});
    return 0;
}
