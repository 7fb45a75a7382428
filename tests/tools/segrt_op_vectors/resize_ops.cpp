#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/resize.h"
#include "tests/tools/segrt_op_vectors/layout.h"
#include "tests/tools/segrt_op_vectors/operators.h"

namespace segrt::op_vectors {
namespace {
using kernels::Coordinates;
using kernels::NearestRounding;
using kernels::ResizeMode;

struct Axis {
  int64_t in = 1, out = 1;
  double scale = 0;  // out/in as the case states it; 0: the ratio of the sizes
  Coordinates coordinates = Coordinates::half_pixel;
  NearestRounding rounding = NearestRounding::floor;

  bool is_identity() const { return in == out && (scale == 0 || scale == 1); }
  bool same_rule(const Axis& o) const { return coordinates == o.coordinates && rounding == o.rounding; }
};

// Where an output reads, in the runtime's terms.
void set_coordinates(const std::string& mode, Axis& a) {
  const double length = a.scale > 0 ? static_cast<double>(a.in) * a.scale : static_cast<double>(a.out);
  const bool whole = length == static_cast<double>(a.out);
  if (mode == "half_pixel" || (mode == "half_pixel_symmetric" && whole)) {
    a.coordinates = Coordinates::half_pixel;
  } else if (mode == "asymmetric") {
    a.coordinates = Coordinates::asymmetric;
  } else if (mode == "pytorch_half_pixel") {  // position 0 where one output is left
    a.coordinates = a.out > 1 ? Coordinates::half_pixel : Coordinates::asymmetric;
  } else if (mode == "align_corners") {
    a.coordinates = Coordinates::align_corners;
    // ONNX aligns with the corner of the resized map before its size is rounded down: i * (in - 1) / (in*scale - 1).
    if (!whole && a.out > 1 && a.in > 1) {
      a.coordinates = Coordinates::asymmetric;
      a.scale = (length - 1) / static_cast<double>(a.in - 1);
    }
  } else if (mode == "tf_half_pixel_for_nn" && a.rounding == NearestRounding::floor) {
    a.coordinates = Coordinates::half_pixel;  // floor((i + 0.5) s) = floor(((i + 0.5) s - 0.5) + 0.5)
    a.rounding = NearestRounding::half_up;
  } else {
    throw Unsupported(fmt::format("coordinates {}{}", mode,
                                  mode == "half_pixel_symmetric" ? " of a map that is no whole multiple" : ""));
  }
}

NearestRounding rounding_of(const std::string& mode) {
  if (mode == "round_prefer_floor") return NearestRounding::half_down;
  if (mode == "round_prefer_ceil") return NearestRounding::half_up;
  if (mode == "floor") return NearestRounding::floor;
  if (mode == "ceil") return NearestRounding::ceil;
  throw Malformed(fmt::format("attribute nearest_mode: unknown value {}", mode));
}

ResizeMode mode_of(const Case& c) {
  const std::string mode = c.attributes().text("mode", "nearest");
  if (mode == "nearest") return ResizeMode::nearest;
  if (mode == "linear" || mode == "bilinear") return ResizeMode::bilinear;
  throw Unsupported(fmt::format("mode {}: the runtime interpolates nearest and linear", mode));
}

// One axis after the other: x as maps [before, in, 1, after].
Tensor resize_axis(const Tensor& x, size_t axis, const Axis& a, ResizeMode mode) {
  Dims dims = dims_of(x);
  const auto at = dims.begin() + static_cast<std::ptrdiff_t>(axis);
  const int64_t before = product({dims.begin(), at}), after = product({at + 1, dims.end()});
  *at = a.out;
  Tensor y = unwritten({before, a.out, 1, after}, x.dtype(), x.device());
  kernels::resize_forward(x.reshape({before, a.in, 1, after}),
                          {.mode = mode, .coordinates = a.coordinates, .rounding = a.rounding, .scale_h = a.scale}, y);
  return y.reshape(shape_of(dims));
}

// Height and width together where nothing else changes, as networks resize.
Tensor resize_maps(const Tensor& x, const Axis& h, const Axis& w, ResizeMode mode) {
  Tensor y = unwritten({x.dim(0), h.out, w.out, x.dim(1)}, x.dtype(), x.device());
  kernels::resize_forward(
      channels_last(x),
      {.mode = mode, .coordinates = h.coordinates, .rounding = h.rounding, .scale_h = h.scale, .scale_w = w.scale}, y);
  return channels_first(y);
}

Tensor resize(const Tensor& x, const std::vector<Axis>& axes, ResizeMode mode) {
  if (x.rank() == 4 && axes[0].is_identity() && axes[1].is_identity() && axes[2].same_rule(axes[3]))
    return resize_maps(x, axes[2], axes[3], mode);
  Tensor y = x;
  for (size_t k = 0; k < axes.size(); ++k)
    if (!axes[k].is_identity()) y = resize_axis(y, k, axes[k], mode);
  return y;
}

std::vector<double> scales_of(const Case& c, size_t i) {
  const Tensor t = as_dtype(c.float_input(i), DType::f32);
  const std::vector<float> values = t.to_vector<float>();
  return {values.begin(), values.end()};
}

void set_scale(Axis& a, double scale) {
  if (!(scale > 0)) throw Malformed(fmt::format("scales: expected numbers > 0, got {}", scale));
  a.scale = scale;
  a.out = static_cast<int64_t>(std::floor(static_cast<double>(a.in) * scale));
}

// The axes that scales or sizes speak of, in their order: all, or those of the attribute.
std::vector<size_t> chosen_axes(const Case& c, int rank, size_t count) {
  Dims axes = c.attributes().integers("axes");
  if (!c.attributes().has("axes"))
    for (int k = 0; k < rank; ++k) axes.push_back(k);
  if (axes.size() != count)
    throw Malformed(fmt::format("scales or sizes: expected {} numbers, got {}", axes.size(), count));
  std::vector<size_t> chosen;
  for (const int64_t axis : axes) chosen.push_back(static_cast<size_t>(normalized_axis(axis, rank)));
  return chosen;
}

void set_sizes(const Case& c, const Dims& sizes, const std::vector<size_t>& chosen, std::vector<Axis>& axes) {
  const std::string policy = c.attributes().text("keep_aspect_ratio_policy", "stretch");
  std::vector<double> ratios;
  for (size_t i = 0; i < sizes.size(); ++i) {
    Axis& a = axes[chosen[i]];
    a.out = sizes[i];
    ratios.push_back(static_cast<double>(a.out) / static_cast<double>(a.in));
  }
  if (policy == "stretch" || ratios.empty()) return;
  if (policy != "not_larger" && policy != "not_smaller")
    throw Malformed(fmt::format("attribute keep_aspect_ratio_policy: unknown value {}", policy));
  const double scale = policy == "not_larger" ? *std::min_element(ratios.begin(), ratios.end())
                                              : *std::max_element(ratios.begin(), ratios.end());
  for (const size_t k : chosen) {
    axes[k].scale = scale;
    axes[k].out = static_cast<int64_t>(std::floor(static_cast<double>(axes[k].in) * scale + 0.5));
  }
}

std::vector<Axis> axes_of(const Tensor& x) {
  std::vector<Axis> axes;
  for (const int64_t in : x.shape().dims()) axes.push_back({.in = in, .out = in});
  return axes;
}

// Inputs: X, roi, scales, sizes; the roi is of tf_crop_and_resize alone.
void read_resize_sizes(const Case& c, int rank, std::vector<Axis>& axes) {
  if (c.has_input(3)) {
    const Dims sizes = c.integer_input(3);
    if (!sizes.empty()) return set_sizes(c, sizes, chosen_axes(c, rank, sizes.size()), axes);
  }
  const std::vector<double> scales = scales_of(c, 2);
  const std::vector<size_t> chosen = chosen_axes(c, rank, scales.size());
  for (size_t i = 0; i < scales.size(); ++i) set_scale(axes[chosen[i]], scales[i]);
}

void apply_scales(const std::vector<double>& scales, std::vector<Axis>& axes) {
  if (scales.size() != axes.size())
    throw Malformed(fmt::format("scales: expected {} numbers, got {}", axes.size(), scales.size()));
  for (size_t k = 0; k < axes.size(); ++k) set_scale(axes[k], scales[k]);
}

// Upsample, and Resize before opset 11: positions i / scale, rounded down.
Outputs run_asymmetric(const Case& c, const Tensor& x, const std::vector<double>& scales) {
  const ResizeMode mode = mode_of(c);
  std::vector<Axis> axes = axes_of(x);
  apply_scales(scales, axes);
  for (Axis& a : axes) set_coordinates("asymmetric", a);
  return {resize(x, axes, mode)};
}

}  // namespace

Outputs run_resize(const Case& c) {
  const ResizeMode mode = mode_of(c);
  const Tensor x = c.float_input(0);
  if (c.opset() < 11) return run_asymmetric(c, x, scales_of(c, 1));
  if (c.attributes().integer("antialias", 0) != 0)
    throw Unsupported("antialias: the runtime's antialiased resampling leaves out the border that ONNX repeats");
  std::vector<Axis> axes = axes_of(x);
  read_resize_sizes(c, x.rank(), axes);
  const std::string coordinates = c.attributes().text("coordinate_transformation_mode", "half_pixel");
  for (Axis& a : axes) {
    if (mode == ResizeMode::nearest)
      a.rounding = rounding_of(c.attributes().text("nearest_mode", "round_prefer_floor"));
    set_coordinates(coordinates, a);
  }
  return {resize(x, axes, mode)};
}

Outputs run_upsample(const Case& c) {
  const Tensor x = c.float_input(0);
  return run_asymmetric(c, x, c.has_input(1) ? scales_of(c, 1) : c.attributes().numbers("scales"));
}

}  // namespace segrt::op_vectors
