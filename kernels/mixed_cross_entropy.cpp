#include "kernels/mixed_cross_entropy.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/mixed_cross_entropy.h"
#include "kernels/cuda/mixed_cross_entropy.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {
DType sum_dtype(const Tensor& x) { return x.dtype() == DType::f64 ? DType::f64 : DType::f32; }

void require_arguments(std::string_view op, const Tensor& logits, const MixedTargets& targets) {
  require_rank(op, "logits", logits, 2);
  require_float(op, "logits", logits);
  require_shape(op, "labels", targets.labels, Shape{logits.dim(0)});
  require_dtype(op, "labels", targets.labels, {DType::i64});
  require_device(op, "labels", targets.labels, logits);
  if (!(targets.smoothing >= 0 && targets.smoothing < 1))
    throw ArgumentError(fmt::format("{}: smoothing: expected a number in [0, 1), got {}", op, targets.smoothing));
  if (!targets.share.defined()) return;
  require_shape(op, "share", targets.share, Shape{1});
  require_dtype(op, "share", targets.share, {DType::f32});
  require_device(op, "share", targets.share, logits);
}
}  // namespace

void mixed_cross_entropy_forward(const Tensor& logits, const MixedTargets& targets, Tensor& loss) {
  constexpr std::string_view kOp = "mixed_cross_entropy";
  require_arguments(kOp, logits, targets);
  require_shape(kOp, "loss", loss, targets.labels.shape());
  require_dtype(kOp, "loss", loss, {sum_dtype(logits)});
  require_device(kOp, "loss", loss, logits);
  if (logits.numel() == 0) return;
  const OpScope scope(kOp, loss, [&] { return OpWork{bytes_of(logits, targets.labels, loss)}; });
  on_device(
      logits, [&] { cuda::mixed_cross_entropy_forward(logits, targets, loss); },
      [&] { cpu::mixed_cross_entropy_forward(logits, targets, loss); });
}

void mixed_cross_entropy_backward(const Tensor& logits, const MixedTargets& targets, const Tensor& scale,
                                  Tensor& dlogits) {
  constexpr std::string_view kOp = "mixed_cross_entropy_backward";
  require_arguments(kOp, logits, targets);
  require_shape(kOp, "scale", scale, Shape{1});
  require_dtype(kOp, "scale", scale, {sum_dtype(logits)});
  require_device(kOp, "scale", scale, logits);
  require_same(kOp, "logits", logits, "dlogits", dlogits);
  if (logits.numel() == 0) return;
  const OpScope scope(kOp, dlogits, [&] { return OpWork{bytes_of(logits, targets.labels, dlogits)}; });
  on_device(
      logits, [&] { cuda::mixed_cross_entropy_backward(logits, targets, scale, dlogits); },
      [&] { cpu::mixed_cross_entropy_backward(logits, targets, scale, dlogits); });
}

}  // namespace segrt::kernels
