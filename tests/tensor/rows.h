/* rows.h - cases of operations on rows (rows.c), for the table of ops.c. */
#ifndef TESTS_TENSOR_ROWS_H
#define TESTS_TENSOR_ROWS_H

#include "tests/tensor/generation.h"

check_build_op check_op_reshape, check_op_slice_rows, check_op_concat_rows, check_op_take_row,
    check_op_append_row;
check_record record_reshape, record_slice_rows, record_concat_rows, record_take_row,
    record_append_row;
check_evaluate evaluate_reshape, evaluate_slice_rows, evaluate_concat_rows, evaluate_take_row,
    evaluate_append_row;

#endif
