/* twice.c - the same bits twice: two runs of 100 steps, with any one setting, end in checkpoints of
 * the same bytes; and settings that are a matter of the machine alone change none. */
#include "megabyte/model_files.h"
#include "megabyte/trainer.h"
#include "tests/megabyte/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS 100

static const struct variant {
    const char *name;
    uint32_t micro_batch, recompute;
    double dropout;
    uint32_t local_group;
} variants[] = {
    {"as it is", 0, 0, 0},
    {"micro_batch", 1, 0, 0},
    {"recompute", 0, 1, 0},
    {"dropout", 0, 0, 0.1},
    {"dropout and recompute", 0, 1, 0.1},
    {"dropout in groups", 0, 0, 0.1, 3},
    {"dropout and recompute in groups", 0, 1, 0.1, 3},
};
#define VARIANTS (sizeof variants / sizeof *variants)

static struct megabyte_config config_of(const struct variant *v)
{
    struct megabyte_config c;
    check_must(megabyte_config_preset("tiny", &c), "preset");
    c.seq_len = 12;
    c.patch_size = 3;
    c.global = (struct megabyte_stage){12, 1, 2};
    c.local = (struct megabyte_stage){8, 1, 2};
    c.batch = 2;
    c.warmup = 10;
    c.micro_batch = v->micro_batch;
    c.recompute = v->recompute;
    c.dropout = v->dropout;
    c.local_group = v->local_group;
    return c;
}

/* model.safetensors and optimizer.safetensors as they are. */
struct files {
    unsigned char *bytes[2];
    size_t size[2], head[2]; /* head: what stands before the tensors, the settings in it */
};

static void read_files(const char *run, struct files *files)
{
    static const char *const names[] = {"model", "optimizer"};
    for (int i = 0; i < 2; i++) {
        char path[300];
        snprintf(path, sizeof path, "%s/checkpoints/%08d/%s.safetensors", run, STEPS, names[i]);
        FILE *f = fopen(path, "rb");
        check_must(f && fseek(f, 0, SEEK_END) == 0 ? 0 : -1, path);
        files->size[i] = (size_t)ftell(f);
        files->bytes[i] = check_allocate(files->size[i]);
        rewind(f);
        check_must(fread(files->bytes[i], files->size[i], 1, f) == 1 ? 0 : -1, path);
        fclose(f);
        files->head[i] = 8;
        for (int k = 0; k < 8; k++)
            files->head[i] += (size_t)files->bytes[i][k] << 8 * k;
    }
}

static void free_files(struct files *files)
{
    free(files->bytes[0]);
    free(files->bytes[1]);
}

static bool same_files(const struct files *a, const struct files *b)
{
    for (int i = 0; i < 2; i++)
        if (a->size[i] != b->size[i] || memcmp(a->bytes[i], b->bytes[i], a->size[i]))
            return false;
    return true;
}

static bool same_tensors(const struct files *a, const struct files *b)
{
    for (int i = 0; i < 2; i++) {
        const size_t size = a->size[i] - a->head[i];
        if (size != b->size[i] - b->head[i] ||
            memcmp(a->bytes[i] + a->head[i], b->bytes[i] + b->head[i], size))
            return false;
    }
    return true;
}

static void remove_run(const char *run)
{
    char command[320];
    snprintf(command, sizeof command, "rm -rf '%s'", run);
    check_must(system(command), command);
}

/* Trains and saves. */
static void run(struct tensor_device *device, const struct variant *v, struct files *files)
{
    const struct megabyte_config c = config_of(v);
    const struct megabyte_trainer_params params = {.seed = 7};
    char folder[] = "/tmp/check-twice-XXXXXX";
    check_must(mkdtemp(folder) ? 0 : -1, "mkdtemp");
    struct megabyte_model *model = check_model(device, &c, true, 3);
    struct megabyte_trainer *trainer;
    check_must(megabyte_trainer_create(model, &params, &trainer), "trainer");
    for (uint32_t step = 1; step <= STEPS; step++) {
        const struct megabyte_batch batch = megabyte_trainer_batch(trainer);
        struct megabyte_trainer_result result;
        check_text(step, batch.bytes, c.batch * c.seq_len);
        for (uint32_t b = 0; b < c.batch; b++)
            batch.lengths[b] = c.seq_len - (step + b) % 3;
        check_must(megabyte_trainer_submit(trainer, step, 0.01), "submit");
        check_must(megabyte_trainer_collect(trainer, &result), "collect");
    }
    const struct megabyte_checkpoint_write write = {.step = STEPS, .state = "{}"};
    check_must(megabyte_model_save(model, folder, &write), "save");
    megabyte_trainer_destroy(&trainer);
    megabyte_model_destroy(&model);
    read_files(folder, files);
    remove_run(folder);
}

/* Runs it twice, and keeps the files. */
static void check_variant(struct tensor_device *device, const struct variant *v,
                          struct files *first)
{
    struct files second;
    run(device, v, first);
    run(device, v, &second);
    CHECK(same_files(first, &second), "%s: two runs end in other checkpoints", v->name);
    free_files(&second);
}

/* In fp32 with each setting; precision is a setting too. */
void check_twice(struct tensor_device *device)
{
    const bool all = tensor_device_info(device)->precision == TENSOR_PRECISION_FP32;
    struct files first[VARIANTS];
    for (size_t i = 0; i < (all ? VARIANTS : 1); i++)
        check_variant(device, &variants[i], &first[i]);
    if (all) {
        CHECK(same_tensors(&first[0], &first[2]) && same_tensors(&first[3], &first[4]) &&
                  same_tensors(&first[5], &first[6]),
              "recompute makes another checkpoint");
        CHECK(!same_tensors(&first[0], &first[3]), "dropout makes no other checkpoint");
        CHECK(!same_tensors(&first[3], &first[5]), "groups make no other checkpoint");
    }
    for (size_t i = 0; i < (all ? VARIANTS : 1); i++)
        free_files(&first[i]);
}
