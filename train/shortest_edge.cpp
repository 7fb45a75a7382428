#include "train/shortest_edge.h"

#include <limits>

#include "data/resample.h"
#include "data/resize_crop.h"

namespace segrt::train {

data::Image resized(const data::Image& image, const ShortestEdge& rule) {
  if (rule.shortest == 0) return image;
  const int longest = rule.longest > 0 ? rule.longest : std::numeric_limits<int>::max();
  const data::ImageSize size = data::shortest_edge_size(image.height, image.width, rule.shortest, longest);
  if (size == data::ImageSize{image.height, image.width}) return image;
  return data::resize(image, size.height, size.width, data::Filter::bilinear);
}

}  // namespace segrt::train
