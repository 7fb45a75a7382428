// What classifiers see of an image: a part of random area and aspect in training, the centre in testing. The rules are
// those of torchvision in 2017 (0.1 and, but for the fallback, 0.2), with which DRN was trained.
#pragma once

#include "data/resize_crop.h"
#include "data/transform.h"

namespace segrt::data {

// The size at which the shorter side is `shorter` and the other one int(shorter * longer / shorter side), truncated.
ImageSize shorter_side_size(int height, int width, int shorter);
// Begin of the centre `size` of `length` values: (length - size) / 2, an odd half rounded to the even neighbour:
// 341 and 224 give 58 (of 58.5), 343 and 224 give 60 (of 59.5).
int centre_begin(int length, int size);

// Up to ten times: a window of area a * u and aspect r, w = round(sqrt(a u r)), h = round(sqrt(a u / r)) (halves to
// even, at least 1), a the image's area, u uniform in [min_area, max_area], r uniform in [3/4, 4/3]; w and h swapped
// with probability 0.5. The first that fits into the image is placed uniformly and resized to the crop. If none fits,
// the shorter side is resized to the crop's and the centre cut out. Then a mirror with probability 0.5. Resizing is
// Pillow's bilinear filter on 8 bits and sees nothing beyond the window.
class RandomResizedCrop final : public Transform {
 public:
  struct Options {
    int crop_height = 0, crop_width = 0;  // of the result; equal
    double min_area = 0.08, max_area = 1;
    bool flip = true;
  };
  // What was drawn: the window, or the fallback.
  struct Draws {
    Window window;
    bool fallback = false, flip = false;
  };

  explicit RandomResizedCrop(const Options& options);  // throws ArgumentError for a value out of range
  const Options& options() const { return options_; }

  // In the order u, r, swap for each try, x and y for the one that fits, mirror (none is drawn where that is off).
  Draws draw(int height, int width, Rng& rng) const;
  Sample apply(const Sample& sample, const Draws& draws) const;
  Sample apply(Sample sample, Rng& rng) const override;

 private:
  Options options_;
};

// Shorter side to `scale_size`, then the centre crop_size x crop_size. Pillow's bilinear filter on 8 bits.
class CentreCrop final : public Transform {
 public:
  struct Options {
    int scale_size = 256, crop_size = 224;
  };
  explicit CentreCrop(const Options& options);  // throws ArgumentError unless 0 < crop_size <= scale_size
  Image apply(const Image& image) const;
  Sample apply(Sample sample, Rng& rng) const override;

 private:
  Options options_;
};

}  // namespace segrt::data
