/* attention.h - cases of attention and the rotary embedding (attention.c), for the tables of
 * cases.c and ops.c; their references stand in reference.h. */
#ifndef TESTS_TENSOR_ATTENTION_H
#define TESTS_TENSOR_ATTENTION_H

#include "tests/tensor/generation.h"

check_build_kernel check_attention, check_attention_append, check_attention_grad_query,
    check_attention_grad_key, check_attention_grad_patch, check_rope;
check_build_op check_op_attention, check_op_attention_cross, check_op_attention_cached,
    check_op_rope;
check_record record_attention, record_attention_cross, record_attention_cached, record_rope;
check_evaluate evaluate_attention, evaluate_attention_cross, evaluate_attention_cached,
    evaluate_rope;

#endif
