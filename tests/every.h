/* every.h - tests of many like cases, where a sanitizer or a driver makes all of them take long:
 * EVERY=N in the environment leaves each Nth. Test setups (tests/meson.build) set it in builds
 * whose cases another has in full, and in the quick check. */
#ifndef TESTS_EVERY_H
#define TESTS_EVERY_H

#include <stdlib.h>

/* N, 1 if there is none. */
static inline int tests_every(void)
{
    const char *text = getenv("EVERY");
    const int n = text ? atoi(text) : 1;
    return n > 0 ? n : 1;
}

#endif
