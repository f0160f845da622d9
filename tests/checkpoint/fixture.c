/* fixture.c - see fixture.h. */
#include "fixture.h"
#include "megabyte/error.h"

#include <dirent.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fixture_require(bool holds, const char *what, const char *file, int line)
{
    if (holds)
        return;
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    exit(1);
}

void fixture_require_result(int result, int wanted, const char *text, const char *what,
                            const char *file, int line)
{
    const char *lines[2] = {megabyte_error(), tensor_error()};
    bool said = strstr(lines[0], text) || strstr(lines[1], text);
    if (result == wanted && (wanted == 0 || said) && !strchr(lines[0], '\n') &&
        !strchr(lines[1], '\n'))
        return;
    fprintf(stderr,
            "%s:%d: %s\n    gave %d, wanted %d and \"%s\"\n    megabyte: %s\n    tensor: %s\n",
            file, line, what, result, wanted, text, lines[0], lines[1]);
    exit(1);
}

static char folder[256];
static pid_t owner;

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    return remove(path);
}

void fixture_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_folder(void)
{
    if (getpid() == owner)
        fixture_remove(folder);
}

const char *fixture_folder(void)
{
    if (*folder)
        return folder;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/megabyte-test-XXXXXX", parent && *parent ? parent : "/tmp");
    REQUIRE(mkdtemp(folder) != NULL);
    owner = getpid();
    atexit(remove_folder);
    return folder;
}

const char *fixture_path(const char *format, ...)
{
    static char path[256][512];
    static int next;
    char *to = path[next++ % 256];
    int n = snprintf(to, sizeof *path, "%s/", fixture_folder());
    va_list args;
    va_start(args, format);
    vsnprintf(to + n, sizeof *path - (size_t)n, format, args);
    va_end(args);
    return to;
}

void fixture_write(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    REQUIRE(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

unsigned char *fixture_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    REQUIRE(file && fseek(file, 0, SEEK_END) == 0);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*size + 1);
    REQUIRE(bytes && fread(bytes, 1, *size, file) == *size && fclose(file) == 0);
    bytes[*size] = 0;
    return bytes;
}

int fixture_count(const char *path, const char *start)
{
    DIR *entries = opendir(path);
    const struct dirent *entry;
    int count = 0;
    while (entries && (entry = readdir(entries)))
        count += strncmp(entry->d_name, start, strlen(start)) == 0 &&
                 strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (entries)
        closedir(entries);
    return count;
}

static struct tensor *take(struct fixture *f, const char *name, uint32_t i, uint32_t size)
{
    static const uint32_t inner[4][3] = {{1, 1, 1}, {4, 1, 1}, {4, 2, 1}, {4, 2, 3}};
    uint32_t rank = 1 + i % 4, shape[4] = {1}, product = 1;
    enum tensor_type type = (enum tensor_type)(i % 3);
    for (uint32_t k = 1; k < rank; k++)
        product *= shape[rank - k] = inner[rank - 1][k - 1];
    shape[0] = size / (product * (type == TENSOR_U8 ? 1 : 4)) / 4 * 4 + 4;
    return tensor_arena_take(f->arena, name, type, rank, shape);
}

void fixture_create(struct fixture *f, uint32_t count, uint32_t size)
{
    static char names[2 * FIXTURE_TENSORS_MAX][40];
    const struct tensor_device_params params = {.name = "cpu"};
    REQUIRE(count <= FIXTURE_TENSORS_MAX);
    *f = (struct fixture){.count = count};
    REQUIRE_OK(tensor_device_open(&params, &f->device));
    REQUIRE_OK(tensor_arena_create(f->device, TENSOR_DEVICE, "test", &f->arena));
    for (uint32_t i = 0; i < 2 * count; i++) {
        struct tensor_named *named = i < count ? &f->model[i] : &f->optimizer[i - count];
        snprintf(names[i], sizeof names[i], "%s.block.%" PRIu32 ".weight",
                 i < count ? "global" : "moment", i % count);
        *named = (struct tensor_named){names[i], take(f, names[i], i % count, size)};
    }
    REQUIRE_OK(tensor_arena_commit(f->arena));
}

void fixture_destroy(struct fixture *f)
{
    tensor_arena_destroy(&f->arena);
    tensor_device_close(&f->device);
}

