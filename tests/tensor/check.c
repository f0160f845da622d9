/* check.c - data, comparison and devices of the tests. */
#include "tests/tensor/check.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

void check_seed(uint64_t seed, const char *label)
{
    state = seed;
    for (; *label; label++)
        state = (state ^ (unsigned char)*label) * 0x100000001b3u;
}

/* splitmix64 (Steele et al. 2014): not the generator under test */
static uint64_t next(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double check_uniform(double low, double high)
{
    return low + (high - low) * ((double)(next() >> 11) * 0x1p-53);
}

void check_draw(const struct check_arg *arg, void *to)
{
    const double whole = arg->high - arg->low + 1;
    static const size_t size[] = {[TENSOR_F32] = 4, [TENSOR_U32] = 4, [TENSOR_U8] = 1};
    if (arg->values) {
        memcpy(to, arg->values, arg->count * size[arg->type]);
        return;
    }
    for (uint64_t i = 0; i < arg->count; i++)
        if (arg->type == TENSOR_F32)
            ((float *)to)[i] = (float)check_uniform(arg->low, arg->high);
        else if (arg->type == TENSOR_U32)
            ((uint32_t *)to)[i] = (uint32_t)(arg->low + floor(check_uniform(0, whole)));
        else
            ((uint8_t *)to)[i] = (uint8_t)(arg->low + floor(check_uniform(0, whole)));
}

void *check_allocate(uint64_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p) {
        fprintf(stderr, "no memory for %" PRIu64 " bytes\n", size);
        exit(CHECK_FAILED);
    }
    return p;
}

void *check_widen(enum tensor_type type, const void *from, uint64_t count)
{
    if (type != TENSOR_F32) {
        const uint64_t size = count * (type == TENSOR_U32 ? 4 : 1);
        return memcpy(check_allocate(size), from, size);
    }
    double *wide = check_allocate(count * sizeof *wide);
    for (uint64_t i = 0; i < count; i++)
        wide[i] = ((const float *)from)[i];
    return wide;
}

bool check_floats(const char *what, const float *got, const double *want, uint64_t count,
                  double tolerance)
{
    double largest = 0, squares = 0, error = 0, error_squares = 0;
    uint64_t worst = 0;
    for (uint64_t i = 0; i < count; i++) {
        const double d = fabs(got[i] - want[i]);
        if (isnan(d) && !isnan(want[i])) {
            printf("FAIL %s: element %" PRIu64 " of %" PRIu64 " is %g, not %g\n", what, i, count,
                   (double)got[i], want[i]);
            return false;
        }
        if (d > error) {
            error = d;
            worst = i;
        }
        largest = fmax(largest, fabs(want[i]));
        squares += want[i] * want[i];
        error_squares += d * d;
    }
    if (error <= tolerance * largest && error_squares <= tolerance * tolerance * squares)
        return true;
    printf("FAIL %s: element %" PRIu64 " of %" PRIu64 " is %.9g, not %.9g: error %.2g of the "
           "largest value (%.2g allowed), nmse %.2g\n", what, worst, count, (double)got[worst],
           want[worst], error / largest, tolerance, error_squares / squares);
    return false;
}

static void print_line(void *user, const char *line)
{
    printf("     %s\n", line);
}

int check_open(const char *name, uint32_t enable, uint32_t disable, struct tensor_device **device)
{
    struct tensor_device_params params = {
        .name = name, .enable = enable, .disable = disable, .validation = true, .no_cache = true,
        .log = print_line};
    int status = tensor_device_open(&params, device);
    if (status == -ENOTSUP) { /* the layer is not installed */
        params.validation = false;
        status = tensor_device_open(&params, device);
    }
    if (status < 0)
        printf("FAIL %s: %s\n", name, tensor_error());
    return status;
}

bool check_close(struct tensor_device **device)
{
    const uint64_t messages = tensor_device_validation_messages(*device);
    if (messages)
        printf("FAIL the validation layer has %" PRIu64 " messages\n", messages);
    tensor_device_close(device);
    return messages == 0;
}

struct found {
    char (*name)[32];
    uint32_t count, room;
};

static void each_device(void *user, int index, const struct tensor_device_info *info)
{
    struct found *f = user;
    if (strcmp(info->kind, "vulkan") == 0 && f->count < f->room)
        snprintf(f->name[f->count++], sizeof *f->name, "vulkan:%d", index);
}

uint32_t check_devices(const char *wanted, char (*name)[32], uint32_t room)
{
    struct found f = {name, 0, room};
    if (wanted && room) {
        snprintf(name[0], sizeof *name, "%s", wanted);
        return 1;
    }
    tensor_device_list(each_device, &f);
    return f.count;
}
