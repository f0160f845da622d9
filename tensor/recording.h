/* recording.h - the inside of a graph (private to the library).
 *
 *     record.c     tensors, passes and nodes are appended
 *     gradient.c   nodes are walked backwards, appending passes
 *     segment.c    what segments keep, and computing the rest again
 *     plan.c       intermediate tensors get memory
 *     graph.c      create, finish, run, time
 */
#ifndef TENSOR_RECORDING_H
#define TENSOR_RECORDING_H

#include "tensor/storage.h"

#define TENSOR_LABEL_DEPTH 8

/* Memory that lives as long as the graph. */
struct tensor_chunk {
    struct tensor_chunk *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

struct tensor_plan_block {
    struct tensor_block block;
    uint64_t size;
};

/* What was recorded between segment_begin and segment_end: passes, nodes and the storages of new
 * tensors, from … to before …. */
struct tensor_segment {
    uint32_t pass_begin, pass_end, node_begin, node_end, storage_begin, storage_end;
};

/* A cast to 16 bits that was recorded: of what, and as it was when so many passes had written
 * there. */
struct tensor_cast {
    const struct tensor_storage *storage;
    uint64_t offset, count, version;
    struct tensor *result;
};

struct tensor_graph {
    struct tensor_device *device;
    struct tensor_graph_params params;
    char *name;
    int error; /* positive errno of the first failure; 0: none */
    char error_line[512];
    struct tensor_chunk *chunks;

    const char *labels[TENSOR_LABEL_DEPTH]; /* full labels, innermost last */
    uint32_t label_depth;

    struct tensor_pass *passes;
    uint32_t pass_count, pass_capacity;
    struct tensor_node *nodes;
    uint32_t node_count, node_capacity;
    struct tensor_storage **storages; /* of intermediate tensors, in order of creation */
    uint32_t storage_count, storage_capacity;
    struct tensor_segment *segments;
    uint32_t segment_count, segment_capacity;
    bool in_segment;
    struct tensor_cast *casts;
    uint32_t cast_count, cast_capacity;
    uint32_t streams;

    bool planned, finished;
    struct tensor_plan_block *blocks; /* the planned memory */
    uint32_t block_count;
    struct tensor_step *steps; /* (pass_count) */
    struct tensor_program *program;
    double *seconds; /* (pass_count) */

    struct tensor dummy; /* what a failed recording hands out */
    struct tensor_storage dummy_storage;
};

/* Sets the label for the passes of a node's gradient, with a mark behind it; NULL ends it. */
void tensor_graph_set_label(struct tensor_graph *g, const char *label, const char *mark);

/* Makes room for one more element of an array; false (and a failed recording) without memory. */
bool tensor_graph_grow(struct tensor_graph *g, void **array, uint32_t count, uint32_t *capacity,
                       size_t size);

/* Before the walk: finds out what others use of each segment. */
void tensor_segments_prepare(struct tensor_graph *g);
/* Where the walk comes to the last node of a segment: records its passes again, and lets its nodes
 * see the new tensors. `node` is the number of the node at hand. */
void tensor_segment_again(struct tensor_graph *g, uint32_t node);

/* Drops passes whose results nobody reads, and finds out when each intermediate tensor is alive;
 * then places each: storage->begin and ->index, and g->blocks[].size. */
int tensor_plan(struct tensor_graph *g);

#endif
