/* check.h - what the tests of megabyte share: devices, small models, bytes, comparison.
 *
 *     acceptance.c   the runner             training.c     determinism, accumulation, byte 0
 *     settings.c     configurations, costs  generation.c   caches against whole windows
 *     causality.c    who sees whom          evaluation.c   every byte scored once, untrained models
 *     gate.c         steps that must not be applied
 *     sampling.c     choices, first values, the schedule
 *     precision.c    16 bits              groups.c       blocks in groups of patches
 */
#ifndef TESTS_MEGABYTE_CHECK_H
#define TESTS_MEGABYTE_CHECK_H

#include "megabyte/error.h"
#include "megabyte/evaluator.h"
#include "megabyte/model.h"

#define SYMBOLS MEGABYTE_SYMBOLS

/* Ends the program when a call fails that no test is about. */
void check_must(int status, const char *what);
/* Counts and prints a failure with where it happened; the test goes on. */
void check_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern int check_failures;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            check_failed(__VA_ARGS__);                                                             \
    } while (0)

void *check_allocate(size_t size); /* zeroed; never NULL */

/* Reproducible bytes: all 256 values, a few letters in words, or multiples of a number in [0,
 * 2^32). */
void check_random_bytes(uint32_t seed, uint8_t *to, size_t count);
void check_text(uint32_t seed, uint8_t *to, size_t count);
uint32_t check_random_number(uint32_t seed, uint32_t index);

/* Runs `test` on the cpu and on every Vulkan device, with validation where the layer is there. */
void check_each_device(void (*test)(struct tensor_device *device));
/* … and in every precision of each, fp32 first. */
void check_each_precision(void (*test)(struct tensor_device *device));
struct tensor_device *check_open_cpu(void);
/* Opens a device, a Vulkan one with validation where the layer is there (*validation; may be NULL).
 * Closing it fails where the layer had anything to say. */
struct tensor_device *check_open(const char *name, enum tensor_precision precision,
                                 bool *validation);
void check_close(struct tensor_device **device);

/* Settings of small models: odd widths, P = 1, K = 1, T = 1. False behind the last. The weights are
 * larger than one would train with, so that nothing gets lost in rounding. */
bool check_shape(unsigned index, struct megabyte_config *config);
/* The same of the paper's variations, its ablations and PerceiverAR. */
bool check_variation(unsigned index, struct megabyte_config *config);
/* Settings of a small model to train: two micro-batches or more of two, with dropout. */
struct megabyte_config check_training_config(uint32_t seq_len, uint32_t batch);
/* "T 24 P 4 …", valid until the next call. */
const char *check_shape_name(const struct megabyte_config *config);

struct megabyte_model *check_model(struct tensor_device *device,
                                   const struct megabyte_config *config, bool training,
                                   uint64_t seed);
struct megabyte_evaluator *check_evaluator(const struct megabyte_model *model, uint32_t batch);

/* The tests; the last three need no device of their own choice. */
void check_causality(struct tensor_device *device);
void check_evaluation(struct tensor_device *device);
void check_untrained(struct tensor_device *device);
void check_generation(struct tensor_device *device);
void check_training(struct tensor_device *device);
void check_memory(struct tensor_device *device);
void check_gate(struct tensor_device *device);
void check_groups(struct tensor_device *device);
void check_learning(struct tensor_device *device);
void check_precision(struct tensor_device *device);
void check_twice(struct tensor_device *device);
void check_first_values(struct tensor_device *device);
void check_strided_gain(void);
void check_settings(void);
void check_sampling(void);

#endif
