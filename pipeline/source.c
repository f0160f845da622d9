#include "pipeline/source.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "pipeline/internal.h"
#include "pipeline/split.h"

enum { IDENTITY_BYTES = 65536 };

static char *shown(const char *path)
{
    static _Thread_local char text[PIPELINE_MAX_NAME];

    return pipeline_printable(path, text, sizeof(text));
}

static int out_of_memory(void)
{
    return pipeline_fail(ENOMEM, "out of memory");
}

/* Makes room for one more element of `size` bytes; doubles at powers of two. */
static void *grown(void *list, size_t n, size_t size)
{
    if (n & (n - 1))
        return list;
    return realloc(list, (n ? 2 * n : 1) * size);
}

static int compare_entries(const void *a, const void *b)
{
    const struct pipeline_entry *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static int add_entry(struct pipeline_source *source, const char *name, uint64_t size)
{
    struct pipeline_entry *entries =
        grown(source->entries, source->n_entries, sizeof(source->entries[0]));
    char *copy = strdup(name);

    if (entries)
        source->entries = entries;
    if (!entries || !copy) {
        free(copy);
        return out_of_memory();
    }
    source->entries[source->n_entries++] = (struct pipeline_entry){copy, size};
    source->size += size;
    return 0;
}

static int list_folder(struct pipeline_source *source)
{
    char *roots[] = {source->path, NULL};
    size_t prefix = strlen(source->path);
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, NULL);
    FTSENT *e;
    int result = 0;

    if (!walk)
        return pipeline_fail(errno, "%s: %s", shown(source->path), strerror(errno));
    while (result == 0 && (errno = 0, e = fts_read(walk))) {
        const char *name = e->fts_path + prefix;

        if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
            result =
                pipeline_fail(e->fts_errno, "%s: %s", shown(e->fts_path), strerror(e->fts_errno));
        while (*name == '/')
            name++;
        if (e->fts_info == FTS_F && S_ISREG(e->fts_statp->st_mode))
            result = add_entry(source, name, (uint64_t)e->fts_statp->st_size);
    }
    if (result == 0 && errno)
        result = pipeline_fail(errno, "%s: %s", shown(source->path), strerror(errno));
    fts_close(walk);
    if (source->n_entries)
        qsort(source->entries, source->n_entries, sizeof(source->entries[0]), compare_entries);
    return result;
}

static void source_finish(struct pipeline_source *source)
{
    for (size_t i = 0; i < source->n_entries; i++)
        free(source->entries[i].name);
    free(source->entries);
    free(source->path);
}

