/* rope.h - parameters of the rotary position embedding (op.h: tensor_rope) */
#ifndef TENSOR_OP_ROPE_H
#define TENSOR_OP_ROPE_H

#include "tensor/op/share.h"

/* Row r, of sequence n = r / positions, stands at position t = first + r mod positions, plus
 * slot[2 n + 1] where places are given (ROPE_SLOT).
 * In each of the first `turned` heads of a row the pair (c, c + pairs) is turned by t · w^c, w =
 * 10000^(-1/pairs); with ROPE_BACK by its negative. What is behind those heads is copied, or left
 * alone where y is x (ROPE_IN_PLACE).
 *
 * Angles are counted in turns, as fractions of 64 bits that may wrap around, so that they are as
 * exact at position 10^6 as at 0 on every device: `unit` is 1 / (2 pi), power[i] is w^(2^i); low
 * word, high word. (What GPUs offer as sin() is good to 2^-11 only, and from -pi to pi.) */
#define ROPE_BACK     1u
#define ROPE_SLOT     2u
#define ROPE_IN_PLACE 4u
#define ROPE_POWERS   7 /* pairs <= 128 */
struct rope_params {
    f32_ptr x;     /* (rows, columns) */
    u32_ptr slot;  /* (rows / positions, 2) */
    f32_ptr y;     /* as x; may be x */
    u32 rows;
    u32 columns;
    u32 turned; /* heads */
    u32 pairs;  /* of a head's columns */
    u32 positions;
    u32 first;
    u32 flags;
    u32 unit[2];
    u32 power[2 * ROPE_POWERS];
};

/* sin and cos of x in [-pi/4, pi/4]: series to x^9 and x^8, within 1e-7. */
#define ROPE_SIN(x, x2)                                                                            \
    ((x) + (x) * (x2) *                                                                            \
               (-1.0f / 6 + (x2) * (1.0f / 120 + (x2) * (-1.0f / 5040 + (x2) * (1.0f / 362880)))))
#define ROPE_COS(x2)                                                                               \
    (1.0f + (x2) * (-0.5f + (x2) * (1.0f / 24 + (x2) * (-1.0f / 720 + (x2) * (1.0f / 40320)))))
#define ROPE_RADIANS 1.4629180792671596e-9f /* 2 pi / 2^32 */

#endif
