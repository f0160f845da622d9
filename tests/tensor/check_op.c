/* check_op.c - one runner over one table of kernels (cases.c) and one of operations (ops.c).
 *
 *     test        every Vulkan device, as it chooses its variants, against the cpu device
 *     variants    the same of kernels that have others, in all of these
 *     products    the same of matrix products in other tiles, on matrix units and in each precision
 *     reference   the cpu device against double precision (reference.c)
 *     grad        the recorded gradients against finite differences in double precision
 *     list        names all cases; fails if a kernel or an operation of op.h has none
 */
#include "tensor/op/matmul_config.h"
#include "tests/every.h"
#include "tests/tensor/check.h"
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char usage[] =
    "usage: check-op [options] test|variants|products|reference|grad|list\n"
    "  --device NAME   test this device only (default: every Vulkan device)\n"
    "  --only NAME     this kernel or operation only\n"
    "  --seed N        of the values (default 1)\n"
    "  --header FILE   list: the op.h whose operations must have cases\n"
    "EVERY=N in the environment: every Nth case only\n";

static struct {
    const char *device, *only, *header;
    uint64_t seed;
} options = {.seed = 1};

static bool wanted(const char *name)
{
    return !options.only || strcmp(options.only, name) == 0;
}

/* Whether the next case is one of those that tests/every.h leaves. */
static bool due(void)
{
    static unsigned cases;
    return cases++ % (unsigned)tests_every() == 0;
}

/* ---- kernels ---- */

static void free_results(void **result)
{
    for (int i = 0; i < TENSOR_PASS_ARGS; i++) {
        free(result[i]);
        result[i] = NULL;
    }
}

/* Numbers of 16 bits: as they are, or, where what they are rounded from has an error, which is told
 * as a part of the largest, that and to the next number. */
static bool compare_narrow(const char *what, const struct check_arg *arg, const void *got,
                           const double *want, double tolerance)
{
    double *wide = check_widen(arg->type, got, arg->count), most = 0;
    uint64_t i = 0;
    for (uint64_t j = 0; j < arg->count && tolerance > 0; j++)
        most = isfinite(want[j]) && fabs(want[j]) > most ? fabs(want[j]) : most;
    for (; i < arg->count; i++) {
        const double ulp = fabs(want[i]) * (arg->type == TENSOR_BF16 ? 0x1p-7 : 0x1p-10);
        const bool none = isnan(want[i]) && isnan(wide[i]);
        if (!none && wide[i] != want[i] &&
            !(tolerance > 0 && fabs(wide[i] - want[i]) <= ulp + tolerance * most))
            break;
    }
    if (i < arg->count)
        printf("FAIL %s: element %llu of %llu is %.9g, not %.9g\n", what, (unsigned long long)i,
               (unsigned long long)arg->count, wide[i], want[i]);
    free(wide);
    return i == arg->count;
}

/* Compares one argument of two runs, bit by bit where that is asked for. */
static bool compare(const char *what, const struct check_arg *arg, const void *got,
                    const void *wanted, double tolerance)
{
    const double *want = wanted;
    if (arg->type == TENSOR_BF16 || arg->type == TENSOR_F16)
        return compare_narrow(what, arg, got, want, tolerance);
    if (arg->type != TENSOR_F32) {
        const bool same = !memcmp(got, wanted, arg->count * (arg->type == TENSOR_U8 ? 1 : 4));
        if (!same)
            printf("FAIL %s: its integers differ\n", what);
        return same;
    }
    if (tolerance > 0)
        return check_floats(what, got, want, arg->count, tolerance);
    for (uint64_t i = 0; i < arg->count; i++)
        if (((const float *)got)[i] != (float)want[i]) {
            printf("FAIL %s: element %llu of %llu is %.9g, not %.9g\n", what, (unsigned long long)i,
                   (unsigned long long)arg->count, (double)((const float *)got)[i], want[i]);
            return false;
        }
    return true;
}

/* The values that a case starts from, in double. */
static void draw_wide(const struct check_kernel *k, const struct check_kernel_case *c, void **wide)
{
    check_seed(options.seed, c->label);
    for (uint32_t i = 0; i < c->args; i++) {
        const struct check_arg *a = &c->arg[i];
        wide[i] = NULL;
        if (!a->count)
            continue;
        void *values = check_allocate(4 * a->count);
        if (a->input && !a->same_as)
            check_draw(a, values);
        wide[i] = check_widen(a->type, values, a->count);
        if (a->same_as) {
            free(wide[i]);
            wide[i] = check_widen(TENSOR_U32, wide[a->same_as - 1], 2 * a->count);
        }
        free(values);
    }
    k->reference(c->params, wide);
}

