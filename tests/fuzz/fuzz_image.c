/* Any bytes as a PNG or JPEG. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_content("image", data, size,
                 (struct pipeline_choice){.content = {.image_size = 8, .image_patch = 2}});
    return 0;
}
