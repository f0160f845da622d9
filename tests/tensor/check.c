/* check.c - data, comparison and devices of the tests. */
#include "tests/tensor/check.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void check_start(struct check_kernel_case *c, const void *params, size_t size, const char *format,
                 ...)
{
    va_list args;
    memset(c, 0, sizeof *c);
    memcpy(c->params, params, size);
    va_start(args, format);
    vsnprintf(c->label, sizeof c->label, format, args);
    va_end(args);
}

void check_start_op(struct check_op_case *c, uint64_t count, const char *format, ...)
{
    va_list args;
    *c = (struct check_op_case){.count = count};
    va_start(args, format);
    vsnprintf(c->label, sizeof c->label, format, args);
    va_end(args);
}

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

static bool is_16bit(enum tensor_type type)
{
    return type == TENSOR_BF16 || type == TENSOR_F16;
}

double check_round(enum tensor_type type, double x)
{
    int exponent;
    if (type == TENSOR_F32)
        return (float)x;
    if (x == 0 || !isfinite(x))
        return x;
    frexp(x, &exponent);
    /* The weight of the last bit, which is the same for all numbers below the normal ones. */
    const int bits = type == TENSOR_BF16 ? 8 : 11, least = type == TENSOR_BF16 ? -133 : -24;
    const int last = exponent - bits > least ? exponent - bits : least;
    const double nearest = ldexp(nearbyint(ldexp(x, -last)), last);
    const double largest = type == TENSOR_BF16 ? 0x1.fep127 : 65504;
    return fabs(nearest) > largest ? copysign(INFINITY, x) : nearest;
}

/* The bits of a number that the type holds, and back. */
static uint16_t encode(enum tensor_type type, double x)
{
    const float single = (float)x;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    if (type == TENSOR_BF16)
        return (uint16_t)(bits >> 16);
    const uint32_t sign = bits >> 16 & 0x8000;
    int exponent;
    const double fraction = frexp(fabs(x), &exponent);
    if (isnan(x) || isinf(x))
        return (uint16_t)(isnan(x) ? 0x7e00 : sign | 0x7c00);
    if (exponent < -13) /* multiples of 2^-24 */
        return (uint16_t)(sign | (uint32_t)ldexp(fraction, exponent + 24));
    return (uint16_t)(sign + ((uint32_t)(exponent + 14) << 10) + (uint32_t)ldexp(fraction, 11) -
                      1024);
}

static double decode(enum tensor_type type, uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    float single;
    memcpy(&single, &wide, sizeof single);
    if (type == TENSOR_BF16)
        return single;
    const double size = exponent == 31 ? (fraction ? NAN : INFINITY)
                        : exponent     ? ldexp(1024 + fraction, (int)exponent - 25)
                                       : ldexp(fraction, -24);
    return bits & 0x8000 ? -size : size;
}

void check_draw(const struct check_arg *arg, void *to)
{
    const double whole = arg->high - arg->low + 1;
    static const size_t size[] = {
        [TENSOR_F32] = 4, [TENSOR_U32] = 4, [TENSOR_U8] = 1, [TENSOR_BF16] = 2, [TENSOR_F16] = 2};
    if (arg->values) {
        memcpy(to, arg->values, arg->count * size[arg->type]);
        return;
    }
    for (uint64_t i = 0; i < arg->count; i++)
        if (arg->type == TENSOR_F32)
            ((float *)to)[i] = (float)check_uniform(arg->low, arg->high);
        else if (arg->type == TENSOR_U32)
            ((uint32_t *)to)[i] = (uint32_t)(arg->low + floor(check_uniform(0, whole)));
        else if (is_16bit(arg->type))
            ((uint16_t *)to)[i] =
                encode(arg->type, check_round(arg->type, check_uniform(arg->low, arg->high)));
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
    if (type != TENSOR_F32 && !is_16bit(type)) {
        const uint64_t size = count * (type == TENSOR_U32 ? 4 : 1);
        return memcpy(check_allocate(size), from, size);
    }
    double *wide = check_allocate(count * sizeof *wide);
    for (uint64_t i = 0; i < count; i++)
        wide[i] = is_16bit(type) ? decode(type, ((const uint16_t *)from)[i])
                                 : (double)((const float *)from)[i];
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

enum tensor_type check_factor_type(const struct tensor_device *device)
{
    switch (tensor_device_info(device)->precision) {
    case TENSOR_PRECISION_BF16:
        return TENSOR_BF16;
    case TENSOR_PRECISION_FP16:
        return TENSOR_F16;
    default:
        return TENSOR_F32;
    }
}

int check_open(const char *name, enum tensor_precision precision, uint32_t enable, uint32_t disable,
               struct tensor_device **device)
{
    const struct tensor_device_params params = {
        .name = name, .precision = precision, .enable = enable, .disable = disable};
    return check_open_with(&params, device);
}

int check_open_with(const struct tensor_device_params *given, struct tensor_device **device)
{
    struct tensor_device_params params = *given;
    params.validation = params.no_cache = true;
    params.log = print_line;
    int status = tensor_device_open(&params, device);
    if (status == -ENOTSUP) { /* the layer is not installed */
        params.validation = false;
        status = tensor_device_open(&params, device);
    }
    if (status < 0)
        printf("FAIL %s: %s\n", params.name, tensor_error());
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
    uint32_t count, capacity;
};

static void each_device(void *user, int index, const struct tensor_device_info *info)
{
    struct found *f = user;
    if (strcmp(info->kind, "vulkan") == 0 && f->count < f->capacity)
        snprintf(f->name[f->count++], sizeof *f->name, "vulkan:%d", index);
}

uint32_t check_devices(const char *wanted, char (*name)[32], uint32_t capacity)
{
    struct found f = {name, 0, capacity};
    if (wanted && capacity) {
        snprintf(name[0], sizeof *name, "%s", wanted);
        return 1;
    }
    tensor_device_list(each_device, &f);
    return f.count;
}
