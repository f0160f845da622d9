/* oracle.c - logits, loss, every gradient and ten training steps against PyTorch (tests/oracle/).
 *
 * usage: check-oracle DUMP…; on the cpu and every Vulkan device there is.
 * A tensor agrees when the largest difference is below 1e-4 of its largest value.
 */
#include "megabyte/error.h"
#include "megabyte/evaluator.h"
#include "megabyte/trainer.h"
#include "tensor/safetensors.h"
#include "tests/megabyte/check.h"
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-4

static int failures;

static void must(int status, const char *what)
{
    if (status >= 0)
        return;
    fprintf(stderr, "FAIL %s: %s / %s\n", what, tensor_error(), megabyte_error());
    exit(1);
}

/* A tensor of the dump, as floats or bytes on the host; the caller frees it. */
static void *read_dump(struct tensor_device *cpu, struct tensor_safetensors *f, const char *name,
                       uint64_t *count)
{
    const struct tensor_safetensors_entry *e = tensor_safetensors_find(f, name);
    if (!e) {
        fprintf(stderr, "FAIL the dump has no %s\n", name);
        exit(1);
    }
    uint32_t shape[TENSOR_RANK_MAX];
    for (uint32_t i = 0; i < e->rank; i++)
        shape[i] = (uint32_t)e->shape[i];
    struct tensor_arena *arena;
    must(tensor_arena_create(cpu, TENSOR_HOST, "dump", &arena), name);
    struct tensor *t = tensor_arena_take(arena, name, e->type, e->rank, shape);
    must(tensor_arena_commit(arena), name);
    must(tensor_safetensors_load(f, name, t), name);
    void *copy = malloc(tensor_size(t));
    memcpy(copy, tensor_host(t), tensor_size(t));
    *count = t->count;
    tensor_arena_destroy(&arena);
    return copy;
}

static void compare(const char *device, const char *name, const float *got, const float *want,
                    uint64_t count)
{
    double largest = 0, difference = 0;
    for (uint64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(want[i]));
        difference = fmax(difference, isfinite(got[i]) ? fabs((double)got[i] - want[i]) : INFINITY);
    }
    if (difference <= TOLERANCE * largest + 1e-9)
        return;
    failures++;
    printf("FAIL %s: %s differs by %g of %g\n", device, name, difference, largest);
}

struct oracle {
    struct tensor_device *cpu, *device;
    const char *name;
    struct tensor_safetensors *dump;
    struct megabyte_model *model;
};

static void load_weights(const struct oracle *o)
{
    for (uint32_t i = 0; i < nn_parameters_count(o->model->parameters); i++) {
        const struct nn_parameter *p = nn_parameters_at(o->model->parameters, i);
        char key[160];
        snprintf(key, sizeof key, "weight.%s", p->name);
        must(tensor_safetensors_load(o->dump, key, p->weight), key);
    }
}

static uint32_t *full_lengths(const struct megabyte_config *c)
{
    uint32_t *lengths = malloc(c->batch * sizeof *lengths);
    for (uint32_t i = 0; i < c->batch; i++)
        lengths[i] = c->seq_len;
    return lengths;
}

static void check_logits(const struct oracle *o, const uint8_t *input, const uint32_t *lengths)
{
    uint64_t count;
    float *want = read_dump(o->cpu, o->dump, "logits", &count);
    float *got = calloc(count, sizeof *got);
    float *nats = calloc(count / 256, sizeof *nats);
    struct megabyte_evaluator *e;
    must(megabyte_evaluator_create(o->model, o->model->config.batch, &e), "evaluator");
    const uint32_t batch = o->model->config.batch;
    must(megabyte_evaluator_score(e, batch, input, lengths, 0, nats, got), "score");
    compare(o->name, "logits", got, want, count);
    megabyte_evaluator_destroy(&e);
    free(want);
    free(got);
    free(nats);
}

/* One step with learning rate 0 leaves the weights, and the gradients to look at. */
static void check_gradients(const struct oracle *o, const uint8_t *input, const uint32_t *lengths)
{
    struct megabyte_trainer *t;
    const struct megabyte_trainer_params params = {.seed = 1};
    struct megabyte_trainer_result result;
    must(megabyte_trainer_create(o->model, &params, &t), "trainer");
    must(megabyte_trainer_step(t, 1, 0, input, lengths, &result), "step");
    uint64_t count;
    float *loss = read_dump(o->cpu, o->dump, "loss", &count);
    compare(o->name, "loss", (float[]){(float)result.nats}, loss, 1);
    free(loss);
    for (uint32_t i = 0; i < nn_parameters_count(o->model->parameters); i++) {
        const struct nn_parameter *p = nn_parameters_at(o->model->parameters, i);
        char key[160];
        snprintf(key, sizeof key, "grad.%s", p->name);
        float *want = read_dump(o->cpu, o->dump, key, &count);
        float *got = calloc(count, sizeof *got);
        must(tensor_read(p->gradient, 0, got, count * sizeof *got), key);
        compare(o->name, key, got, want, count);
        free(want);
        free(got);
    }
    megabyte_trainer_destroy(&t);
}

