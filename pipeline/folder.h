/*
 * What is said about a folder, whose files are taken as they are; not installed.
 */
#ifndef PIPELINE_FOLDER_H
#define PIPELINE_FOLDER_H

#include "pipeline/source.h"

/* Notes that the files of a folder are not opened, and how to have them opened, if the first n
 * bytes of the one called `name` are those of an archive or of something compressed. Returns
 * whether they are. */
bool pipeline_folder_note(const struct pipeline_source *folder, const char *name,
                          const uint8_t *head, size_t n);

#endif