/* One case on `device`, against the same on `twin`, or against the reference if that is NULL. */
static bool check_kernel_case(struct tensor_device *device, struct tensor_device *twin,
                              const struct check_kernel *k, const struct check_kernel_case *c,
                              uint32_t shift)
{
    void *got[TENSOR_PASS_ARGS] = {0}, *other[TENSOR_PASS_ARGS] = {0};
    check_seed(options.seed, c->label);
    bool good = check_run_kernel(device, k, c, shift, got);
    if (good && twin) {
        check_seed(options.seed, c->label);
        good = check_run_kernel(twin, k, c, shift, other);
        for (uint32_t i = 0; good && i < c->args; i++) {
            void *halves = other[i];
            other[i] = halves ? check_widen(c->arg[i].type, halves, c->arg[i].count) : NULL;
            free(halves);
        }
    } else if (good) {
        draw_wide(k, c, other);
    }
    for (uint32_t i = 0; good && i < c->args; i++) {
        char what[200];
        snprintf(what, sizeof what, "%s (%s), argument %u, shift %u", k->name, c->label, i, shift);
        if (c->arg[i].output && c->arg[i].count)
            good = compare(what, &c->arg[i], got[i], other[i], k->tolerance);
    }
    free_results(got);
    free_results(other);
    return good;
}

/* Counts of what was run. */
struct tally {
    unsigned cases, failed;
};

/* Whether a kernel chooses its variant by features; 0: any kernel will do. */
static bool chosen_by(const char *name, uint32_t features)
{
    static const struct {
        const char *name;
        uint32_t features;
    } kernels[] = {{"matmul", TENSOR_SHARED_TILES | TENSOR_LONG_LOADS},
                   {"attention", TENSOR_SHARED_TILES | TENSOR_LONG_LOADS},
                   {"attention_grad_query", TENSOR_SHARED_TILES | TENSOR_LONG_LOADS},
                   {"attention_grad_key", TENSOR_SHARED_TILES | TENSOR_LONG_LOADS},
                   {"attention_grad_patch", TENSOR_LONG_LOADS}};
    for (size_t i = 0; i < COUNT(kernels); i++)
        if (strcmp(name, kernels[i].name) == 0)
            return !features || kernels[i].features & features;
    return !features;
}

/* All kernels, or with `features` those that choose by them. */
static void check_kernels_on(struct tensor_device *device, struct tensor_device *twin,
                             uint32_t features, struct tally *tally)
{
    static struct check_kernel_case c;
    for (const struct check_kernel *k = check_kernels; k->name; k++) {
        if (!wanted(k->name) || !chosen_by(k->name, features))
            continue;
        for (uint32_t i = 0; k->build(i, &c); i++)
            for (uint32_t shift = 0; shift < 2 && !(twin && c.cpu_only); shift++) {
                if (!due())
                    continue;
                tally->cases++;
                tally->failed += !check_kernel_case(device, twin, k, &c, shift);
            }
    }
}

/* ---- operations ---- */

static void widen_inputs(const struct check_op_case *c, const struct check_op_run *run, void **wide)
{
    for (uint32_t i = 0; i < c->args; i++)
        wide[i] = check_widen(c->arg[i].type, run->input[i], c->arg[i].count);
}

static double loss_of(const struct check_op *op, const struct check_op_case *c, void *const *in,
                      const float *weight, double *result)
{
    double loss = 0;
    op->evaluate(c, in, check_random, result);
    for (uint64_t i = 0; i < c->count; i++)
        loss += weight[i] * result[i];
    return loss;
}

/* d(loss)/d(input) by central differences, at some dozens of elements spread over the input; not
 * where a ReLU turns within the step, which shows in the second difference. */
