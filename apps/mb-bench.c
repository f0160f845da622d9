/*
 * mb-bench: how fast, and where the time goes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "apps/bench.h"
#include "megabyte/error.h"

static const char usage[] =
    "Usage: mb-bench op|step|tune|generate [options]\n"
    "       mb-bench pipeline [options] DATA...\n"
    "\n"
    "  op         a matrix product with its gradients, and a copy\n"
    "  step       training steps of a model on random bytes, and the time of each operation\n"
    "  tune       on a vulkan device: tries kernels for each product of a training step, and\n"
    "             keeps the fastest for later runs (mb-train --tune: where none was tried)\n"
    "  generate   bytes one after the other from a model with first weights\n"
    "  pipeline   DATA from archives to batches (training shuffles more of it: --shuffle 64M)\n"
    "\n"
    "Measurement:\n"
    "  --preset NAME          the model (tiny)\n"
    "  --set KEY=VALUE        changes a setting; repeatable\n"
    "  --steps N              runs that are measured; the median counts (5)\n"
    "  --warm-up N            runs before them (2)\n"
    "  --bytes N              generate: how many bytes of each sequence, in\n"
    "                         whole patches (256)\n"
    "  --sequences N          generate: how many sequences at once (1)\n"
    "  --size N               op: rows and columns of the product (1024)\n"
    "  --peak FLOPS           step: what the device can do a second as its vendor states it, such\n"
    "                         as 989e12 (known of some GPUs)\n"
    "  --seed N               of weights and bytes (1)\n"
    "\n";

static const char more_usage[] =
    "\n"
    "Output:\n"
    "  --json                 the result as one JSON object on standard output\n"
    "  --quiet                no notes\n"
    "  --version              print the version\n"
    "  --help                 print this\n"
    "\n"
    "Exit status: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted.\n";

enum {
    KEY_PRESET = 0x100, KEY_SET, KEY_STEPS, KEY_WARM_UP, KEY_BYTES, KEY_SEQUENCES, KEY_SIZE,
    KEY_SEED, KEY_PEAK, KEY_JSON, KEY_QUIET, KEY_VERSION, KEY_HELP,
};

static const struct option table[] = {
    APP_DATA_OPTIONS,
    APP_MIX_OPTIONS,
    APP_DEVICE_OPTIONS,
    {"preset", required_argument, NULL, KEY_PRESET},
    {"set", required_argument, NULL, KEY_SET},
    {"steps", required_argument, NULL, KEY_STEPS},
    {"warm-up", required_argument, NULL, KEY_WARM_UP},
    {"bytes", required_argument, NULL, KEY_BYTES},
    {"sequences", required_argument, NULL, KEY_SEQUENCES},
    {"size", required_argument, NULL, KEY_SIZE},
    {"seed", required_argument, NULL, KEY_SEED},
    {"peak", required_argument, NULL, KEY_PEAK},
    {"json", no_argument, NULL, KEY_JSON},
    {"quiet", no_argument, NULL, KEY_QUIET},
    {"version", no_argument, NULL, KEY_VERSION},
    {"help", no_argument, NULL, KEY_HELP},
    {0},
};

static int take_count(const char *option, const char *value, uint64_t least, uint64_t most,
                      uint64_t *out)
{
    return app_take_whole(option, value, least, most, out);
}

static int take_set(struct bench_options *o, const char *value)
{
    const char *equals = strchr(value, '=');
    char key[64];

    if (!equals)
        return app_fail(-1, "--set wants KEY=VALUE, not '%s'", value);
    snprintf(key, sizeof key, "%.*s", (int)(equals - value), value);
    if (megabyte_config_set(&o->config, key, equals + 1) < 0)
        return app_fail(-1, "%s", megabyte_error());
    return 1;
}

static int take_own(struct bench_options *o, int key, const char *value)
{
    switch (key) {
    case KEY_STEPS:
        return take_count("steps", value, 1, 100000, &o->steps);
    case KEY_WARM_UP:
        return take_count("warm-up", value, 0, 100000, &o->warm_up);
    case KEY_BYTES:
        return take_count("bytes", value, 1, 1u << 30, &o->bytes);
    case KEY_SEQUENCES:
        return take_count("sequences", value, 1, 4096, &o->sequences);
    case KEY_SIZE:
        return take_count("size", value, 1, 32768, &o->size);
    case KEY_SEED:
        return take_count("seed", value, 0, INT64_MAX, &o->seed);
    case KEY_PEAK:
        return app_take_number("peak", value, 1, 1e21, &o->peak);
    case KEY_JSON:
        return o->json = true;
    case KEY_QUIET:
        app_set_quiet(true);
        return 1;
    case KEY_VERSION:
        puts("mb-bench " MEGABYTE_VERSION);
        return 2;
    case KEY_HELP:
        printf("%s%s%s\n%s%s", usage, app_data_help, app_mix_help, app_device_help,
               more_usage);
        return 2;
    default:
        return -1; /* getopt has said what is wrong */
    }
}

