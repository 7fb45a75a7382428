// Resizing that keeps an image's proportions and is told the length of its shorter side.
#pragma once

#include "data/image.h"

namespace segrt::train {

struct ShortestEdge {
  int shortest = 0;  // 0: no resizing
  int longest = 0;   // limit of the longer side, 0: none
};

// Pillow's bilinear resampling of the 8-bit image to data::shortest_edge_size.
data::Image resized(const data::Image& image, const ShortestEdge& rule);

}  // namespace segrt::train
