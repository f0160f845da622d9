/* memory.c - what is planned is what is taken of the device, to the byte. */
#include "megabyte/trainer.h"
#include "tests/megabyte/check.h"
#include <stdlib.h>

static struct megabyte_config config_of(unsigned variant)
{
    struct megabyte_config c;
    check_must(megabyte_config_preset("tiny", &c), "preset");
    c.seq_len = 36;
    c.patch_size = 3;
    c.global = (struct megabyte_stage){30, 3, 3};
    c.local = (struct megabyte_stage){18, 2, 2};
    c.batch = 4;
    c.micro_batch = variant & 1 ? 2 : 0;
    c.recompute = variant >> 1;
    c.local_group = variant >> 1 ? 5 : 0;
    c.dropout = 0.1;
    return c;
}

/* Trains and scores; returns what the device has given when all of it is there. */
static uint64_t take_all(struct tensor_device *device, const struct megabyte_config *c)
{
    const uint64_t before = tensor_device_allocated(device);
    const struct megabyte_trainer_params params = {.seed = 1};
    struct megabyte_model *model = check_model(device, c, true, 3);
    struct megabyte_trainer *trainer;
    check_must(megabyte_trainer_create(model, &params, &trainer), "trainer");
    struct megabyte_evaluator *evaluator = check_evaluator(model, c->batch);
    const struct megabyte_batch batch = megabyte_trainer_batch(trainer);
    check_random_bytes(1, batch.bytes, (size_t)c->batch * c->seq_len);
    for (uint32_t b = 0; b < c->batch; b++)
        batch.lengths[b] = c->seq_len;
    struct megabyte_trainer_result result;
    check_must(megabyte_trainer_submit(trainer, 1, 0.01), "submit");
    check_must(megabyte_trainer_collect(trainer, &result), "collect");
    float *nats = check_allocate((size_t)c->batch * c->seq_len * sizeof *nats);
    check_must(megabyte_evaluator_score(evaluator, c->batch, batch.bytes, batch.lengths, 0, nats,
                                        NULL),
               "score");
    free(nats);
    const uint64_t taken = tensor_device_allocated(device) - before;
    megabyte_evaluator_destroy(&evaluator);
    megabyte_trainer_destroy(&trainer);
    megabyte_model_destroy(&model);
    /* The staging buffer for copies stays, if there is one. */
    CHECK(tensor_device_allocated(device) <=
              before + tensor_device_info(device)->copy_bytes,
          "%llu bytes were not given back",
          (unsigned long long)(tensor_device_allocated(device) - before));
    return taken;
}

static uint64_t plan_all(struct tensor_device *device, const struct megabyte_config *c)
{
    const uint64_t before = tensor_device_allocated(device);
    struct megabyte_model *model;
    struct megabyte_trainer_plan trainer;
    struct megabyte_evaluator_plan evaluator;
    check_must(megabyte_model_create(device, c, true, &model), "model");
    check_must(megabyte_trainer_plan(model, &trainer), "trainer's plan");
    check_must(megabyte_evaluator_plan(model, c->batch, &evaluator), "evaluator's plan");
    const struct nn_parameters_memory m = nn_parameters_memory(model->parameters);
    CHECK(tensor_device_allocated(device) == before, "a plan takes memory");
    CHECK(evaluator.host > 0, "scoring takes nothing of the host");
    megabyte_model_destroy(&model);
    return m.weights + m.gradients + m.moments + trainer.activations + trainer.staging +
           trainer.optimizer + evaluator.device;
}

void check_memory(struct tensor_device *device)
{
    for (unsigned i = 0; i < 4; i += 3) {
        const struct megabyte_config c = config_of(i);
        const uint64_t plan = plan_all(device, &c);
        uint64_t taken = take_all(device, &c);
        /* The first copy takes the staging buffer. */
        if (i == 0 && taken > plan)
            taken -= tensor_device_info(device)->copy_bytes;
        CHECK(taken == plan, "micro_batch %u, recompute %u: %llu bytes are planned, %llu taken",
              c.micro_batch, c.recompute, (unsigned long long)plan, (unsigned long long)taken);
    }
}
