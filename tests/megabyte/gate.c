/* gate.c - steps that must not be applied: a value that is not finite, in any pass of any step,
 * leaves weights and moments as the step before left them, bit for bit; so does a loss beyond the
 * limit. What follows is as if the step had not been. */
#include "megabyte/trainer.h"
#include "tensor/fault.h"
#include "tests/megabyte/check.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 3
#define BATCH 4
#define T     24

static const uint32_t lengths[BATCH] = {T, T, 17, T};

struct run {
    struct megabyte_model *model;
    struct megabyte_trainer *trainer;
    uint8_t bytes[STEPS * BATCH * T];
};

static void begin(struct run *r, struct tensor_device *device)
{
    const struct megabyte_trainer_params params = {.seed = 5};
    const struct megabyte_config c = check_training_config(T, BATCH);
    r->model = check_model(device, &c, true, 3);
    check_must(megabyte_trainer_create(r->model, &params, &r->trainer), "trainer");
    check_random_bytes(1, r->bytes, sizeof r->bytes);
}

static void end(struct run *r)
{
    megabyte_trainer_destroy(&r->trainer);
    megabyte_model_destroy(&r->model);
}

static struct megabyte_trainer_result step(struct run *r, uint64_t number)
{
    struct megabyte_trainer_result result;
    check_must(megabyte_trainer_step(r->trainer, number, 0.01,
                                     r->bytes + (number - 1) * BATCH * T, lengths, &result),
               "step");
    return result;
}

/* Weights and moments, one behind the other; the caller frees them. */
static uint8_t *state(const struct run *r, size_t *size)
{
    const struct nn_parameters *p = r->model->parameters;
    *size = 3 * nn_parameters_size(p) * sizeof(float);
    uint8_t *all = check_allocate(*size);
    size_t at = 0;
    for (uint32_t i = 0; i < nn_parameters_count(p); i++) {
        const struct nn_parameter *q = nn_parameters_at(p, i);
        const struct tensor *part[] = {q->weight, q->moment1, q->moment2};
        for (int k = 0; k < 3; k++) {
            check_must(tensor_read(part[k], 0, all + at, tensor_size(part[k])), "read");
            at += tensor_size(part[k]);
        }
    }
    return all;
}

/* Steps 1 to STEPS; before number `bad` the state is kept, and behind it compared. */
static void spoiled(struct tensor_device *device, const char *label, uint64_t runs, uint64_t bad)
{
    const struct tensor_fault fault = {TENSOR_FAULT_VALUE, (bad - 1) * runs + 1, label};
    struct run r;
    check_must(tensor_fault_arm(device, &fault), "fault");
    begin(&r, device);
    for (uint64_t number = 1; number <= STEPS; number++) {
        size_t size;
        uint8_t *before = state(&r, &size);
        const struct megabyte_trainer_result result = step(&r, number);
        uint8_t *after = state(&r, &size);
        const bool same = !memcmp(before, after, size);
        CHECK(same == (number == bad), "%s in step %u: step %u %s the state", label, (unsigned)bad,
              (unsigned)number, same ? "did not change" : "changed");
        CHECK(result.applied == (number != bad), "%s in step %u: step %u is said to be %sapplied",
              label, (unsigned)bad, (unsigned)number, result.applied ? "" : "not ");
        const bool finite = isfinite(result.nats) && isfinite(result.grad_norm);
        CHECK(finite == (number != bad), "%s in step %u: step %u has loss %g, norm %g", label,
              (unsigned)bad, (unsigned)number, result.nats, result.grad_norm);
        free(before);
        free(after);
    }
    end(&r);
}

/* The pass that is spoiled is found, and a step that is traced ends with the bits of one that is
 * not. */
static void traced(struct tensor_device *device, const char *label)
{
    const struct tensor_fault fault = {label ? TENSOR_FAULT_VALUE : TENSOR_FAULT_NONE, 1, label};
    struct megabyte_trainer_result results[2] = {{0}};
    struct megabyte_trainer_trace trace = {.micro_batch = 9};
    uint8_t *states[2];
    char found[64] = ""; /* the label is the graph's */
    size_t size;
    for (int i = 0; i < 2; i++) {
        struct run r;
        check_must(tensor_fault_arm(device, &fault), "fault");
        begin(&r, device);
        const struct megabyte_batch batch = megabyte_trainer_batch(r.trainer);
        memcpy(batch.bytes, r.bytes, BATCH * T);
        memcpy(batch.lengths, lengths, sizeof lengths);
        if (i)
            check_must(megabyte_trainer_trace(r.trainer, 1, 0.01, &results[1], &trace), "trace");
        else
            results[0] = step(&r, 1);
        if (trace.first.found)
            snprintf(found, sizeof found, "%s", trace.first.label);
        CHECK(!memcmp(megabyte_trainer_submitted(r.trainer).bytes, r.bytes, BATCH * T),
              "the batch that was submitted is another one");
        states[i] = state(&r, &size);
        end(&r);
    }
    CHECK(!memcmp(states[0], states[1], size) && results[0].applied == results[1].applied &&
              !memcmp(&results[0].nats, &results[1].nats, sizeof(double)),
          "%s: a step that is traced ends otherwise", label ? label : "well");
    CHECK(trace.first.found == (label != NULL), "%s: found: %d", label ? label : "well",
          trace.first.found);
    if (label && trace.first.found)
        CHECK(!strcmp(found, label) && trace.micro_batch == 0 &&
                  isnan(trace.first.value) && trace.first.element == 0,
              "%s: found in %s, micro-batch %u, element %u: %g", label, found,
              trace.micro_batch, (unsigned)trace.first.element, trace.first.value);
    free(states[0]);
    free(states[1]);
}

static void limited(struct tensor_device *device)
{
    struct run r;
    size_t size;
    begin(&r, device);
    const struct megabyte_trainer_result first = step(&r, 1);
    CHECK(first.applied && first.nats > 1, "step 1: loss %g", first.nats);
    uint8_t *before = state(&r, &size);
    megabyte_trainer_limit(r.trainer, 0.5);
    const struct megabyte_trainer_result second = step(&r, 2);
    uint8_t *after = state(&r, &size);
    CHECK(!second.applied && isfinite(second.nats) && isfinite(second.grad_norm),
          "step 2: a loss of %g is within a limit of 0.5", second.nats);
    CHECK(!memcmp(before, after, size), "a step beyond the limit changed the state");
    megabyte_trainer_limit(r.trainer, (double)INFINITY);
    CHECK(step(&r, 2).applied, "no limit, and not applied");
    free(before);
    free(after);
    end(&r);
}

void check_gate(struct tensor_device *device)
{
    limited(device);
    /* Passes of the step run twice in each, for its two micro-batches. */
    spoiled(device, "loss'", 2, 1);
    spoiled(device, "loss", 2, 2);
    spoiled(device, "global.attention'", 2, 2);
    spoiled(device, "local.feed_forward", 2, 3);
    spoiled(device, "embed'", 2, 2);
    spoiled(device, "norm", 1, 2);
    traced(device, NULL);
    traced(device, "local.attention'");
    traced(device, "loss");
    traced(device, "norm");
}
