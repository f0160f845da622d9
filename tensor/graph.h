/* graph.h - records operations once, differentiates them, plans their memory, and replays.
 *
 *     tensor_graph_create
 *     ops of op.h …
 *     tensor_graph_backward    for training
 *     tensor_graph_finish
 *     tensor_graph_run …       again and again
 *     tensor_device_wait
 *
 * An op checks shapes, makes its output tensor and appends one or more passes; a pass is one kernel
 * with its parameters. The op also leaves a node. tensor_graph_backward() walks the nodes from last
 * to first, and each appends the passes of its gradient. So there is one flat list of passes, and
 * memory is planned over it: an intermediate tensor occupies memory from the pass that writes it to
 * the last pass that reads it.
 *
 * What changes from run to run (bytes of the batch, seeds, learning rate) lies in tensors of a
 * TENSOR_HOST arena that the passes read.
 */
#ifndef TENSOR_GRAPH_H
#define TENSOR_GRAPH_H

#include "tensor/arena.h"

struct tensor_graph;
struct tensor_autotune;

struct tensor_graph_params {
    const char *name;            /* for messages and timings */
    bool training;               /* keep nodes for tensor_graph_backward(); dropout is active */
    struct tensor *random;       /* (3) U32: seed low, seed high, draw; needed for dropout. The same
                                    (seed, draw) gives the same bits on every device */
    struct tensor *loss_scale;   /* (1) F32, read at run time: the factor of the loss in all
                                    gradients; NULL: 1 */
    /* What was measured of matrix products (autotune.h); it must outlive the graph. NULL: every
     * product uses the rule's configuration. */
    const struct tensor_autotune *autotune;
    bool recompute;              /* segments are computed again for the gradient, not stored */
    bool timing;                 /* measure every pass (tensor_graph_times) */
};

int tensor_graph_create(struct tensor_device *device, const struct tensor_graph_params *params,
                        struct tensor_graph **graph);
void tensor_graph_destroy(struct tensor_graph **graph);

/* Labels nest: passes recorded between push and pop carry "outer.inner". `label` is copied. */
void tensor_graph_push(struct tensor_graph *graph, const char *label);
void tensor_graph_pop(struct tensor_graph *graph);

/* Keeps an intermediate tensor readable with tensor_read() after each run. Its memory is then not
 * reused within the graph. */
void tensor_graph_keep(struct tensor_graph *graph, struct tensor *t);

/* What is recorded between these two calls, which do not nest, is a segment. With params.recompute
 * its intermediate results are not kept for the gradient: tensor_graph_backward() records the
 * passes of the segment again, where it comes to it, from the tensors that enter it; what others
 * use of it stays. The same kernels find the same numbers, those of dropout included, so gradients
 * have the same bits; the graph takes less memory and more time. A segment must not change a tensor
 * in place that it has not made. Without params.recompute nothing is different. */
void tensor_graph_segment_begin(struct tensor_graph *graph);
void tensor_graph_segment_end(struct tensor_graph *graph);

/* Records the gradient of `loss` (1 element), times params.loss_scale, for every tensor with
 * needs_gradient. The gradients of parameters are added to parameter->gradient (so that several
 * runs accumulate; clear them with tensor_fill between steps). Call once, after the forward ops. */
void tensor_graph_backward(struct tensor_graph *graph, struct tensor *loss);

/* Plans and allocates the intermediate memory and prepares the device's command lists. Passes whose
 * results nobody reads are left out. Reports the first recording error. Errors: -EINVAL, -ENOMEM,
 * -EIO. */
int tensor_graph_finish(struct tensor_graph *graph);

/* Bytes of intermediate memory; needs only the recording (before finish it plans, without
 * allocating). 0 on a recording error. */
uint64_t tensor_graph_memory(struct tensor_graph *graph);

/* Bytes of host memory that the device takes for itself while the graph runs, beside that: what
 * the cpu's library of matrix products wants. Makes those products ready. 0 on vulkan. */
uint64_t tensor_graph_scratch(const struct tensor_graph *graph);

/* Floating point operations of one run: 2 for a multiply-add of matrix products and attention.
 * Before the graph is planned (tensor_graph_memory, tensor_graph_finish), passes that will be left
 * out count too. */
double tensor_graph_flops(const struct tensor_graph *graph);

/* Starts one run; runs of one device execute in order. tensor_device_wait() waits for all of them.
 * Errors: -EIO device lost, -ETIMEDOUT (the line names the graph and the pass). */
int tensor_graph_run(struct tensor_graph *graph);
int tensor_device_wait(struct tensor_device *device);

/* Seconds in which the device had something to do: those between the start of a run that finds it
 * idle and the return of the wait for it. What a clock on the wall shows beyond them, the host took
 * for itself while the device had to wait. */
double tensor_device_busy(const struct tensor_device *device);

/* The first pass of a run that wrote a value which is not finite. */
struct tensor_trace {
    bool found;
    const char *label, *kernel; /* of that pass; owned by the graph */
    uint32_t pass;              /* its number in the graph, from 0 */
    uint64_t element;           /* the first such value in what it wrote, and ... */
    double value;               /* ... the value */
};

/* One run as tensor_graph_run() does it, with the same bits, but pass by pass, each waited for and
 * what it wrote read back: slow, to find out where a loss or gradient that is not finite comes
 * from. Goes on to the end whatever is found. */
int tensor_graph_trace(struct tensor_graph *graph, struct tensor_trace *trace);

struct tensor_time {
    const char *label;  /* of the passes; "'" at the end: their gradient, "*": computed again for
                           it (tensor_graph_segment_begin). Owned by the graph */
    const char *kernel; /* kernel and variant */
    uint32_t passes;    /* of this label in one run */
    double seconds;     /* all runs since finish or the last reset */
    double flops;       /* of one run */
    double bytes;       /* read and written by one run, each tensor once a pass */
};

/* Times by label of a graph made with params.timing, longest first. `times` gets at most `capacity`
 * entries; returns how many labels there are. Waits for the device. */
uint32_t tensor_graph_times(struct tensor_graph *graph, struct tensor_time *times,
                            uint32_t capacity);
void tensor_graph_times_reset(struct tensor_graph *graph);

#endif
