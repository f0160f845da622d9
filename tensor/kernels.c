/* kernels.c - the list of all kernels, for the tests that want a case for each. */
#include "tensor/backend.h"

#define KERNELS(K)                                                                                 \
    K(adamw)                                                                                       \
    K(add)                                                                                         \
    K(add_rows)                                                                                    \
    K(append_row)                                                                                  \
    K(attention)                                                                                   \
    K(attention_append)                                                                            \
    K(attention_grad_key)                                                                          \
    K(attention_grad_patch)                                                                        \
    K(attention_grad_query)                                                                        \
    K(attention_step)                                                                              \
    K(concat_columns)                                                                              \
    K(cast)                                                                                        \
    K(copy)                                                                                        \
    K(cross_entropy)                                                                               \
    K(cross_entropy_grad)                                                                          \
    K(dropout_grad)                                                                                \
    K(embedding)                                                                                   \
    K(embedding_grad)                                                                              \
    K(embedding_next)                                                                              \
    K(embedding_patches)                                                                           \
    K(fill)                                                                                        \
    K(gate)                                                                                        \
    K(gemv)                                                                                        \
    K(layer_norm)                                                                                  \
    K(layer_norm_grad)                                                                             \
    K(layer_norm_grad_gain)                                                                        \
    K(loss_scale)                                                                                  \
    K(matmul)                                                                                      \
    K(matmul_sum)                                                                                  \
    K(pad_patches)                                                                                 \
    K(relu_grad)                                                                                   \
    K(rope)                                                                                        \
    K(sample)                                                                                      \
    K(shift)                                                                                       \
    K(shift_grad)                                                                                  \
    K(slice)                                                                                       \
    K(slice_grad)                                                                                  \
    K(sum)                                                                                         \
    K(sum_grad)                                                                                    \
    K(sum_rows)                                                                                    \
    K(take_row)                                                                                    \
    K(unfold)                                                                                      \
    K(unfold_grad)                                                                                 \
    K(unfold_step)                                                                                 \
    /* one a line, sorted */

#define DECLARE(name) extern const struct tensor_kernel *const tensor_kernel_##name;
KERNELS(DECLARE)

const struct tensor_kernel *tensor_kernels(unsigned index)
{
#define ADDRESS(name) &tensor_kernel_##name,
    static const struct tensor_kernel *const *const all[] = {KERNELS(ADDRESS)};
    return index < sizeof all / sizeof *all ? *all[index] : NULL;
}
