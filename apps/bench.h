/*
 * The parts of mb-bench: options (mb-bench.c), what computes (bench_compute.c), what tries
 * kernels (bench_tune.c), what reads (bench_pipeline.c), what vendors state (bench_peaks.c).
 */
#ifndef APPS_BENCH_H
#define APPS_BENCH_H

#include "apps/common.h"
#include "apps/device.h"
#include "megabyte/config.h"

struct bench_options {
    struct app_data_options data;
    struct app_device_options device;
    struct megabyte_config config;
    uint64_t steps, warm_up; /* runs that are measured; runs before them */
    uint64_t bytes;          /* generate: how many of each sequence */
    uint64_t sequences;      /* generate: how many at once */
    uint64_t size;           /* op: rows and columns of the product */
    double peak;             /* FLOP/s that the device can do as stated; 0: by its name */
    uint64_t seed;
    bool json;
    char *const *paths; /* (n_paths) DATA of pipeline */
    size_t n_paths;
};

/* Each runs one benchmark, prints it, and returns an exit status. */
int bench_op(const struct bench_options *o);
int bench_step(const struct bench_options *o);
int bench_tune(const struct bench_options *o);
int bench_generate(const struct bench_options *o);
int bench_pipeline(const struct bench_options *o);

/* FLOP/s that the vendor states of a device, by its name, in a precision; 0: not known here. */
double bench_stated_peak(const char *device, const char *precision);

/* The median of n numbers; sorts them. */
double bench_median(double *numbers, size_t n);

#endif
