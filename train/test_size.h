// How large an image is tested: the ways in which published procedures resize it.
#pragma once

#include "data/image.h"

namespace segrt::train {

// Resizing that keeps an image's proportions and is told the length of its shorter side.
struct ShortestEdge {
  int shortest = 0;  // 0: no resizing
  int longest = 0;   // limit of the longer side, 0: none
};
// Pillow's bilinear resampling of the 8-bit image to data::shortest_edge_size.
data::Image resized(const data::Image& image, const ShortestEdge& rule);

// Resizing into one size for all images.
struct BaseSize {
  data::ImageSize size = {};  // {0, 0}: none
  bool keep_ratio = true;     // the largest size of the image's proportions that fits into it; else the size itself
  bool empty() const { return size == data::ImageSize{}; }
};
// OpenCV's bilinear rule on the 8-bit image, to the size times `scale` (sides truncated), or data::fitted_size in that.
data::Image resized(const data::Image& image, const BaseSize& rule, double scale);

}  // namespace segrt::train
