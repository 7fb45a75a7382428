#include <fmt/format.h>

#include "kernels/norm.h"
#include "tests/tools/segrt_op_vectors/layout.h"
#include "tests/tools/segrt_op_vectors/operators.h"

namespace segrt::op_vectors {
namespace {

// Before opset 14 nothing says training but the outputs asked for, before opset 7 an absent is_test.
bool is_training(const Case& c) {
  if (c.opset() >= 14) return c.attributes().integer("training_mode", 0) != 0;
  if (c.opset() < 7) return c.attributes().integer("is_test", 0) == 0;
  return c.wants_output(1) || c.wants_output(2) || c.wants_output(3) || c.wants_output(4);
}

}  // namespace

Outputs run_batch_normalization(const Case& c) {
  const Tensor x = c.float_input(0);
  if (x.rank() < 1) throw Malformed("expected X [N,C,D...], got a scalar");
  if (c.attributes().integer("spatial", 1) == 0) throw Unsupported("spatial = 0: statistics of single positions");
  const DType dtype = parameter_dtype(x);
  const auto vector = [&](size_t i) { return as_dtype(c.float_input(i), dtype); };
  const Tensor weight = vector(1), bias = vector(2);
  Tensor mean = vector(3), var = vector(4);
  const double eps = c.attributes().number("epsilon", 1e-5);

  const Tensor activations = x.rank() == 1 ? x.reshape({x.dim(0), 1}) : channels_last(x);
  const bool training = is_training(c);
  Tensor batch_mean = mean, batch_var = var;
  if (training) {
    batch_mean = unwritten(mean.shape(), dtype, x.device());
    batch_var = unwritten(var.shape(), dtype, x.device());
    kernels::batch_norm_statistics(activations, batch_mean, batch_var);
  }
  Tensor y = unwritten_like(activations);
  kernels::batch_norm_apply(activations, {batch_mean, batch_var, weight, bias, eps}, nullptr, false, y);
  Outputs outputs{x.rank() == 1 ? y.reshape(x.shape()) : channels_first(y)};
  if (!training) return outputs;
  // ONNX keeps `momentum` of the old value and adds the biased variance, which a count of 1 leaves as it is.
  mean = mean.clone();
  var = var.clone();
  kernels::batch_norm_update_running(batch_mean, batch_var, 1, 1 - c.attributes().number("momentum", 0.9), mean, var);
  outputs.push_back(as_dtype(mean, c.float_input(3).dtype()));
  outputs.push_back(as_dtype(var, c.float_input(4).dtype()));
  return outputs;
}

}  // namespace segrt::op_vectors