/* Adds one path that exists. */
static int add_path(struct pipeline_sources *sources, const char *path, double weight)
{
    struct pipeline_source source = {.weight = weight, .argument = sources->arguments};
    struct pipeline_source *list = grown(sources->list, sources->n, sizeof(source));
    struct stat st;
    int result = 0;

    if (!list)
        return out_of_memory();
    sources->list = list;
    if (stat(path, &st) < 0)
        return pipeline_fail(errno, "%s: %s", shown(path), strerror(errno));
    source.path = strdup(path);
    if (!source.path)
        return out_of_memory();
    source.folder = S_ISDIR(st.st_mode);
    if (source.folder)
        result = list_folder(&source);
    else if (S_ISREG(st.st_mode))
        source.size = (uint64_t)st.st_size;
    if (S_ISREG(st.st_mode))
        source.split_bytes = pipeline_split_bytes(source.size);
    if (result < 0)
        source_finish(&source);
    else
        sources->list[sources->n++] = source;
    return result;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds whatever `text` names: a path or a glob. -ENOENT with a line if there is nothing. */
static int add_named(struct pipeline_sources *sources, const char *text, double weight)
{
    struct stat st;
    glob_t found;
    int result;

    if (lstat(text, &st) == 0 || !strpbrk(text, "*?["))
        return add_path(sources, text, weight);
    /* GLOB_NOSORT: glob would sort by the user's locale, and the order must not depend on that. */
    result = glob(text, GLOB_NOSORT | GLOB_ERR, NULL, &found);
    if (result == GLOB_NOMATCH)
        return pipeline_fail(ENOENT, "%s: no file has that name and none matches it", shown(text));
    if (result != 0)
        return pipeline_fail(result == GLOB_NOSPACE ? ENOMEM : EIO, "%s: cannot be searched: %s",
                             shown(text), strerror(errno));
    qsort(found.gl_pathv, found.gl_pathc, sizeof(found.gl_pathv[0]), compare_strings);
    result = 0;
    for (size_t i = 0; i < found.gl_pathc && result == 0; i++)
        result = add_path(sources, found.gl_pathv[i], weight);
    globfree(&found);
    return result;
}

static int add_data(struct pipeline_sources *sources, const char *text)
{
    const char *equals = strrchr(text, '=');
    struct stat st;
    char *end, *path;
    double weight;
    int result;

    if (!equals || equals == text || lstat(text, &st) == 0)
        return add_named(sources, text, 1);
    weight = strtod(equals + 1, &end);
    if (end == equals + 1 || *end)
        return add_named(sources, text, 1);
    if (!isfinite(weight) || weight <= 0)
        return pipeline_fail(EINVAL, "%s: a weight is a number above 0", shown(text));
    path = strndup(text, (size_t)(equals - text));
    result = path ? add_named(sources, path, weight) : out_of_memory();
    free(path);
    sources->mixed = true;
    return result;
}

int pipeline_sources_create(const char *const *data, size_t n, struct pipeline_sources **out)
{
    struct pipeline_sources *sources = calloc(1, sizeof(*sources));
    int result = sources ? 0 : out_of_memory();

    if (result == 0 && n == 0)
        result = pipeline_fail(ENOENT, "no data was named");
    for (size_t i = 0; i < n && result == 0; i++) {
        result = add_data(sources, data[i]);
        sources->arguments++;
    }
    if (result < 0)
        pipeline_sources_destroy(&sources);
    else
        *out = sources;
    return result;
}

void pipeline_sources_destroy(struct pipeline_sources **sources)
{
    struct pipeline_sources *dead = *sources;

    if (!dead)
        return;
    for (size_t i = 0; i < dead->n; i++)
        source_finish(&dead->list[i]);
    free(dead->list);
    free(dead);
    *sources = NULL;
}

static int identify_folder(const struct pipeline_source *source, struct pipeline_identity *out)
{
    XXH64_state_t *state = XXH64_createState();

    if (!state)
        return out_of_memory();
    XXH64_reset(state, 0);
    for (size_t i = 0; i < source->n_entries; i++) {
        const struct pipeline_entry *e = &source->entries[i];
        uint64_t size = htole64(e->size);

        XXH64_update(state, e->name, strlen(e->name) + 1);
        XXH64_update(state, &size, sizeof(size));
    }
    *out = (struct pipeline_identity){source->size, XXH64_digest(state), source->n_entries};
    XXH64_freeState(state);
    return 0;
}

/* xxHash64 of up to 64 KiB at offset. */
static int hash_at(int fd, uint64_t offset, uint64_t *out)
{
    uint8_t *bytes = malloc(IDENTITY_BYTES);
    size_t got = 0;
    ssize_t n = bytes ? 1 : -1;

    while (bytes && got < IDENTITY_BYTES && n != 0) {
        n = pread(fd, bytes + got, IDENTITY_BYTES - got, (off_t)(offset + got));
        if (n < 0 && errno != EINTR)
            break;
        got += n > 0 ? (size_t)n : 0;
    }
    if (n >= 0)
        *out = XXH64(bytes, got, 0);
    free(bytes);
    return n < 0 ? -errno : 0;
}

int pipeline_source_identify(const struct pipeline_source *source, struct pipeline_identity *out)
{
    struct pipeline_identity id = {0};
    struct stat st;
    int result = 0;
    int fd;

    if (source->folder)
        return identify_folder(source, out);
    fd = open(source->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        result = -errno;
    if (result == 0 && S_ISREG(st.st_mode)) {
        id.size = (uint64_t)st.st_size;
        result = hash_at(fd, 0, &id.head);
        if (result == 0)
            result = hash_at(fd, id.size > IDENTITY_BYTES ? id.size - IDENTITY_BYTES : 0, &id.tail);
    }
    if (fd >= 0)
        close(fd);
    if (result < 0)
        return pipeline_fail(-result, "%s: %s", shown(source->path), strerror(-result));
    *out = id;
    return 0;
}

int pipeline_sources_check(const struct pipeline_sources *sources,
                           const struct pipeline_identity *saved, size_t n)
{
    if (sources->n != n)
        return pipeline_fail(ESTALE,
                             "DATA names %zu %s, but the run was started with %zu: name the same "
                             "data, or start a new run",
                             sources->n, sources->n == 1 ? "source" : "sources", n);
    for (size_t i = 0; i < n; i++) {
        struct pipeline_identity now;
        int result = pipeline_source_identify(&sources->list[i], &now);

        if (result < 0)
            return result;
        if (now.size != saved[i].size)
            return pipeline_fail(ESTALE,
                                 "%s: the data has changed since the run was started: it had %llu "
                                 "bytes and now has %llu; bring the old data back, or start a new "
                                 "run",
                                 shown(sources->list[i].path), (unsigned long long)saved[i].size,
                                 (unsigned long long)now.size);
        if (now.head != saved[i].head || now.tail != saved[i].tail)
            return pipeline_fail(
                ESTALE,
                "%s: the data has changed since the run was started: it has the same size but "
                "other bytes; bring the old data back, or start a new run",
                shown(sources->list[i].path));
    }
    return 0;
}
