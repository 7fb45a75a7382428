#include "autograd/patches.h"

#include "core/error.h"
#include "core/op_event.h"
#include "kernels/patches.h"

namespace segrt::autograd {
namespace {
Tensor cells(const Tensor& x, int side, int64_t channels) {
  return Tensor::empty({x.dim(0), x.dim(1) / side, x.dim(2) / side, channels}, x.dtype(), x.device());
}

void require_patchable(const Var& x, int side) {
  if (x.shape().rank() != 4 || side < 1)
    throw ArgumentError("split_patches: expected x [N,H,W,C] and a side of 1 or more, got " + to_string(x.shape()) +
                        " and " + std::to_string(side));
}

void report(const char* op, const Tensor& x, int side, const Tensor& y) {
  if (const auto& see = y.device().op_observer) see({op, {x}, y, {{"side", {static_cast<double>(side)}}}});
}
}  // namespace

Patches split_patches(const Var& x, int side) {
  require_patchable(x, side);
  if (side == 1) return {x, x};
  const int64_t channels = x.dim(3);
  Tensor all = cells(x.value(), side, channels * side * side), means = cells(x.value(), side, channels);
  kernels::split_patches(x.value(), side, &all, &means);
  report("space_to_depth", x.value(), side, all);
  report("patch_means", x.value(), side, means);
  // The tape's operators have one output. The means hang on the patches: their backward pass, which is always the
  // earlier one, only leaves their gradient for that of the patches.
  const auto dmeans = std::make_shared<Tensor>();
  Patches result;
  result.all = record("split_patches", {x}, all, [side, dmeans, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape, dy.dtype(), dy.device());
    kernels::split_patches_backward(&dy, dmeans->defined() ? dmeans.get() : nullptr, side, dx);
    return {dx};
  });
  result.means = record("patch_means", {result.all}, means, [dmeans](const Tensor& dy) -> Grads {
    *dmeans = dy;
    return {Tensor()};
  });
  return result;
}

Var space_to_depth(const Var& x, int side) {
  require_patchable(x, side);
  if (side == 1) return x;
  Tensor y = cells(x.value(), side, x.dim(3) * side * side);
  kernels::split_patches(x.value(), side, &y, nullptr);
  report("space_to_depth", x.value(), side, y);
  return record("space_to_depth", {x}, y, [side, shape = x.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape, dy.dtype(), dy.device());
    kernels::split_patches_backward(&dy, nullptr, side, dx);
    return {dx};
  });
}

}  // namespace segrt::autograd
