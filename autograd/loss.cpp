#include "autograd/loss.h"

#include "core/error.h"
#include "core/op_event.h"
#include "core/op_scope.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"

namespace segrt::autograd {
namespace {
DType loss_dtype(const Tensor& x) { return x.dtype() == DType::f64 ? DType::f64 : DType::f32; }

using Forward = void (*)(const Tensor&, const Tensor&, const kernels::CrossEntropyOptions&, Tensor&, Tensor&);
using Backward = void (*)(const Tensor&, const Tensor&, const kernels::CrossEntropyOptions&, const Tensor&, Tensor&);

// Cross-entropy and negative log-likelihood differ in their kernels alone.
Var label_loss(const char* op, Forward forward, Backward backward_pass, const Var& x, const Tensor& labels,
               const CrossEntropyOptions& o) {
  const FunctionScope scope(op, x.device());
  const Tensor class_weight = o.class_weight;
  const kernels::CrossEntropyOptions options{o.ignore_index, class_weight.defined() ? &class_weight : nullptr};
  Tensor each = Tensor::empty(labels.shape(), loss_dtype(x.value()), x.device());
  Tensor weight_sum = Tensor::empty({1}, each.dtype(), x.device());
  forward(x.value(), labels, options, each, weight_sum);
  Tensor y = each;
  if (o.reduction != Reduction::none) {
    y = Tensor::empty({1}, each.dtype(), x.device());
    kernels::sum_to(each.reshape({each.numel()}), y);
    if (o.reduction == Reduction::mean && o.over != nullptr) o.over->all_reduce(weight_sum);
    if (o.reduction == Reduction::mean) kernels::binary_forward(kernels::Binary::div, y, weight_sum, y);
  }
  return record(op, {x}, y,
                [xv = x.value(), labels, class_weight, ignore = o.ignore_index, reduction = o.reduction, weight_sum,
                 backward_pass](const Tensor& dy) -> Grads {
                  Tensor scale = dy;
                  if (reduction == Reduction::mean) {
                    scale = Tensor::like(dy);
                    kernels::binary_forward(kernels::Binary::div, dy, weight_sum, scale);
                  }
                  Tensor dx = Tensor::like(xv);
                  backward_pass(xv, labels, {ignore, class_weight.defined() ? &class_weight : nullptr}, scale, dx);
                  return {dx};
                });
}
}  // namespace

Var softmax(const Var& x) {
  const FunctionScope scope("softmax", x.device());
  Tensor y = Tensor::like(x.value());
  kernels::softmax_forward(x.value(), y);
  if (const auto& see = y.device().op_observer) see({"softmax", {x.value()}, y});
  // dx needs y alone, so x is not kept alive.
  return record("softmax", {x}, y, [y](const Tensor& dy) -> Grads {
    Tensor dx = reuse_or_like(dy);
    kernels::softmax_backward(y, dy, dx);
    return {dx};
  });
}

Var log_softmax(const Var& x) {
  const FunctionScope scope("log_softmax", x.device());
  Tensor y = Tensor::like(x.value());
  kernels::log_softmax_forward(x.value(), y);
  if (const auto& see = y.device().op_observer) see({"log_softmax", {x.value()}, y});
  return record("log_softmax", {x}, y, [y](const Tensor& dy) -> Grads {
    Tensor dx = reuse_or_like(dy);
    kernels::log_softmax_backward(y, dy, dx);
    return {dx};
  });
}

Var cross_entropy(const Var& logits, const Tensor& labels, const CrossEntropyOptions& o) {
  return label_loss("cross_entropy", kernels::cross_entropy_forward, kernels::cross_entropy_backward, logits, labels,
                    o);
}

Var nll(const Var& log_probabilities, const Tensor& labels, const CrossEntropyOptions& o) {
  return label_loss("nll", kernels::nll_forward, kernels::nll_backward, log_probabilities, labels, o);
}

Var mixed_cross_entropy(const Var& logits, const kernels::MixedTargets& targets) {
  const FunctionScope scope("mixed_cross_entropy", logits.device());
  Tensor each = Tensor::empty(targets.labels.shape(), loss_dtype(logits.value()), logits.device());
  kernels::mixed_cross_entropy_forward(logits.value(), targets, each);
  Tensor y = Tensor::empty({1}, each.dtype(), logits.device());
  kernels::sum_to(each, y);
  const double mean = 1.0 / static_cast<double>(each.numel());
  kernels::scale(y, mean, 0, y);
  return record("mixed_cross_entropy", {logits}, y, [x = logits.value(), targets, mean](const Tensor& dy) -> Grads {
    Tensor scale = Tensor::like(dy), dx = Tensor::like(x);
    kernels::scale(dy, mean, 0, scale);
    kernels::mixed_cross_entropy_backward(x, targets, scale, dx);
    return {dx};
  });
}

Var upsample(const Var& scores, const kernels::UpsampleTaps& taps) {
  const FunctionScope scope("upsample", scores.device());
  if (scores.shape().rank() != 4)
    throw ArgumentError("upsample: scores: expected [N,h,w,C], got " + to_string(scores.shape()));
  Tensor y = Tensor::empty({scores.dim(0), taps.y.out, taps.x.out, scores.dim(3)}, scores.dtype(), scores.device());
  kernels::upsample_forward(scores.value(), taps, y);
  return record("upsample", {scores}, y, [taps, shape = scores.shape()](const Tensor& dy) -> Grads {
    Tensor dx = Tensor::empty(shape, dy.dtype(), dy.device());
    kernels::upsample_backward(dy, taps, dx);
    return {dx};
  });
}

namespace {
kernels::UpsampleLossOptions kernel_options(const SegmentationLossOptions& o) {
  return {o.ignore_index, o.class_weight.defined() ? &o.class_weight : nullptr, o.count_ignored};
}

// From the mean over own positions to the share of the mean over all: loss * own weight / weight of all, which is 0
// where no position counts anywhere.
void become_share(Communicator& over, Tensor& loss, Tensor& weight_sum) {
  if (over.size() == 1) return;
  kernels::binary_forward(kernels::Binary::mul, loss, weight_sum, loss);
  over.all_reduce(weight_sum);
  Tensor divisor = Tensor::like(weight_sum);
  kernels::fill(divisor, 1e-30);
  kernels::binary_forward(kernels::Binary::max, weight_sum, divisor, divisor);
  kernels::binary_forward(kernels::Binary::div, loss, divisor, loss);
}
}  // namespace

SegmentationLoss upsample_cross_entropy(const Var& scores, const kernels::UpsampleTaps& taps, const Tensor& labels,
                                        const SegmentationLossOptions& o) {
  const DType dtype = loss_dtype(scores.value());
  Device& device = scores.device();
  const FunctionScope scope("upsample_cross_entropy", device);
  Tensor loss = Tensor::empty({1}, dtype, device), weight_sum = Tensor::empty({1}, dtype, device);
  Tensor log_sum_exp = Tensor::empty(labels.shape(), dtype, device);
  Tensor correct = Tensor::empty({1}, DType::i64, device);
  kernels::upsample_cross_entropy_forward(scores.value(), taps, labels, kernel_options(o), loss, weight_sum,
                                          log_sum_exp, correct);
  if (o.over != nullptr) become_share(*o.over, loss, weight_sum);
  // One log-sum-exp a pixel is kept; the softmax itself is computed again from the scores.
  Var loss_var = record("upsample_cross_entropy", {scores}, loss,
                        [sv = scores.value(), taps, labels, o, log_sum_exp, weight_sum](const Tensor& dy) -> Grads {
                          Tensor dscores = Tensor::like(sv);
                          kernels::upsample_cross_entropy_backward(sv, taps, labels, kernel_options(o), log_sum_exp,
                                                                   weight_sum, dy, dscores);
                          return {dscores};
                        });
  return {loss_var, correct, weight_sum};
}

}  // namespace segrt::autograd