static bool check_differences(const struct check_op *op, const struct check_op_case *c,
                              const struct check_op_run *run, uint32_t number)
{
    enum { SAMPLES = 48 };
    const double step = 1e-5, turn = 1e-3;
    uint32_t turns = 0;
    const uint64_t count = c->arg[number].count, samples = count < SAMPLES ? count : SAMPLES;
    void *in[TENSOR_NODE_INPUTS + 3] = {0};
    float got[SAMPLES];
    double want[SAMPLES], *result = check_allocate(c->count * sizeof *result);
    widen_inputs(c, run, in);
    const double loss = loss_of(op, c, in, run->weight, result);
    for (uint64_t i = 0; i < samples; i++) {
        const uint64_t at = i * count / samples;
        double *x = (double *)in[number] + at;
        const double middle = *x;
        *x = middle + step;
        const double above = loss_of(op, c, in, run->weight, result);
        *x = middle - step;
        const double below = loss_of(op, c, in, run->weight, result);
        *x = middle;
        got[i] = run->gradient[number][at];
        want[i] = (above - below) / (2 * step);
        if (fabs(above - 2 * loss + below) > turn * step) {
            want[i] = got[i];
            turns++;
        }
    }
    char what[200];
    snprintf(what, sizeof what, "gradient of %s (%s) to input %u", op->name, c->label, number);
    const bool good = check_floats(what, got, want, samples, 5e-5) && turns <= samples / 4;
    if (turns > samples / 4)
        printf("FAIL %s: %u of %llu samples lie at a turn\n", what, turns,
               (unsigned long long)samples);
    for (uint32_t i = 0; i < c->args; i++)
        free(in[i]);
    free(result);
    return good;
}

static bool check_op_grad(struct tensor_device *device, const struct check_op *op,
                          const struct check_op_case *c)
{
    struct check_op_run run;
    bool good = check_run_op(device, op, c, &run);
    for (uint32_t i = 0; i < c->args && good; i++)
        if (c->arg[i].gradient)
            good = check_differences(op, c, &run, i);
    check_op_run_free(&run);
    return good;
}

static bool check_op_result(struct tensor_device *device, const struct check_op *op,
                            const struct check_op_case *c)
{
    struct check_op_run run;
    void *in[TENSOR_NODE_INPUTS + 3] = {0};
    double *want = check_allocate(c->count * sizeof *want);
    char what[200];
    bool good = check_run_op(device, op, c, &run);
    if (good) {
        widen_inputs(c, &run, in);
        op->evaluate(c, in, check_random, want);
        snprintf(what, sizeof what, "%s (%s)", op->name, c->label);
        good = check_floats(what, run.result, want, c->count, op->tolerance);
    }
    for (uint32_t i = 0; i < c->args; i++)
        free(in[i]);
    free(want);
    check_op_run_free(&run);
    return good;
}

static bool same_runs(const struct check_op *op, const struct check_op_case *c,
                      const struct check_op_run *got, const struct check_op_run *want)
{
    char what[200];
    snprintf(what, sizeof what, "%s (%s)", op->name, c->label);
    double *wide = check_widen(TENSOR_F32, want->result, c->count);
    bool good = check_floats(what, got->result, wide, c->count, 2 * op->tolerance);
    free(wide);
    for (uint32_t i = 0; i < c->args && good; i++) {
        if (!c->arg[i].gradient)
            continue;
        snprintf(what, sizeof what, "gradient of %s (%s) to input %u", op->name, c->label, i);
        wide = check_widen(TENSOR_F32, want->gradient[i], c->arg[i].count);
        good = check_floats(what, got->gradient[i], wide, c->arg[i].count, 5e-5);
        free(wide);
    }
    return good;
}

/* An operation and its gradients on `device` as on `twin`. */
static bool check_op_twin(struct tensor_device *device, struct tensor_device *twin,
                          const struct check_op *op, const struct check_op_case *c)
{
    struct check_op_run got, want = {0};
    check_seed(options.seed, c->label);
    bool good = check_run_op(device, op, c, &got);
    check_seed(options.seed, c->label);
    good = good && check_run_op(twin, op, c, &want) && same_runs(op, c, &got, &want);
    check_op_run_free(&got);
    check_op_run_free(&want);
    return good;
}

enum verb { TEST, VARIANTS, PRODUCTS, REFERENCE, GRAD, LIST };

static void check_ops_on(struct tensor_device *device, struct tensor_device *twin, enum verb verb,
                         const char *only, struct tally *tally)
{
    static struct check_op_case c;
    for (const struct check_op *op = check_ops; op->name; op++)
        for (uint32_t i = 0;
             wanted(op->name) && (!only || !strcmp(only, op->name)) && op->build(i, &c); i++) {
            if (!due())
                continue;
            check_seed(options.seed, c.label);
            tally->cases++;
            tally->failed += verb == TEST        ? !check_op_twin(device, twin, op, &c)
                             : verb == REFERENCE ? !check_op_result(device, op, &c)
                                                 : !check_op_grad(device, op, &c);
        }
}

