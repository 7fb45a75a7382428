#include "nn/segmentation.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "autograd/conv.h"
#include "autograd/elementwise.h"
#include "autograd/op_attributes.h"
#include "core/error.h"
#include "kernels/argmax.h"

namespace segrt::nn {
namespace {
using Rule = Upsampling::Rule;
using kernels::UpsampleAxis;
using kernels::UpsampleTaps;

// Tables are a pure function of sizes, so they are made once a device.
struct TapCache {
  using Key = std::tuple<Rule, int, int, int, int, int, int>;
  std::map<Key, UpsampleTaps> taps;
};

// The first `out` outputs of an axis.
void cut(UpsampleAxis& axis, int out) {
  if (out == axis.out) return;
  axis.out = out;
  axis.index = axis.index.slice(0, out);
  axis.weight = axis.weight.slice(0, out);
  for (Tensor* bound : {&axis.first, &axis.last}) {
    std::vector<int32_t> values = bound->to_vector<int32_t>();
    for (int32_t& v : values) v = std::min(v, out);
    *bound = Tensor::from<int32_t>(bound->shape(), values, bound->device());
  }
}

void require_fits(const Upsampling& up, int height, int width) {
  if (height > up.height || width > up.width)
    throw ArgumentError("segmentation: labels of " + std::to_string(height) + "x" + std::to_string(width) +
                        " exceed the network's output of " + std::to_string(up.height) + "x" +
                        std::to_string(up.width));
}

const UpsampleTaps& taps_for(const Tensor& scores, const Upsampling& up, int height, int width) {
  require_fits(up, height, width);
  const int in_h = static_cast<int>(scores.dim(1)), in_w = static_cast<int>(scores.dim(2));
  auto& cache = scores.device().state<TapCache>().taps;
  const TapCache::Key key{up.rule, in_h, in_w, up.height, up.width, height, width};
  if (const auto found = cache.find(key); found != cache.end()) return found->second;
  UpsampleTaps taps = up.rule == Rule::transposed_x8 ? kernels::transposed_x8_taps(in_h, in_w, scores.device())
                                                     : kernels::bilinear_taps(in_h, in_w, up.height, up.width,
                                                                              up.rule == Rule::bilinear_align_corners
                                                                                  ? kernels::Coordinates::align_corners
                                                                                  : kernels::Coordinates::half_pixel,
                                                                              scores.device());
  if (!scores.device().is_meta()) {
    cut(taps.y, height);
    cut(taps.x, width);
  }
  return cache.emplace(key, std::move(taps)).first->second;
}

void report_upsampling(const Tensor& scores, const Upsampling& up, const Tensor& y) {
  if (up.rule == Rule::transposed_x8 || y.dim(1) != up.height || y.dim(2) != up.width)
    return y.device().op_observer({"upsample", {scores}, y});
  const auto coordinates =
      up.rule == Rule::bilinear_align_corners ? kernels::Coordinates::align_corners : kernels::Coordinates::half_pixel;
  y.device().op_observer({"resize", {scores}, y, autograd::attributes_of({.coordinates = coordinates})});
}

Var upsampled(const Var& scores, const Upsampling& up, int height, int width) {
  if (up.rule != Rule::custom_transposed_x8) {
    const Var y = autograd::upsample(scores, taps_for(scores.value(), up, height, width));
    if (y.device().op_observer) report_upsampling(scores.value(), up, y.value());
    return y;
  }
  if (height != up.height || width != up.width)
    throw ArgumentError("segmentation: a custom upsampling kernel needs labels of the network's output size, " +
                        std::to_string(up.height) + "x" + std::to_string(up.width));
  const int classes = static_cast<int>(scores.dim(3));
  return autograd::conv_transpose2d(
      scores, autograd::cast(up.kernel, scores.dtype()), {},
      {.geometry = kernels::ConvGeometry::square({.stride = 8, .padding = 4, .groups = classes})});
}
}  // namespace

Var upsampled_scores(const Var& scores, const Upsampling& up) { return upsampled(scores, up, up.height, up.width); }

Var log_probabilities(const Var& scores, const Upsampling& up) {
  return autograd::log_softmax(upsampled_scores(scores, up));
}

autograd::SegmentationLoss segmentation_loss(const Var& scores, const Upsampling& up, const Tensor& labels,
                                             const autograd::SegmentationLossOptions& o) {
  if (labels.rank() != 3)
    throw ArgumentError("segmentation: labels: expected [N,H,W], got " + to_string(labels.shape()));
  const int height = static_cast<int>(labels.dim(1)), width = static_cast<int>(labels.dim(2));
  if (up.rule != Rule::custom_transposed_x8)
    return autograd::upsample_cross_entropy(scores, taps_for(scores.value(), up, height, width), labels, o);
  // Upsample first; the fused operator then works at equal sizes.
  const Var logits = upsampled(scores, up, height, width);
  const UpsampleTaps identity =
      kernels::bilinear_taps(height, width, height, width, kernels::Coordinates::half_pixel, scores.device());
  return autograd::upsample_cross_entropy(logits, identity, labels, o);
}

Tensor segmentation_argmax(const Tensor& scores, const Upsampling& up, int height, int width) {
  Tensor prediction = Tensor::empty({scores.dim(0), height, width}, DType::u8, scores.device());
  if (up.rule == Rule::custom_transposed_x8)
    kernels::argmax(upsampled(scores, up, height, width).value(), prediction);
  else
    kernels::upsample_argmax(scores, taps_for(scores, up, height, width), prediction);
  return prediction;
}

}  // namespace segrt::nn
