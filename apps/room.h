/*
 * Memory of the programs that run a model without training it: what does not fit is refused before
 * any is taken, with what would. (mb-train has a plan of its own, train_plan.c.)
 */
#ifndef APPS_ROOM_H
#define APPS_ROOM_H

#include "megabyte/model_files.h"

/* Bytes that running a model takes beside its weights. */
struct app_room {
    uint64_t device;
    uint64_t host; /* on the cpu device all is one memory */
};

struct app_room_work {
    const char *verb, *noun; /* "scoring", "windows": of which --batch says how many at a time */
    /* What so many at a time take; negative with megabyte_error(). */
    int (*plan)(const struct megabyte_model *model, uint32_t batch, struct app_room *room);
};

/* Bytes that this process has taken so far, beside the device's blocks; 0 where the system does not
 * say. */
uint64_t app_room_taken(const struct tensor_device *device);

/* Refuses `batch` at a time of the checkpoint's model, which is not loaded yet, where that does not
 * fit. Returns an exit status. */
int app_room_check(const struct app_room_work *work, struct megabyte_checkpoint *checkpoint,
                   struct tensor_device *device, uint32_t batch);

#endif
