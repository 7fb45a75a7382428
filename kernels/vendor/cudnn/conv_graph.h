// Convolutions as cuDNN operation graphs; products of 16-bit operands are summed in float32.
//
//   forward           y = conv(x, w)
//   + epilogue        y = act(conv(x, w) * scale + bias + residual), any of them; what lies between is float32
//   + statistics      y = conv(x, w), sum[o] and sum_squares[o] of y (cuDNN's GenStats)
//   + prologue        the same of relu(x * input_scale + input_bias): the normalisation before, without its own pass
//   backward_input    dx = conv^T(dy, w)
//   + relu_backward   dx = relu_output > 0 ? conv^T(dy, w) (+ gradient) : 0 for the ReLU that made x
//   + norm_sums       x = relu(bn(relu_output)): dx = bn(relu_output) > 0 ? conv^T(dy, w) : 0 and what the batch norm's
//                     backward pass needs of it: its weights' gradients, and the three vectors of
//                     dx_norm = dy_factor * dx + x_factor * relu_output + offset
//   backward_weight   dw = sum over pixels of x dy, in the type of x, or float32
//   + prologue        the same with relu(x * input_scale + input_bias)
#pragma once

#include "kernels/vendor/cudnn/conv_problem.h"
#include "kernels/vendor/cudnn/operation_graph.h"

namespace segrt::kernels::vendor::cudnn {

class ConvGraph final : public OperationGraph {
 public:
  // Throws ArgumentError on a fusion that is none of the patterns above, CudnnError where cuDNN refuses a part.
  explicit ConvGraph(const ConvProblem& problem, cudnnHandle_t handle = nullptr);

 private:
  void forward_pattern();
  void statistics_pattern();
  void backward_input_pattern();
  void norm_sums_pattern();
  void backward_weight_pattern();

  const Descriptor& input();  // x, or what the prologue makes of it
  void add_forward(const Descriptor& y);
  void add_backward_input(const Descriptor& dx);
  const Descriptor& convolution();
  // a (mode) [the channel vector of `role`], an intermediate shaped like the tensor `shape`.
  const Descriptor& with_vector(cudnnPointwiseMode_t mode, const Descriptor& a, Role role, const Shape& shape);

  ConvProblem problem_;
};

}  // namespace segrt::kernels::vendor::cudnn
