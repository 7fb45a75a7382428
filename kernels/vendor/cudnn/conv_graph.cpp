#include "kernels/vendor/cudnn/conv_graph.h"

#include "core/error.h"

namespace segrt::kernels::vendor::cudnn {
namespace {
bool has_epilogue(const ConvFusion& f) { return f.scale || f.bias || f.residual || f.relu || f.swish; }

bool is_pattern(ConvOp op, const ConvFusion& f) {
  const bool masked = f.relu_backward || f.norm_sums || f.gradient;
  switch (op) {
    case ConvOp::forward:
      return !masked && !f.f32_weights && !(f.relu && f.swish) && !(has_epilogue(f) && (f.statistics || f.prologue)) &&
             (f.statistics || !f.prologue);
    case ConvOp::backward_input:
      return !has_epilogue(f) && !f.statistics && !f.prologue && !f.f32_weights && !(f.relu_backward && f.norm_sums) &&
             (f.relu_backward || !f.gradient);
    case ConvOp::backward_weight: return !masked && !has_epilogue(f) && !f.statistics;
  }
  return false;
}
}  // namespace

ConvGraph::ConvGraph(const ConvProblem& problem, cudnnHandle_t handle)
    : OperationGraph(problem.dtype), problem_(problem) {
  const ConvFusion& f = problem.fusion;
  if (!is_pattern(problem.op, f))
    throw ArgumentError("conv2d on cuDNN: no graph computes this in one pass: " + to_string(problem));
  switch (problem.op) {
    case ConvOp::forward: f.statistics ? statistics_pattern() : forward_pattern(); break;
    case ConvOp::backward_input: f.norm_sums ? norm_sums_pattern() : backward_input_pattern(); break;
    case ConvOp::backward_weight: backward_weight_pattern(); break;
  }
  finish(handle);
}

const Descriptor& ConvGraph::with_vector(cudnnPointwiseMode_t mode, const Descriptor& a, Role role,
                                         const Shape& shape) {
  const Descriptor& result = intermediate(shape);
  add_binary(mode, a, channel_vector(role, shape[3]), result);
  return result;
}

void ConvGraph::forward_pattern() {
  const ConvFusion& f = problem_.fusion;
  const Descriptor& y = activation(Role::y, problem_.y);
  int left = 1 + f.scale + f.bias + f.residual + (f.relu || f.swish);  // operations, the convolution first
  const auto next = [&]() -> const Descriptor& { return --left == 0 ? y : intermediate(problem_.y); };
  const Descriptor* sum = &next();
  add_forward(*sum);
  const auto append = [&](cudnnPointwiseMode_t mode, const Descriptor& operand) {
    const Descriptor& result = next();
    add_binary(mode, *sum, operand, result);
    sum = &result;
  };
  if (f.scale) append(CUDNN_POINTWISE_MUL, channel_vector(Role::scale, problem_.y[3]));
  if (f.bias) append(CUDNN_POINTWISE_ADD, channel_vector(Role::bias, problem_.y[3]));
  if (f.residual) append(CUDNN_POINTWISE_ADD, activation(Role::residual, problem_.y));
  if (f.relu) add_unary(CUDNN_POINTWISE_RELU_FWD, *sum, y);
  if (f.swish) add_unary(CUDNN_POINTWISE_SWISH_FWD, *sum, y);
}

void ConvGraph::statistics_pattern() {
  const Descriptor& y = activation(Role::y, problem_.y);
  add_forward(y);
  Descriptor statistics(CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR);
  statistics.set(CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_GENSTATS_SUM_SQSUM)
      .set(CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_OPERATION_GENSTATS_XDESC, y)
      .set(CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC, channel_vector(Role::sum, problem_.y[3]))
      .set(CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC, channel_vector(Role::sum_squares, problem_.y[3]));
  add(std::move(statistics));
}

void ConvGraph::backward_input_pattern() {
  const ConvFusion& f = problem_.fusion;
  const Descriptor& dx = activation(Role::x, problem_.x);
  if (!f.relu_backward) return add_backward_input(dx);
  const Descriptor* sum = &intermediate(problem_.x);
  add_backward_input(*sum);
  if (f.gradient) {
    const Descriptor& total = intermediate(problem_.x);
    add_binary(CUDNN_POINTWISE_ADD, *sum, activation(Role::gradient, problem_.x), total);
    sum = &total;
  }
  add_relu_backward(*sum, activation(Role::relu_output, problem_.x), dx);
}

void ConvGraph::norm_sums_pattern() {
  const Shape& shape = problem_.x;
  const int64_t channels = shape[3];
  const Descriptor& products = intermediate(shape);
  add_backward_input(products);
  const Descriptor& norm_input = activation(Role::relu_output, shape);
  const Descriptor& mean = channel_vector(Role::mean, channels);
  const Descriptor& inverse_std = channel_vector(Role::inverse_std, channels);
  const Descriptor& scale = channel_vector(Role::scale, channels);
  const Descriptor *centred = &intermediate(shape), *normalised = &intermediate(shape), *scaled = &intermediate(shape);
  add_binary(CUDNN_POINTWISE_SUB, norm_input, mean, *centred);
  add_binary(CUDNN_POINTWISE_MUL, *centred, inverse_std, *normalised);
  add_binary(CUDNN_POINTWISE_MUL, *normalised, scale, *scaled);
  const Descriptor& before_relu = with_vector(CUDNN_POINTWISE_ADD, *scaled, Role::bias, shape);
  const Descriptor& dx = activation(Role::x, shape);
  add_relu_backward(products, before_relu, dx);
  Descriptor sums(CUDNN_BACKEND_OPERATION_BN_BWD_WEIGHTS_DESCRIPTOR);
  sums.set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MATH_PREC, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_MEAN_DESC, mean)
      .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_INVSTD_DESC, inverse_std)
      .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_BN_SCALE_DESC, scale)
      .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_X_DESC, norm_input)
      .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DY_DESC, dx)
      .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_SCALE_DESC, channel_vector(Role::weight_gradient, channels))
      .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_DBN_BIAS_DESC, channel_vector(Role::bias_gradient, channels))
      .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_DY_SCALE_DESC, channel_vector(Role::dy_factor, channels))
      .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_X_SCALE_DESC, channel_vector(Role::x_factor, channels))
      .set(CUDNN_ATTR_OPERATION_BN_BWD_WEIGHTS_EQ_BIAS, channel_vector(Role::offset, channels));
  add(std::move(sums));
}