/* ---- verbs ---- */

static int conclude(const char *name, const struct tally *tally)
{
    printf("%s: %u cases, %u failed, seed %llu\n", name, tally->cases, tally->failed,
           (unsigned long long)options.seed);
    return tally->failed || !tally->cases ? CHECK_FAILED : 0;
}

/* The precisions in which products, and nothing else, take other factors. */
static const enum tensor_precision low_precisions[] = {TENSOR_PRECISION_BF16,
                                                       TENSOR_PRECISION_FP16};

/* The products whose factors have the type of a feature of matrix units. */
static void check_products_on(struct tensor_device *device, struct tensor_device *twin,
                              uint32_t feature, struct tally *tally)
{
    static struct check_kernel_case c;
    const bool half = feature & (TENSOR_COOP_F16 | TENSOR_COOP2_F16);
    const struct check_kernel *k = check_kernels;
    while (strcmp(k->name, "matmul") != 0)
        k++;
    for (uint32_t i = 0; wanted(k->name) && k->build(i, &c); i++) {
        const struct matmul_params *p = (const struct matmul_params *)c.params;
        for (uint32_t shift = 0; shift < 2 && p->flags & (half ? MATMUL_F16 : MATMUL_BF16);
             shift++) {
            if (!due())
                continue;
            tally->cases++;
            tally->failed += !check_kernel_case(device, twin, k, &c, shift);
        }
    }
}

/* The configurations of a product that neither the rule nor a feature leads to: other tiles. One of
 * matrix units is tried with each type and order of its factors; one of the others, of which
 * software drivers have many to compile, with each type in one order and each order of one type.
 * The graph's autotune cache has that one entry; without a cache the rule decides. */
static void check_configs_on(struct tensor_device *device, struct tensor_device *twin,
                             struct tally *tally)
{
    static struct check_kernel_case c;
    static struct matmul_config config[MATMUL_CONFIGS];
    const struct check_kernel *k = check_kernels;
    while (strcmp(k->name, "matmul") != 0)
        k++;
    for (uint32_t i = 0; wanted(k->name) && k->build(i, &c); i++) {
        const struct matmul_params *p = (const struct matmul_params *)c.params;
        const uint32_t configs = tensor_matmul_configs(&device->info, p, config);
        const uint32_t type = p->flags & MATMUL_BF16 ? 1 : p->flags & MATMUL_F16 ? 2 : 0;
        const uint32_t order = p->flags & MATMUL_ORDER;
        if (p->k < 128 || p->m < 70 || p->n < 64 || p->flags & MATMUL_EPILOGUE)
            continue;
        for (uint32_t j = 1; j < configs; j++) {
            if ((!config[j].unit[0] && (j + order) % 3 != type) || !due())
                continue;
            struct tensor_autotune_entry forced = tensor_matmul_entry(p, &config[j], 1);
            const struct tensor_autotune cache = {.device = device, .list = &forced, .count = 1};
            struct matmul_config taken, usual;
            bool tuned, untuned;
            tensor_matmul_configure(&device->info, &cache, p, &taken, &tuned);
            tensor_matmul_configure(&device->info, NULL, p, &usual, &untuned);
            const struct tensor_autotune_entry entry = tensor_matmul_entry(p, &taken, 1);
            c.autotune = &cache;
            tally->cases++;
            tally->failed += !tuned || untuned || memcmp(&entry, &forced, sizeof entry) ||
                             memcmp(&usual, &config[0], sizeof usual) ||
                             !check_kernel_case(device, twin, k, &c, 0);
            c.autotune = NULL;
        }
    }
}

/* Matrix products on matrix units: every shape of every feature that the device and the build have,
 * each alone. What neither has is named. */
