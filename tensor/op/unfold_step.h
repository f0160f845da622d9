/* unfold_step.h - parameters of rows with what stands before them, in generation (op.h:
 * tensor_unfold_cached) */
#ifndef TENSOR_OP_UNFOLD_STEP_H
#define TENSOR_OP_UNFOLD_STEP_H

#include "tensor/op/share.h"

/* Row n·fresh + i of x stands at t = (slot[2n + 1] - 1)·unit + i of sequence s = slot[2n]. Its
 * taps - 1 predecessors are rows of x where those go so far back, else rows t' mod capacity of the
 * sequence's part of the cache, and zeros where t' < 0; y has them before the row, oldest first.
 * Rows with t >= 0 are written to the cache. No row that is read there is written: capacity >=
 * fresh + taps - 1. */
struct unfold_step_params {
    f32_ptr x;     /* (sequences·fresh, columns) */
    u32_ptr slot;  /* (sequences, 2) */
    f32_ptr cache; /* (any·capacity, columns) */
    f32_ptr y;     /* (sequences·fresh, taps·columns) */
    u32 sequences;
    u32 fresh;
    u32 columns;
    u32 taps;
    u32 unit;
    u32 capacity;
};

#endif
