#include "kernels/vendor/cudnn_conv.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_depthwise.h"
#include "kernels/math_mode.h"
#include "kernels/vendor/cudnn/plan_cache.h"
#include "kernels/vendor_mode.h"

namespace segrt::kernels::vendor {
namespace {
using cudnn::ConvOp;
using cudnn::ConvPlans;
using cudnn::ConvProblem;
using cudnn::Plan;
using cudnn::Role;
using cudnn::Trial;

// Plans are made for pointers aligned to 16 bytes and for extents of 31 bits.
bool fits(const Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.raw()) % 16 == 0 && t.numel() <= std::numeric_limits<int32_t>::max();
}

// Depthwise convolutions are bound by memory, not by products: our own kernels.
bool takes(const Tensor& w, const ConvGeometry& g, std::initializer_list<const Tensor*> tensors) {
  return w.device().state<VendorMode>().enabled && w.dtype() != DType::f64 && !cuda::is_depthwise(w, g) &&
         std::all_of(tensors.begin(), tensors.end(), [](const Tensor* t) { return t == nullptr || fits(*t); });
}

ConvProblem problem_of(ConvOp op, const Tensor& x, const Tensor& w, const Tensor& y, const ConvGeometry& g) {
  Device& device = x.device();
  return {.op = op,
          .dtype = x.dtype(),
          .tf32 = x.dtype() == DType::f32 && device.state<MathMode>().tf32,
          .deterministic = device.deterministic(),
          .x = x.shape(),
          .w = w.shape(),
          .y = y.shape(),
          .g = g,
          .fusion = {}};
}

bool compute(Device& device, const ConvProblem& problem, const std::vector<Plan::Binding>& bindings,
             const std::function<Trial()>& make_trial) {
  ConvPlans& plans = device.state<ConvPlans>();
  const Plan* plan = plans.find(problem, make_trial);
  if (plan == nullptr) return false;
  plans.run(*plan, bindings);
  return true;
}
}  // namespace

bool cudnn_conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y) {
  // A plan may read the residual anywhere in time, so it must not be what is being written.
  const bool in_place = epilogue.residual != nullptr && epilogue.residual->shares_storage(y);
  if (in_place || !takes(w, g, {&x, &w, &y, epilogue.bias, epilogue.residual})) return false;
  ConvProblem problem = problem_of(ConvOp::forward, x, w, y, g);
  problem.fusion = {.bias = epilogue.bias != nullptr, .residual = epilogue.residual != nullptr, .relu = epilogue.relu};
  const auto bind = [&](const Tensor& target) {
    std::vector<Plan::Binding> bindings{{Role::x, x.raw()}, {Role::w, w.raw()}, {Role::y, target.raw()}};
    if (epilogue.bias != nullptr) bindings.push_back({Role::bias, epilogue.bias->raw()});
    if (epilogue.residual != nullptr) bindings.push_back({Role::residual, epilogue.residual->raw()});
    return bindings;
  };
  return compute(x.device(), problem, bind(y), [&]() -> Trial {
    Tensor target = Tensor::like(y);
    return {bind(target),
            [&x, &w, &epilogue, &g, target]() mutable { cuda::conv2d_forward(x, w, epilogue, g, target); },
            {target}};
  });
}

bool cudnn_conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  if (!takes(w, g, {&dy, &w, &dx})) return false;
  const auto bind = [&](const Tensor& target) {
    return std::vector<Plan::Binding>{{Role::x, target.raw()}, {Role::w, w.raw()}, {Role::y, dy.raw()}};
  };
  return compute(dy.device(), problem_of(ConvOp::backward_input, dx, w, dy, g), bind(dx), [&]() -> Trial {
    Tensor target = Tensor::like(dx);
    return {bind(target), [&dy, &w, &g, target]() mutable { cuda::conv2d_backward_input(dy, w, g, target); }, {target}};
  });
}

bool cudnn_conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  if (dw.dtype() != x.dtype()) return false;  // cuDNN writes no float32 sums of 16-bit operands
  if (!takes(dw, g, {&x, &dy, &dw})) return false;
  const auto bind = [&](const Tensor& target) {
    return std::vector<Plan::Binding>{{Role::x, x.raw()}, {Role::w, target.raw()}, {Role::y, dy.raw()}};
  };
  return compute(x.device(), problem_of(ConvOp::backward_weight, x, dw, dy, g), bind(dw), [&]() -> Trial {
    Tensor target = Tensor::like(dw);
    return {
        bind(target), [&x, &dy, &g, target]() mutable { cuda::conv2d_backward_weight(x, dy, g, target); }, {target}};
  });
}

std::vector<ConvChoice> conv2d_choices(Device& device) {
  return device.is_cuda() ? device.state<ConvPlans>().choices() : std::vector<ConvChoice>();
}

}  // namespace segrt::kernels::vendor
