// Random erasing (Zhong et al. 2017, arXiv:1708.04896): a rectangle of the normalised image becomes noise. Here the
// rectangle is drawn; kernels/erase.h erases it on the device.
#pragma once

#include "core/random.h"
#include "data/dataset.h"

namespace segrt::data {

class RandomErasing {
 public:
  struct Options {
    double probability = 0.25;
    double min_area = 0.02, max_area = 1.0 / 3.0;  // shares of the image's
    double min_aspect = 0.3;                       // height / width log-uniform in [min_aspect, 1 / min_aspect]
  };
  explicit RandomErasing(const Options& options);  // throws ArgumentError for a value out of range

  // Up to ten times: h = round(sqrt(a u r)), w = round(sqrt(a u / r)), a the image's area; the first that is smaller
  // than the image both ways is placed uniformly. Drawn: the coin, then u, r for each try, y, x, and the noise's
  // stream.
  Erasure draw(int height, int width, Rng& rng) const;

 private:
  Options options_;
};

}  // namespace segrt::data
