#include "train/test_size.h"

#include <limits>

#include "data/opencv_resize.h"
#include "data/resample.h"
#include "data/resize_crop.h"
#include "data/scale_crop_distort.h"

namespace segrt::train {

data::Image resized(const data::Image& image, const ShortestEdge& rule) {
  if (rule.shortest == 0) return image;
  const int longest = rule.longest > 0 ? rule.longest : std::numeric_limits<int>::max();
  const data::ImageSize size = data::shortest_edge_size(image.height, image.width, rule.shortest, longest);
  if (size == data::ImageSize{image.height, image.width}) return image;
  return data::resize(image, size.height, size.width, data::Filter::bilinear);
}

data::Image resized(const data::Image& image, const BaseSize& rule, double scale) {
  const data::ImageSize base = data::scaled_size(rule.size, scale);
  const data::ImageSize size = rule.keep_ratio ? data::fitted_size(image.height, image.width, base) : base;
  if (size == data::ImageSize{image.height, image.width}) return image;
  return data::opencv_resize(image, size);
}

}  // namespace segrt::train
