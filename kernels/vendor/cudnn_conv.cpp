#include "kernels/vendor/cudnn_conv.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/cuda/conv_depthwise.h"
#include "kernels/math_mode.h"
#include "kernels/norm.h"
#include "kernels/vendor/conv_without_cudnn.h"
#include "kernels/vendor/cudnn/conv_library.h"
#include "kernels/vendor_mode.h"

namespace segrt::kernels::vendor {
namespace {
using cudnn::ConvOp;
using cudnn::ConvPlans;
using cudnn::ConvProblem;
using cudnn::Role;
using Bindings = ConvPlans::Bindings;
using Trial = ConvPlans::Trial;

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
}  // namespace

bool cudnn_conv2d_forward(const Tensor& x, const Tensor& w, const ConvEpilogue& epilogue, const ConvGeometry& g,
                          Tensor& y) {
  // A plan may read the residual anywhere in time, so it must not be what is being written.
  const bool in_place = epilogue.residual != nullptr && epilogue.residual->shares_storage(y);
  if (in_place || !takes(w, g, {&x, &w, &y, epilogue.bias, epilogue.residual})) return false;
  ConvProblem problem = problem_of(ConvOp::forward, x, w, y, g);
  problem.fusion = {.bias = epilogue.bias != nullptr,
                    .residual = epilogue.residual != nullptr,
                    .relu = epilogue.relu,
                    .swish = epilogue.silu};
  const auto bind = [&](const Tensor& target) {
    Bindings bindings{{Role::x, x.raw()}, {Role::w, w.raw()}, {Role::y, target.raw()}};
    if (epilogue.bias != nullptr) bindings.push_back({Role::bias, epilogue.bias->raw()});
    if (epilogue.residual != nullptr) bindings.push_back({Role::residual, epilogue.residual->raw()});
    return bindings;
  };
  return x.device().state<ConvPlans>().compute(problem, bind(y), [&]() -> Trial {
    Tensor target = Tensor::like(y);
    return {bind(target), [&, target]() mutable { conv2d_forward_without_cudnn(x, w, epilogue, g, target); }};
  });
}

bool cudnn_conv2d_forward_statistics(const Tensor& x, const Tensor& w, const ConvGeometry& g, Tensor& y, Tensor& mean,
                                     Tensor& var) {
  // Sums of squares lose the digits that mean^2 has before var: those of 16-bit maps are not missed, float32's are.
  if (x.dtype() == DType::f32 || x.device().deterministic() || !takes(w, g, {&x, &w, &y})) return false;
  ConvProblem problem = problem_of(ConvOp::forward, x, w, y, g);
  problem.fusion.statistics = true;
  Tensor sum = Tensor::empty({w.dim(0)}, DType::f32, x.device()), sum_squares = Tensor::like(sum);
  const auto bind = [&](const Tensor& target) -> Bindings {
    return {{Role::x, x.raw()},
            {Role::w, w.raw()},
            {Role::y, target.raw()},
            {Role::sum, sum.raw()},
            {Role::sum_squares, sum_squares.raw()}};
  };
  const int64_t count = y.numel() / y.dim(3);
  const auto finish = [&] { batch_norm_from_sums(sum, sum_squares, count, mean, var); };
  const bool computed = x.device().state<ConvPlans>().compute(problem, bind(y), [&]() -> Trial {
    Tensor target = Tensor::like(y);
    return {bind(target),
            [&, target]() mutable {
              conv2d_forward(x, w, {}, g, target);  // decided by itself
              batch_norm_statistics(target, mean, var);
            },
            [&finish](const Bindings&) { finish(); }};
  });
  if (computed) finish();
  return computed;
}

bool cudnn_conv2d_backward_input(const Tensor& dy, const Tensor& w, const ConvGeometry& g, Tensor& dx) {
  if (!takes(w, g, {&dy, &w, &dx})) return false;
  const auto bind = [&](const Tensor& target) {
    return Bindings{{Role::x, target.raw()}, {Role::w, w.raw()}, {Role::y, dy.raw()}};
  };
  return dy.device().state<ConvPlans>().compute(
      problem_of(ConvOp::backward_input, dx, w, dy, g), bind(dx), [&]() -> Trial {
        Tensor target = Tensor::like(dx);
        return {bind(target), [&, target]() mutable { conv2d_backward_input_without_cudnn(dy, w, g, target); }};
      });
}

bool cudnn_conv2d_backward_weight(const Tensor& x, const Tensor& dy, const ConvGeometry& g, Tensor& dw) {
  if (dw.dtype() != x.dtype()) return false;  // cuDNN writes no float32 sums of 16-bit operands
  if (!takes(dw, g, {&x, &dy, &dw})) return false;
  const auto bind = [&](const Tensor& target) {
    return Bindings{{Role::x, x.raw()}, {Role::w, target.raw()}, {Role::y, dy.raw()}};
  };
  return x.device().state<ConvPlans>().compute(
      problem_of(ConvOp::backward_weight, x, dw, dy, g), bind(dw), [&]() -> Trial {
        Tensor target = Tensor::like(dw);
        return {bind(target), [&, target]() mutable { conv2d_backward_weight_without_cudnn(x, dy, g, target); }};
      });
}

}  // namespace segrt::kernels::vendor
