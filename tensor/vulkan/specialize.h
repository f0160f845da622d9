/* specialize.h - a kernel's code with plain constants in the place of specialization constants
 *
 * Drivers can do that themselves, from a VkSpecializationInfo. SwiftShader does not go on from
 * there: it keeps both ways of every `if` on such a constant, and compiles matmul_direct in four
 * seconds instead of one. So no driver is given any to specialize.
 */
#ifndef TENSOR_VULKAN_SPECIALIZE_H
#define TENSOR_VULKAN_SPECIALIZE_H

#include <stddef.h>
#include <stdint.h>

/* Copies the `size` bytes of SPIR-V at `words`, where constant number i (SpecId) becomes
 * constant[i], or keeps its default if it is not below `count`, and what is computed of constants
 * alone becomes what it comes to. Known are unsigned and signed integers of 32 bits, what compares
 * and computes with these (op_result() in specialize.c), bools, and composites; anything else stays
 * as it is, with the constants it depends on at what they are here. Returns the copy, to be freed,
 * and its size, which is never larger; NULL: out of memory. The code must be valid: kernels are
 * ours, and the build has checked them. */
uint32_t *tensor_vulkan_specialize(const uint32_t *words, size_t size, const uint32_t *constant,
                                   uint32_t count, size_t *new_size);

#endif
