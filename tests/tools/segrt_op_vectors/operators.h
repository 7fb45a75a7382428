// The operators that the runtime can run, each as a function from a case to its outputs in ONNX layout. A runner throws
// Unsupported for what the runtime's kernels do not offer; an output that it does not compute is left undefined.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"
#include "tests/tools/segrt_op_vectors/case.h"

namespace segrt::op_vectors {

using Outputs = std::vector<Tensor>;
using Runner = Outputs (*)(const Case&);

// nullptr where the runtime has no such operator.
Runner find_runner(const std::string& domain, const std::string& op);

// conv_ops.cpp
Outputs run_conv(const Case& c);
Outputs run_conv_transpose(const Case& c);
// deform_ops.cpp
Outputs run_deform_conv(const Case& c);
// pool_ops.cpp
Outputs run_max_pool(const Case& c);
Outputs run_average_pool(const Case& c);
Outputs run_global_max_pool(const Case& c);
Outputs run_global_average_pool(const Case& c);
// resize_ops.cpp
Outputs run_resize(const Case& c);
Outputs run_upsample(const Case& c);
// norm_ops.cpp
Outputs run_batch_normalization(const Case& c);
// matmul_ops.cpp
Outputs run_matmul(const Case& c);
Outputs run_gemm(const Case& c);
// softmax_ops.cpp
Outputs run_softmax(const Case& c);
Outputs run_log_softmax(const Case& c);
Outputs run_negative_log_likelihood_loss(const Case& c);
Outputs run_softmax_cross_entropy_loss(const Case& c);
// activation_ops.cpp
Outputs run_unary(const Case& c);
Outputs run_composed_activation(const Case& c);
Outputs run_clip(const Case& c);
Outputs run_prelu(const Case& c);
// arithmetic_ops.cpp
Outputs run_binary(const Case& c);
Outputs run_variadic(const Case& c);
Outputs run_cast(const Case& c);
Outputs run_cast_like(const Case& c);
// reduce_ops.cpp
Outputs run_reduce(const Case& c);
Outputs run_arg_max(const Case& c);
// shape_ops.cpp
Outputs run_concat(const Case& c);
Outputs run_split(const Case& c);
Outputs run_identity(const Case& c);
Outputs run_dropout(const Case& c);
Outputs run_reshape(const Case& c);
Outputs run_flatten(const Case& c);
Outputs run_squeeze(const Case& c);
Outputs run_unsqueeze(const Case& c);
// optimizer_ops.cpp
Outputs run_momentum(const Case& c);
Outputs run_adam(const Case& c);

}  // namespace segrt::op_vectors
