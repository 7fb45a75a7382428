// Resizing that keeps an image's proportions and is told the length of its shorter side.
#pragma once

#include "data/image.h"

namespace segrt::train {

struct ShortestEdge {
  int shortest = 0;  // 0: no resizing
  int longest =
      0;  // where the longer side would exceed this, it gets it and the shorter side what follows; 0: no limit
};

struct ImageSize {
  int height = 0, width = 0;
  bool operator==(const ImageSize&) const = default;
};

// Both sides int(x + 0.5) of their exact length, as detectron2's ResizeShortestEdge computes them.
ImageSize resized_size(ImageSize size, const ShortestEdge& rule);
// Pillow's bilinear resampling of the 8-bit image to that size.
data::Image resized(const data::Image& image, const ShortestEdge& rule);

}  // namespace segrt::train
