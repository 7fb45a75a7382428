#include "kernels/upsample_loss.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/op_scope.h"
#include "kernels/check.h"
#include "kernels/cpu/interpolate.h"
#include "kernels/cpu/upsample_loss.h"
#include "kernels/cuda/interpolate.h"
#include "kernels/cuda/upsample_loss.h"
#include "kernels/dispatch.h"

namespace segrt::kernels {
namespace {

void require_axis(std::string_view op, std::string_view name, const UpsampleAxis& axis, const Tensor& x) {
  require_defined(op, name, axis.index);
  require_device(op, name, axis.index, x);
  require_dtype(op, name, axis.index, {DType::i32});
  require_shape(op, name, axis.weight, Shape{axis.out, 2});
}

// The maps that these taps join: low [N,h,w,C] and high [N,H,W,C].
void require_taps(std::string_view op, std::string_view low_name, const Tensor& low, std::string_view high_name,
                  const Tensor& high, const UpsampleTaps& taps) {
  require_rank(op, low_name, low, 4);
  require_axis(op, "taps.y", taps.y, low);
  require_axis(op, "taps.x", taps.x, low);
  require_shape(op, low_name, low, Shape{low.dim(0), taps.y.in, taps.x.in, low.dim(3)});
  require_shape(op, high_name, high, Shape{low.dim(0), taps.y.out, taps.x.out, low.dim(3)});
}

DType sum_dtype(const Tensor& scores) { return scores.dtype() == DType::f64 ? DType::f64 : DType::f32; }

void require_like_scores(std::string_view op, std::string_view name, const Tensor& t, const Shape& shape, DType dtype,
                         const Tensor& scores) {
  require_shape(op, name, t, shape);
  require_dtype(op, name, t, {dtype});
  require_device(op, name, t, scores);
}

void require_loss_arguments(std::string_view op, const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                            const UpsampleLossOptions& o, const Tensor& weight_sum, const Tensor& log_sum_exp) {
  require_rank(op, "scores", scores, 4);
  require_float(op, "scores", scores);
  require(scores.dim(3) > 0, op, "scores: expected one class or more, got none");
  require_axis(op, "taps.y", taps.y, scores);
  require_axis(op, "taps.x", taps.x, scores);
  require_shape(op, "scores", scores, Shape{scores.dim(0), taps.y.in, taps.x.in, scores.dim(3)});
  const Shape pixels{scores.dim(0), taps.y.out, taps.x.out};
  require_like_scores(op, "labels", labels, pixels, DType::u8, scores);
  require_like_scores(op, "weight_sum", weight_sum, Shape{1}, sum_dtype(scores), scores);
  require_like_scores(op, "log_sum_exp", log_sum_exp, pixels, sum_dtype(scores), scores);
  if (o.class_weight)
    require_like_scores(op, "class_weight", *o.class_weight, Shape{scores.dim(3)}, DType::f32, scores);
}

}  // namespace

void upsample_forward(const Tensor& scores, const UpsampleTaps& taps, Tensor& y) {
  require_taps("upsample", "scores", scores, "y", y, taps);
  require_float("upsample", "scores", scores);
  require_dtype("upsample", "y", y, {scores.dtype()});
  require_device("upsample", "y", y, scores);
  if (y.numel() == 0) return;
  const OpScope scope("upsample", y, [&] { return OpWork{bytes_of(scores, y)}; });
  on_device(
      scores, [&] { cuda::interpolate_forward(scores, taps, y); }, [&] { cpu::interpolate_forward(scores, taps, y); });
}

void upsample_backward(const Tensor& dy, const UpsampleTaps& taps, Tensor& dscores) {
  require_taps("upsample_backward", "dscores", dscores, "dy", dy, taps);
  require_float("upsample_backward", "dy", dy);
  require_dtype("upsample_backward", "dscores", dscores, {dy.dtype()});
  require_device("upsample_backward", "dscores", dscores, dy);
  if (dscores.numel() == 0) return;
  const OpScope scope("upsample_backward", dscores, [&] { return OpWork{bytes_of(dy, dscores)}; });
  on_device(
      dy, [&] { cuda::interpolate_backward(dy, taps, dscores); },
      [&] { cpu::interpolate_backward(dy, taps, dscores); });
}

void upsample_cross_entropy_forward(const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                                    const UpsampleLossOptions& o, Tensor& loss, Tensor& weight_sum, Tensor& log_sum_exp,
                                    Tensor& correct) {
  constexpr std::string_view kOp = "upsample_cross_entropy";
  require_loss_arguments(kOp, scores, taps, labels, o, weight_sum, log_sum_exp);
  require_like_scores(kOp, "loss", loss, Shape{1}, sum_dtype(scores), scores);
  require_like_scores(kOp, "correct", correct, Shape{1}, DType::i64, scores);
  const OpScope scope(kOp, loss, [&] { return OpWork{bytes_of(scores, labels, log_sum_exp)}; });
  on_device(
      scores,
      [&] { cuda::upsample_cross_entropy_forward(scores, taps, labels, o, loss, weight_sum, log_sum_exp, correct); },
      [&] { cpu::upsample_cross_entropy_forward(scores, taps, labels, o, loss, weight_sum, log_sum_exp, correct); });
}

void upsample_cross_entropy_backward(const Tensor& scores, const UpsampleTaps& taps, const Tensor& labels,
                                     const UpsampleLossOptions& o, const Tensor& log_sum_exp, const Tensor& weight_sum,
                                     const Tensor& dloss, Tensor& dscores) {
  constexpr std::string_view kOp = "upsample_cross_entropy_backward";
  require_loss_arguments(kOp, scores, taps, labels, o, weight_sum, log_sum_exp);
  require(dloss.defined() && dloss.numel() == 1, kOp,
          fmt::format("dloss: expected 1 element, got {}", describe(dloss)));
  require_dtype(kOp, "dloss", dloss, {sum_dtype(scores)});
  require_device(kOp, "dloss", dloss, scores);
  require_same(kOp, "scores", scores, "dscores", dscores);
  if (dscores.numel() == 0) return;
  const OpScope scope(kOp, dscores, [&] { return OpWork{bytes_of(scores, labels, log_sum_exp, dscores)}; });
  on_device(
      scores,
      [&] { cuda::upsample_cross_entropy_backward(scores, taps, labels, o, log_sum_exp, weight_sum, dloss, dscores); },
      [&] { cpu::upsample_cross_entropy_backward(scores, taps, labels, o, log_sum_exp, weight_sum, dloss, dscores); });
}

void upsample_argmax(const Tensor& scores, const UpsampleTaps& taps, Tensor& prediction) {
  constexpr std::string_view kOp = "upsample_argmax";
  require_rank(kOp, "scores", scores, 4);
  require_float(kOp, "scores", scores);
  require(scores.dim(3) > 0 && scores.dim(3) <= 256, kOp,
          fmt::format("scores: expected 1 to 256 classes, got {}", to_string(scores.shape())));
  require_axis(kOp, "taps.y", taps.y, scores);
  require_axis(kOp, "taps.x", taps.x, scores);
  require_shape(kOp, "scores", scores, Shape{scores.dim(0), taps.y.in, taps.x.in, scores.dim(3)});
  require_like_scores(kOp, "prediction", prediction, Shape{scores.dim(0), taps.y.out, taps.x.out}, DType::u8, scores);
  if (prediction.numel() == 0) return;
  const OpScope scope(kOp, prediction, [&] { return OpWork{bytes_of(scores, prediction)}; });
  on_device(
      scores, [&] { cuda::upsample_argmax(scores, taps, prediction); },
      [&] { cpu::upsample_argmax(scores, taps, prediction); });
}

}  // namespace segrt::kernels
