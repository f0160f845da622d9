/*
 * Options about the device, for the programs that compute; on top of common.h.
 */
#ifndef APPS_DEVICE_H
#define APPS_DEVICE_H

#include <getopt.h>

#include "tensor/device.h"

/* For the first line of main: lets waiting threads of the processor sleep soon instead of spinning
 * for milliseconds, which on a machine with other work makes every step many times slower. The
 * library that runs the threads reads this from the environment before main, so the program starts
 * itself once more; OMP_WAIT_POLICY or GOMP_SPINCOUNT in the environment are left as they are. */
void app_calm_threads(char **argv);

struct app_device_options {
    const char *device;    /* --device; NULL: auto */
    const char *precision; /* --precision, checked; NULL: auto */
    uint32_t disable;      /* --disable: enum tensor_feature bits */
};

/* Rows for a table of getopt_long ... */
enum {
    APP_KEY_DEVICE = 0x2000,
    APP_KEY_PRECISION,
    APP_KEY_DISABLE,
    APP_KEY_DEVICES,
};
#define APP_DEVICE_OPTIONS                                                                         \
    {"device", required_argument, NULL, APP_KEY_DEVICE},                                           \
        {"precision", required_argument, NULL, APP_KEY_PRECISION},                                 \
        {"disable", required_argument, NULL, APP_KEY_DISABLE},                                     \
    {                                                                                              \
        "list-devices", no_argument, NULL, APP_KEY_DEVICES                                         \
    }

/* ... and the text about them for --help. */
extern const char app_device_help[];

/* Takes one of these options. 1: taken. 0: key is none of them. -1: the argument is wrong, and a
 * line was printed. 2: what was asked for is done (--list-devices); end the program with
 * success. */
int app_device_option(struct app_device_options *options, int key, const char *argument);

/* Opens the device and says which, unless --quiet. Returns an exit status; on APP_DONE the caller
 * ends *device with tensor_device_close(). */
int app_device_open(const struct app_device_options *options, struct tensor_device **device);

/* Which build of the program this is: its version, and a digest of the file that runs where that
 * can be read. */
const char *app_build(void);

#endif
