// Convolutions as cuDNN operation graphs. Tensors are NHWC and KRSC; products of 16-bit operands are summed in float32.
//
//   forward           y = conv(x, w)
//   + epilogue        y = relu(conv(x, w) + bias + residual), any of the three; what lies between is float32
//   + statistics      y = conv(x, w), sum[o] and sum_squares[o] of y (cuDNN's GenStats)
//   backward_input    dx = conv^T(dy, w)
//   + relu_backward   dx = x > 0 ? conv^T(dy, w) : 0 for the x that entered the convolution, a ReLU's output
//   backward_weight   dw = sum over pixels of x dy, in the type of x: cuDNN has no engine that writes float32 here
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/vendor/cudnn/conv_problem.h"
#include "kernels/vendor/cudnn/descriptor.h"

namespace segrt::kernels::vendor::cudnn {

// What a pointer handed to a plan is; the tensors' unique ids. x, w and y stand for their gradients, too.
enum class Role : int64_t { x = 1, w, y, bias, residual, sum, sum_squares, relu_output };

// A finalized operation graph. It keeps alive the descriptors that it is made of.
class ConvGraph {
 public:
  // Throws ArgumentError on a fusion that is none of the patterns above, CudnnError where cuDNN refuses a part.
  // `handle` may be null: plans are then made for described GPUs.
  explicit ConvGraph(const ConvProblem& problem, cudnnHandle_t handle = nullptr);

  const Descriptor& descriptor() const { return graph_; }
  const std::vector<Role>& roles() const { return roles_; }  // that executions bind to memory

 private:
  void forward_pattern();
  void epilogue_pattern();
  void statistics_pattern();
  void backward_input_pattern();
  void relu_backward_pattern();
  void backward_weight_pattern();

  // Operations.
  void add_forward(const Descriptor& y);
  void add_backward_input(const Descriptor& dx);
  void add_binary(cudnnPointwiseMode_t mode, const Descriptor& a, const Descriptor& b, const Descriptor& result);
  void add_relu(const Descriptor& a, const Descriptor& result);
  const Descriptor& convolution();
  const Descriptor& pointwise(cudnnPointwiseMode_t mode);

  // Tensors, each made once.
  using Dims = std::array<int64_t, 4>;  // N, C, H, W: cuDNN's order for any layout; ours in memory is N, H, W, C
  const Descriptor& tensor(int64_t id, const Dims& dims, cudnnDataType_t type, bool is_virtual);
  const Descriptor& bound(Role role, const Dims& dims, cudnnDataType_t type);  // to memory
  const Descriptor& activation(Role role, const Shape& nhwc);
  const Descriptor& weight();
  const Descriptor& channel_vector(Role role);        // [1,O,1,1], float32
  const Descriptor& intermediate(const Shape& nhwc);  // float32 between two operations, never in memory
  const Descriptor& keep(Descriptor descriptor);

  ConvProblem problem_;
  std::vector<std::unique_ptr<Descriptor>> parts_;
  std::vector<Descriptor> operations_;
  std::vector<Role> roles_;
  int64_t next_intermediate_ = 100;  // ids beyond the roles'
  Descriptor graph_;
};

}  // namespace segrt::kernels::vendor::cudnn
