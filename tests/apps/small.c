/* small.c - makes a program believe that the machine has as much memory as MEMORY in the
 * environment says, in bytes: for tests/apps/room.py. The linker puts this in the place of
 * sysconf() (meson.build).
 */
#include <stdlib.h>
#include <unistd.h>

/* ThreadSanitizer, which is linked in too, asks before it can bear to be told of calls. */
#if defined __has_attribute
#if __has_attribute(disable_sanitizer_instrumentation)
__attribute__((disable_sanitizer_instrumentation))
#endif
#endif
long __wrap_sysconf(int name);
long __real_sysconf(int name);

long __wrap_sysconf(int name)
{
    const char *memory = getenv("MEMORY");

    if (name == _SC_PHYS_PAGES && memory)
        return atol(memory) / __real_sysconf(_SC_PAGESIZE);
    return __real_sysconf(name);
}