static unsigned char number(uint64_t seed, uint32_t tensor, uint64_t i)
{
    uint64_t x = (seed * 1000003 + tensor) * 0x9e3779b97f4a7c15u + i * 0xbf58476d1ce4e5b9u;
    return (unsigned char)((x ^ x >> 29) * 0x94d049bb133111ebu >> 56);
}

static struct tensor *tensor_of(const struct fixture *f, uint32_t i)
{
    return i < f->count ? f->model[i].tensor : f->optimizer[i - f->count].tensor;
}

void fixture_fill(struct fixture *f, uint64_t seed)
{
    for (uint32_t i = 0; i < 2 * f->count; i++) {
        struct tensor *t = tensor_of(f, i);
        unsigned char *bytes = malloc(tensor_size(t));
        REQUIRE(bytes != NULL);
        for (uint64_t k = 0; k < tensor_size(t); k++)
            bytes[k] = number(seed, i, k);
        REQUIRE_OK(tensor_write(t, 0, bytes, tensor_size(t)));
        free(bytes);
    }
}

bool fixture_holds(const struct fixture *f, uint64_t seed)
{
    bool holds = true;
    for (uint32_t i = 0; i < 2 * f->count; i++) {
        struct tensor *t = tensor_of(f, i);
        unsigned char *bytes = malloc(tensor_size(t));
        REQUIRE(bytes != NULL);
        REQUIRE_OK(tensor_read(t, 0, bytes, tensor_size(t)));
        for (uint64_t k = 0; k < tensor_size(t); k++)
            holds = holds && bytes[k] == number(seed, i, k);
        free(bytes);
    }
    return holds;
}

void fixture_texts(uint64_t step, uint64_t seed, char *config, size_t config_size, char *state,
                   size_t state_size)
{
    snprintf(config, config_size, "{\"preset\":\"tiny\",\"seed\":%" PRIu64 "}", seed);
    snprintf(state, state_size, "{\"rate\":0.1,\"seed\":%" PRIu64 ",\"step\":%" PRIu64 "}", seed,
             step);
}

int fixture_save(struct fixture *f, const char *run, uint64_t step, uint64_t seed, uint32_t keep)
{
    return fixture_save_as(f, run, step, seed, keep, 0);
}

int fixture_save_as(struct fixture *f, const char *run, uint64_t step, uint64_t seed, uint32_t keep,
                    uint64_t keep_every)
{
    char config[64], state[96];
    fixture_texts(step, seed, config, sizeof config, state, sizeof state);
    const struct megabyte_checkpoint_write w = {
        .step = step,
        .config = config,
        .state = state,
        .model = f->model,
        .model_count = f->count,
        .optimizer = f->optimizer,
        .optimizer_count = f->count,
        .keep = keep,
        .keep_every = keep_every,
    };
    fixture_fill(f, seed);
    return megabyte_checkpoint_save(run, &w, NULL);
}

uint64_t fixture_open(struct fixture *f, const char *path, uint64_t *seed)
{
    struct megabyte_checkpoint *c = NULL;
    uint64_t step, state_step, config_seed;
    REQUIRE_OK(megabyte_checkpoint_open(path, NULL, &c));
    step = megabyte_checkpoint_step(c);
    REQUIRE(sscanf(megabyte_checkpoint_state(c),
                   "{\"rate\":%*[0-9.],\"seed\":%" SCNu64 ",\"step\":%" SCNu64 "}", seed,
                   &state_step) == 2);
    REQUIRE(sscanf(megabyte_checkpoint_config(c), "{\"preset\":\"tiny\",\"seed\":%" SCNu64 "}",
                   &config_seed) == 1);
    REQUIRE(state_step == step && config_seed == *seed);
    fixture_fill(f, *seed + 1);
    REQUIRE_OK(megabyte_checkpoint_load(c, MEGABYTE_CHECKPOINT_MODEL, f->model, f->count));
    REQUIRE_OK(megabyte_checkpoint_load(c, MEGABYTE_CHECKPOINT_OPTIMIZER, f->optimizer, f->count));
    REQUIRE(fixture_holds(f, *seed));
    megabyte_checkpoint_close(&c);
    REQUIRE(c == NULL);
    return step;
}