void ConvGraph::backward_weight_pattern() {
  const Descriptor& x = input();
  Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, convolution())
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, x)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, activation(Role::y, problem_.y))
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
           filter(Role::w, problem_.w, problem_.fusion.f32_weights ? DType::f32 : problem_.dtype))
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 1.0f)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 0.0f);
  add(std::move(operation));
}

const Descriptor& ConvGraph::input() {
  const Descriptor& x = activation(Role::x, problem_.x);
  if (!problem_.fusion.prologue) return x;
  // All of the type of x: in float32, cuDNN 9.19 refuses the vectors, and in bf16 what lies between, too.
  const auto between = [&]() -> const Descriptor& { return intermediate(problem_.x, problem_.dtype); };
  const auto vector = [&](Role role) -> const Descriptor& {
    return channel_vector(role, problem_.x[3], problem_.dtype);
  };
  const Descriptor *scaled = &between(), *shifted = &between(), *relu = &between();
  add_binary(CUDNN_POINTWISE_MUL, x, vector(Role::input_scale), *scaled);
  add_binary(CUDNN_POINTWISE_ADD, *scaled, vector(Role::input_bias), *shifted);
  add_unary(CUDNN_POINTWISE_RELU_FWD, *shifted, *relu);
  return *relu;
}

void ConvGraph::add_forward(const Descriptor& y) {
  const Descriptor& x = input();
  Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution())
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, filter(Role::w, problem_.w, problem_.dtype))
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f);
  add(std::move(operation));
}

void ConvGraph::add_backward_input(const Descriptor& dx) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, convolution())
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, activation(Role::y, problem_.y))
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, filter(Role::w, problem_.w, problem_.dtype))
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, dx)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.0f)
      .set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.0f);
  add(std::move(operation));
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

}  // namespace segrt::kernels::vendor::cudnn
