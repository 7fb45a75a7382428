#include "data/scale_crop_distort.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "data/class_shares.h"
#include "data/opencv_resize.h"

namespace segrt::data {
namespace {

constexpr int kTries = 10;

// The part [begin, begin + count) of the table of nearest resizing.
std::vector<int> label_axis(int from, int to, int begin, int count) {
  const std::vector<int> axis = opencv_nearest_indices(from, to);
  return {axis.begin() + begin, axis.begin() + begin + count};
}

}  // namespace

ImageSize fitted_size(int height, int width, ImageSize base) {
  if (height < 1 || width < 1 || base.height < 1 || base.width < 1)
    throw ArgumentError(fmt::format("fitted_size: expected sizes of at least 1, got {}x{} in {}x{}", height, width,
                                    base.height, base.width));
  const auto [base_shorter, base_longer] = std::minmax(base.height, base.width);
  const auto [shorter, longer] = std::minmax(height, width);
  const double f = std::min(static_cast<double>(base_longer) / longer, static_cast<double>(base_shorter) / shorter);
  return {std::max(static_cast<int>(height * f + 0.5), 1), std::max(static_cast<int>(width * f + 0.5), 1)};
}

ImageSize scaled_size(ImageSize size, double ratio) {
  return {scaled_length(size.height, ratio), scaled_length(size.width, ratio)};
}

ScaleCropDistort::ScaleCropDistort(const Options& options) : options_(options) {
  require_crop(options.crop_height, options.crop_width);
  const auto [height, width] = options.base;
  if (height < 0 || width < 0 || (height == 0) != (width == 0) || height > kMaxImageSide || width > kMaxImageSide)
    throw ArgumentError(fmt::format("augmentation: base {}x{}: expected two sides in 1..{}, or two zeros", height,
                                    width, kMaxImageSide));
  if (!(options.min_ratio > 0 && options.min_ratio <= options.max_ratio && options.max_ratio <= 16))
    throw ArgumentError(fmt::format("augmentation: ratios must be in (0, 16], least first, got {} to {}",
                                    options.min_ratio, options.max_ratio));
  if (!(options.cat_max_ratio > 0 && options.cat_max_ratio <= 1))
    throw ArgumentError(fmt::format("augmentation: cat_max_ratio must be in (0, 1], got {}", options.cat_max_ratio));
}

ImageSize ScaleCropDistort::resized(const Sample& sample, double ratio) const {
  if (options_.base.height == 0) return {sample.image.height, sample.image.width};
  return fitted_size(sample.image.height, sample.image.width, scaled_size(options_.base, ratio));
}

Window ScaleCropDistort::crop_window(ImageSize size, int y, int x) const {
  if (options_.crop_height == 0) return {0, 0, size.height, size.width};
  return {y, x, std::min(size.height, options_.crop_height), std::min(size.width, options_.crop_width)};
}

ScaleCropDistort::Draws ScaleCropDistort::draw(const Sample& sample, Rng& rng) const {
  Draws draws;
  if (options_.base.height > 0) draws.ratio = rng.uniform(options_.min_ratio, options_.max_ratio);
  const ImageSize size = resized(sample, draws.ratio);
  const Image& label = sample.label;
  if (options_.crop_height > 0) {
    const auto corner = [&] {
      draws.y = static_cast<int>(rng.integer(0, std::max(size.height - options_.crop_height, 0)));
      draws.x = static_cast<int>(rng.integer(0, std::max(size.width - options_.crop_width, 0)));
    };
    const auto mixed = [&] {
      const Window window = crop_window(size, draws.y, draws.x);
      return is_mixed(value_counts(label, label_axis(label.height, size.height, window.y, window.height),
                                   label_axis(label.width, size.width, window.x, window.width)),
                      options_.ignore_index, options_.cat_max_ratio);
    };
    corner();
    const bool any_will_do = options_.cat_max_ratio == 1 || label.empty();
    for (int i = 0; !any_will_do && i < kTries && !mixed(); ++i) corner();
  }
  if (options_.flip) draws.flip = rng.uniform() < 0.5;
  if (options_.distort) draws.colours = draw_photometric(rng);
  return draws;
}

Sample ScaleCropDistort::apply(const Sample& sample, const Draws& draws) const {
  const Image &image = sample.image, &label = sample.label;
  if (!label.empty()) require_same_size(image, label);
  const ImageSize size = resized(sample, draws.ratio);
  const Window window = crop_window(size, draws.y, draws.x);
  Sample out;
  out.name = sample.name;
  out.image = Image(options_.crop_height > 0 ? options_.crop_height : size.height,
                    options_.crop_height > 0 ? options_.crop_width : size.width, image.channels);
  out.content = {window.height, window.width};
  opencv_resize(image, size, window, draws.flip, out.image);
  distort(out.image, out.content, draws.colours);
  if (label.empty()) return out;
  std::vector<int> rows = label_axis(label.height, size.height, window.y, window.height);
  std::vector<int> columns = label_axis(label.width, size.width, window.x, window.width);
  if (draws.flip) std::reverse(columns.begin(), columns.end());
  rows.resize(static_cast<size_t>(out.image.height), -1);
  columns.resize(static_cast<size_t>(out.image.width), -1);
  out.label = gather(label, rows, columns, options_.ignore_index);
  return out;
}

Sample ScaleCropDistort::apply(Sample sample, Rng& rng) const {
  if (!sample.label.empty()) require_same_size(sample.image, sample.label);
  const Draws draws = draw(sample, rng);
  return apply(sample, draws);
}

}  // namespace segrt::data
