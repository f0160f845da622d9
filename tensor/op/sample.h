/* sample.h - parameters of the choice of a symbol (op.h: tensor_sample) */
#ifndef TENSOR_OP_SAMPLE_H
#define TENSOR_OP_SAMPLE_H

#include "tensor/op/share.h"

/* Of each sequence, in this order; what is F32 travels as its bits. */
#define SAMPLE_GIVEN       0u /* columns before this one keep their symbols */
#define SAMPLE_TEMPERATURE 1u /* F32 */
#define SAMPLE_TOP_K       2u
#define SAMPLE_TOP_P       3u /* F32 */
#define SAMPLE_SEED_LOW    4u
#define SAMPLE_SEED_HIGH   5u
#define SAMPLE_STREAM      6u
#define SAMPLE_DRAW_LOW    7u /* of column 0 */
#define SAMPLE_DRAW_HIGH   8u
#define SAMPLE_SETTINGS    9u

#define SAMPLE_NONE 256u /* stands for no symbol: a logit was not finite */
#define SAMPLE_WORD 0x73616d70u /* of the counter: keeps these numbers apart from others */

/* symbols[n, column] = the symbol chosen by logits[n], unless column < settings[n, GIVEN] */
struct sample_params {
    f32_ptr logits;   /* (rows, 256) */
    u32_ptr settings; /* (rows, SAMPLE_SETTINGS) */
    u32_ptr symbols;  /* (rows, columns) */
    u32 rows;
    u32 columns;
    u32 column;
};

#endif
