/* safetensors.c - tensors in files: there and back, every rule broken, every length cut. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>
#include <xxhash.h>

static const struct tensor_metadata metadata[] = {{"format", "test"}, {"odd", "ä \"\\\n\x01"}};

static void there_and_back(struct fixture *f)
{
    struct tensor_digest written, found;
    struct tensor_safetensors *file = NULL;
    size_t size;
    const char *path = fixture_path("back.safetensors");
    fixture_fill(f, 7);
    REQUIRE_OK(tensor_safetensors_write(AT_FDCWD, path, f->model, f->count, metadata, 2, &written));
    REQUIRE_ERROR(tensor_safetensors_write(AT_FDCWD, path, f->model, f->count, NULL, 0, NULL),
                  EEXIST, "cannot write");
    unsigned char *bytes = fixture_read(path, &size);
    REQUIRE(size == written.size && XXH64(bytes, size, 0) == written.xxh64);
    REQUIRE((8 + bytes[0] + 256u * bytes[1] + 65536u * bytes[2]) % 8 == 0);
    free(bytes);
    REQUIRE_OK(tensor_safetensors_open(AT_FDCWD, path, &file));
    REQUIRE_OK(tensor_safetensors_digest(file, &found));
    REQUIRE(found.size == written.size && found.xxh64 == written.xxh64);
    REQUIRE(strcmp(tensor_safetensors_metadata(file, "odd"), metadata[1].value) == 0);
    REQUIRE(tensor_safetensors_metadata(file, "none") == NULL);
    for (uint32_t i = 0; i < f->count; i++) {
        const struct tensor_safetensors_entry *entry = tensor_safetensors_entry(file, i);
        const struct tensor *t = f->model[i].tensor;
        REQUIRE(entry == tensor_safetensors_find(file, f->model[i].name));
        REQUIRE(entry->usable && entry->type == t->type && entry->rank == t->rank);
        REQUIRE(entry->shape[0] == t->shape[0] && entry->size == tensor_size(t));
    }
    REQUIRE(tensor_safetensors_entry(file, f->count) == NULL);
    /* Read back and written again, it is the same file. */
    struct tensor_digest again;
    fixture_fill(f, 8);
    for (uint32_t i = 0; i < f->count; i++)
        REQUIRE_OK(tensor_safetensors_load(file, f->model[i].name, f->model[i].tensor));
    tensor_safetensors_close(&file);
    tensor_safetensors_close(&file);
    path = fixture_path("again.safetensors");
    REQUIRE_OK(tensor_safetensors_write(AT_FDCWD, path, f->model, f->count, metadata, 2, &again));
    REQUIRE(again.size == written.size && again.xxh64 == written.xxh64);
}

/* A tensor that takes several pieces, of which the last is not whole. */
static void large(struct fixture *f)
{
    struct tensor_arena *arena;
    struct tensor_safetensors *file = NULL;
    const uint32_t shape[] = {5, 1000003};
    REQUIRE_OK(tensor_arena_create(f->device, TENSOR_DEVICE, "large", &arena));
    struct tensor *t = tensor_arena_take(arena, "large", TENSOR_U32, 2, shape);
    REQUIRE_OK(tensor_arena_commit(arena));
    uint32_t *numbers = malloc(tensor_size(t)), *back = malloc(tensor_size(t));
    REQUIRE(numbers && back);
    for (uint32_t i = 0; i < t->count; i++)
        numbers[i] = i * 2654435761u;
    REQUIRE_OK(tensor_write(t, 0, numbers, tensor_size(t)));
    const struct tensor_named list[] = {{"large", t}};
    const char *path = fixture_path("large.safetensors");
    REQUIRE_OK(tensor_safetensors_write(AT_FDCWD, path, list, 1, NULL, 0, NULL));
    memset(back, 0, tensor_size(t));
    REQUIRE_OK(tensor_write(t, 0, back, tensor_size(t)));
    REQUIRE_OK(tensor_safetensors_open(AT_FDCWD, path, &file));
    REQUIRE_OK(tensor_safetensors_load(file, "large", t));
    REQUIRE_OK(tensor_read(t, 0, back, tensor_size(t)));
    REQUIRE(memcmp(numbers, back, tensor_size(t)) == 0);
    /* Cut short while it is open. */
    REQUIRE(truncate(path, 9000000) == 0);
    struct tensor_digest digest;
    REQUIRE_ERROR(tensor_safetensors_load(file, "large", t), EBADMSG, "shorter while it was read");
    REQUIRE_ERROR(tensor_safetensors_digest(file, &digest), EBADMSG, "shorter");
    tensor_safetensors_close(&file);
    tensor_arena_destroy(&arena);
    free(numbers);
    free(back);
}

