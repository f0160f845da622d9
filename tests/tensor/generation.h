/* generation.h - cases of what only generation uses (generation.c), for the tables of cases.c and
 * ops.c. */
#ifndef TESTS_TENSOR_GENERATION_H
#define TESTS_TENSOR_GENERATION_H

#include "tests/tensor/check.h"

typedef bool check_build_kernel(uint32_t i, struct check_kernel_case *c);
typedef bool check_build_op(uint32_t i, struct check_op_case *c);
typedef struct tensor *check_record(struct tensor_graph *g, const struct check_op_case *c,
                                    struct tensor **in);
typedef void check_evaluate(const struct check_op_case *c, void *const *in, const uint32_t *random,
                            double *result);

check_build_kernel check_gemv, check_attention_step, check_embedding_patches, check_embedding_next,
    check_pad_patches, check_unfold_step, check_concat_columns, check_sample;
check_reference reference_gemv, reference_attention_step, reference_embedding_patches,
    reference_embedding_next, reference_pad_patches, reference_unfold_step,
    reference_concat_columns, reference_sample;
check_build_op check_op_gemv, check_op_embedding_patches, check_op_embedding_next,
    check_op_pad_patches, check_op_unfold_cached, check_op_concat_columns, check_op_sample;
check_record record_gemv, record_embedding_patches, record_embedding_next, record_pad_patches,
    record_unfold_cached, record_concat_columns, record_sample;
check_evaluate evaluate_gemv, evaluate_embedding_patches, evaluate_embedding_next,
    evaluate_pad_patches, evaluate_unfold_cached, evaluate_concat_columns, evaluate_sample;

#endif