static void test_matrices(const char *name, struct tensor_device *cpu, struct tally *tally)
{
    static const uint32_t features[] = {TENSOR_COOP_F16, TENSOR_COOP_BF16, TENSOR_COOP2_F16,
                                        TENSOR_COOP2_BF16};
    for (uint32_t i = 0; i < COUNT(features); i++) {
        const struct tensor_feature_name *f = tensor_feature_names;
        uint32_t shapes = 0;
        while (f->bits != features[i])
            f++;
        const uint32_t others = TENSOR_MATRIX_UNITS & ~features[i];
        for (bool has = true; has && shapes < TENSOR_MATRIX_SHAPES; shapes += has) {
            struct tensor_device *device = NULL;
            const struct tensor_device_params params = {.name = name,
                                                        .enable = features[i],
                                                        .disable = others,
                                                        .matrix_shape = shapes + 1};
            if (check_open_with(&params, &device) < 0) {
                tally->failed++;
                return;
            }
            const struct tensor_device_info *info = tensor_device_info(device);
            const struct tensor_matrix_shape *shape = info->matrix_shape;
            has = info->features & features[i];
            if (has) {
                printf("%s: %s, %u x %u x %u\n", name, f->name, shape->m, shape->n, shape->k);
                check_products_on(device, cpu, features[i], tally);
            }
            tally->failed += !check_close(&device);
        }
        if (!shapes)
            printf("%s: without %s, which the driver or the build lacks\n", name, f->name);
    }
}

/* The device as it is. */
static int test_device(const char *name, struct tensor_device *cpu)
{
    struct tensor_device *device = NULL;
    struct tally tally = {0};
    if (check_open(name, TENSOR_PRECISION_FP32, 0, 0, &device) < 0)
        return CHECK_FAILED;
    const struct tensor_device_info *info = tensor_device_info(device);
    printf("%s: %s, %s\n", name, info->name, info->driver);
    check_kernels_on(device, cpu, 0, &tally);
    check_ops_on(device, cpu, TEST, NULL, &tally);
    tally.failed += !check_close(&device);
    return conclude(name, &tally);
}

/* What the device would not use itself of the features that choose between variants, for the
 * kernels that have some. */
static int test_variants(const char *name, struct tensor_device *cpu)
{
    static const struct {
        uint32_t enable, disable;
    } sets[] = {{0, 0}, /* as it is */
                {TENSOR_SHARED_TILES, 0},
                {TENSOR_LONG_LOADS, TENSOR_SHARED_TILES},
                {0, TENSOR_SHARED_TILES | TENSOR_LONG_LOADS}};
    uint32_t seen[COUNT(sets)], distinct = 0;
    struct tally tally = {0};
    for (size_t i = 0; i < COUNT(sets); i++) {
        struct tensor_device *device = NULL;
        bool again = false;
        if (check_open(name, TENSOR_PRECISION_FP32, sets[i].enable, sets[i].disable, &device) < 0)
            return CHECK_FAILED;
        const struct tensor_device_info *info = tensor_device_info(device);
        for (uint32_t j = 0; j < distinct; j++)
            again |= seen[j] == info->features;
        if (!again) {
            seen[distinct++] = info->features;
            if (i) /* as it is it was in test_device() */
                check_kernels_on(device, cpu, info->features ^ seen[0], &tally);
        }
        tally.failed += !check_close(&device);
    }
    if (distinct < 2) {
        printf("FAIL %s: features can be neither switched on nor off\n", name);
        tally.failed++;
    }
    return conclude(name, &tally);
}

/* Products in tiles that are not chosen, on matrix units, and in each precision. */
static int test_products(const char *name, struct tensor_device *cpu)
{
    struct tally tally = {0};
    struct tensor_device *device = NULL, *twin = NULL;
    if (check_open(name, TENSOR_PRECISION_FP32, 0, 0, &device) < 0)
        return CHECK_FAILED;
    check_configs_on(device, cpu, &tally);
    tally.failed += !check_close(&device);
    test_matrices(name, cpu, &tally);
    for (uint32_t i = 0; i < COUNT(low_precisions); i++) {
        if (check_open(name, low_precisions[i], TENSOR_MATRIX_UNITS, 0, &device) < 0 ||
            check_open("cpu", low_precisions[i], 0, 0, &twin) < 0)
            return CHECK_FAILED;
        check_ops_on(device, twin, TEST, "tensor_linear", &tally);
        check_ops_on(device, twin, TEST, "tensor_linear_residual", &tally);
        tally.failed += !check_close(&device);
        tally.failed += !check_close(&twin);
    }
    return conclude(name, &tally);
}

