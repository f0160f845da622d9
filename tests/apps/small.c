/* small.c - makes a program believe that the machine has as much memory as MEMORY in the
 * environment says, in bytes: for tests/apps/room.py. The linker puts this in the place of
 * sysconf() (meson.build).
 */
#include <stdlib.h>
#include <unistd.h>

long __real_sysconf(int name);
long __wrap_sysconf(int name);

long __wrap_sysconf(int name)
{
    const char *memory = getenv("MEMORY");

    if (name == _SC_PHYS_PAGES && memory)
        return atol(memory) / __real_sysconf(_SC_PAGESIZE);
    return __real_sysconf(name);
}