/* The dump says which bytes a PerceiverAR was to predict; the trainer must have drawn the same. */
static void check_begins(const struct oracle *o, const struct megabyte_trainer *t, uint64_t steps)
{
    uint64_t count;
    if (o->model->config.model != MEGABYTE_PERCEIVER)
        return;
    uint8_t *begins = read_dump(o->cpu, o->dump, "begins", &count);
    for (uint32_t i = 0; i < steps; i++) {
        const uint32_t drawn = megabyte_trainer_begin(t, i + 1, 0);
        if (count == steps && drawn == begins[i])
            continue;
        failures++;
        printf("FAIL %s: step %u predicts from byte %u on, the dump from %u\n", o->name, i + 1,
               drawn, begins[i]);
    }
    free(begins);
}

static void check_steps(const struct oracle *o, const uint32_t *lengths)
{
    uint64_t count;
    uint8_t *inputs = read_dump(o->cpu, o->dump, "inputs", &count);
    float *losses = read_dump(o->cpu, o->dump, "losses", &count);
    float *norms = read_dump(o->cpu, o->dump, "grad_norms", &count);
    const struct megabyte_config *c = &o->model->config;
    struct megabyte_trainer *t;
    const struct megabyte_trainer_params params = {.seed = 1};
    must(megabyte_trainer_create(o->model, &params, &t), "trainer");
    for (uint64_t step = 1; step <= count; step++) {
        struct megabyte_trainer_result r;
        const double rate = nn_schedule_polynomial(c->lr, step, c->warmup, count);
        const uint8_t *input = inputs + (step - 1) * c->batch * c->seq_len;
        must(megabyte_trainer_step(t, step, rate, input, lengths, &r), "training step");
        char name[64];
        snprintf(name, sizeof name, "loss of training step %u", (unsigned)step);
        compare(o->name, name, (float[]){(float)r.nats}, losses + step - 1, 1);
        snprintf(name, sizeof name, "gradient norm of training step %u", (unsigned)step);
        compare(o->name, name, (float[]){(float)r.grad_norm}, norms + step - 1, 1);
    }
    check_begins(o, t, count);
    megabyte_trainer_destroy(&t);
    free(inputs);
    free(losses);
    free(norms);
}

static struct megabyte_config config_of(const struct tensor_safetensors *dump, uint32_t micro_batch,
                                        uint32_t local_group)
{
    struct megabyte_config c;
    must(megabyte_config_preset("tiny", &c), "preset");
    must(megabyte_config_merge(&c, tensor_safetensors_metadata(dump, "config")), "config");
    c.micro_batch = micro_batch;
    c.local_group = local_group;
    return c;
}

/* All that is compared, on an open device and with its memory. */
static void check_dump(struct oracle *o, const char *path, uint32_t micro_batch,
                       uint32_t local_group)
{
    must(tensor_safetensors_open(AT_FDCWD, path, &o->dump), path);
    const struct megabyte_config c = config_of(o->dump, micro_batch, local_group);
    /* Micro-batches of a PerceiverAR predict other bytes each; and not all have a local model. */
    if ((c.model == MEGABYTE_PERCEIVER && micro_batch) || megabyte_config_check(&c) < 0) {
        tensor_safetensors_close(&o->dump);
        return;
    }
    must(megabyte_model_create(o->device, &c, true, &o->model), "model");
    must(nn_parameters_commit(o->model->parameters), "memory");
    uint64_t count;
    uint8_t *input = read_dump(o->cpu, o->dump, "input", &count);
    uint32_t *lengths = full_lengths(&c);
    load_weights(o);
    check_logits(o, input, lengths);
    check_gradients(o, input, lengths);
    /* The step above moved the moments: begin anew. */
    megabyte_model_destroy(&o->model);
    must(megabyte_model_create(o->device, &c, true, &o->model), "model");
    must(nn_parameters_commit(o->model->parameters), "memory");
    load_weights(o);
    check_steps(o, lengths);
    printf("%s, %s, micro-batch %u, groups of %u: compared\n", path,
           tensor_device_info(o->device)->name, micro_batch, local_group);
    megabyte_model_destroy(&o->model);
    tensor_safetensors_close(&o->dump);
    free(input);
    free(lengths);
}

static char **dump_paths; /* ends with NULL */

/* One device for all dumps: some drivers compile their kernels anew for each. */
static void each_device(void *user, int index, const struct tensor_device_info *info)
{
    char name[32] = "cpu";
    if (!strcmp(info->kind, "vulkan"))
        snprintf(name, sizeof name, "vulkan:%d", index);
    struct oracle o = {.name = name};
    o.cpu = check_open_cpu();
    o.device = check_open(name, TENSOR_PRECISION_FP32, NULL);
    for (char **path = dump_paths; *path; path++) {
        check_dump(&o, *path, 0, 0);
        check_dump(&o, *path, 1, 0); /* gradients accumulated over three micro-batches */
        check_dump(&o, *path, 0, 2); /* blocks of the local model by two patches */
    }
    check_close(&o.device);
    check_close(&o.cpu);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    dump_paths = argv + 1;
    tensor_device_list(each_device, NULL);
    return failures || check_failures;
}
