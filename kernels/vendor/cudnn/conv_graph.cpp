#include "kernels/vendor/cudnn/conv_graph.h"

#include "core/error.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
constexpr int64_t kAlignment = 16;  // bytes, of every pointer that a plan is given

cudnnDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return CUDNN_DATA_FLOAT;
    case DType::bf16: return CUDNN_DATA_BFLOAT16;
    case DType::f16: return CUDNN_DATA_HALF;
    default: throw ArgumentError("conv2d on cuDNN: x: expected f32, bf16 or f16, got " + std::string(to_string(dtype)));
  }
}

void require_pattern(const ConvProblem& p) {
  const ConvFusion& f = p.fusion;
  const bool epilogue = f.bias || f.residual || f.relu;
  const bool fits = (!epilogue || (p.op == ConvOp::forward && !f.statistics)) &&
                    (!f.statistics || p.op == ConvOp::forward) && (!f.relu_backward || p.op == ConvOp::backward_input);
  if (!fits) throw ArgumentError("conv2d on cuDNN: no graph computes this in one pass: " + to_string(p));
}
}  // namespace

ConvGraph::ConvGraph(const ConvProblem& problem, cudnnHandle_t handle) : problem_(problem) {
  require_pattern(problem);
  const ConvFusion& f = problem.fusion;
  switch (problem.op) {
    case ConvOp::forward:
      if (f.statistics)
        statistics_pattern();
      else if (f.bias || f.residual || f.relu)
        epilogue_pattern();
      else
        forward_pattern();
      break;
    case ConvOp::backward_input: f.relu_backward ? relu_backward_pattern() : backward_input_pattern(); break;
    case ConvOp::backward_weight: backward_weight_pattern(); break;
  }
  graph_ = Descriptor(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (handle != nullptr) graph_.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle);
  graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations_).finalize();
}

void ConvGraph::forward_pattern() { add_forward(activation(Role::y, problem_.y)); }

void ConvGraph::epilogue_pattern() {
  const ConvFusion& f = problem_.fusion;
  const Descriptor& y = activation(Role::y, problem_.y);
  const Descriptor* sum = &intermediate(problem_.y);
  add_forward(*sum);
  const auto next = [&](bool last) -> const Descriptor& { return last ? y : intermediate(problem_.y); };
  if (f.bias) {
    const Descriptor& result = next(!f.residual && !f.relu);
    add_binary(CUDNN_POINTWISE_ADD, *sum, channel_vector(Role::bias), result);  // a broadcast operand comes second
    sum = &result;
  }
  if (f.residual) {
    const Descriptor& result = next(!f.relu);
    add_binary(CUDNN_POINTWISE_ADD, *sum, activation(Role::residual, problem_.y), result);
    sum = &result;
  }
  if (f.relu) add_relu(*sum, y);
}

void ConvGraph::statistics_pattern() {
  const Descriptor& y = activation(Role::y, problem_.y);
  add_forward(y);
  Descriptor statistics(CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR);
  statistics.set(CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_GENSTATS_SUM_SQSUM)
      .set(CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_OPERATION_GENSTATS_XDESC, y)
      .set(CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, channel_vector(Role::sum))
      .set(CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, channel_vector(Role::sum_squares))
      .finalize();
  operations_.push_back(std::move(statistics));
}

void ConvGraph::backward_input_pattern() { add_backward_input(activation(Role::x, problem_.x)); }

void ConvGraph::relu_backward_pattern() {
  const Descriptor& sum = intermediate(problem_.x);
  add_backward_input(sum);
  Descriptor relu(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  relu.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise(CUDNN_POINTWISE_RELU_BWD))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, activation(Role::relu_output, problem_.x))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, sum)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, activation(Role::x, problem_.x))
      .finalize();
  operations_.push_back(std::move(relu));
}

void ConvGraph::backward_weight_pattern() {
  Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolution())
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, activation(Role::x, problem_.x))
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, activation(Role::y, problem_.y))
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, weight())
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 1.0f)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 0.0f)
      .finalize();
  operations_.push_back(std::move(operation));
}

void ConvGraph::add_forward(const Descriptor& y) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution())
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, activation(Role::x, problem_.x))
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, weight())
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f)
      .finalize();
  operations_.push_back(std::move(operation));
}

void ConvGraph::add_backward_input(const Descriptor& dx) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolution())
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, activation(Role::y, problem_.y))
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, weight())
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, dx)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.0f)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.0f)
      .finalize();
  operations_.push_back(std::move(operation));
}

void ConvGraph::add_binary(cudnnPointwiseMode_t mode, const Descriptor& a, const Descriptor& b,
                           const Descriptor& result) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise(mode))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, result)
      .finalize();
  operations_.push_back(std::move(operation));
}

void ConvGraph::add_relu(const Descriptor& a, const Descriptor& result) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise(CUDNN_POINTWISE_RELU_FWD))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, result)
      .finalize();
  operations_.push_back(std::move(operation));
}

const Descriptor& ConvGraph::convolution() {
  const ConvGeometry& g = problem_.g;
  using Pair = std::vector<int64_t>;
  Descriptor convolution(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  convolution.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION)
      .set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2})
      .set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, Pair{g.pad_top, g.pad_left})
      .set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, Pair{g.pad_bottom, g.pad_right})
      .set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, Pair{g.stride_h, g.stride_w})
      .set(CUDNN_ATTR_CONVOLUTION_DILATIONS, Pair{g.dilation_h, g.dilation_w})
      .finalize();
  return keep(std::move(convolution));
}

const Descriptor& ConvGraph::pointwise(cudnnPointwiseMode_t mode) {
  Descriptor pointwise(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  pointwise.set(CUDNN_ATTR_POINTWISE_MODE, mode).set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT).finalize();
  return keep(std::move(pointwise));
}

const Descriptor& ConvGraph::tensor(int64_t id, const Dims& dims, cudnnDataType_t type, bool is_virtual) {
  const auto& [n, c, h, w] = dims;
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::vector<int64_t>{n, c, h, w})
      .set(CUDNN_ATTR_TENSOR_STRIDES, std::vector<int64_t>{h * w * c, 1, w * c, c})
      .set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id)
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, kAlignment)
      .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, is_virtual)
      .finalize();
  return keep(std::move(tensor));
}

const Descriptor& ConvGraph::bound(Role role, const Dims& dims, cudnnDataType_t type) {
  roles_.push_back(role);
  return tensor(static_cast<int64_t>(role), dims, type, false);
}

const Descriptor& ConvGraph::activation(Role role, const Shape& s) {
  return bound(role, {s[0], s[3], s[1], s[2]}, type_of(problem_.dtype));
}

const Descriptor& ConvGraph::weight() {
  const Shape& w = problem_.w;
  return bound(Role::w, {w[0], w[3], w[1], w[2]}, type_of(problem_.dtype));
}

const Descriptor& ConvGraph::channel_vector(Role role) {
  return bound(role, {1, problem_.w[0], 1, 1}, CUDNN_DATA_FLOAT);
}

const Descriptor& ConvGraph::intermediate(const Shape& s) {
  return tensor(next_intermediate_++, {s[0], s[3], s[1], s[2]}, CUDNN_DATA_FLOAT, true);
}

const Descriptor& ConvGraph::keep(Descriptor descriptor) {
  parts_.push_back(std::make_unique<Descriptor>(std::move(descriptor)));
  return *parts_.back();
}

}  // namespace segrt::kernels::vendor::cudnn
