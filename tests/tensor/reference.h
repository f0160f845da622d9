/* reference.h - the kernels in double precision (reference.c); see check_reference in check.h */
#ifndef TESTS_TENSOR_REFERENCE_H
#define TESTS_TENSOR_REFERENCE_H

#include "tests/tensor/check.h"

check_reference reference_matmul;
check_reference reference_matmul_sum;
check_reference reference_relu_grad;
check_reference reference_sum_rows;
check_reference reference_embedding;
check_reference reference_embedding_grad;
check_reference reference_shift;
check_reference reference_shift_grad;
check_reference reference_add;
check_reference reference_add_rows;
check_reference reference_dropout_grad;
check_reference reference_layer_norm;
check_reference reference_layer_norm_grad;
check_reference reference_layer_norm_grad_gain;
check_reference reference_attention;
check_reference reference_attention_grad_query;
check_reference reference_attention_grad_key;
check_reference reference_attention_grad_patch;
check_reference reference_attention_append;
check_reference reference_rope;
check_reference reference_cross_entropy;
check_reference reference_cross_entropy_grad;
check_reference reference_sum;
check_reference reference_sum_grad;
check_reference reference_fill;
check_reference reference_copy;
check_reference reference_cast;
check_reference reference_loss_scale;
check_reference reference_adamw;
check_reference reference_gate;
check_reference reference_take_row;
check_reference reference_append_row;
check_reference reference_unfold;
check_reference reference_unfold_grad;
check_reference reference_slice;
check_reference reference_slice_grad;

/* Whether word `at` of a row of random words is below the threshold. */
bool check_dropped(const uint32_t *random, uint32_t at, uint32_t row, uint32_t stream,
                   uint32_t threshold);

#endif
