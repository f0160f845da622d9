/* safetensors_format.h - what the two halves of safetensors.h share (private to the library). */
#ifndef TENSOR_SAFETENSORS_FORMAT_H
#define TENSOR_SAFETENSORS_FORMAT_H

#include "tensor/tensor.h"

#define SAFETENSORS_METADATA   "__metadata__"
#define SAFETENSORS_HEADER_MAX 100000000u /* bytes: the limit of the public library */
#define SAFETENSORS_DEPTH_MAX  16         /* of nested JSON; a valid header needs 3 */
#define SAFETENSORS_PIECE      (8u << 20) /* bytes of a tensor that are moved at a time */

/* What enum tensor_type is called in a file. */
extern const char *const tensor_safetensors_dtypes[3];

#endif
