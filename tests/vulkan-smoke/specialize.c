/* specialize.c - code of kernels with plain constants (tensor/vulkan/specialize.h): a module made
 * here, word for word, and every kernel of this build.
 *
 * usage: check-specialize [SPIRV-VAL]; with the validator all that it takes as it was it must take
 * as it becomes.
 */
#include "tensor/vulkan/specialize.h"
#include "tensor/vulkan/device.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures;

static void fail(const char *what, const char *where)
{
    failures++;
    printf("FAIL %s: %s\n", where, what);
}

/* ---- a module, in numbers of the SPIR-V specification ---- */

#define HEADER           0x07230203, 0x10300, 0, 60, 0
#define I(count, op)     ((uint32_t)(count) << 16 | (op))
#define SPEC_ID(id, n)   I(4, 71), id, 1, n
#define OF(id, op, a, b) I(6, 52), TYPE, id, op, a, b
#define IS(id, op, a, b) I(6, 52), BOOL, id, op, a, b
#define GOT(id, value)   I(4, 43), TYPE, id, value
#define YES(id)          I(3, 41), BOOL, id
#define NO(id)           I(3, 42), BOOL, id
enum { TYPE = 1, BOOL, VECTOR, LONG, FLOAT, A = 10, B, C, D, ZERO, E, F, G };

/* clang-format off */
static const uint32_t before[] = {
    HEADER, SPEC_ID(A, 0), SPEC_ID(B, 1), SPEC_ID(C, 9), SPEC_ID(D, 2), SPEC_ID(F, 3),
    I(4, 71), A, 2, 7, /* another decoration */
    I(4, 21), TYPE, 32, 0, I(2, 20), BOOL, I(4, 23), VECTOR, TYPE, 3, I(4, 21), LONG, 64, 0,
    I(3, 22), FLOAT, 32,
    I(4, 50), TYPE, A, 1, I(4, 50), TYPE, B, 1, I(4, 50), TYPE, C, 40, I(3, 49), BOOL, D,
    I(4, 43), TYPE, ZERO, 0, I(3, 48), BOOL, E, I(4, 50), FLOAT, F, 5, I(5, 50), LONG, G, 6, 7,
    OF(20, 128, A, B), OF(21, 130, A, B), OF(22, 132, A, B), OF(23, 134, A, B), OF(24, 137, A, B),
    OF(25, 197, A, B), OF(26, 199, A, B), OF(27, 196, A, B), OF(28, 194, A, B),
    IS(30, 170, A, B), IS(31, 171, A, B), IS(32, 172, A, B), IS(33, 174, A, A), IS(34, 176, A, B),
    IS(35, 178, A, A), IS(36, 166, D, 30), IS(37, 167, D, 30), I(5, 52), BOOL, 38, 168, D,
    I(7, 52), TYPE, 39, 169, D, A, B, I(7, 52), TYPE, 40, 169, 30, A, B,
    I(6, 51), VECTOR, 41, A, B, 22, I(6, 52), TYPE, 42, 81, 41, 2,
    /* What is not defined or not known stays. */
    OF(43, 134, A, ZERO), OF(44, 137, A, ZERO), OF(45, 196, A, C), OF(46, 194, A, C),
    OF(47, 135, A, B), OF(48, 128, 47, A), I(6, 51), VECTOR, 49, A, 47, B,
    OF(50, 81, 49, 0), OF(51, 81, 41, 3), I(6, 52), VECTOR, 52, 128, 41, 41,
    I(2, 248), 53, I(1, 253),
};
static const uint32_t after[] = {
    HEADER, I(4, 71), A, 2, 7,
    I(4, 21), TYPE, 32, 0, I(2, 20), BOOL, I(4, 23), VECTOR, TYPE, 3, I(4, 21), LONG, 64, 0,
    I(3, 22), FLOAT, 32,
    GOT(A, 23), GOT(B, 6), GOT(C, 40), YES(D),
    GOT(ZERO, 0), YES(E), I(4, 43), FLOAT, F, 0x40490fdb, I(5, 50), LONG, G, 6, 7,
    GOT(20, 29), GOT(21, 17), GOT(22, 138), GOT(23, 3), GOT(24, 5),
    GOT(25, 23), GOT(26, 6), GOT(27, 1472), GOT(28, 0),
    NO(30), YES(31), YES(32), YES(33), NO(34),
    YES(35), YES(36), NO(37), NO(38), GOT(39, 23), GOT(40, 6),
    I(6, 44), VECTOR, 41, A, B, 22, GOT(42, 138),
    OF(43, 134, A, ZERO), OF(44, 137, A, ZERO), OF(45, 196, A, C), OF(46, 194, A, C),
    OF(47, 135, A, B), OF(48, 128, 47, A), I(6, 51), VECTOR, 49, A, 47, B,
    OF(50, 81, 49, 0), OF(51, 81, 41, 3), I(6, 52), VECTOR, 52, 128, 41, 41,
    I(2, 248), 53, I(1, 253),
};
/* clang-format on */

static void check_module(void)
{
    static const uint32_t constant[] = {23, 6, 1, 0x40490fdb};
    size_t size = 0;
    uint32_t *got = tensor_vulkan_specialize(before, sizeof before, constant, 4, &size);
    if (!got || size != sizeof after)
        fail("another size", "module");
    for (size_t i = 0; got && i < size / sizeof *got && i < sizeof after / sizeof *after; i++)
        if (got[i] != after[i]) {
            fail("another word", "module");
            printf("     word %zu is %x and should be %x\n", i, got[i], after[i]);
            break;
        }
    free(got);
}

/* ---- kernels ---- */

/* Whether nothing is left to specialize. */
static bool is_plain(const uint32_t *words, size_t size)
{
    for (size_t at = 5; at < size / sizeof *words; at += words[at] >> 16) {
        const uint32_t op = words[at] & 0xffff;
        if ((op >= 48 && op <= 52) || (op == 71 && words[at + 2] == 1))
            return false;
    }
    return true;
}

static bool valid(const char *validator, const uint32_t *words, size_t size)
{
    char path[] = "/tmp/specialize.XXXXXX", line[1000];
    const int fd = mkstemp(path);
    const bool written = fd >= 0 && write(fd, words, size) == (ssize_t)size;
    if (!written)
        fail("cannot be written", path);
    close(fd);
    snprintf(line, sizeof line, "'%s' --target-env vulkan1.3 %s >/dev/null 2>&1", validator, path);
    const int status = system(line);
    unlink(path);
    return written && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void check_kernel(const struct vulkan_spirv *kernel, const char *validator)
{
    static const uint32_t constant[] = {64, 1, 2, 4, 8, 16, 16, 16, 1, 1, 1, 1, 1};
    const bool known = validator && valid(validator, kernel->words, kernel->size);
    for (uint32_t count = 0; count <= 13; count += 13) {
        size_t size = 0;
        uint32_t *got =
            tensor_vulkan_specialize(kernel->words, kernel->size, constant, count, &size);
        if (!got || size > kernel->size || !is_plain(got, size))
            fail("specialization constants are left", kernel->name);
        if (known && count && !valid(validator, got, size))
            fail("the validator does not take what it becomes", kernel->name);
        free(got);
    }
}

int main(int argc, char **argv)
{
    uint32_t count = 0;
    check_module();
    for (; tensor_vulkan_spirv[count].name; count++)
        check_kernel(&tensor_vulkan_spirv[count], argc > 1 ? argv[1] : NULL);
    printf("%u kernels\n", count);
    return failures != 0 || count == 0;
}
