// The augmentation of Dynamic Routing (Li et al. 2020, its published code): a random size, a random mirror, a crop that
// pads what is missing.
#pragma once

#include <vector>

#include "data/transform.h"

namespace segrt::data {

// The size at which the shorter side of height x width is `shortest_edge` and the aspect stays; where the longer side
// would pass `max_long_edge`, the size at which that one is `max_long_edge`. Sides are int(x + 0.5) of the exact ones,
// at least 1. Throws ArgumentError for a size below 1.
ImageSize shortest_edge_size(int height, int width, int shortest_edge, int max_long_edge);

// In this order:
// 1. resize to shortest_edge_size with an edge drawn uniformly from a list: Pillow's bilinear filter on 8 bits for the
//    image (data/resample.h), nearest for the label;
// 2. mirror with probability 0.5;
// 3. per axis, a window of the crop's length where there is that much (its begin uniform over all places), then padding
//    of what is missing: floor(missing / 2) before and the rest after.
class ResizeCropTransform final : public Transform {
 public:
  struct Options {
    std::vector<int> shortest_edge{};
    int max_long_edge = 4096;
    bool flip = true;
    int crop_height = 0, crop_width = 0;  // 0: no crop
    uint8_t image_pad = 0;                // in every channel, before normalisation
    uint8_t label_pad = 255;
  };
  // What was drawn for one sample. (y, x): begin of the crop in the resized and mirrored image.
  struct Draws {
    int shortest_edge = 0;
    bool flip = false;
    int y = 0, x = 0;
  };

  explicit ResizeCropTransform(const Options& options);  // throws ArgumentError for a value out of range
  const Options& options() const { return options_; }

  // In the order edge, flip, y, x; no flip is drawn where that is off, nor a begin along an axis shorter than the crop.
  Draws draw(int height, int width, Rng& rng) const;
  // Only the pixels that reach the crop are computed. Throws ArgumentError when image and label differ in size.
  Sample apply(const Sample& sample, const Draws& draws) const;
  Sample apply(Sample sample, Rng& rng) const override;

 private:
  Options options_;
};

}  // namespace segrt::data
