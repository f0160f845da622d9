/* full.c - saving to a full disk, a real one: a file system in memory of 180 KiB, mounted in a name
 * space of this process. Skipped where that is not allowed (tests without root, containers);
 * faults.c and safetensors.c cover the same ground there with pretended failures. */
#include "fixture.h"
#include "megabyte/error.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

int main(void)
{
    struct fixture f;
    uint64_t seed;
    const char *disk = fixture_path("disk"), *run = fixture_path("disk/run");
    REQUIRE(mkdir(disk, 0777) == 0);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", disk, "tmpfs", 0, "size=180k") != 0) {
        printf("skipped: cannot mount a small file system: %s\n", strerror(errno));
        return FIXTURE_SKIPPED;
    }
    fixture_create(&f, 10, 6000); /* 120 KB a checkpoint */
    REQUIRE_OK(fixture_save(&f, run, 1, 1, 1));
    for (uint64_t step = 2; step < 5; step++)
        REQUIRE_ERROR(fixture_save(&f, run, step, step, 1), ENOSPC,
                      "No space left on device; make room");
    REQUIRE(fixture_count(fixture_path("disk/run/checkpoints"), "") == 1);
    REQUIRE(fixture_open(&f, run, &seed) == 1 && seed == 1);
    fixture_remove(fixture_path("disk/run"));
    REQUIRE(umount(disk) == 0);
    fixture_destroy(&f);
    return 0;
}
