#include "pipeline/folder.h"

#include <stdio.h>
#include <string.h>

#include "pipeline/detect.h"
#include "pipeline/internal.h"

/* Files of a folder that have names of archives or compressed files. */
static size_t count_packed(const struct pipeline_source *folder)
{
    size_t n = 0;
    bool cut;

    for (size_t i = 0; i < folder->n_entries; i++)
        n += pipeline_detect_promise((const uint8_t *)"", 0, folder->entries[i].name, &cut) != NULL;
    return n;
}

/* What the user may name instead of a folder to have a file below it opened. */
static void glob_for(const char *folder, const char *name, char *out, size_t size)
{
    size_t n;

    pipeline_printable(folder, out, size - 8);
    n = strlen(out);
    while (n > 1 && out[n - 1] == '/')
        n--;
    do {
        snprintf(out + n, size - n, "%s", out[n - 1] == '/' ? "*" : "/*");
        n = strlen(out);
        name = strchr(name, '/');
    } while (name++ && n + 3 < size);
}

bool pipeline_folder_note(const struct pipeline_source *folder, const char *name,
                          const uint8_t *head, size_t n)
{
    char path[PIPELINE_MAX_NAME], glob[PIPELINE_MAX_NAME], file[PIPELINE_MAX_NAME];
    char number[80] = "";
    const enum detect_filter filter = pipeline_detect_filter(head, n);
    const char *kind = pipeline_filter_name(filter);
    const size_t packed = count_packed(folder);

    if (filter == FILTER_NONE) {
        bool bad;
        enum detect_format format = pipeline_detect_format(head, n, name, &bad);

        if (format == FORMAT_PLAIN)
            return false;
        kind = pipeline_format_name(format);
    }
    if (packed > 1)
        snprintf(number, sizeof(number), " (%zu of its %zu files have such names)", packed,
                 folder->n_entries);
    glob_for(folder->path, name, glob, sizeof(glob));
    pipeline_note(
        "%s: the files of a folder are not opened, and '%s' is %s%s: to have them opened, "
        "name '%s'",
        pipeline_printable(folder->path, path, sizeof(path)),
        pipeline_printable(name, file, sizeof(file)), kind, number, glob);
    return true;
}
