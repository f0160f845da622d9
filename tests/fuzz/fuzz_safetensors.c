/* Any bytes as a file of tensors: it is refused, or what it says of itself holds. */
#include <fcntl.h>

#include "tensor/tensor.h"
#include "tensor/safetensors.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct tensor_safetensors_entry *e;
    struct tensor_safetensors *f;
    uint64_t end = 0;
    const char *path = fuzz_file("model.safetensors", data, size);
    int result = tensor_safetensors_open(AT_FDCWD, path, &f);

    if (result < 0) {
        HOLDS(*tensor_error() && !strchr(tensor_error(), '\n'));
        return 0;
    }
    for (uint64_t i = 0; (e = tensor_safetensors_entry(f, i)); i++) {
        HOLDS(tensor_safetensors_find(f, e->name) == e);
        HOLDS(e->begin <= size && e->size <= size - e->begin && e->begin >= end);
        end = e->begin + e->size;
    }
    HOLDS(end == size || end == 0);
    (void)tensor_safetensors_metadata(f, "format");
    tensor_safetensors_close(&f);
    return 0;
}
