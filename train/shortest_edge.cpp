#include "train/shortest_edge.h"

#include <algorithm>

#include "data/resample.h"

namespace segrt::train {

ImageSize resized_size(ImageSize size, const ShortestEdge& rule) {
  if (rule.shortest == 0) return size;
  double scale = static_cast<double>(rule.shortest) / std::min(size.height, size.width);
  // The shorter side is `shortest` itself, not the rounded product.
  double height = size.height < size.width ? rule.shortest : scale * size.height;
  double width = size.height < size.width ? scale * size.width : rule.shortest;
  if (const double longer = std::max(height, width); rule.longest > 0 && longer > rule.longest) {
    scale = rule.longest / longer;
    height *= scale;
    width *= scale;
  }
  return {std::max(1, static_cast<int>(height + 0.5)), std::max(1, static_cast<int>(width + 0.5))};
}

data::Image resized(const data::Image& image, const ShortestEdge& rule) {
  const ImageSize size = resized_size({image.height, image.width}, rule);
  if (size == ImageSize{image.height, image.width}) return image;
  return data::resize(image, size.height, size.width, data::Filter::bilinear);
}

}  // namespace segrt::train