/* --preset first, wherever it stands, then the others. */
static int parse(struct bench_options *o, int argc, char **argv)
{
    int key, taken = 1;

    argv[0] = "mb-bench"; /* for getopt's messages */
    for (int pass = 0; pass < 2 && taken == 1; pass++) {
        optind = 0;
        while (taken == 1 && (key = getopt_long(argc, argv, "", table, NULL)) != -1) {
            if (key == KEY_PRESET && pass == 0 && megabyte_config_preset(optarg, &o->config) < 0)
                taken = app_fail(-1, "%s", megabyte_error());
            if (key == '?')
                taken = -1; /* getopt has said what is wrong */
            if (key == KEY_PRESET || pass == 0)
                continue;
            taken = key == KEY_SET ? take_set(o, optarg) : app_data_option(&o->data, key, optarg);
            if (!taken)
                taken = app_device_option(&o->device, key, optarg);
            if (!taken)
                taken = take_own(o, key, optarg);
        }
    }
    return taken;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double bench_median(double *numbers, size_t n)
{
    qsort(numbers, n, sizeof *numbers, compare);
    return n % 2 ? numbers[n / 2] : (numbers[n / 2 - 1] + numbers[n / 2]) / 2;
}

static int run(struct bench_options *o, int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct bench_options *o);
    } all[] = {{"op", bench_op}, {"step", bench_step}, {"tune", bench_tune},
               {"generate", bench_generate}, {"pipeline", bench_pipeline}};
    const int taken = parse(o, argc, argv);

    if (taken != 1)
        return taken == 2 ? APP_DONE : APP_USAGE;
    if (optind == argc)
        return app_fail(APP_USAGE, "say what to measure: op, step, tune, generate or pipeline");
    const char *name = argv[optind];
    o->paths = argv + optind + 1;
    o->n_paths = (size_t)(argc - optind - 1);
    if (megabyte_config_check(&o->config) < 0)
        return app_fail(APP_USAGE, "%s", megabyte_error());
    if (o->n_paths && strcmp(name, "pipeline"))
        return app_fail(APP_USAGE, "%s takes no DATA", name);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(name, all[i].name))
            return all[i].run(o);
    return app_fail(APP_USAGE, "unknown benchmark '%s'; there are op, step, tune, generate and "
                    "pipeline", name);
}

int main(int argc, char **argv)
{
    struct bench_options o = {.data = APP_DATA_DEFAULTS, .steps = 5, .warm_up = 2, .bytes = 256,
                              .sequences = 1, .size = 1024, .seed = 1};

    app_calm_threads(argv);
    int status = app_start("mb-bench");
    if (status != APP_DONE)
        return status;
    megabyte_config_preset("tiny", &o.config);
    status = run(&o, argc, argv);
    if (status == APP_DONE && (fflush(stdout) || ferror(stdout)))
        status = app_fail(APP_FAILED, "standard output: %s", strerror(errno));
    app_data_options_finish(&o.data);
    return status;
}