static void wrong_lists(struct fixture *f)
{
    const char *path = fixture_path("wrong.safetensors");
    struct tensor *t = f->model[0].tensor;
    static const char *const names[][2] = {
        {"a", "a"}, {"a", ""}, {"a", NULL}, {"a", "__metadata__"}, {"a", "\xff"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct tensor_named list[] = {{names[i][0], t}, {names[i][1], t}};
        REQUIRE_ERROR(tensor_safetensors_write(AT_FDCWD, path, list, 2, NULL, 0, NULL), EINVAL,
                      "is taken or not fit");
    }
    const struct tensor_metadata twice[] = {{"a", "1"}, {"a", "2"}}, foreign[] = {{"a", "\xc3"}};
    REQUIRE_ERROR(tensor_safetensors_write(AT_FDCWD, path, NULL, 0, twice, 2, NULL), EINVAL,
                  "metadata");
    REQUIRE_ERROR(tensor_safetensors_write(AT_FDCWD, path, NULL, 0, foreign, 1, NULL), EINVAL,
                  "metadata");
    REQUIRE(access(path, F_OK) != 0);
    REQUIRE_ERROR(
        tensor_safetensors_write(AT_FDCWD, fixture_path("no/such"), NULL, 0, NULL, 0, NULL), ENOENT,
        "No such file");
}

/* Writes a file from a header and that many bytes of data. */
static void make(const char *path, const char *header, size_t length, size_t data)
{
    unsigned char *bytes = calloc(1, 8 + length + data);
    REQUIRE(bytes != NULL);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(bytes + 8, header, length);
    fixture_write(path, bytes, 8 + length + data);
    free(bytes);
}

#define F32(shape, offsets) "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *header;
    size_t data;
    const char *text; /* in the error line */
} hostile[] = {
    {"", 0, "damaged or no safetensors file"},
    {"[]", 0, "no JSON object"},
    {"null", 0, "no safetensors file"},
    {"{", 0, "damaged"},
    {"{}x", 0, "damaged"},
    {"{\"a\":1}", 0, "tensor 'a': no dtype"},
    {"{\"a\":[]}", 0, "no dtype"},
    {"{\"a\":" F32("[1]", "[0,4]") ",\"a\":" F32("[1]", "[0,4]") "}", 4, "uplicate"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 4, "uplicate"},
    {"{\"\xff\":" F32("[1]", "[0,4]") "}", 4, "damaged"},
    {"{\"a\\u0000b\":" F32("[1]", "[0,4]") "}", 4, "damaged"},
    {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no shape"},
    {"{\"a\":" F32("{}", "[0,4]") "}", 4, "no shape"},
    {"{\"a\":" F32("[-1]", "[0,4]") "}", 4, "not a whole number"},
    {"{\"a\":" F32("[1.0]", "[0,4]") "}", 4, "not a whole number"},
    {"{\"a\":" F32("[\"1\"]", "[0,4]") "}", 4, "not a whole number"},
    {"{\"a\":" F32("[99999999999999999999]", "[0,4]") "}", 4, "damaged"},
    {"{\"a\":" F32("[4294967296,4294967296]", "[0,0]") "}", 0, "product of its shape"},
    {"{\"a\":" F32("[9223372036854775807]", "[0,4]") "}", 4, "product of its shape"},
    {"{\"a\":" F32("[2]", "[0,4]") "}", 4, "do not fit its shape"},
    {"{\"a\":" F32("[1]", "[0,8]") "}", 8, "do not fit its shape"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "product of its shape"},
    {"{\"a\":" F32("[1]", "[0]") "}", 4, "not two whole numbers"},
    {"{\"a\":" F32("[1]", "[0,4,4]") "}", 4, "not two whole numbers"},
    {"{\"a\":" F32("[1]", "4") "}", 4, "not two whole numbers"},
    {"{\"a\":" F32("[1]", "[-4,0]") "}", 4, "not two whole numbers"},
    {"{\"a\":" F32("[1]", "[0,\"4\"]") "}", 4, "not two whole numbers"},
    {"{\"a\":" F32("[1]", "[4,0]") "}", 4, "ends before it begins"},
    {"{\"a\":" F32("[2]", "[0,8]") ",\"b\":" F32("[1]", "[4,8]") "}", 8, "'b': it overlaps"},
    {"{\"a\":" F32("[2]", "[0,8]") ",\"b\":" F32("[2]", "[0,8]") "}", 8, "overlaps"},
    {"{\"a\":" F32("[1]", "[0,4]") ",\"b\":" F32("[1]", "[8,12]") "}", 12, "'b': there is a hole"},
    {"{\"a\":" F32("[1]", "[4,8]") "}", 8, "a hole before"},
    {"{\"a\":" F32("[0]", "[4,4]") "}", 4, "a hole before"},
    {"{\"a\":" F32("[2]", "[0,8]") "}", 4, "cut short"},
    {"{\"a\":{\"dtype\":\"X\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]}}", 4,
     "cut short"},
    {"{\"a\":" F32("[1]", "[0,4]") "}", 5, "more data than its tensors"},
    {"{}", 1, "more data"},
    {"{\"__metadata__\":[]}", 0, "__metadata__ is no object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "what is no text"},
    {"{\"\\u001b[31m\\n\":1}", 0, "tensor '?[31m?'"},
    {"{\"\\u009b31m\":1}", 0, "tensor '??31m'"},
};

static void broken_rules(void)
{
    struct tensor_safetensors *file = NULL;
    const char *path = fixture_path("hostile.safetensors");
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        make(path, hostile[i].header, strlen(hostile[i].header), hostile[i].data);
        REQUIRE_ERROR(tensor_safetensors_open(AT_FDCWD, path, &file), EBADMSG, hostile[i].text);
        REQUIRE(file == NULL && strstr(tensor_error(), "hostile.safetensors"));
    }
    /* Nesting: just too deep, and deep enough to end a stack; in a string it does not count. */
    for (size_t depth = 17; depth <= 3000000; depth += 2999983) {
        char *header = malloc(depth + 8);
        REQUIRE(header != NULL);
        memset(header, '[', depth + 8);
        memcpy(header, "{\"a\":", 5);
        make(path, header, depth + 4, 0);
        REQUIRE_ERROR(tensor_safetensors_open(AT_FDCWD, path, &file), EBADMSG, "nested too deep");
        free(header);
    }
    const char *string = "{\"__metadata__\":{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[\\\"[[\\\\\"}}";
    make(path, string, strlen(string), 0);
    REQUIRE_OK(tensor_safetensors_open(AT_FDCWD, path, &file));
    tensor_safetensors_close(&file);
}

/* Lengths of the header that lie, and things that are no files. */
static void no_files(void)
{
    struct tensor_safetensors *file = NULL;
    const char *path = fixture_path("length.safetensors");
    unsigned char bytes[16];
    for (size_t size = 0; size < 8; size++) {
        memset(bytes, 0, sizeof bytes);
        fixture_write(path, bytes, size);
        REQUIRE_ERROR(tensor_safetensors_open(AT_FDCWD, path, &file), EBADMSG, "shorter than 8");
    }
    for (int i = 0; i < 8; i++) {
        memset(bytes, 0, sizeof bytes);
        bytes[i] = i ? 1 : 9;
        fixture_write(path, bytes, 16);
        REQUIRE_ERROR(tensor_safetensors_open(AT_FDCWD, path, &file), EBADMSG, "before its header");
    }
    memset(bytes, 0xff, 8);
    fixture_write(path, bytes, 16);
    REQUIRE_ERROR(tensor_safetensors_open(AT_FDCWD, path, &file), EBADMSG, "before its header");
    uint32_t above = 100000001; /* in a file with holes, so that it takes no room */
    memset(bytes, 0, 8);
    memcpy(bytes, &above, 4);
    fixture_write(path, bytes, 8);
    REQUIRE(truncate(path, 8 + (off_t)above) == 0);
    REQUIRE_ERROR(tensor_safetensors_open(AT_FDCWD, path, &file), EBADMSG, "above 100 MB");
    REQUIRE_ERROR(tensor_safetensors_open(AT_FDCWD, fixture_folder(), &file), EBADMSG,
                  "not a regular");
    REQUIRE(mkfifo(fixture_path("pipe"), 0600) == 0);
    REQUIRE_ERROR(tensor_safetensors_open(AT_FDCWD, fixture_path("pipe"), &file), EBADMSG,
                  "not a regular");
    REQUIRE_ERROR(tensor_safetensors_open(AT_FDCWD, fixture_path("none"), &file), ENOENT,
                  "No such");
    REQUIRE(file == NULL);
    tensor_safetensors_close(&file);
}

/* Files that others write and that are right. */
static void foreign(struct fixture *f)
{
    struct tensor_safetensors *file = NULL;
    struct tensor *t = f->model[0].tensor; /* F32 of rank 1 */
    const char *path = fixture_path("foreign.safetensors");
    const char *header =
        "{\"h\":{\"data_offsets\":[0,4],\"shape\":[2],\"dtype\":\"BF16\",\"more\":[{}]},"
        "\"scalar\":" F32("[]", "[4,8]") ",\"none\":" F32(
            "[0,9223372036854775807,9]",
            "[4,4]") ","
                     "\"new\":{\"dtype\":\"F128\",\"shape\":[3],\"data_offsets\":[8,9]},"
                     "\"five\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1],\"data_offsets\":[9,10]},"
                     "\"model\":" F32("[2,3]", "[10,34]") "}   ";
    make(path, header, strlen(header), 34);
    REQUIRE_OK(tensor_safetensors_open(AT_FDCWD, path, &file));
    REQUIRE(strcmp(tensor_safetensors_find(file, "h")->dtype, "BF16") == 0);
    REQUIRE(tensor_safetensors_find(file, "h")->usable);
    REQUIRE(tensor_safetensors_find(file, "scalar")->rank == 0);
    REQUIRE(!tensor_safetensors_find(file, "scalar")->usable);
    REQUIRE(!tensor_safetensors_find(file, "none")->usable);
    REQUIRE(!tensor_safetensors_find(file, "new")->usable);
    REQUIRE(!tensor_safetensors_find(file, "five")->usable);
    REQUIRE(tensor_safetensors_find(file, "model")->usable);
    REQUIRE(tensor_safetensors_find(file, "absent") == NULL);
    fixture_fill(f, 1);
    REQUIRE_ERROR(tensor_safetensors_load(file, "h", t), EINVAL, "as BF16 (2) where F32 (");
    REQUIRE_ERROR(tensor_safetensors_load(file, "scalar", t), EINVAL, "as F32 () where");
    REQUIRE_ERROR(tensor_safetensors_load(file, "model", t), EINVAL, "as F32 (2, 3) where");
    REQUIRE_ERROR(tensor_safetensors_load(file, "absent", t), ENOENT, "no tensor 'absent'");
    REQUIRE(fixture_holds(f, 1));
    tensor_safetensors_close(&file);
    make(path, "{}", 2, 0);
    REQUIRE_OK(tensor_safetensors_open(AT_FDCWD, path, &file));
    REQUIRE(tensor_safetensors_entry(file, 0) == NULL);
    tensor_safetensors_close(&file);
}

/* Every prefix of a file is refused, and any change of its header does no harm. */
static void cut_and_changed(struct fixture *f)
{
    struct tensor_safetensors *file = NULL;
    const char *path = fixture_path("cut.safetensors");
    size_t size;
    uint32_t random = 1;
    REQUIRE_OK(tensor_safetensors_write(AT_FDCWD, path, f->model, 3, metadata, 2, NULL));
    unsigned char *bytes = fixture_read(path, &size);
    for (size_t length = size; length-- > 0;) {
        REQUIRE(truncate(path, (off_t)length) == 0);
        REQUIRE_ERROR(tensor_safetensors_open(AT_FDCWD, path, &file), EBADMSG, "cut.safetensors");
    }
    fixture_write(path, bytes, size);
    int fd = open(path, O_WRONLY);
    size_t header = 8 + bytes[0] + 256u * bytes[1];
    for (int i = 0; i < 20000; i++) {
        random = random * 1664525 + 1013904223;
        size_t at = random >> 8 & 3 ? 8 + (random >> 10) % (header - 8) : (random >> 10) % header;
        char other = random & 128 ? "{}[],:\"\\0129e-.\xff"[random & 15] : (char)random;
        REQUIRE(pwrite(fd, &other, 1, (off_t)at) == 1);
        if (tensor_safetensors_open(AT_FDCWD, path, &file) == 0) {
            for (uint32_t k = 0; k < 3; k++)
                (void)tensor_safetensors_load(file, f->model[k].name, f->model[k].tensor);
            tensor_safetensors_close(&file);
        }
        REQUIRE(pwrite(fd, &bytes[at], 1, (off_t)at) == 1);
    }
    close(fd);
    free(bytes);
}

/* A limit on the size of files, as a full disk is not to be had everywhere. */
static void no_room(struct fixture *f)
{
    struct rlimit old, limit = {1000, 1000};
    const char *path = fixture_path("room.safetensors");
    REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
    signal(SIGXFSZ, SIG_IGN);
    limit.rlim_max = old.rlim_max;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    REQUIRE_ERROR(tensor_safetensors_write(AT_FDCWD, path, f->model, f->count, NULL, 0, NULL),
                  EFBIG, "make room");
    REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
    REQUIRE(access(path, F_OK) != 0);
}

int main(void)
{
    struct fixture f;
    fixture_create(&f, 12, 500);
    there_and_back(&f);
    large(&f);
    wrong_lists(&f);
    broken_rules();
    no_files();
    foreign(&f);
    cut_and_changed(&f);
    no_room(&f);
    fixture_destroy(&f);
    return 0;
}
