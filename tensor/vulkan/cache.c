/* cache.c - compiled pipelines on disk, and the autotune cache beside them
 *
 * Drivers are given only what they wrote themselves: the file has our header with a digest, since
 * not every driver survives damaged data, and then Vulkan's header, which must name this driver.
 * Whatever goes wrong here costs compile time and nothing else, so nothing here is an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tensor/vulkan/autotune.h"
#include "tensor/vulkan/device.h"

#define FILE_MAX (64u << 20) /* larger than any cache of ours: not read, so that it starts anew */

struct file_header {
    char magic[8];
    uint64_t size;   /* of what follows */
    uint64_t digest; /* of what follows */
};

static const char magic[8] = {'M', 'B', 'p', 'i', 'p', 'e', 's', '1'};

/* FNV-1a */
static uint64_t digest(const unsigned char *bytes, size_t size)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    return h;
}

/* Writes the path of the folder, of one more level when `parent` is false; false: there is none. */
static bool find_folder(char *path, size_t capacity, bool parent)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const char *last = parent ? "" : "/megabyte";
    int length = 0;
    if (cache && cache[0] == '/')
        length = snprintf(path, capacity, "%s%s", cache, last);
    else if (home && home[0] == '/')
        length = snprintf(path, capacity, "%s/.cache%s", home, last);
    return length > 0 && (size_t)length < capacity;
}

static bool find_path(struct vulkan_device *d)
{
    char folder[400], uuid[2 * VK_UUID_SIZE + 1];
    if (!find_folder(folder, sizeof(folder), false))
        return false;
    for (size_t i = 0; i < VK_UUID_SIZE; i++)
        snprintf(uuid + 2 * i, 3, "%02x", d->found.uuid[i]);
    snprintf(d->cache_path, sizeof(d->cache_path), "%s/%s-%08x.pipelines", folder, uuid,
             d->found.driver);
    return true;
}

/* Whether the bytes are a cache that this driver wrote. */
static bool fits(const struct vulkan_device *d, const unsigned char *bytes, size_t size)
{
    VkPipelineCacheHeaderVersionOne header;
    if (size < sizeof(header))
        return false;
    memcpy(&header, bytes, sizeof(header));
    return header.headerSize >= sizeof(header) && header.headerSize <= size &&
           header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
           header.vendorID == d->found.vendor && header.deviceID == d->found.model &&
           memcmp(header.pipelineCacheUUID, d->found.cache_uuid, VK_UUID_SIZE) == 0;
}

/* The bytes of the file, to be freed; NULL: none that can be used. */
static unsigned char *load(const struct vulkan_device *d, size_t *size)
{
    struct file_header header;
    unsigned char *bytes = NULL;
    FILE *file = fopen(d->cache_path, "rbe");
    if (!file)
        return NULL;
    bool good = fread(&header, sizeof(header), 1, file) == 1 &&
                memcmp(header.magic, magic, sizeof(magic)) == 0 && header.size <= FILE_MAX;
    if (good)
        bytes = malloc(header.size + 1);
    good = bytes && fread(bytes, 1, header.size, file) == header.size && fgetc(file) == EOF &&
           digest(bytes, header.size) == header.digest && fits(d, bytes, header.size);
    fclose(file);
    if (!good) {
        free(bytes);
        return NULL;
    }
    *size = header.size;
    return bytes;
}

int tensor_vulkan_cache_open(struct vulkan_device *d)
{
    unsigned char *bytes = NULL;
    size_t size = 0;
    if (!d->base.params.no_cache && find_path(d))
        bytes = load(d, &size);
    const VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = size,
        .pInitialData = bytes,
    };
    const int err = VK(d->vk.vkCreatePipelineCache(d->device, &info, NULL, &d->cache));
    d->cached_digest = digest(bytes, size);
    free(bytes);
    return err;
}

static bool write_all(int fd, const void *bytes, size_t size)
{
    for (const char *at = bytes; size;) {
        const ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

/* A temporary file, then a rename: readers see what was there or what is new. */
static bool replace(const char *path, const void *head, size_t head_size, const void *bytes,
                    size_t size)
{
    char folder[400], temporary[520];

    for (int parent = 1; parent >= 0; parent--)
        if (find_folder(folder, sizeof(folder), parent))
            mkdir(folder, 0700);
    snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
    const int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return false;
    bool good = write_all(fd, head, head_size) && write_all(fd, bytes, size);
    good = close(fd) == 0 && good && rename(temporary, path) == 0;
    if (!good)
        unlink(temporary);
    return good;
}

static void save(const struct vulkan_device *d, const unsigned char *bytes, size_t size)
{
    struct file_header header = {.size = size, .digest = digest(bytes, size)};
    memcpy(header.magic, magic, sizeof(magic));
    replace(d->cache_path, &header, sizeof(header), bytes, size);
}

void tensor_vulkan_cache_close(struct vulkan_device *d)
{
    size_t size = 0;
    unsigned char *bytes = NULL;
    if (!d->cache)
        return;
    if (d->cache_path[0] && d->pipeline_count && !d->lost &&
        d->vk.vkGetPipelineCacheData(d->device, d->cache, &size, NULL) == VK_SUCCESS &&
        size <= FILE_MAX)
        bytes = malloc(size + 1);
    if (bytes && d->vk.vkGetPipelineCacheData(d->device, d->cache, &size, bytes) == VK_SUCCESS &&
        fits(d, bytes, size) && digest(bytes, size) != d->cached_digest)
        save(d, bytes, size);
    free(bytes);
    d->vk.vkDestroyPipelineCache(d->device, d->cache, NULL);
}

/* ---- autotune.h ---- */

uint64_t tensor_vulkan_kernels_digest(void)
{
    uint64_t all = 0;
    for (const struct vulkan_spirv *s = tensor_vulkan_spirv; s->name; s++)
        all = all * 31 + digest((const unsigned char *)s->words, s->size);
    return all;
}

/* The same path with another suffix. Returns false if there is no cache. */
static bool autotune_path(const struct tensor_device *device, char path[512])
{
    const struct vulkan_device *d = (const struct vulkan_device *)device;
    const size_t length = strlen(d->cache_path), end = strlen("pipelines");
    if (length <= end)
        return false;
    snprintf(path, 512, "%.*schoices", (int)(length - end), d->cache_path);
    return true;
}

char *tensor_vulkan_autotune_read(const struct tensor_device *device, char path[512], size_t *size)
{
    enum { AUTOTUNE_MAX = 4 << 20 };
    FILE *file = autotune_path(device, path) ? fopen(path, "rbe") : NULL;
    char *text = file ? malloc(AUTOTUNE_MAX) : NULL;
    if (text)
        *size = fread(text, 1, AUTOTUNE_MAX, file);
    if (file)
        fclose(file);
    return text;
}

bool tensor_vulkan_autotune_write(const struct tensor_device *device, const char *text)
{
    char path[512];
    return !autotune_path(device, path) || replace(path, text, strlen(text), "\n", 1);
}
