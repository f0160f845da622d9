/* Any bytes as state.json, as they are and with a digest that fits them, and as settings: refused,
 * or what was read of them can be written and read again. */
#include <inttypes.h>
#include <xxhash.h>

#include "megabyte/checkpoint_state.h"
#include "megabyte/config.h"
#include "megabyte/error.h"
#include "tests/fuzz/fuzz.h"

#define DIGEST 13 /* bytes before the digits of the digest */

static void fuzz_state(char *text, size_t size)
{
    struct megabyte_checkpoint_state s, again;
    char *whole = NULL;
    const int result = megabyte_checkpoint_state_parse(text, size, &s);

    if (result < 0) {
        HOLDS(result == -EBADMSG || result == -ENOTSUP);
        HOLDS(*megabyte_error() && !strchr(megabyte_error(), '\n'));
        return;
    }
    HOLDS(s.has[0] && s.digest[0].size > 0 && s.state);
    HOLDS(megabyte_checkpoint_state_text(&s, &whole) == 0);
    HOLDS(megabyte_checkpoint_state_parse(whole, strlen(whole), &again) == 0);
    HOLDS(again.step == s.step && again.has[1] == s.has[1] && !strcmp(again.state, s.state));
    free(whole);
    megabyte_checkpoint_state_finish(&s);
    megabyte_checkpoint_state_finish(&again);
}

static void fuzz_settings(const char *text)
{
    struct megabyte_config c;

    if (megabyte_config_preset("tiny", &c) < 0 || megabyte_config_merge(&c, text) < 0) {
        HOLDS(*megabyte_error() && !strchr(megabyte_error(), '\n'));
        return;
    }
    HOLDS(megabyte_config_check(&c) == 0);
    char *written = megabyte_config_text(&c);
    HOLDS(written && megabyte_config_parse(written, &c) == 0);
    free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 17), digits[17];

    HOLDS(text);
    memcpy(text, data, size);
    text[size] = '\0';
    fuzz_settings(text);
    fuzz_state(text, size);
    memcpy(text, data, size);
    if (size >= DIGEST + 16) {
        memset(text + DIGEST, '0', 16);
        snprintf(digits, sizeof digits, "%016" PRIx64, (uint64_t)XXH64(text, size, 0));
        memcpy(text + DIGEST, digits, 16);
        fuzz_state(text, size);
    }
    free(text);
    return 0;
}
