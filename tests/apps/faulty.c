/* faulty.c - makes mb-train a program whose devices fail, for tests/apps/faults.py.
 *
 * The linker puts these in the place of app_device_open(), tensor_device_open() and
 * tensor_device_close() (meson.build); devices that others than the first open are well. FAULTS in
 * the environment is a list, of which the k-th device that is opened gets the k-th entry: "lost@N",
 * "hang@N", "memory@N", "nan@N:LABEL", or "none" (tensor/fault.h); devices behind its end are well.
 * As each is closed a line "points allocations runs" goes to the file that COUNTS names.
 */
#include "apps/device.h"
#include "tensor/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int __real_app_device_open(const struct app_device_options *options, struct tensor_device **device);
int __wrap_app_device_open(const struct app_device_options *options, struct tensor_device **device);
int __real_tensor_device_open(const struct tensor_device_params *params,
                              struct tensor_device **device);
void __real_tensor_device_close(struct tensor_device **device);
int __wrap_tensor_device_open(const struct tensor_device_params *params,
                              struct tensor_device **device);
void __wrap_tensor_device_close(struct tensor_device **device);

static bool wanted; /* the next device is the program's own */
static struct tensor_device *own;

static struct tensor_fault next_fault(void)
{
    static const char *const names[] = {"none", "lost", "hang", "memory", "nan"};
    static char text[1000], label[100], *list;
    static bool begun;
    struct tensor_fault fault = {.label = ""};
    if (!begun) {
        snprintf(text, sizeof text, "%s", getenv("FAULTS") ? getenv("FAULTS") : "");
        list = text;
        begun = true;
    }
    char *entry = list ? strsep(&list, " ") : NULL;
    if (!entry || !*entry)
        return fault;
    char *colon = strchr(entry, ':'), *at = strchr(entry, '@');
    if (colon) {
        *colon = '\0';
        snprintf(label, sizeof label, "%s", colon + 1);
        fault.label = label;
    }
    if (at) {
        *at = '\0';
        fault.at = strtoull(at + 1, NULL, 10);
    }
    for (int i = 0; i < 5; i++)
        if (!strcmp(entry, names[i]))
            fault.kind = (enum tensor_fault_kind)i;
    return fault;
}

int __wrap_app_device_open(const struct app_device_options *options, struct tensor_device **device)
{
    wanted = true;
    const int status = __real_app_device_open(options, device);
    wanted = false;
    return status;
}

int __wrap_tensor_device_open(const struct tensor_device_params *params,
                              struct tensor_device **device)
{
    if (!wanted)
        return __real_tensor_device_open(params, device);
    static struct tensor_fault fault; /* of one device at a time */
    fault = next_fault();
    wanted = false; /* tensor_fault_open() opens the real one */
    const int status = tensor_fault_open(params, &fault, device);
    own = status == 0 ? *device : NULL;
    return status;
}

void __wrap_tensor_device_close(struct tensor_device **device)
{
    const char *path = getenv("COUNTS");
    FILE *f = path && *device && *device == own ? fopen(path, "ae") : NULL;
    if (f) {
        const struct tensor_fault_counts c = tensor_fault_counts(*device);
        fprintf(f, "%llu %llu %llu\n", (unsigned long long)c.points,
                (unsigned long long)c.allocations, (unsigned long long)c.runs);
        fclose(f);
    }
    if (*device == own)
        own = NULL;
    __real_tensor_device_close(device);
}
