#include "kernels/vendor/cudnn/norm_graph.h"

namespace segrt::kernels::vendor::cudnn {

NormGraph::NormGraph(const NormProblem& problem, cudnnHandle_t handle) : OperationGraph(problem.dtype) {
  problem.backward ? backward_pattern(problem) : forward_pattern(problem);
  finish(handle);
}

void NormGraph::forward_pattern(const NormProblem& p) {
  const int64_t channels = p.x[3];
  const Descriptor& y = activation(Role::y, p.x);
  int left = 1 + p.residual + p.relu;
  const auto next = [&]() -> const Descriptor& { return --left == 0 ? y : intermediate(p.x); };
  const Descriptor* result = &next();
  Descriptor norm(CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR);
  norm.set(CUDNN_ATTR_OPERATION_NORM_FWD_MODE, CUDNN_BATCH_NORM)
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, CUDNN_NORM_FWD_TRAINING)
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, activation(Role::x, p.x))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_MEAN_DESC, channel_vector(Role::mean, channels))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_INV_VARIANCE_DESC, channel_vector(Role::inverse_std, channels))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, channel_vector(Role::scale, channels))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, channel_vector(Role::bias, channels))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC, scalar(Role::epsilon))
      .set(CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, *result);
  add(std::move(norm));
  if (p.residual) {
    const Descriptor& sum = next();
    add_binary(CUDNN_POINTWISE_ADD, *result, activation(Role::residual, p.x), sum);
    result = &sum;
  }
  if (p.relu) add_unary(CUDNN_POINTWISE_RELU_FWD, *result, y);
}

void NormGraph::backward_pattern(const NormProblem& p) {
  const int64_t channels = p.x[3];
  Descriptor norm(CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR);
  norm.set(CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_BATCH_NORM)
      .set(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, activation(Role::x, p.x))
      .set(CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, activation(Role::y, p.x))
      .set(CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, channel_vector(Role::mean, channels))
      .set(CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, channel_vector(Role::inverse_std, channels))
      .set(CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, channel_vector(Role::scale, channels))
      .set(CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, channel_vector(Role::weight_gradient, channels))
      .set(CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, channel_vector(Role::bias_gradient, channels))
      .set(CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, activation(Role::dx, p.x));
  add(std::move(norm));
}

}  // namespace segrt::kernels::vendor::cudnn
