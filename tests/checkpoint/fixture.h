/* fixture.h - what the tests of checkpoints share: checks, a folder of their own, tensors to save.
 *
 * A check that fails prints where, and ends the test with status 1.
 */
#ifndef TESTS_CHECKPOINT_FIXTURE_H
#define TESTS_CHECKPOINT_FIXTURE_H

#include "megabyte/checkpoint.h"
#include "tensor/arena.h"

#define FIXTURE_SKIPPED 77

#define REQUIRE(condition) fixture_require(condition, #condition, __FILE__, __LINE__)
/* The call returns 0; the error line is printed where not. */
#define REQUIRE_OK(call) fixture_require_result(call, 0, "", #call, __FILE__, __LINE__)
/* The call fails with -code, and the error line holds the text and no line break. */
#define REQUIRE_ERROR(call, code, text)                                                            \
    fixture_require_result(call, -(code), text, #call, __FILE__, __LINE__)

void fixture_require(bool holds, const char *what, const char *file, int line);
void fixture_require_result(int result, int wanted, const char *text, const char *what,
                            const char *file, int line);

/* A new folder under $TMPDIR, removed with all that is in it when the test ends well. */
const char *fixture_folder(void);
/* The path of a file or folder in it; the last 256 results stay valid. */
const char *fixture_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
void fixture_remove(const char *path);
/* Writes a file as it is. */
void fixture_write(const char *path, const void *bytes, size_t size);
/* Reads a whole file; the caller frees it. */
unsigned char *fixture_read(const char *path, size_t *size);
/* Names in a folder that begin with `start`. */
int fixture_count(const char *path, const char *start);

#define FIXTURE_TENSORS_MAX 64

/* Tensors of a model and its optimizer on the cpu device. */
struct fixture {
    struct tensor_device *device;
    struct tensor_arena *arena;
    uint32_t count; /* of each list */
    struct tensor_named model[FIXTURE_TENSORS_MAX], optimizer[FIXTURE_TENSORS_MAX];
};

/* Tensor i is of rank 1 to 4 and of type F32, U32 or U8 by turns, and takes about `size` bytes. */
void fixture_create(struct fixture *f, uint32_t count, uint32_t size);
void fixture_destroy(struct fixture *f);
/* Fills all with numbers that follow from the seed, and says whether they are those. */
void fixture_fill(struct fixture *f, uint64_t seed);
bool fixture_holds(const struct fixture *f, uint64_t seed);

/* The texts that a checkpoint of that step and seed is saved with. */
void fixture_texts(uint64_t step, uint64_t seed, char *config, size_t config_size, char *state,
                   size_t state_size);
/* Saves with step and numbers of a seed; state and config hold both. */
int fixture_save(struct fixture *f, const char *run, uint64_t step, uint64_t seed, uint32_t keep);
int fixture_save_as(struct fixture *f, const char *run, uint64_t step, uint64_t seed, uint32_t keep,
                    uint64_t keep_every);
/* Opens, loads both files, and returns the step; the numbers are those of *seed, read from the
 * state. Fails the test where anything is not as it was saved. */
uint64_t fixture_open(struct fixture *f, const char *path, uint64_t *seed);

#endif
