#include "kernels/vendor/cudnn/operation_graph.h"

#include "core/error.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
constexpr int64_t kAlignment = 16;  // bytes, of every pointer that a plan is given

cudnnDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return CUDNN_DATA_FLOAT;
    case DType::bf16: return CUDNN_DATA_BFLOAT16;
    case DType::f16: return CUDNN_DATA_HALF;
    default: throw ArgumentError("cuDNN: x: expected f32, bf16 or f16, got " + std::string(to_string(dtype)));
  }
}
}  // namespace

void OperationGraph::finish(cudnnHandle_t handle) {
  graph_ = Descriptor(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (handle != nullptr) graph_.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle);
  graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations_).finalize();
}

void OperationGraph::add(Descriptor operation) {
  operation.finalize();
  operations_.push_back(std::move(operation));
}

void OperationGraph::add_binary(cudnnPointwiseMode_t mode, const Descriptor& a, const Descriptor& b,
                                const Descriptor& result) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise(mode))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b)  // where one operand is broadcast, this one
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, result);
  add(std::move(operation));
}

void OperationGraph::add_unary(cudnnPointwiseMode_t mode, const Descriptor& a, const Descriptor& result) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise(mode))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, result);
  add(std::move(operation));
}

void OperationGraph::add_relu_backward(const Descriptor& dy, const Descriptor& relu, const Descriptor& dx) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise(CUDNN_POINTWISE_RELU_BWD))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, relu)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, dy)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, dx);
  add(std::move(operation));
}

const Descriptor& OperationGraph::pointwise(cudnnPointwiseMode_t mode) {
  Descriptor pointwise(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  pointwise.set(CUDNN_ATTR_POINTWISE_MODE, mode).set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT).finalize();
  return keep(std::move(pointwise));
}

const Descriptor& OperationGraph::tensor(int64_t id, const Dims& dims, cudnnDataType_t type, Place place) {
  const auto& [n, c, h, w] = dims;
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::vector<int64_t>{n, c, h, w})
      .set(CUDNN_ATTR_TENSOR_STRIDES, std::vector<int64_t>{h * w * c, 1, w * c, c})
      .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id)
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kAlignment)
      .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, place == Place::nowhere);
  if (place == Place::by_value) tensor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true);
  tensor.finalize();
  return keep(std::move(tensor));
}

const Descriptor& OperationGraph::bound(Role role, const Dims& dims, DType dtype) {
  roles_.push_back(role);
  return tensor(static_cast<int64_t>(role), dims, type_of(dtype), Place::memory);
}

const Descriptor& OperationGraph::activation(Role role, const Shape& s) {
  return bound(role, {s[0], s[3], s[1], s[2]}, dtype_);
}

const Descriptor& OperationGraph::filter(Role role, const Shape& w, DType dtype) {
  return bound(role, {w[0], w[3], w[1], w[2]}, dtype);
}

const Descriptor& OperationGraph::channel_vector(Role role, int64_t channels, DType dtype) {
  return bound(role, {1, channels, 1, 1}, dtype);
}

const Descriptor& OperationGraph::scalar(Role role) {
  roles_.push_back(role);
  return tensor(static_cast<int64_t>(role), {1, 1, 1, 1}, CUDNN_DATA_FLOAT, Place::by_value);
}

const Descriptor& OperationGraph::intermediate(const Shape& s, DType dtype) {
  return tensor(next_intermediate_++, {s[0], s[3], s[1], s[2]}, type_of(dtype), Place::nowhere);
}

const Descriptor& OperationGraph::keep(Descriptor descriptor) {
  parts_.push_back(std::make_unique<Descriptor>(std::move(descriptor)));
  return *parts_.back();
}

}  // namespace segrt::kernels::vendor::cudnn
