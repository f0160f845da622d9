/* acceptance.c - the checks of a whole model (megabyte.md, "Cheap acceptance checks"), on the cpu
 * and on every Vulkan device there is, software ones too.
 *
 * usage: check-acceptance [NAME …]; without names: all.
 */
#include "tests/megabyte/check.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *name;
    void (*on_device)(struct tensor_device *device);
    void (*once)(void);
    bool precisions; /* on_device: in every precision */
} checks[] = {
    {"settings", NULL, check_settings},         {"sampling", NULL, check_sampling},
    {"first-values", check_first_values, NULL}, {"causality", check_causality, NULL},
    {"evaluation", check_evaluation, NULL},     {"untrained", check_untrained, NULL},
    {"generation", check_generation, NULL},     {"training", check_training, NULL},
    {"gate", check_gate, NULL},                 {"groups", check_groups, NULL},
    {"learning", check_learning, NULL},         {"memory", check_memory, NULL, true},
    {"strided-gain", NULL, check_strided_gain},
    {"precision", check_precision, NULL, true}, {"twice", check_twice, NULL, true},
};
#define CHECKS (sizeof checks / sizeof *checks)

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name))
            return true;
    return argc < 2;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    int run = 0;
    for (size_t i = 0; i < CHECKS; i++) {
        if (!wanted(checks[i].name, argc, argv))
            continue;
        run++;
        const double start = now();
        if (checks[i].once)
            checks[i].once();
        else if (checks[i].precisions)
            check_each_precision(checks[i].on_device);
        else
            check_each_device(checks[i].on_device);
        printf("%s: %.1f s\n", checks[i].name, now() - start);
        fflush(stdout);
    }
    if (run < (argc < 2 ? (int)CHECKS : argc - 1)) {
        fprintf(stderr, "check-acceptance: no such check; there are");
        for (size_t i = 0; i < CHECKS; i++)
            fprintf(stderr, " %s", checks[i].name);
        fprintf(stderr, "\n");
        return 2;
    }
    return check_failures != 0;
}
