#include "kernels/softmax.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/cross_entropy.h"
#include "kernels/cpu/softmax.h"
#include "kernels/cuda/cross_entropy.h"
#include "kernels/cuda/softmax.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {

void require_rows(std::string_view op, std::string_view name, const Tensor& x) {
  require_float(op, name, x);
  if (x.rank() < 1 || x.dim(-1) < 1)
    throw ArgumentError(fmt::format("{}: {}: expected [..., C] with C >= 1, got {}", op, name, to_string(x.shape())));
}

DType sum_dtype(const Tensor& x) { return x.dtype() == DType::f64 ? DType::f64 : DType::f32; }

void require_loss_arguments(std::string_view op, std::string_view name, const Tensor& x, const Tensor& labels,
                            const CrossEntropyOptions& o) {
  require_rows(op, name, x);
  require_dtype(op, "labels", labels, {DType::u8, DType::i32, DType::i64});
  require_shape(op, "labels", labels, Shape(x.shape().dims().first(static_cast<size_t>(x.rank() - 1))));
  require_device(op, "labels", labels, x);
  if (!o.class_weight) return;
  require_shape(op, "class_weight", *o.class_weight, Shape{x.dim(-1)});
  require_dtype(op, "class_weight", *o.class_weight, {DType::f32});
  require_device(op, "class_weight", *o.class_weight, x);
}

void require_loss_results(std::string_view op, const Tensor& x, const Tensor& labels, const Tensor& loss,
                          const Tensor& weight_sum) {
  require_shape(op, "loss", loss, labels.shape());
  require_dtype(op, "loss", loss, {sum_dtype(x)});
  require_device(op, "loss", loss, x);
  require_shape(op, "weight_sum", weight_sum, Shape{1});
  require_dtype(op, "weight_sum", weight_sum, {sum_dtype(x)});
  require_device(op, "weight_sum", weight_sum, x);
}

void require_scale(std::string_view op, const Tensor& scale, const Tensor& labels, const Tensor& x) {
  require_dtype(op, "scale", scale, {sum_dtype(x)});
  require_device(op, "scale", scale, x);
  if (scale.numel() != 1 && scale.numel() != labels.numel())
    throw ArgumentError(
        fmt::format("{}: scale: expected 1 or {} elements, got {}", op, labels.numel(), to_string(scale.shape())));
}

}  // namespace

void softmax_forward(const Tensor& x, Tensor& y) {
  require_rows("softmax", "x", x);
  require_same("softmax", "x", x, "y", y);
  if (x.numel() == 0) return;
  const OpScope scope("softmax", y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::softmax_forward(x, y); }, [&] { cpu::softmax_forward(x, y); });
}

void softmax_backward(const Tensor& y, const Tensor& dy, Tensor& dx) {
  require_rows("softmax_backward", "y", y);
  require_same("softmax_backward", "y", y, "dy", dy);
  require_same("softmax_backward", "y", y, "dx", dx);
  if (y.numel() == 0) return;
  const OpScope scope("softmax_backward", dx, [&] { return OpWork{bytes_of(y, dy, dx)}; });
  on_device(
      y, [&] { cuda::softmax_backward(y, dy, dx); }, [&] { cpu::softmax_backward(y, dy, dx); });
}

void log_softmax_forward(const Tensor& x, Tensor& y) {
  require_rows("log_softmax", "x", x);
  require_same("log_softmax", "x", x, "y", y);
  if (x.numel() == 0) return;
  const OpScope scope("log_softmax", y, [&] { return OpWork{bytes_of(x, y)}; });
  on_device(
      x, [&] { cuda::log_softmax_forward(x, y); }, [&] { cpu::log_softmax_forward(x, y); });
}

void log_softmax_backward(const Tensor& y, const Tensor& dy, Tensor& dx) {
  require_rows("log_softmax_backward", "y", y);
  require_same("log_softmax_backward", "y", y, "dy", dy);
  require_same("log_softmax_backward", "y", y, "dx", dx);
  if (y.numel() == 0) return;
  const OpScope scope("log_softmax_backward", dx, [&] { return OpWork{bytes_of(y, dy, dx)}; });
  on_device(
      y, [&] { cuda::log_softmax_backward(y, dy, dx); }, [&] { cpu::log_softmax_backward(y, dy, dx); });
}

void cross_entropy_forward(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o, Tensor& loss,
                           Tensor& weight_sum) {
  require_loss_arguments("cross_entropy", "logits", logits, labels, o);
  require_loss_results("cross_entropy", logits, labels, loss, weight_sum);
  const OpScope scope("cross_entropy", loss, [&] { return OpWork{bytes_of(logits, labels, loss)}; });
  on_device(
      logits, [&] { cuda::cross_entropy_forward(logits, labels, o, loss, weight_sum); },
      [&] { cpu::cross_entropy_forward(logits, labels, o, loss, weight_sum); });
}

void cross_entropy_backward(const Tensor& logits, const Tensor& labels, const CrossEntropyOptions& o,
                            const Tensor& scale, Tensor& dlogits) {
  require_loss_arguments("cross_entropy_backward", "logits", logits, labels, o);
  require_scale("cross_entropy_backward", scale, labels, logits);
  require_same("cross_entropy_backward", "logits", logits, "dlogits", dlogits);
  if (logits.numel() == 0) return;
  const OpScope scope("cross_entropy_backward", dlogits, [&] { return OpWork{bytes_of(logits, labels, dlogits)}; });
  on_device(
      logits, [&] { cuda::cross_entropy_backward(logits, labels, o, scale, dlogits); },
      [&] { cpu::cross_entropy_backward(logits, labels, o, scale, dlogits); });
}

void nll_forward(const Tensor& log_probabilities, const Tensor& labels, const CrossEntropyOptions& o, Tensor& loss,
                 Tensor& weight_sum) {
  require_loss_arguments("nll", "log_probabilities", log_probabilities, labels, o);
  require_loss_results("nll", log_probabilities, labels, loss, weight_sum);
  const OpScope scope("nll", loss, [&] { return OpWork{bytes_of(labels, loss)}; });
  on_device(
      log_probabilities, [&] { cuda::nll_forward(log_probabilities, labels, o, loss, weight_sum); },
      [&] { cpu::nll_forward(log_probabilities, labels, o, loss, weight_sum); });
}

void nll_backward(const Tensor& log_probabilities, const Tensor& labels, const CrossEntropyOptions& o,
                  const Tensor& scale, Tensor& dx) {
  require_loss_arguments("nll_backward", "log_probabilities", log_probabilities, labels, o);
  require_scale("nll_backward", scale, labels, log_probabilities);
  require_same("nll_backward", "log_probabilities", log_probabilities, "dx", dx);
  if (dx.numel() == 0) return;
  const OpScope scope("nll_backward", dx, [&] { return OpWork{bytes_of(labels, dx)}; });
  on_device(
      dx, [&] { cuda::nll_backward(labels, o, scale, dx); }, [&] { cpu::nll_backward(labels, o, scale, dx); });
}

}  // namespace segrt::kernels
