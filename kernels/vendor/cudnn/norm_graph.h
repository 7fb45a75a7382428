// Batch normalisation in training as cuDNN operation graphs, x [N,H,W,C], vectors [C] float32. Not used by any op:
// kernels/norm.h's kernels are ours, in two passes each way. Kept with their plan tests, for comparison on a GPU.
//
//   forward   mean and inverse_std of x; y = act((x - mean) * inverse_std * scale + bias + residual)
//   backward  dx, weight_gradient and bias_gradient from y's gradient, x, mean and inverse_std
#pragma once

#include "kernels/vendor/cudnn/operation_graph.h"

namespace segrt::kernels::vendor::cudnn {

struct NormProblem {
  DType dtype = DType::bf16;
  Shape x;
  bool backward = false;
  bool residual = false, relu = false;  // forward
};

class NormGraph final : public OperationGraph {
 public:
  explicit NormGraph(const NormProblem& problem, cudnnHandle_t handle = nullptr);

 private:
  void forward_pattern(const NormProblem& p);
  void backward_pattern(const NormProblem& p);
};

}  // namespace segrt::kernels::vendor::cudnn
