/* file.c - see file.h. */
#include "megabyte/file.h"
#include "megabyte/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const char *from, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, from, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        from += n;
        size -= (size_t)n;
    }
    return 0;
}

/* fsync, done again where a signal broke it off. */
static int sync_file(int fd)
{
    int result;
    do
        result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result;
}

static int write_synced(int folder, const char *name, const char *text, size_t size)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    int result = write_all(fd, text, size);
    if (result == 0 && sync_file(fd) != 0)
        result = -errno;
    if (close(fd) != 0 && result == 0)
        result = -errno;
    return result;
}

int megabyte_file_replace(int folder, const char *name, const void *text, size_t size)
{
    char temporary[256];
    int n = snprintf(temporary, sizeof temporary, ".tmp-%s", name);
    if (n < 0 || (size_t)n >= sizeof temporary)
        return megabyte_fail(ENAMETOOLONG, "cannot write %s: its name is too long", name);
    /* One of a run that died here. */
    int result = unlinkat(folder, temporary, 0) == 0 || errno == ENOENT ? 0 : -errno;
    if (result == 0)
        result = write_synced(folder, temporary, text, size);
    if (result == 0 && renameat(folder, temporary, folder, name) != 0)
        result = -errno;
    if (result < 0) {
        unlinkat(folder, temporary, 0);
        return megabyte_fail(-result, "cannot write %s: %s", name, strerror(-result));
    }
    result = megabyte_folder_sync(folder);
    if (result < 0)
        return megabyte_fail(-result, "cannot fsync the folder of %s: %s", name, strerror(-result));
    return 0;
}

static int read_all(int fd, char *to, size_t limit, size_t *size)
{
    *size = 0;
    while (*size < limit) {
        ssize_t n = read(fd, to + *size, limit - *size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        *size += (size_t)n;
    }
    return 0;
}

static int read_open(int fd, size_t limit, char **text, size_t *size)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return -errno;
    if (!S_ISREG(info.st_mode))
        return -EINVAL;
    if ((uint64_t)info.st_size > limit)
        return -EFBIG;
    char *read_text = malloc((size_t)info.st_size + 1);
    if (!read_text)
        return -ENOMEM;
    int result = read_all(fd, read_text, (size_t)info.st_size, size);
    if (result < 0) {
        free(read_text);
        return result;
    }
    read_text[*size] = '\0';
    *text = read_text;
    return 0;
}

int megabyte_file_read(int folder, const char *name, size_t limit, char **text, size_t *size)
{
    size_t length = 0;
    /* Without O_NONBLOCK a named pipe would keep us waiting. */
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int result = fd < 0 ? -errno : read_open(fd, limit, text, &length);
    if (fd >= 0)
        close(fd);
    if (result == -EINVAL)
        return megabyte_fail(EINVAL, "cannot read %s: it is not a regular file", name);
    if (result < 0)
        return megabyte_fail(-result, "cannot read %s: %s", name, strerror(-result));
    if (size)
        *size = length;
    return 0;
}

int megabyte_folder_sync(int folder)
{
    if (sync_file(folder) == 0 || errno == EINVAL)
        return 0;
    return -errno;
}

/* Makes the name of a new folder durable, where we may read the folder that it is in. */
static int sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent = !slash ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (!parent)
        return -ENOMEM;
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(parent);
    if (fd < 0)
        return 0;
    int result = megabyte_folder_sync(fd);
    close(fd);
    return result;
}

/* Makes a folder and its parents. Parents are neither opened nor read, as only searching them may
 * be allowed (/home often is so). `path` is changed meanwhile. */
static int make_folders(char *path)
{
    int result = 0;
    for (char *end = path; *end && result == 0;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char separator = *end;
        *end = '\0';
        const int reason = mkdir(path, 0777) == 0 ? 0 : errno;
        if (reason == 0)
            result = sync_parent(path);
        else if (reason != EEXIST && access(path, F_OK) != 0)
            result = -reason;
        *end = separator;
    }
    return result;
}

int megabyte_folder_create(const char *path, int *folder)
{
    char *copy = strdup(path);
    int result = copy ? make_folders(copy) : -ENOMEM;
    int fd = result == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (result == 0 && fd < 0)
        result = -errno;
    free(copy);
    if (result < 0)
        return megabyte_fail(-result, "cannot create folder %s: %s", path, strerror(-result));
    *folder = fd;
    return 0;
}

int megabyte_folder_remove(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *entries = fdopendir(fd);
    if (!entries) {
        int reason = errno;
        close(fd);
        return -reason;
    }
    const struct dirent *entry;
    while ((entry = readdir(entries)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(fd, entry->d_name, 0);
    closedir(entries);
    return unlinkat(parent, name, AT_REMOVEDIR) != 0 ? -errno : 0;
}
