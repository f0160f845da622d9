/* Any bytes as a WAV or FLAC, as it is and at another rate. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_content("audio", data, size, (struct pipeline_choice){.content = {.audio_rate = 16000}});
    return 0;
}
