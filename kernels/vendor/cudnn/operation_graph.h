// cuDNN's operation graphs, as far as their patterns share parts. Tensors are NHWC and KRSC; arithmetic is float32.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "kernels/vendor/cudnn/descriptor.h"

namespace segrt::kernels::vendor::cudnn {

// What a pointer handed to a plan is; the tensors' unique ids. x, w and y stand for their gradients, too.
enum class Role : int64_t {
  x = 1,
  w,
  y,
  bias,
  residual,
  sum,
  sum_squares,
  relu_output,
  scale,
  input_scale,
  input_bias,
  gradient,  // added to what the convolution computes
  mean,
  inverse_std,
  weight_gradient,
  bias_gradient,
  dy_factor,
  x_factor,
  offset,
  epsilon,
  dx
};

// A finalized graph. It keeps alive the descriptors that it is made of.
class OperationGraph {
 public:
  const Descriptor& descriptor() const { return graph_; }
  const std::vector<Role>& roles() const { return roles_; }  // that executions bind to memory

 protected:
  explicit OperationGraph(DType dtype) : dtype_(dtype) {}
  void finish(cudnnHandle_t handle);  // after the last operation; null: plans are made for described GPUs

  void add(Descriptor operation);  // finalizes it
  void add_binary(cudnnPointwiseMode_t mode, const Descriptor& a, const Descriptor& b, const Descriptor& result);
  void add_unary(cudnnPointwiseMode_t mode, const Descriptor& a, const Descriptor& result);
  void add_relu_backward(const Descriptor& dy, const Descriptor& relu, const Descriptor& dx);

  // Tensors of memory: activations and filters of the graph's dtype (shapes as ours), float32 vectors [1,C,1,1].
  const Descriptor& activation(Role role, const Shape& nhwc);
  const Descriptor& filter(Role role, const Shape& krsc, DType dtype);
  const Descriptor& channel_vector(Role role, int64_t channels, DType dtype = DType::f32);
  const Descriptor& scalar(Role role);  // float32, given by value
  // Between two operations, never in memory.
  const Descriptor& intermediate(const Shape& nhwc, DType dtype = DType::f32);
  const Descriptor& keep(Descriptor descriptor);

 private:
  using Dims = std::array<int64_t, 4>;  // N, C, H, W: cuDNN's order for any layout; ours in memory is N, H, W, C
  enum class Place : uint8_t { memory, nowhere, by_value };
  const Descriptor& tensor(int64_t id, const Dims& dims, cudnnDataType_t type, Place place);
  const Descriptor& bound(Role role, const Dims& dims, DType dtype);
  const Descriptor& pointwise(cudnnPointwiseMode_t mode);

  DType dtype_;
  std::vector<std::unique_ptr<Descriptor>> parts_;
  std::vector<Descriptor> operations_;
  std::vector<Role> roles_;
  int64_t next_intermediate_ = 100;  // ids beyond the roles'
  Descriptor graph_;
};

}  // namespace segrt::kernels::vendor::cudnn
