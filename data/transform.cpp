#include "data/transform.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace segrt::data {
namespace {

Filter filter_for(double ratio) { return ratio < 1.0 ? Filter::lanczos : Filter::bicubic; }

// The source indices of an output axis: pad and crop of a scaled axis, then the flip.
std::vector<int> output_axis(int length, int crop_size, int begin, const Padding& padding, bool flip) {
  std::vector<int> axis = crop_size > 0 ? crop_indices(length, crop_size, begin, padding) : identity_indices(length);
  if (flip) std::reverse(axis.begin(), axis.end());
  return axis;
}

}  // namespace

int scaled_length(int length, double ratio) { return std::max(static_cast<int>(ratio * length), 1); }

Image scale_image(const Image& image, double ratio) {
  if (ratio == 1.0) return image;
  return resize(image, scaled_length(image.height, ratio), scaled_length(image.width, ratio), filter_for(ratio));
}

Image scale_for_testing(const Image& image, double scale) {
  if (scale == 1.0) return image;
  return resize(image, scaled_length(image.height, scale), scaled_length(image.width, scale), Filter::bicubic);
}

void require_crop(int height, int width) {
  if (height < 0 || width < 0 || (height == 0) != (width == 0))
    throw ArgumentError(
        fmt::format("augmentation: crop {}x{}: both sides must be > 0, or both 0 for none", height, width));
}

void require_same_size(const Image& image, const Image& label) {
  if (label.height != image.height || label.width != image.width)
    throw ArgumentError(fmt::format("augmentation: image is {}x{} but its label map {}x{}", image.height, image.width,
                                    label.height, label.width));
}

TrainTransform::TrainTransform(const Options& options) : options_(options) {
  require_crop(options.crop_height, options.crop_width);
  if (options.random_rotate < 0 || options.random_rotate > 180)
    throw ArgumentError(
        fmt::format("augmentation: random_rotate must be in 0..180 degrees, got {}", options.random_rotate));
  if (options.random_scale != 0 && !(options.random_scale >= 1 && options.random_scale <= 16))
    throw ArgumentError(fmt::format("augmentation: random_scale must be 0 or in 1..16, got {}", options.random_scale));
}

TrainTransform::Draws TrainTransform::draw(int height, int width, Rng& rng) const {
  Draws draws;
  if (options_.random_rotate > 0)
    draws.angle_degrees = static_cast<double>(rng.integer(-options_.random_rotate, options_.random_rotate));
  if (options_.random_scale > 0) draws.ratio = rng.uniform(1.0 / options_.random_scale, options_.random_scale);
  if (options_.crop_height > 0) {
    const int h = std::max(scaled_length(height, draws.ratio), options_.crop_height);
    const int w = std::max(scaled_length(width, draws.ratio), options_.crop_width);
    if (h != options_.crop_height || w != options_.crop_width) {
      draws.x = static_cast<int>(rng.integer(0, w - options_.crop_width));
      draws.y = static_cast<int>(rng.integer(0, h - options_.crop_height));
    }
  }
  if (options_.flip) draws.flip = rng.uniform() < 0.5;
  return draws;
}

Sample TrainTransform::apply(const Sample& sample, const Draws& draws) const {
  const Image& image = sample.image;
  const int height = scaled_length(image.height, draws.ratio), width = scaled_length(image.width, draws.ratio);
  auto axes = [&](const Padding& padding) {
    return std::pair{output_axis(height, options_.crop_height, draws.y, padding, false),
                     output_axis(width, options_.crop_width, draws.x, padding, draws.flip)};
  };
  Sample out;
  out.name = sample.name;
  {
    auto [rows, columns] = axes(options_.image_padding);
    const Resizing resizing{image.height, image.width, height, width, filter_for(draws.ratio)};
    const Window target = window_of(rows, columns), source = resizing.source(target);
    const Image part = draws.angle_degrees == 0 ? Image() : rotate_image(image, draws.angle_degrees, source);
    const Image scaled = part.empty() ? resizing.apply(image, {0, 0, image.height, image.width}, target)
                                      : resizing.apply(part, source, target);
    shift_indices(rows, target.y);
    shift_indices(columns, target.x);
    out.image = gather(scaled, rows, columns, options_.image_padding.value);
  }
  const Image& label = sample.label;
  if (label.empty()) return out;
  require_same_size(image, label);
  auto [rows, columns] = axes({.reflect = false, .value = options_.label_fill});
  if (draws.ratio != 1.0) {
    compose_indices(rows, nearest_indices(label.height, height));
    compose_indices(columns, nearest_indices(label.width, width));
  }
  if (draws.angle_degrees == 0) {
    out.label = gather(label, rows, columns, options_.label_fill);
    return out;
  }
  const Window source = window_of(rows, columns);
  shift_indices(rows, source.y);
  shift_indices(columns, source.x);
  out.label =
      gather(rotate_label(label, draws.angle_degrees, options_.label_fill, source), rows, columns, options_.label_fill);
  return out;
}

Sample TrainTransform::apply(Sample sample, Rng& rng) const {
  const Draws draws = draw(sample.image.height, sample.image.width, rng);
  return apply(sample, draws);
}

std::vector<float> normalise(const Image& x, const std::array<double, 3>& mean, const std::array<double, 3>& std) {
  if (x.channels != 3) throw ArgumentError(fmt::format("normalise: image needs 3 channels, got {}", x.channels));
  // 256 values a channel: the divisions are done once each.
  std::array<std::array<float, 256>, 3> table;
  for (size_t c = 0; c < 3; ++c)
    for (size_t v = 0; v < 256; ++v)
      table[c][v] = (static_cast<float>(v) / 255.0f - static_cast<float>(mean[c])) / static_cast<float>(std[c]);
  std::vector<float> y(x.pixels.size());
  for (size_t i = 0; i + 2 < y.size(); i += 3)
    for (size_t c = 0; c < 3; ++c) y[i + c] = table[c][x.pixels[i + c]];
  return y;
}

}  // namespace segrt::data