static int run_test(struct tensor_device *cpu, enum verb verb)
{
    char name[16][32];
    const uint32_t count = check_devices(options.device, name, 16);
    int status = 0;
    if (!count) {
        printf("SKIP: there is no Vulkan device; a software one is enough (Debian: "
               "mesa-vulkan-drivers)\n");
        return CHECK_SKIPPED;
    }
    for (uint32_t i = 0; i < count; i++)
        status |= verb == TEST       ? test_device(name[i], cpu)
                  : verb == VARIANTS ? test_variants(name[i], cpu)
                                     : test_products(name[i], cpu);
    return status;
}

/* Whether each "tensor_x(struct tensor_graph *g" of the header has cases. */
static int list_missing_ops(void)
{
    char line[512];
    int missing = 0;
    FILE *f = options.header ? fopen(options.header, "re") : NULL;
    if (options.header && !f) {
        printf("FAIL %s: %s\n", options.header, strerror(errno));
        return 1;
    }
    while (f && fgets(line, sizeof line, f)) {
        char *name = strstr(line, "tensor_"), *open = strstr(line, "(struct tensor_graph *g");
        if (!name || !open)
            continue;
        *open = 0;
        for (char *at; (at = strpbrk(name, " *"));)
            name = at + 1;
        const struct check_op *op = check_ops;
        while (op->name && strcmp(op->name, name) != 0)
            op++;
        if (!op->name)
            printf("FAIL %s has no case in ops.c\n", name);
        missing += !op->name;
    }
    if (f)
        fclose(f);
    return missing;
}

static int run_list(void)
{
    static struct check_kernel_case kernel_case;
    static struct check_op_case op_case;
    int missing = list_missing_ops();
    for (unsigned i = 0; tensor_kernels(i); i++) {
        const struct check_kernel *k = check_kernels;
        while (k->name && strcmp(k->name, tensor_kernels(i)->name) != 0)
            k++;
        if (!k->name)
            printf("FAIL kernel %s has no case in cases.c\n", tensor_kernels(i)->name);
        missing += !k->name;
    }
    for (const struct check_kernel *k = check_kernels; k->name; k++)
        for (uint32_t i = 0; wanted(k->name) && k->build(i, &kernel_case); i++)
            printf("%s (%s)\n", k->name, kernel_case.label);
    for (const struct check_op *op = check_ops; op->name; op++)
        for (uint32_t i = 0; wanted(op->name) && op->build(i, &op_case); i++)
            printf("%s (%s)\n", op->name, op_case.label);
    return missing ? CHECK_FAILED : 0;
}

static int run_verb(enum verb verb)
{
    struct tensor_device *cpu = NULL;
    struct tally tally = {0};
    if (verb == LIST)
        return run_list();
    if (tensor_device_open(&(struct tensor_device_params){.name = "cpu"}, &cpu) < 0) {
        printf("FAIL %s\n", tensor_error());
        return CHECK_FAILED;
    }
    int status = 0;
    if (verb <= PRODUCTS) {
        status = run_test(cpu, verb);
    } else {
        if (verb == REFERENCE)
            check_kernels_on(cpu, NULL, 0, &tally);
        check_ops_on(cpu, NULL, verb, NULL, &tally);
        for (uint32_t i = 0; i < COUNT(low_precisions); i++) {
            struct tensor_device *device = NULL;
            if (check_open("cpu", low_precisions[i], 0, 0, &device) < 0)
                return CHECK_FAILED;
            check_ops_on(device, NULL, verb, "tensor_linear", &tally);
            tally.failed += !check_close(&device);
        }
        status = conclude("cpu", &tally);
    }
    tensor_device_close(&cpu);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"device", 1, NULL, 'd'}, {"only", 1, NULL, 'o'},
                                          {"seed", 1, NULL, 's'}, {"header", 1, NULL, 'h'},
                                          {0}};
    static const char *const verbs[] = {"test",      "variants", "products",
                                        "reference", "grad",     "list"};
    for (int option; (option = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        switch (option) {
        case 'd': options.device = optarg; break;
        case 'o': options.only = optarg; break;
        case 's': options.seed = strtoull(optarg, NULL, 0); break;
        case 'h': options.header = optarg; break;
        default: fputs(usage, stderr); return 2;
        }
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (enum verb verb = TEST; optind + 1 == argc && verb <= LIST; verb++)
        if (strcmp(argv[optind], verbs[verb]) == 0)
            return run_verb(verb);
    fputs(usage, stderr);
    return 2;
}
