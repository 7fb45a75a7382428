#include "data/resize_crop.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace segrt::data {
namespace {

// The source index of each value of an output axis: crop and padding of the mirrored or plain axis of `length`.
std::vector<int> output_axis(int length, int crop_size, int begin, bool mirrored) {
  std::vector<int> axis =
      crop_size > 0 ? crop_indices(length, crop_size, begin, {.reflect = false, .value = 0}) : identity_indices(length);
  if (mirrored)
    for (int& i : axis)
      if (i >= 0) i = length - 1 - i;
  return axis;
}

}  // namespace

ImageSize shortest_edge_size(int height, int width, int shortest_edge, int max_long_edge) {
  if (height < 1 || width < 1 || shortest_edge < 1 || max_long_edge < 1)
    throw ArgumentError(fmt::format("shortest_edge_size: expected sizes of at least 1, got {}x{}, edge {}, limit {}",
                                    height, width, shortest_edge, max_long_edge));
  const double scale = static_cast<double>(shortest_edge) / std::min(height, width);
  double new_height = height < width ? shortest_edge : scale * height;
  double new_width = height < width ? scale * width : shortest_edge;
  const double longest = std::max(new_height, new_width);
  if (longest > max_long_edge) {
    const double limit = max_long_edge / longest;
    new_height *= limit;
    new_width *= limit;
  }
  return {std::max(static_cast<int>(new_height + 0.5), 1), std::max(static_cast<int>(new_width + 0.5), 1)};
}

ResizeCropTransform::ResizeCropTransform(const Options& options) : options_(options) {
  require_crop(options.crop_height, options.crop_width);
  if (options.shortest_edge.empty()) throw ArgumentError("augmentation: shortest_edge lists no size");
  for (const int edge : options.shortest_edge)
    if (edge < 1 || edge > kMaxImageSide)
      throw ArgumentError(fmt::format("augmentation: shortest_edge must be in 1..{}, got {}", kMaxImageSide, edge));
  if (options.max_long_edge < 1 || options.max_long_edge > kMaxImageSide)
    throw ArgumentError(
        fmt::format("augmentation: max_long_edge must be in 1..{}, got {}", kMaxImageSide, options.max_long_edge));
}

ResizeCropTransform::Draws ResizeCropTransform::draw(int height, int width, Rng& rng) const {
  Draws draws;
  const auto choices = static_cast<int64_t>(options_.shortest_edge.size());
  draws.shortest_edge = options_.shortest_edge[static_cast<size_t>(rng.integer(0, choices - 1))];
  if (options_.flip) draws.flip = rng.uniform() < 0.5;
  if (options_.crop_height == 0) return draws;
  const ImageSize size = shortest_edge_size(height, width, draws.shortest_edge, options_.max_long_edge);
  auto begin = [&](int length, int crop_size) {
    return length >= crop_size ? static_cast<int>(rng.integer(0, length - crop_size)) : 0;
  };
  draws.y = begin(size.height, options_.crop_height);
  draws.x = begin(size.width, options_.crop_width);
  return draws;
}

Sample ResizeCropTransform::apply(const Sample& sample, const Draws& draws) const {
  const Image &image = sample.image, &label = sample.label;
  if (!label.empty()) require_same_size(image, label);
  const ImageSize size = shortest_edge_size(image.height, image.width, draws.shortest_edge, options_.max_long_edge);
  std::vector<int> rows = output_axis(size.height, options_.crop_height, draws.y, false);
  std::vector<int> columns = output_axis(size.width, options_.crop_width, draws.x, draws.flip);
  Sample out;
  out.name = sample.name;
  if (!label.empty()) {
    std::vector<int> label_rows = rows, label_columns = columns;
    compose_indices(label_rows, nearest_indices(label.height, size.height));
    compose_indices(label_columns, nearest_indices(label.width, size.width));
    out.label = gather(label, label_rows, label_columns, options_.label_pad);
  }
  const Resizing resizing{image.height, image.width, size.height, size.width, Filter::bilinear};
  const Window target = window_of(rows, columns);
  const Image resized = resizing.apply(image, {0, 0, image.height, image.width}, target);
  shift_indices(rows, target.y);
  shift_indices(columns, target.x);
  out.image = gather(resized, rows, columns, options_.image_pad);
  return out;
}

Sample ResizeCropTransform::apply(Sample sample, Rng& rng) const {
  const Draws draws = draw(sample.image.height, sample.image.width, rng);
  return apply(sample, draws);
}

}  // namespace segrt::data
