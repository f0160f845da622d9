/* file.h - small files and folders, written so that a crash leaves the old or the new, never a
 * part.
 *
 * Folders are open file descriptors, names are relative to them. Errors are negative errno values
 * of the system with a line in megabyte_error().
 */
#ifndef MEGABYTE_FILE_H
#define MEGABYTE_FILE_H

#include <stddef.h>
#include <stdint.h>

/* Replaces the file `name`, or creates it: the text goes into .tmp-NAME, which is fsynced, renamed,
 * and the folder fsynced. On failure the old file stays as it was and .tmp-NAME is gone (if only
 * that last fsync fails, the new one is there already). One writer at a time for each name: that is
 * what megabyte_run_lock() is for. */
int megabyte_file_replace(int folder, const char *name, const void *text, size_t size);

/* Reads a whole regular file of at most `limit` bytes; *text ends in a zero byte that *size does
 * not count, and is the caller's to free(). `size` may be NULL. Errors: -ENOENT, -EFBIG above the
 * limit, -EINVAL not a regular file, -ENOMEM, others as the system says. */
int megabyte_file_read(int folder, const char *name, size_t limit, char **text, size_t *size);

/* Opens the folder `path`, made with its parents where missing (and their parents fsynced). The
 * caller closes *folder. */
int megabyte_folder_create(const char *path, int *folder);

/* fsync of a folder; file systems that cannot (they say EINVAL) are taken at their word. Sets no
 * error line. */
int megabyte_folder_sync(int folder);

/* Removes a folder and the files in it. A folder within it is left alone, and stops the removal
 * (-ENOTEMPTY). Links are removed, never followed. Sets no error line. */
int megabyte_folder_remove(int parent, const char *name);

#endif
