/* safetensors.h - tensors in files, in the public safetensors format.
 *
 *     8 bytes    length of the header, little-endian
 *     header     JSON: {"__metadata__": {key: text …},
 *                       name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]} …},
 *                padded with spaces so that the data begins at a multiple of 8
 *     data       the elements, little-endian and row-major, without holes; offsets count from here
 *
 * F32, U32 and U8 are enum tensor_type; what else a foreign file holds is listed, and refused when
 * it is asked for. A file that is read is hostile until checked: tensor_safetensors_open() refuses
 *
 *     what is not a regular file, or shorter than its header says
 *     a header above 100 MB, or that is beyond the bounds of json.h, or no JSON of valid UTF-8
 *     a shape whose product overflows or does not fit its offsets
 *     tensors that overlap, leave holes, or end before or after the end of the file
 *
 * Tensors go through a buffer of 8 MiB, whatever their size. Errors are negative errno values with
 * one line in tensor_error() that names the file; control characters in foreign names show as '?'.
 * Thread-safety: an open file belongs to one thread at a time; different files do not share state.
 */
#ifndef TENSOR_SAFETENSORS_H
#define TENSOR_SAFETENSORS_H

#include "tensor/tensor.h"

/* A tensor and what it is called in a file. The list is the caller's; nothing is kept of it. */
struct tensor_named {
    const char *name; /* UTF-8, not empty, not "__metadata__" */
    struct tensor *tensor;
};

/* An entry of "__metadata__". */
struct tensor_metadata {
    const char *key, *value; /* UTF-8 */
};

/* What a file is recognised by: its length, and XXH64 (seed 0) of all its bytes, header included.
 */
struct tensor_digest {
    uint64_t size;
    uint64_t xxh64;
};

/* Writes a new file and fsyncs it; the folder is the caller's to fsync. Tensors lie in the file in
 * the order of the list. Waits for the device to be idle. `folder` is an open folder or AT_FDCWD,
 * `file` a path from there; `digest` may be NULL.
 *
 * On any failure no file is left. Errors: -EEXIST there is a file already (it stays as it is),
 * -EINVAL a name twice, empty or not UTF-8, -ENOSPC, -EDQUOT, -EFBIG, -EIO and others as the system
 * says when it cannot be written, -EIO the device cannot be read. */
int tensor_safetensors_write(int folder, const char *file, const struct tensor_named *list,
                             uint32_t count, const struct tensor_metadata *metadata,
                             uint32_t metadata_count, struct tensor_digest *digest);

/* A file open for reading. */
struct tensor_safetensors;

/* One tensor of a file. Owned by the file. */
struct tensor_safetensors_entry {
    const char *name;
    const char *dtype;     /* as the file says: "F32", "BF16" … */
    bool usable;           /* of a type, rank and sizes that a struct tensor can have */
    enum tensor_type type; /* where usable */
    uint32_t rank;         /* 0: a scalar */
    const uint64_t *shape; /* slowest first; sizes may be 0 */
    uint64_t begin, size;  /* bytes: start in the file, length */
};

/* Opens a file and checks everything but the elements, which are not read yet. On success the
 * caller owns *f. Errors: -ENOENT and others as the system says, -EBADMSG it is damaged or no
 * safetensors file, -ENOMEM. */
int tensor_safetensors_open(int folder, const char *file, struct tensor_safetensors **f);

/* Ends it and sets NULL. NULL is fine. */
void tensor_safetensors_close(struct tensor_safetensors **f);

/* Entries by their place in the data, from 0; NULL behind the last. */
const struct tensor_safetensors_entry *tensor_safetensors_entry(const struct tensor_safetensors *f,
                                                                uint64_t index);

/* The entry of that name, or NULL. */
const struct tensor_safetensors_entry *tensor_safetensors_find(const struct tensor_safetensors *f,
                                                               const char *name);

/* The text under that key of "__metadata__", owned by the file, or NULL. */
const char *tensor_safetensors_metadata(const struct tensor_safetensors *f, const char *key);

/* Whether tensor_safetensors_load() would take this tensor: 0, -ENOENT (no such name), -EINVAL
 * (another type or shape; the line holds both). Reads no elements. */
int tensor_safetensors_check(const struct tensor_safetensors *f, const char *name,
                             const struct tensor *t);

/* Fills a tensor of exactly the type and shape that the file has under that name. Errors: as check,
 * before anything is changed; -EIO the file or the device failed, -EBADMSG the file became shorter:
 * the tensor holds part of the data then. */
int tensor_safetensors_load(struct tensor_safetensors *f, const char *name, struct tensor *t);

/* Reads the whole file for its digest. Errors: -EIO, -EBADMSG, -ENOMEM. */
int tensor_safetensors_digest(struct tensor_safetensors *f, struct tensor_digest *digest);

#endif
